package config

import (
	"slices"
	"strings"
	"testing"

	"github.com/fairway-ai/fairway/scheduler"
)

// ranked is how many of four endpoints, all alike, the policy names.
func ranked(t *testing.T, p scheduler.Policy) int {
	t.Helper()
	snap := &scheduler.Snapshot{Metrics: make([]scheduler.Metrics, 4), Slots: 4}
	for i := range 4 {
		snap.Endpoints = append(snap.Endpoints, scheduler.Endpoint{Slot: int32(i), Load: new(scheduler.Load)})
	}
	var dec scheduler.Decision
	if err := scheduler.New(p, nil).Schedule(&scheduler.Request{PromptTokens: 10}, snap, &dec, nil); err != nil {
		t.Fatal(err)
	}
	return len(dec.Ranked)
}

// As published, a profile that names no picker has the one that the file declares.
func TestDeclaredPicker(t *testing.T) {
	const (
		score   = "plugins:\n- {type: queue-scorer}\n"
		one     = "- {type: max-score-picker, parameters: {maxNumOfEndpoints: 3}}\n"
		two     = "- {type: random-picker, name: dice, parameters: {maxNumOfEndpoints: 2}}\n"
		profile = "schedulingProfiles: [{name: default, plugins: [{pluginRef: queue-scorer}]}]\n"
	)
	for _, tc := range []struct {
		name, text, picker string
		want               int
	}{
		{"none", score + profile, "max-score-picker # default", 1},
		{"one", score + one + profile, "max-score-picker # default", 3},
		{"one of another type and name", score + two + profile, "dice # default", 2},
		{"two, of which the first is used", score + two + one + profile, "dice # default", 2},
		{"one that the profile names", score + two + one + "schedulingProfiles: [{name: default, plugins: [{pluginRef: max-score-picker}, {pluginRef: queue-scorer}]}]", "max-score-picker # line 5", 3},
		{"no profile", score + one, "max-score-picker # default", 3},
	} {
		c, _ := load(t, tc.text)
		if got := ranked(t, c.Policy); got != tc.want {
			t.Errorf("%s: %d endpoints are named, want %d", tc.name, got, tc.want)
		}
		text, _, err := Options{}.Explain([]byte(tc.text))
		if err != nil {
			t.Fatal(err)
		}
		if _, profiles, _ := strings.Cut(string(text), "schedulingProfiles:"); !strings.Contains(profiles, "pluginRef: "+tc.picker+"\n") {
			t.Errorf("%s: the profile in effect is not with %s:\n%s", tc.name, tc.picker, text)
		}
		again, _ := load(t, string(text))
		if got := ranked(t, again.Policy); got != tc.want {
			t.Errorf("%s: what is in effect names %d endpoints, want %d:\n%s", tc.name, got, tc.want, text)
		}
	}
}

// What a file says and nobody reads is a warning.
func TestUnused(t *testing.T) {
	const declared = "plugins:\n- type: queue-scorer\n- type: decode-filter\n- type: max-score-picker\n- type: random-picker\n- type: openai-parser\n- type: inflight-load-producer\n"
	for _, tc := range []struct {
		text string
		want []string
	}{
		{declared + "schedulingProfiles: [{name: a, plugins: [{pluginRef: queue-scorer}]}]", []string{
			`line 3: plugins[1]: has no effect: no scheduling profile names "decode-filter"`,
			`line 5: plugins[3]: has no effect: no scheduling profile names "random-picker"`,
		}},
		{declared + "schedulingProfiles: [{name: a, plugins: [{pluginRef: queue-scorer}, {pluginRef: decode-filter, weight: 2}, {pluginRef: random-picker, weight: 3}, {pluginRef: inflight-load-producer, weight: 0}]}]", []string{
			`line 8: schedulingProfiles[0].plugins[1].weight: has no effect: "decode-filter" is a filter`,
			`line 8: schedulingProfiles[0].plugins[2].weight: has no effect: "random-picker" is a picker`,
			`line 4: plugins[2]: has no effect: no scheduling profile names "max-score-picker"`,
		}},
		{"plugins: [{type: queue-scorer}]\nschedulingProfiles: [{name: a}]", []string{
			`line 1: plugins[0]: has no effect: no scheduling profile names "queue-scorer"`,
		}},
		{"plugins: [{type: queue-scorer}, {type: decode-filter}, {type: max-score-picker}]", nil},
		{"plugins: [{type: session-affinity-scorer, parameters: {missThreshold: 3, evictionTtlSeconds: 5, evictionSweepSeconds: 5, sessionIdConfig: {}, profileName: default}}]", []string{
			"line 1: plugins[0].parameters.missThreshold: has no effect: a session moves when its endpoint is gone; remove it",
			"line 1: plugins[0].parameters.sessionIdConfig: has no effect with the strategy encoded_endpoint_header; remove it",
			"line 1: plugins[0].parameters.evictionTtlSeconds: has no effect with the strategy encoded_endpoint_header; remove it",
			"line 1: plugins[0].parameters.evictionSweepSeconds: has no effect with the strategy encoded_endpoint_header; remove it",
		}},
		{"plugins: [{type: session-affinity-filter, parameters: {strategy: session_id, evictionTtlSeconds: 5, encodedEndpointHeaderConfig: {header: x}, profileName: decoed}}]\nschedulingProfiles: [{name: decode, plugins: [{pluginRef: session-affinity-filter}]}]", []string{
			"line 1: plugins[0].parameters.encodedEndpointHeaderConfig: has no effect with the strategy session_id; remove it",
			`line 1: plugins[0].parameters.profileName: no scheduling profile is named "decoed": no session is ever kept`,
		}},
		{"plugins:\n- {type: queue-scorer}\n- {type: inflight-load-producer, parameters: {outputRatio: 2, maxEstimatedOutputTokens: 5}}", []string{
			"line 3: plugins[1].parameters.outputRatio: has no effect: addEstimatedOutputTokens is false",
			"line 3: plugins[1].parameters.maxEstimatedOutputTokens: has no effect: addEstimatedOutputTokens is false",
		}},
		{"plugins:\n- {type: metrics-data-source, parameters: {interval: 1ms}}", []string{
			"line 2: plugins[0].parameters.interval: 1ms is too short: 50ms is used",
		}},
	} {
		_, warnings := load(t, tc.text)
		var got []string
		for _, w := range warnings {
			got = append(got, w.String())
		}
		if !slices.Equal(got, tc.want) {
			t.Errorf("%s\nwarnings %q,\n    want %q", tc.text, got, tc.want)
		}
	}
}

// A value that llm-d replaces by the default is replaced here, too, with a warning; and
// as there, parameters need not be in the right case.
func TestMended(t *testing.T) {
	for _, tc := range []struct{ plugin, warns, effect string }{
		{"load-aware-scorer, parameters: {threshold: 0}", `plugins[0].parameters.threshold: is "0", which makes no sense: 128 is used`, "threshold: 128 # line 1"},
		{"active-request-scorer, parameters: {idleThreshold: -2}", `idleThreshold: is "-2", which makes no sense: 0 is used`, "idleThreshold: 0 # line 1"},
		{"active-request-scorer, parameters: {maxBusyScore: 50}", `maxBusyScore: is "50", which makes no sense: 1 is used`, "maxBusyScore: 1 # line 1"},
		{"token-load-scorer, parameters: {queueThresholdTokens: -1}", `queueThresholdTokens: is "-1", which makes no sense: 4194304 is used`, "queueThresholdTokens: 4194304 # line 1"},
		{"no-hit-lru-scorer, parameters: {lruSize: -1}", `lruSize: is "-1", which makes no sense: 1024 is used`, "lruSize: 1024 # line 1"},
		{"no-hit-lru-scorer, parameters: {lruSize: 100000}", `lruSize: is "100000", which makes no sense: 65536 is used`, "lruSize: 65536 # line 1"},
		{"max-score-picker, parameters: {maxNumOfEndpoints: 0}", `maxNumOfEndpoints: is "0", which makes no sense: 1 is used`, "maxNumOfEndpoints: 1 # line 1"},
		{"random-picker, parameters: {maxNumOfEndpoints: -1}", `maxNumOfEndpoints: is "-1", which makes no sense: 1 is used`, "maxNumOfEndpoints: 1 # line 1"},
		{"weighted-random-picker, parameters: {MaxNumOfEndpoints: 3}", "plugins[0].parameters.MaxNumOfEndpoints: write maxNumOfEndpoints", "maxNumOfEndpoints: 3 # line 1"},
	} {
		text := "plugins: [{type: " + tc.plugin + "}]"
		effective, warnings, err := Options{}.Explain([]byte(text))
		if err != nil {
			t.Errorf("%s: %v", text, err)
			continue
		}
		if len(warnings) != 1 || !strings.Contains(warnings[0].String(), tc.warns) || warnings[0].Line != 1 {
			t.Errorf("%s\nwarnings %v, want %q", text, warnings, tc.warns)
		}
		if !strings.Contains(string(effective), tc.effect+"\n") {
			t.Errorf("%s\nin effect is\n%s\nwant %s", text, effective, tc.effect)
		}
		if _, warnings := load(t, string(effective)); len(warnings) > 0 {
			t.Errorf("%s\nin effect is what warns: %v", text, warnings)
		}
	}
	// What is shared through an alias stays as it is for others.
	_, warnings := load(t, `
plugins:
- {type: prefix-based-pd-decider, parameters: {nonCachedTokens: &n 0}}
- {type: load-aware-scorer, parameters: &p {threshold: *n}}
- {type: load-aware-scorer, name: b, parameters: *p}
- {type: no-hit-lru-scorer, parameters: {lruSize: *n}}
`)
	want := `line 4: plugins[1].parameters.threshold: is "0", which makes no sense: 128 is used`
	if len(warnings) != 1 || warnings[0].String() != want {
		t.Errorf("warnings %v, want %s", warnings, want)
	}
}

// As published, the parser of OpenAI's API need not be declared, and gates are switched
// by what Go takes for booleans.
func TestLenient(t *testing.T) {
	if _, warnings := load(t, "parser: {pluginRef: openai-parser}"); len(warnings) != 1 {
		t.Errorf("warnings %v", warnings)
	}
	for gate, on := range map[string]bool{
		"flowControl": true, "flowControl=True": true, "flowControl=1": true, "flowControl= true": true,
		"flowControl=FALSE": false, "flowControl=0": false,
	} {
		if c, _ := load(t, "featureGates: ['"+gate+"']"); (c.FlowControl != nil) != on {
			t.Errorf("%s: flow control %v", gate, c.FlowControl != nil)
		}
	}
}

func TestSection(t *testing.T) {
	for name, want := range map[string]bool{
		"featureGates": true, "plugins": true, "schedulingProfiles": true, "dataLayer": true, "data": true, "flowControl": true,
		"requestHandler": true, "saturationDetector": true, "parser": true,
		"apiVersion": false, "kind": false, "endpoints": false, "Plugins": false, "": false,
	} {
		if Section(name) != want {
			t.Errorf("%q: %v", name, !want)
		}
	}
}
