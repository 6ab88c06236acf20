package main

import (
	"bytes"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

func explained(t *testing.T, stdin string, args ...string) (out, notes string, err error) {
	t.Helper()
	cmd := newConfigCommand()
	var o, n bytes.Buffer
	cmd.SetOut(&o)
	cmd.SetErr(&n)
	cmd.SetIn(strings.NewReader(stdin))
	cmd.SilenceUsage, cmd.SilenceErrors = true, true
	cmd.SetArgs(append([]string{"explain"}, args...))
	err = cmd.ExecuteContext(t.Context())
	return o.String(), n.String(), err
}

func TestConfigExplain(t *testing.T) {
	t.Setenv("OPENAI_API_KEY", "sk-secret-1")
	t.Setenv("ANTHROPIC_API_KEY", "sk-secret-2")
	out, notes, err := explained(t, "plugins: [{type: queue-scorer}]\nparser: {pluginRef: p}\n", "-")
	if err == nil || !strings.Contains(err.Error(), `-: line 2: parser.pluginRef: no entry of plugins is named "p"`) || out != "" || !strings.Contains(notes, "warning: -: line 2: parser: is deprecated") {
		t.Errorf("%q %q %v", out, notes, err)
	}
	out, _, err = explained(t, "", "../../examples/epp-config.yaml")
	if err != nil || !strings.Contains(out, "weight: 3 # line") || !strings.Contains(out, "scheme: http # default") {
		t.Errorf("%v\n%s", err, out)
	}
	out, _, err = explained(t, "", "../../examples/providers.yaml")
	if err != nil || strings.Contains(out, "sk-secret") {
		t.Errorf("%v\n%s", err, out)
	}
	for _, want := range []string{
		"rules, the first that matches:\n  default/models/smart\n    when model is smart\n    then backend default/anthropic#claude-sonnet-4-5\n    else backend default/openai#gpt-4o\n    else on ConnectFailure,",
		"when model begins with gpt-\n", "backends:\n  default/openai: OpenAI at api.openai.com:443\n",
	} {
		if !strings.Contains(out, want) {
			t.Errorf("lacks %q\n%s", want, out)
		}
	}
	file := filepath.Join(t.TempDir(), "objects.yaml")
	const text = `endpoints:
- {name: a, address: 127.0.0.1, port: 8000}
---
apiVersion: llm-d.ai/v1alpha2
kind: InferenceObjective
metadata: {name: high}
spec: {priority: 10, poolRef: {name: default}}
---
apiVersion: llm-d.ai/v1alpha2
kind: InferenceModelRewrite
metadata: {name: split}
spec:
  poolRef: {name: default}
  rules:
  - matches: [{model: {value: food}}]
    targets: [{modelRewrite: food-v1, weight: 10}, {modelRewrite: food-v2, weight: 90}]
  - targets: [{modelRewrite: base}]
`
	if err := os.WriteFile(file, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	out, _, err = explained(t, "", file)
	const want = `pools:
  default/default: endpoints: 1; models that no other pool names
objectives:
  default/high: priority 10 in pool default
model rewrites:
  default/split: in pool default
    food becomes food-v1 (weight 10), food-v2 (weight 90)
    any other model becomes base
`
	if err != nil || out != want {
		t.Errorf("%v\n%s\nwant\n%s", err, out, want)
	}
	if _, _, err := explained(t, "", filepath.Join(t.TempDir(), "none")); err == nil {
		t.Error("a file that is not there is explained")
	}
}
