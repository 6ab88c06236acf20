package config

import (
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/fairway-ai/fairway/epp/flowcontrol"
)

func experimental(t *testing.T, text string) (*Config, []Warning) {
	t.Helper()
	c, warnings, err := Options{Experimental: true}.Load([]byte(text))
	if err != nil {
		t.Fatalf("%s\n%v", text, err)
	}
	return c, warnings
}

func TestFlowControlDefaults(t *testing.T) {
	for _, text := range []string{
		"featureGates: [flowControl]",
		"featureGates: [flowControl=true]\nflowControl: {}",
		"featureGates: [flowControl]\nflowControl: {maxRequests: 0, maxBytes: 0, defaultPriorityBand: {maxRequests: 0, maxBytes: \"0\"}}",
		"featureGates: [flowControl]\nplugins: [{type: utilization-detector}]\nsaturationDetector: {pluginRef: utilization-detector}",
	} {
		c, _ := load(t, text)
		if diff := cmp.Diff(flowcontrol.DefaultConfig(), c.FlowControl); diff != "" {
			t.Errorf("%s\n-want +got:\n%s", text, diff)
		}
		if s := c.Shedder(); s.Detector != nil || s.Probabilistic != nil {
			t.Errorf("%s\nsheds by %+v", text, s)
		}
	}
	for _, text := range []string{"", "featureGates: [flowControl=false]", "flowControl: {maxRequests: 1}"} {
		c, _ := load(t, text)
		if c.FlowControl != nil {
			t.Errorf("%s\nflow control is on", text)
		}
		if diff := cmp.Diff(&flowcontrol.Shedder{Detector: flowcontrol.DefaultUtilization()}, c.Shedder()); diff != "" {
			t.Errorf("%s\n-want +got:\n%s", text, diff)
		}
	}
}

func TestFlowControl(t *testing.T) {
	c, warnings := experimental(t, `
featureGates: [flowControl]
plugins:
- {type: concurrency-detector, name: inflight, parameters: {concurrencyMode: hybrid, maxConcurrency: 7, headroom: 0.5}}
- {type: utilization-detector}
- {type: program-aware-fairness, name: programs, parameters: {lasHalfLifeSeconds: 0, lasDecayFactor: 0.5, evictionTtlSeconds: 60}}
- {type: round-robin-fairness-policy, name: turns}
- {type: edf-ordering-policy}
- {type: priority-holdback-policy, name: hold, parameters: {domain: explicit, ceilings: {"10": 0.9, 0: 0.5, -5: 0.1}}}
- {type: sheddable-eviction-filter}
- {type: priority-then-time-eviction-order-policy}
- {type: probabilistic-admitter, parameters: {power: 2, k: 10}}
flowControl:
  maxRequests: 1k
  maxBytes: 1Gi
  defaultRequestTTL: 30s
  noEndpointRequestTTL: 0s
  enableEviction: true
  saturationDetector: {pluginRef: inflight}
  usageLimitPolicyPluginRef: hold
  defaultPriorityBand: {fairnessPolicyRef: turns}
  defaultNegativePriorityBand: {maxRequests: 5, orderingPolicyRef: slo-deadline-ordering-policy}
  priorityBands:
  - {priority: 10, maxBytes: 2M, orderingPolicyRef: edf-ordering-policy, fairnessPolicyRef: programs}
  - {priority: -5}
`)
	if len(warnings) != 0 {
		t.Errorf("warnings %v", warnings)
	}
	band := func(change func(*flowcontrol.Band)) flowcontrol.Band {
		b := flowcontrol.DefaultBand()
		change(&b)
		return b
	}
	negative := band(func(b *flowcontrol.Band) { b.MaxRequests, b.Ordering = 5, flowcontrol.SLODeadline })
	want := &flowcontrol.Config{
		MaxRequests: 1000, MaxBytes: 1 << 30, TTL: 30 * time.Second, Evict: true,
		Default:         band(func(b *flowcontrol.Band) { b.Fairness.Type = flowcontrol.RoundRobin }),
		DefaultNegative: &negative,
		Bands: []flowcontrol.Band{
			band(func(b *flowcontrol.Band) {
				b.Priority, b.MaxBytes, b.Ordering = 10, 2_000_000, flowcontrol.EDF
				b.Fairness = flowcontrol.Fairness{Type: flowcontrol.ProgramAware, Programs: flowcontrol.Programs{
					WeightService: 0.8, WeightHeadWait: 0.2, DecayFactor: 0.5, TTL: time.Minute,
				}}
			}),
			band(func(b *flowcontrol.Band) { b.Priority = -5 }),
		},
		Limit: flowcontrol.UsageLimit{Type: flowcontrol.HoldbackLimit, Holdback: flowcontrol.Holdback{
			Domain: flowcontrol.DomainExplicit, MaxCeiling: 1, Ceilings: map[int]float64{10: 0.9, 0: 0.5, -5: 0.1},
		}},
		Detector: &flowcontrol.Concurrency{Mode: flowcontrol.ByBoth, MaxRequests: 7, MaxTokens: 1_000_000, Headroom: 0.5},
	}
	if diff := cmp.Diff(want, c.FlowControl); diff != "" {
		t.Errorf("-want +got:\n%s", diff)
	}
	if diff := cmp.Diff(&flowcontrol.Probabilistic{QueueDepthThreshold: 5, KVCacheUtilThreshold: 0.8, Power: 2, K: 10}, c.Shedder().Probabilistic); diff != "" {
		t.Errorf("-want +got:\n%s", diff)
	}
}

// TestDetectorAsFilter: a detector in a profile keeps full endpoints out.
func TestDetectorAsFilter(t *testing.T) {
	c, _ := load(t, "plugins: [{type: concurrency-detector}, {type: utilization-detector}, {type: queue-scorer}]\nschedulingProfiles: [{name: p, plugins: [{pluginRef: concurrency-detector}, {pluginRef: utilization-detector}, {pluginRef: queue-scorer}]}]\n")
	if c.Policy == nil || c.Concurrency == nil || c.Saturation != nil {
		t.Errorf("%+v, want a policy and the first detector", c)
	}
}

func TestFlowControlErrors(t *testing.T) {
	gate := "featureGates: [flowControl]\n"
	plugin := func(typ, parameters string) string {
		return "plugins: [{type: " + typ + ", parameters: " + parameters + "}]"
	}
	for _, tt := range []struct{ text, want string }{
		{gate + "flowControl: {maxRequests: -1}", "line 2: flowControl.maxRequests: is -1: must not be negative"},
		{gate + "flowControl: {defaultRequestTTL: -1s}", "flowControl.defaultRequestTTL: is -1s"},
		{gate + "flowControl: {ttl: 1s}", "flowControl.ttl"},
		{gate + "flowControl: {priorityBands: [{priority: 1}, {priority: 1}]}", "flowControl.priorityBands[1].priority: 1 has a band already"},
		{gate + "flowControl: {priorityBands: [{priority: 1, maxBytes: -1}]}", "flowControl.priorityBands[0].maxBytes: is -1"},
		{gate + "flowControl: {defaultPriorityBand: {orderingPolicyRef: round-robin-fairness-policy}}", "flowControl.defaultPriorityBand.orderingPolicyRef: no entry of plugins is named"},
		{gate + "plugins: [{type: round-robin-fairness-policy}]\nflowControl: {defaultPriorityBand: {orderingPolicyRef: round-robin-fairness-policy}}", `"round-robin-fairness-policy" is a round-robin-fairness-policy: must name an ordering policy`},
		{gate + "plugins: [{type: fcfs-ordering-policy}]\nflowControl: {usageLimitPolicyPluginRef: fcfs-ordering-policy}", "must name a usage limit policy"},
		{gate + "plugins: [{type: queue-scorer}]\nflowControl: {saturationDetector: {pluginRef: queue-scorer}}", "must name a saturation detector"},
		{plugin("concurrency-detector", "{concurrencyMode: all}"), "concurrencyMode is \"all\""},
		{plugin("concurrency-detector", "{maxConcurrency: 0}"), "maxConcurrency is 0"},
		{plugin("concurrency-detector", "{maxConcurrent: 1}"), "maxConcurrent"},
		{plugin("program-aware-fairness", "{strategy: drr}"), "strategy is \"drr\": must be las"},
		{plugin("program-aware-fairness", "{lasHalfLifeSeconds: -1}"), "lasHalfLifeSeconds is -1"},
		{plugin("program-aware-fairness", "{lasHalfLifeSeconds: 1e9}"), "lasHalfLifeSeconds and evictionTtlSeconds must be below"},
		{plugin("static-usage-limit-policy", "{threshold: -1}"), "threshold is -1"},
		{plugin("priority-holdback-policy", "{}"), "minCeiling is missing"},
		{plugin("priority-holdback-policy", "{minCeiling: 0.5, shape: sigmoid}"), "shape is \"sigmoid\""},
		{plugin("priority-holdback-policy", "{domain: explicit, minCeiling: 0.5, ceilings: {1: 1}}"), "must not be set"},
		{plugin("priority-holdback-policy", "{domain: explicit, ceilings: {high: 1}}"), "\"high\" is not a priority"},
		{plugin("priority-holdback-policy", "{domain: explicit, ceilings: {1: 0.1, 0: 0.2}}"), "ceilings[0] is 0.2"},
		{plugin("soft-reflective-ceiling-policy", "{threshold: 1}"), "threshold"},
		{plugin("probabilistic-admitter", "{power: 0}"), "power is 0"},
		{plugin("round-robin-fairness-policy", "{quantum: 1}"), "quantum"},
		{"plugins: [{type: probabilistic-admitter}, {type: probabilistic-admitter, name: b}]", "only one is supported"},
	} {
		_, _, err := Options{Experimental: true}.Load([]byte(tt.text))
		if err == nil || !strings.Contains(err.Error(), tt.want) {
			t.Errorf("%s\nerror %v, want %q", tt.text, err, tt.want)
		}
	}
	for _, typ := range []string{"priority-holdback-policy", "soft-reflective-ceiling-policy"} {
		if _, _, err := Load([]byte("plugins: [{type: " + typ + "}]")); err == nil || !strings.Contains(err.Error(), "--allow-experimental-plugins") {
			t.Errorf("%s: %v, want that it must be allowed", typ, err)
		}
	}
}
