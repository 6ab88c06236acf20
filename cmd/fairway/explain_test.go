package main

import (
	"bytes"
	"net/http/httptest"
	"strings"
	"testing"

	"github.com/fairway-ai/fairway/epp/explain"
	"github.com/fairway-ai/fairway/scheduler"
)

func TestExplain(t *testing.T) {
	ring := explain.NewRing(4)
	srv := httptest.NewServer(ring.Handler())
	defer srv.Close()
	run := func(args ...string) (string, error) {
		var out bytes.Buffer
		cmd := newExplainCommand()
		cmd.SetOut(&out)
		cmd.SilenceErrors, cmd.SilenceUsage = true, true
		cmd.SetArgs(append(args, "--addr", srv.URL))
		err := cmd.ExecuteContext(t.Context())
		return out.String(), err
	}
	if out, err := run(); err != nil || !strings.Contains(out, "No request") {
		t.Errorf("empty: %q, %v", out, err)
	}
	snap := &scheduler.Snapshot{
		Endpoints: []scheduler.Endpoint{{ID: "ns/a", Address: "10.0.0.1:8000", Load: new(scheduler.Load)}},
		Metrics:   make([]scheduler.Metrics, 1), Slots: 1,
	}
	var ex scheduler.Explanation
	var dec scheduler.Decision
	if err := scheduler.New(scheduler.Priced{}, nil).Schedule(&scheduler.Request{PromptTokens: 5}, snap, &dec, &ex); err != nil {
		t.Fatal(err)
	}
	var ref explain.Ref
	ring.Record(&ref, explain.Input{ID: "a/b c", Pool: "ns/pool", PromptTokens: 5, Explanation: &ex, Snapshot: snap})
	for _, tt := range []struct {
		args []string
		want string
	}{
		{nil, "a/b c"},
		{[]string{"a/b c"}, "because  the only candidate (price 5)"},
		{[]string{"a/b c", "--json"}, `"why":"the only candidate`},
	} {
		if out, err := run(tt.args...); err != nil || !strings.Contains(out, tt.want) {
			t.Errorf("%q: %q, %v, want %q", tt.args, out, err, tt.want)
		}
	}
	if _, err := run("unknown"); err == nil || !strings.Contains(err.Error(), "no decision") {
		t.Errorf("unknown request: error %v", err)
	}
	srv.Close()
	if _, err := run(); err == nil || !strings.Contains(err.Error(), "--addr") {
		t.Errorf("no picker: error %v, want one that names --addr", err)
	}
	if err := showDecisions(&bytes.Buffer{}, []byte(`{"columns":[{}],"endpoints":[{}]}`), true, false); err == nil {
		t.Error("a torn decision was rendered")
	}
}
