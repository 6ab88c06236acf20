package main

import (
	"bytes"
	"log/slog"
	"reflect"
	"strings"
	"testing"

	"github.com/fairway-ai/fairway/gateway/xds"
	"github.com/fairway-ai/fairway/pool"
	"github.com/fairway-ai/fairway/pool/file"
)

func TestRunFlags(t *testing.T) {
	for args, want := range map[string]string{
		"":                           "",
		"--listen 0.0.0.0:0":         "",
		"--listen [::1]:8080":        "",
		"--listen localhost:8080":    "--listen",
		"--listen :8080":             "--listen",
		"--sim 0":                    "--sim 0",
		"--sim 257":                  "--sim 257",
		"--sim 0 -f fairway.yaml":    "", // has no effect
		"--failure-mode failopen":    "--failure-mode",
		"--failure-mode FailClose":   "",
		"--drain-timeout 0s":         "--drain-timeout",
		"--sim 3 --drain-timeout -1": "invalid argument",
	} {
		cmd := newRunCommand()
		var o *runOptions
		cmd.RunE, o = nil, runOptionsOf(t, strings.Fields(args), want)
		if o == nil {
			continue
		}
		err := o.validate()
		if want == "" && err != nil || want != "" && (err == nil || !strings.Contains(err.Error(), want)) {
			t.Errorf("%q: %v, want %q", args, err, want)
		}
	}
}
