package main

import (
	"bytes"
	"strings"
	"testing"
)

func TestConformanceGAIEFlags(t *testing.T) {
	for want, args := range map[string]string{
		`--epp: "lwepp" must be`:     "--epp lwepp",
		"--epp-image: is missing":    "--epp fairway",
		"--epp-image: is only for":   "--epp-image x",
		`no test is called "Nobody"`: "--run-test Nobody",
		"gateway class: is empty":    "--gateway-class=",
		"kubeconfig: stat":           "--kubeconfig /does/not/exist",
	} {
		cmd := newConformanceGAIECommand()
		var out bytes.Buffer
		cmd.SetOut(&out)
		cmd.SetErr(&out)
		cmd.SilenceUsage, cmd.SilenceErrors = true, true
		cmd.SetArgs(strings.Fields(args))
		if err := cmd.ExecuteContext(t.Context()); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%q: error %v, want %q", args, err, want)
		}
	}
}

func TestConformanceGAIEList(t *testing.T) {
	cmd := newConformanceGAIECommand()
	var out bytes.Buffer
	cmd.SetOut(&out)
	cmd.SetArgs([]string{"--list"})
	if err := cmd.Execute(); err != nil || strings.Count(out.String(), "\n") != 16 {
		t.Errorf("%v:\n%s", err, out.String())
	}
}
