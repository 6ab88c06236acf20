package objectives

import (
	"bytes"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

const sample = `apiVersion: inference.networking.k8s.io/v1
kind: InferencePool
metadata: {name: p}
---
apiVersion: llm-d.ai/v1alpha2
kind: InferenceObjective
metadata: {name: high, namespace: prod}
spec: {priority: 10, poolRef: {group: inference.networking.k8s.io, kind: InferencePool, name: p}}
status: {conditions: []}
---
# a comment
apiVersion: inference.networking.x-k8s.io/v1alpha2
kind: InferenceModelRewrite
metadata: {name: split}
spec:
  poolRef: {name: p}
  rules:
  - matches: [{model: {type: Exact, value: food}}, {model: {value: drink}}]
    targets: [{modelRewrite: food-v1, weight: 10}, {modelRewrite: food-v2, weight: 90}]
  - targets: [{modelRewrite: base}]
---
endpoints: []
`

func TestDecode(t *testing.T) {
	rest, o, err := Decode("f.yaml", []byte(sample))
	if err != nil {
		t.Fatal(err)
	}
	want := &Objects{
		Objectives: []Objective{{Namespace: "prod", Name: "high", Pool: "p", Priority: 10}},
		Rewrites: []Rewrite{{Namespace: "default", Name: "split", Pool: "p", Created: inFile(2), Rules: []Rule{
			{Models: []string{"food", "drink"}, Targets: []Target{{"food-v1", 10}, {"food-v2", 90}}},
			{All: true, Targets: []Target{{"base", 0}}},
		}}},
	}
	if diff := cmp.Diff(want, o); diff != "" {
		t.Errorf("-want +got:\n%s", diff)
	}
	if bytes.Count(rest, []byte("\n")) != strings.Count(sample, "\n") || bytes.Contains(rest, []byte("Objective")) ||
		!bytes.Contains(rest, []byte("InferencePool")) || !bytes.Contains(rest, []byte("---\nendpoints: []")) {
		t.Errorf("rest:\n%s", rest)
	}
	if rest, o, err := Decode("f", []byte("a: InferenceObjective\n")); o != nil || err != nil || string(rest) != "a: InferenceObjective\n" {
		t.Errorf("%q %v %v, want the file as it is", rest, o, err)
	}
}

func TestDecodeErrors(t *testing.T) {
	rewrite := func(spec string) string {
		return "---\napiVersion: llm-d.ai/v1alpha2\nkind: InferenceModelRewrite\nmetadata: {name: r}\nspec: " + spec + "\n"
	}
	for _, tc := range []struct{ text, want string }{
		{"apiVersion: llm-d.ai/v9\nkind: InferenceObjective\nmetadata: {name: a}\nspec: {poolRef: {name: p}}", `f:1: InferenceObjective: apiVersion: is "llm-d.ai/v9": must be llm-d.ai/v1alpha2 or`},
		{"apiVersion: llm-d.ai/v1alpha2\nkind: InferenceObjective\nspec: {poolRef: {name: p}}", "metadata.name: is missing"},
		{"apiVersion: llm-d.ai/v1alpha2\nkind: InferenceObjective\nmetadata: {name: a}\nspec: {}", "spec.poolRef.name: is missing"},
		{"apiVersion: llm-d.ai/v1alpha2\nkind: InferenceObjective\nmetadata: {name: a}\nspec: {poolRef: {name: a, kind: Service}}", `spec.poolRef.kind: is "Service": must be InferencePool`},
		{"apiVersion: llm-d.ai/v1alpha2\nkind: InferenceObjective\nmetadata: {name: a}\nspec: {prority: 1, poolRef: {name: p}}", `unknown field "prority"`},
		{rewrite("{poolRef: {name: p}, rules: [{matches: [{}]}]}"), "f:2: InferenceModelRewrite: spec.rules[0].matches[0].model: is missing"},
		{rewrite("{poolRef: {name: p}, rules: [{matches: [{model: {type: Prefix, value: a}}]}]}"), `model.type: is "Prefix": must be Exact`},
		{rewrite("{poolRef: {name: p}, rules: [{matches: [{model: {value: ''}}]}]}"), "model.value: must have 1 to"},
		{rewrite("{poolRef: {name: p}, rules: [{targets: [{}]}]}"), "spec.rules[0].targets[0].modelRewrite: must have 1 to"},
		{rewrite("{poolRef: {name: p}, rules: [{targets: [{modelRewrite: a, weight: -1}]}]}"), "targets[0].weight: is -1"},
	} {
		if _, _, err := Decode("f", []byte(tc.text)); err == nil || !strings.Contains(err.Error(), tc.want) {
			t.Errorf("%s\nerror %v, want %q", tc.text, err, tc.want)
		}
	}
}

func FuzzDecode(f *testing.F) {
	f.Add(sample)
	f.Add("kind: InferenceObjective\n---\nkind: [InferenceModelRewrite]\n--- a\n")
	f.Fuzz(func(t *testing.T, text string) {
		rest, o, err := Decode("f", []byte(text))
		if strings.Count(string(rest), "\n") != strings.Count(text, "\n") {
			t.Fatalf("%q: the rest has other lines: %q", text, rest)
		}
		if o == nil && err == nil && string(rest) != text {
			t.Fatalf("%q became %q", text, rest)
		}
		if o != nil && err == nil {
			var s Store
			s.Set(o.Objectives, o.Rewrites)
			for _, r := range o.Rewrites {
				s.Rewrite(r.Namespace+"/"+r.Pool, "m")
			}
		}
	})
}
