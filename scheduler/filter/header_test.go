package filter

import (
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/fairway-ai/fairway/scheduler"
)

func TestHeaderSelects(t *testing.T) {
	snap := &scheduler.Snapshot{Endpoints: []scheduler.Endpoint{
		{Address: "10.0.0.1:8000"}, {Address: "10.0.0.1:8001"}, {Address: "10.0.0.11:8000"}, {Address: "[fd00::1]:8000"},
	}}
	for header, want := range map[string][]int32{
		"":                               {0, 1, 2, 3},
		"10.0.0.1":                       {0, 1},
		"10.0.0.1:8001":                  {1},
		"10.0.0.1:80":                    nil,
		" 10.0.0.11 , 10.0.0.1:8000,":    {0, 2},
		"fd00::1":                        {3},
		"[fd00::1]:8000":                 {3},
		"[fd00::1]":                      {3},
		",":                              nil,
		"9.9.9.9":                        nil,
		strings.Repeat("10.0.0.1,", 9e3): nil,
	} {
		c := &scheduler.Cycle{Snapshot: snap, Request: &scheduler.Request{Header: func(name string) string {
			if name != "test-epp-endpoint-selection" {
				return ""
			}
			return header
		}}}
		got := NewHeader("").Filter(c, []int32{0, 1, 2, 3})
		if len(got) == 0 {
			got = nil
		}
		if d := cmp.Diff(want, got); d != "" {
			t.Errorf("%.40q: (-want +got)\n%s", header, d)
		}
	}
	if got := NewHeader("").Filter(&scheduler.Cycle{Snapshot: snap, Request: &scheduler.Request{}}, []int32{2}); len(got) != 1 {
		t.Error("without headers at all, everything stays")
	}
}
