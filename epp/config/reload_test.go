package config

import (
	"fmt"
	"testing"
)

func TestNeedsRestart(t *testing.T) {
	const base = `
plugins:
- {type: queue-scorer}
- {type: max-score-picker}
- {name: files, type: file-discovery, parameters: {path: e.yaml}}
- {type: metrics-data-source, parameters: {interval: 1s}}
dataLayer: {discovery: {pluginRef: files}}
`
	const flow = "featureGates: [flowControl]\nplugins:\n- {type: program-aware-fairness}\nflowControl: {maxRequests: 5, priorityBands: [{priority: 1, fairnessPolicyRef: program-aware-fairness}]}\n"
	first, _ := load(t, flow)
	if second, _ := load(t, flow); first.NeedsRestart(second) != nil {
		t.Errorf("the same flow control takes a restart: %v", first.NeedsRestart(second))
	}
	for _, tc := range []struct{ name, text, want string }{
		{"the same", base, "[]"},
		{"a scorer", base + "schedulingProfiles: [{name: a, plugins: [{pluginRef: queue-scorer, weight: 9}]}]\n", "[]"},
		{"the default policy", "plugins:\n- {name: files, type: file-discovery, parameters: {path: e.yaml}}\n- {type: metrics-data-source, parameters: {interval: 1s}}\ndataLayer: {discovery: {pluginRef: files}}\n", "[]"},
		{"a session header", "plugins:\n- {type: session-affinity-scorer}\n- {name: files, type: file-discovery, parameters: {path: e.yaml}}\n- {type: metrics-data-source, parameters: {interval: 1s}}\ndataLayer: {discovery: {pluginRef: files}}\n", "[]"},
		{"a block size", base[:len(base)-len("dataLayer: {discovery: {pluginRef: files}}\n")] + "- {type: approx-prefix-cache-producer, parameters: {blockSizeTokens: 32}}\ndataLayer: {discovery: {pluginRef: files}}\n", "[Prefix]"},
		{"nothing", "", "[Discovery Metrics]"},
		{"flow control", "featureGates: [flowControl]\n" + base, "[FlowControl]"},
	} {
		before, _ := load(t, base)
		after, _ := load(t, tc.text)
		if got := fmt.Sprint(before.NeedsRestart(after)); got != tc.want {
			t.Errorf("%s: %s, want %s", tc.name, got, tc.want)
		}
		if got := fmt.Sprint(after.NeedsRestart(before)); got != tc.want {
			t.Errorf("%s, back: %s, want %s", tc.name, got, tc.want)
		}
	}
}
