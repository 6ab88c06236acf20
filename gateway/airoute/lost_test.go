package airoute

import (
	"fmt"
	"testing"

	"k8s.io/apimachinery/pkg/types"
)

// TestLostShare: the share of a backend that an HTTPRoute names and that cannot be served
// goes to no other; an AIRoute's does.
func TestLostShare(t *testing.T) {
	const objects = `apiVersion: fairway.dev/v1alpha1
kind: AIBackend
metadata: {name: good}
spec: {schema: {name: OpenAI}, destination: {type: Hostname, hostname: {host: api.openai.com}}}
---
apiVersion: fairway.dev/v1alpha1
kind: AIBackend
metadata: {name: bad}
spec: {schema: {name: OpenAI}, destination: {type: Service, service: {name: none, port: 80}}}
---
apiVersion: fairway.dev/v1alpha1
kind: AIBackend
metadata: {name: theirs, namespace: other}
spec: {schema: {name: OpenAI}, destination: {type: Hostname, hostname: {host: api.openai.com}}}
---
apiVersion: gateway.networking.k8s.io/v1
kind: HTTPRoute
metadata: {name: r}
spec:
  rules:
  - matches: [{path: {type: PathPrefix, value: /v1/chat/completions}}]
    backendRefs:
`
	const good = "{group: fairway.dev, kind: AIBackend, name: good, weight: 3}"
	for name, tt := range map[string]struct {
		refs   []string
		lost   uint64
		groups int
	}{
		"all are there":       {[]string{good}, 0, 1},
		"one is missing":      {[]string{good, "{group: fairway.dev, kind: AIBackend, name: missing, weight: 7}"}, 7, 1},
		"one has a problem":   {[]string{good, "{group: fairway.dev, kind: AIBackend, name: bad}"}, 1, 1},
		"one is not granted":  {[]string{good, "{group: fairway.dev, kind: AIBackend, name: theirs, namespace: other, weight: 2}"}, 2, 1},
		"a pool is missing":   {[]string{good, "{group: inference.networking.k8s.io, kind: InferencePool, name: missing, weight: 5}"}, 5, 1},
		"a Service beside it": {[]string{"{name: service, port: 80, weight: 4}", good}, 4, 1},
		"one without a share": {[]string{good, "{group: fairway.dev, kind: AIBackend, name: missing, weight: 0}"}, 0, 1},
		"a good one without":  {[]string{"{group: fairway.dev, kind: AIBackend, name: good, weight: 0}", "{group: fairway.dev, kind: AIBackend, name: missing, weight: 1000000}"}, 1_000_000, 0},
		"two of three":        {[]string{"{group: fairway.dev, kind: AIBackend, name: missing, weight: 1}", good, "{group: fairway.dev, kind: AIBackend, name: bad, weight: 2}"}, 3, 1},
	} {
		t.Run(name, func(t *testing.T) {
			text := objects
			for _, ref := range tt.refs {
				text += "    - " + ref + "\n"
			}
			r := Compile(world(t, text))
			rule := r.Config.Rules[0]
			if rule.Lost != tt.lost || len(rule.Groups) != tt.groups {
				t.Errorf("lost %d of %v, want %d; %v", rule.Lost, rule.Groups, tt.lost, r.Direct[types.NamespacedName{Namespace: "default", Name: "r"}].Problems)
			}
		})
	}
	text := fmt.Sprintf("%s    - %s\n---\napiVersion: fairway.dev/v1alpha1\nkind: AIRoute\nmetadata: {name: a}\nspec:\n  parentRefs: [{name: g}]\n  rules:\n  - backendRefs: [{name: good}, {name: missing, weight: 9}]\n", objects, good)
	if r := Compile(world(t, text)); r.Config.Rules[0].Route != "default/a" || r.Config.Rules[0].Lost != 0 {
		t.Errorf("an AIRoute loses requests: %+v", r.Config.Rules)
	}
}
