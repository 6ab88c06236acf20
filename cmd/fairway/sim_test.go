package main

import (
	"bytes"
	"context"
	"strings"
	"testing"
)

func TestSimCommand(t *testing.T) {
	run := func(ctx context.Context, args ...string) (string, error) {
		cmd := newSimCommand()
		var out bytes.Buffer
		cmd.SetOut(&out)
		cmd.SetErr(&out)
		cmd.SetArgs(args)
		cmd.SilenceUsage = true
		err := cmd.ExecuteContext(ctx)
		return out.String(), err
	}
	stopped, stop := context.WithCancel(t.Context())
	for want, args := range map[string][]string{
		"--speed: -1":            {"--port", "0", "--speed", "-1"},
		"--error-rate: 2":        {"--port", "0", "--error-rate", "2"},
		"--kv-blocks: -5":        {"--port", "0", "--kv-blocks", "-5"},
		"--port":                 {"--port", "99999"},
		"role":                   {"--port", "0", "--role", "none"},
		"--kv-hold-timeout: -1s": {"--port", "0", "--kv-hold-timeout", "-1s"},
		"--data-pa":              {"--port", "0", "--data-parallel-size", "65"},
		"groups":                 {"--port", "0", "--kv-events-endpoint", "tcp://*:0", "--kv-events-format", "sglang", "--kv-events-groups", "full_attention"},
	} {
		if _, err := run(t.Context(), args...); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%v: %v", args, err)
		}
	}
	help, err := run(t.Context(), "--help")
	if err != nil || !strings.Contains(help, "--kv-blocks") || !strings.Contains(help, "/admin/config") {
		t.Fatal(err, help)
	}
	o := simOptions{host: "127.0.0.1", ranks: 1}
	var out bytes.Buffer
	stop()
	// The listener is made with the context, so a stopped one fails to listen or stops at once.
	if err := o.run(stopped, &out); err != nil && !strings.Contains(err.Error(), "canceled") {
		t.Fatal(err)
	}
}
