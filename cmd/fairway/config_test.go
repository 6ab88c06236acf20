package main

import (
	"bytes"
	"path/filepath"
	"strings"
	"testing"

	"github.com/fairway-ai/fairway/internal/testkit"
)

func TestConfigValidate(t *testing.T) {
	write := testkit.Files(t)
	good := write("good.yaml", "endpoints:\n- {name: a, address: 127.0.0.1, port: 8000}\n")
	badPort := write("port.yaml", "endpoints:\n- {name: a, address: 127.0.0.1, port: 99999}\n")
	picker := write("picker.yaml", "plugins:\n- type: queue-scorer\nschedulingProfiles:\n- name: default\n  plugins:\n  - pluginRef: queue-scorer\n")
	typo := write("typo.yaml", "kind: EndpointPickerConfig\napiVersion: llm-d.ai/v1alpha1\nplugins:\n- type: que-scorer\n")
	for _, tc := range []struct {
		args []string
		want []string
		fail bool
	}{
		{args: []string{good, picker}, want: []string{"good.yaml: ok", "picker.yaml: ok"}},
		{args: []string{badPort}, want: []string{"port.yaml:2", "port"}, fail: true},
		{args: []string{typo, good}, want: []string{"que-scorer", "queue-scorer", "good.yaml: ok"}, fail: true},
		{args: []string{filepath.Join(t.TempDir(), "none.yaml")}, want: []string{"none.yaml"}, fail: true},
	} {
		cmd := newConfigCommand()
		var out bytes.Buffer
		cmd.SetOut(&out)
		cmd.SetErr(&out)
		cmd.SetArgs(append([]string{"validate"}, tc.args...))
		err := cmd.Execute()
		if (err != nil) != tc.fail {
			t.Errorf("%v: error %v, want one: %v", tc.args, err, tc.fail)
		}
		for _, want := range tc.want {
			if !strings.Contains(out.String(), want) {
				t.Errorf("%v printed %q, want %q in it", tc.args, out.String(), want)
			}
		}
	}
}
