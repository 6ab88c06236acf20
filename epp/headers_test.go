package epp

import (
	"strings"
	"testing"

	"github.com/fairway-ai/fairway/extproc"
)

func TestFlowOfARequest(t *testing.T) {
	sessions := []string{"x-first", "x-second"}
	for _, tt := range []struct {
		headers  []extproc.Header
		sessions []string
		want     string
	}{
		{nil, sessions, "default-flow"},
		{[]extproc.Header{{Name: "x-second", Value: "b"}}, sessions, "b"},
		{[]extproc.Header{{Name: "x-second", Value: "b"}, {Name: "x-first", Value: "a"}}, sessions, "a"},
		{[]extproc.Header{{Name: "x-first", Value: ""}, {Name: "x-second", Value: "b"}}, sessions, "b"},
		{[]extproc.Header{{Name: "x-first", Value: "a"}, {Name: headerFairnessLegacy, Value: "named"}}, sessions, "named"},
		{[]extproc.Header{{Name: "x-first", Value: strings.Repeat("a", maxFairnessID+1)}}, sessions, "default-flow"},
		{[]extproc.Header{{Name: "x-first", Value: "a"}}, nil, "default-flow"},
	} {
		if got := fairnessID(extproc.NewRequest(tt.headers, nil), tt.sessions); got != tt.want {
			t.Errorf("%v: flow %.40q, want %q", tt.headers, got, tt.want)
		}
	}
}
