package main

import (
	"bytes"
	"path/filepath"
	"strings"
	"testing"
)

func TestBenchFlags(t *testing.T) {
	missing := filepath.Join(t.TempDir(), "missing")
	for _, c := range []struct{ args, want string }{
		{"gateway --endpoints 0", "--endpoints: 0 "},
		{"gateway --concurrency 0", "--concurrency: 0 "},
		{"gateway --rounds 0", "--rounds: 0 "},
		{"gateway --duration 1s --rounds 6", "--duration: 1s "},
		{"gateway --requests -1", "--requests: -1 "},
		{"gateway --requests 1 --duration 2s", "requests"},
		{"gateway --envoy " + missing, "--envoy"},
		{"requests --concurrency 65", "--concurrency: 65 "},
		{"requests --rounds 0", "--rounds: 0 "},
		{"requests --slice 1ms", "--slice: 1ms "},
		{"requests --endpoints 8,0", "--endpoints: 0 "},
		{"egress --rounds 0", "--rounds: 0 "},
		{"egress --duration 1s --rounds 6", "--duration: 1s "},
		{"egress --streams 20001", "--streams: 20001 "},
		{"idle --endpoints 0", "--endpoints: 0 "},
		{"idle --duration 1ms", "--duration: 1ms "},
		{"idle --page " + missing, "--page"},
		{"echo --kind none", "none"},
	} {
		cmd := newBenchCommand()
		var out bytes.Buffer
		cmd.SetOut(&out)
		cmd.SetErr(&out)
		cmd.SetArgs(strings.Fields(c.args))
		cmd.SilenceUsage = true
		if err := cmd.ExecuteContext(t.Context()); err == nil || !strings.Contains(err.Error(), c.want) {
			t.Errorf("bench %s: got %v, want an error that names %q", c.args, err, c.want)
		}
	}
}
