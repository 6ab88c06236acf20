package main

import (
	"bytes"
	"encoding/json"
	"path/filepath"
	"reflect"
	"strings"
	"testing"

	"github.com/fairway-ai/fairway/internal/testkit"
	"github.com/fairway-ai/fairway/sim/replay"
)

// replayed runs fairway bench replay.
func replayed(t *testing.T, args ...string) (rows []replay.Summary, warnings string, err error) {
	t.Helper()
	cmd := newReplayCommand()
	cmd.SilenceErrors, cmd.SilenceUsage = true, true
	var out, errOut bytes.Buffer
	cmd.SetOut(&out)
	cmd.SetErr(&errOut)
	cmd.SetArgs(append([]string{"--generate", "unique", "--requests", "200", "--endpoints", "3", "--json"}, args...))
	err = cmd.ExecuteContext(t.Context())
	for d := json.NewDecoder(&out); d.More(); {
		var row replay.Summary
		if err := d.Decode(&row); err != nil {
			t.Fatal(err)
		}
		rows = append(rows, row)
	}
	return rows, errOut.String(), err
}

// TestReplayPolicyConfig: a configuration is a policy to compare with, and one that says
// what a known policy does comes to the same.
func TestReplayPolicyConfig(t *testing.T) {
	write := testkit.Files(t)
	mine := write("mine.yaml", `apiVersion: inference.networking.x-k8s.io/v1alpha1
kind: EndpointPickerConfig
plugins: [{type: queue-scorer}, {type: kv-cache-utilization-scorer}, {type: prefix-cache-scorer}]
schedulingProfiles:
- name: default
  plugins:
  - {pluginRef: queue-scorer, weight: 2}
  - {pluginRef: kv-cache-utilization-scorer, weight: 2}
  - {pluginRef: prefix-cache-scorer, weight: 3}
`)
	rows, warnings, err := replayed(t, "--policy-config", mine)
	if err != nil {
		t.Fatal(err)
	}
	if len(rows) != 2 || rows[0].Policy != "default" || rows[1].Policy != "mine" || rows[1].Requests != 200 {
		t.Errorf("rows %+v, want default and mine", rows)
	}
	if !strings.Contains(warnings, "is deprecated: write llm-d.ai/v1alpha1") {
		t.Errorf("warnings %q", warnings)
	}
	rows, _, err = replayed(t, "--policy", "llmd-blend", "--policy-config", mine)
	if err != nil || len(rows) != 2 {
		t.Fatalf("%v: %+v", err, rows)
	}
	rows[0].Policy = rows[1].Policy
	if !reflect.DeepEqual(rows[0], rows[1]) {
		t.Errorf("the same rule twice:\n%+v\n%+v", rows[0], rows[1])
	}

	if _, _, err := replayed(t, "--policy-config", "testdata/llm-d/0.10-prefill-decode.yaml"); err == nil || !strings.Contains(err.Error(), "have no roles") {
		t.Errorf("two stages: %v", err)
	}
	for text, want := range map[string]string{
		"plugins: [{type: nonsense}]":      "nonsense",
		"plugins: [{type: openai-parser}]": "the default policy decides",
	} {
		if _, _, err := replayed(t, "--policy-config", write("bad.yaml", text)); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%s: %v, want %q", text, err, want)
		}
	}
	if _, _, err := replayed(t, "--policy-config", mine, "--policy-config", mine); err == nil || !strings.Contains(err.Error(), "rename the file") {
		t.Errorf("twice: %v", err)
	}
	if _, _, err := replayed(t, "--policy-config", filepath.Join(t.TempDir(), "none.yaml")); err == nil {
		t.Error("a file that is not there")
	}
}
