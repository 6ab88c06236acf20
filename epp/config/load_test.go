package config

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/fairway-ai/fairway/scheduler"
)

// load loads what must be right.
func load(t *testing.T, text string) (*Config, []Warning) {
	t.Helper()
	c, warnings, err := Load([]byte(text))
	if err != nil {
		t.Fatal(err)
	}
	return c, warnings
}

// columns runs the policy over two endpoints, one of which holds the prompt, and
// returns what it looked at, in order: name, or name*weight for a scorer.
func columns(t *testing.T, p scheduler.Policy) string {
	t.Helper()
	snap := &scheduler.Snapshot{Metrics: make([]scheduler.Metrics, 2), Slots: 2}
	for i := range 2 {
		snap.Endpoints = append(snap.Endpoints, scheduler.Endpoint{
			Slot: int32(i), Load: new(scheduler.Load), Labels: map[string]string{"llm-d.ai/role": "decode", "gpu": "h100"},
		})
	}
	var dec scheduler.Decision
	var ex scheduler.Explanation
	if err := scheduler.New(p, nil).Schedule(&scheduler.Request{PromptTokens: 10}, snap, &dec, &ex); err != nil {
		t.Fatal(err)
	}
	var out []string
	for _, c := range ex.Columns {
		switch c.Kind {
		case scheduler.Verdict:
			out = append(out, c.Name)
		case scheduler.Score:
			out = append(out, fmt.Sprintf("%s*%g", c.Name, c.Weight))
		}
	}
	return strings.Join(out, " ")
}

// TestSamples loads every published sample in testdata: those that begin with a
// comment "# refused: TEXT" fail with that text, the others load, with the warnings of
// "# warns: TEXT | TEXT".
func TestSamples(t *testing.T) {
	files, err := filepath.Glob("testdata/*.yaml")
	if err != nil || len(files) == 0 {
		t.Fatalf("no samples: %v", err)
	}
	for _, file := range files {
		t.Run(filepath.Base(file), func(t *testing.T) {
			data, err := os.ReadFile(file)
			if err != nil {
				t.Fatal(err)
			}
			want := map[string]string{}
			for _, line := range strings.Split(string(data), "\n") {
				if k, v, ok := strings.Cut(strings.TrimPrefix(line, "# "), ": "); ok && strings.HasPrefix(line, "# ") {
					want[k] = v
				}
			}
			c, warnings, err := Load(data)
			if refused := want["refused"]; refused != "" {
				if err == nil || !strings.Contains(err.Error(), refused) {
					t.Fatalf("error %v, want %q", err, refused)
				}
				return
			}
			if err != nil {
				t.Fatal(err)
			}
			got := "default"
			if c.Policy != nil {
				got = columns(t, c.Policy)
			}
			if got != want["policy"] {
				t.Errorf("policy %q, want %q", got, want["policy"])
			}
			wants := strings.Split(want["warns"], " | ")
			if want["warns"] == "" {
				wants = nil
			}
			for i := range max(len(warnings), len(wants)) {
				if i >= len(warnings) || i >= len(wants) || !strings.Contains(warnings[i].String(), wants[i]) {
					t.Fatalf("warnings %v, want %q", warnings, wants)
				}
			}
		})
	}
}

func TestDefaults(t *testing.T) {
	for _, text := range []string{"", "\n# nothing\n", "{}", "null", "kind: EndpointPickerConfig\nplugins: []\n", "plugins:\n- type: openai-parser\n"} {
		c, _ := load(t, text)
		want := &Config{
			Prefix:  ApproxPrefix{AutoTune: true},
			Metrics: Metrics{Source: MetricsSource{Scheme: "http", Path: "/metrics", InsecureSkipVerify: true}},
		}
		if diff := cmp.Diff(want, c); diff != "" {
			t.Errorf("%q: -want +got:\n%s", text, diff)
		}
	}
}

func TestParts(t *testing.T) {
	c, warnings := load(t, `
apiVersion: llm-d.ai/v1
kind: EndpointPickerConfig
featureGates: [flowControl=false, haPopulateNonLeaderDatastore]
plugins:
- name: files
  type: file-discovery
  parameters: {path: /etc/endpoints.yaml, watchFile: true}
- type: approx-prefix-cache-producer
  parameters: {autoTune: false, blockSizeTokens: 64, maxPrefixTokensToMatch: 131072, lruCapacityPerServer: 1000}
- type: metrics-data-source
  parameters: {scheme: https, path: /m, port: 9000, insecureSkipVerify: false, interval: 1s, caCertPath: /ca.pem}
- type: core-metrics-extractor
  parameters:
    engineLabelKey: engine
    defaultEngine: mine
    engineConfigs:
    - {name: mine, queuedRequestsSpec: "q{a=b}", runningRequestsSpec: r, kvUsageSpec: k, loraSpec: "", cacheInfoSpec: i}
- type: utilization-detector
  parameters: {queueDepthThreshold: 10, kvCacheUtilThreshold: 0.9, metricsStalenessThreshold: 1s, headroom: 0.2}
- type: session-affinity-scorer
- type: inflight-load-producer
- type: token-producer
  parameters: {estimate: {}}
dataLayer:
  injectDefaults: false
  discovery: {endpoints: {pluginRef: files}}
  sources:
  - pluginRef: metrics-data-source
    extractors: [{pluginRef: core-metrics-extractor}]
flowControl:
  saturationDetector: {pluginRef: utilization-detector}
requestHandler: {}
`)
	if len(warnings) != 0 {
		t.Errorf("warnings: %v", warnings)
	}
	if got := columns(t, c.Policy); got != "session-affinity-scorer*1" {
		t.Errorf("policy %q", got)
	}
	c.Policy = nil
	want := &Config{
		Discovery: &FileDiscovery{Path: "/etc/endpoints.yaml", WatchFile: true},
		Prefix:    ApproxPrefix{BlockSizeTokens: 64, MaxPrefixTokensToMatch: 131072, LRUCapacityPerServer: 1000},
		Metrics: Metrics{
			Source: MetricsSource{Scheme: "https", Path: "/m", Port: 9000, CACertPath: "/ca.pem", Interval: Duration{time.Second}},
			Engines: MetricsEngines{EngineLabelKey: "engine", DefaultEngine: "mine", EngineConfigs: []EngineConfig{{
				Name: "mine", QueuedRequestsSpec: "q{a=b}", RunningRequestsSpec: "r", KVUsageSpec: "k", CacheInfoSpec: "i",
			}}},
		},
		Saturation: &Saturation{QueueDepthThreshold: 10, KVCacheUtilThreshold: 0.9, MetricsStalenessThreshold: Duration{time.Second}, Headroom: 0.2},
	}
	if diff := cmp.Diff(want, c); diff != "" {
		t.Errorf("-want +got:\n%s", diff)
	}

	c, _ = load(t, "plugins: [{type: destination-endpoint-served-verifier}, {type: header-based-testing-filter}]\nschedulingProfiles: [{name: d, plugins: [{pluginRef: header-based-testing-filter}]}]\n")
	if !c.ServedHeader || c.Policy == nil {
		t.Errorf("%+v, want the served header and a policy", c)
	}

	c, _ = load(t, "dataLayer: {injectDefaults: false}\nsaturationDetector: {}\n")
	if !c.Metrics.Disabled || c.Saturation == nil || *c.Saturation != defaultSaturation() {
		t.Errorf("metrics %+v, saturation %+v", c.Metrics, c.Saturation)
	}
}

func TestWarnings(t *testing.T) {
	for _, tc := range []struct{ text, want string }{
		{"apiVersion: inference.networking.x-k8s.io/v1alpha1", "line 1: apiVersion: inference.networking.x-k8s.io/v1alpha1 is deprecated: write llm-d.ai/v1alpha1"},
		{"featureGates: [dataLayer]", "line 1: featureGates[0]: dataLayer is no longer a feature gate"},
		{"plugins:\n- type: openai-parser\nparser: {pluginRef: openai-parser}", "line 3: parser: is deprecated: write requestHandler.parsers"},
		{"saturationDetector: {pluginRef: utilization-detector}", "saturationDetector: is deprecated: write flowControl.saturationDetector"},
		{"flowControl: {maxBytes: 1Gi, defaultRequestTTL: 1m}", "flowControl: is ignored, except for saturationDetector: the feature gate flowControl is off"},
		{"plugins:\n- type: by-label\n  parameters: {label: a, validValues: [b]}", "line 2: plugins[0].type: by-label is deprecated: use label-selector-filter"},
		{"plugins: [{type: by-label-selector}]", "by-label-selector is deprecated: use label-selector-filter"},
		{"plugins: [{type: tokenizer}]", "tokenizer is deprecated: use token-producer"},
		{"plugins: [{type: model-server-protocol-metrics}]", "is deprecated: use core-metrics-extractor"},
		{"plugins: [{type: active-request-scorer, parameters: {requestTimeout: 2m}}]", "plugins[0].parameters.requestTimeout: is deprecated and ignored"},
		{"plugins: [{type: single-profile-handler, parameters: {picker: p}}]", "plugins[0].parameters: are ignored: list scorers and pickers in schedulingProfiles"},
		{"plugins: [{type: prefix-cache-scorer, parameters: {lruCapacityPerServer: 5}}]", "plugins[0].parameters.lruCapacityPerServer: belongs to approx-prefix-cache-producer by now"},
		{"plugins: [{type: approx-prefix-cache-producer, parameters: {blockSize: 256}}]", "blockSize: is deprecated: write blockSizeTokens"},
		{"plugins: [{type: approx-prefix-cache-producer}, {type: approx-prefix-cache-producer, name: b}]", `plugins[1]: its parameters are ignored: there is one prefix index, which takes those of "approx-prefix-cache-producer"`},
		{"plugins: [{type: no-hit-lru-scorer, parameters: {prefixPluginName: p}}]", "plugins[0].parameters.prefixPluginName: is deprecated and has no effect"},
		{"plugins: [{type: no-hit-lru-scorer, parameters: {prefixPluginType: p}}]", "prefixPluginType: is deprecated and has no effect"},
		{"plugins: [{type: metrics-data-source, parameters: {families: [a]}}]", "families: is ignored: only the series that are wanted are parsed"},
	} {
		_, warnings := load(t, tc.text)
		if len(warnings) == 0 || !strings.Contains(warnings[0].String(), tc.want) {
			t.Errorf("%s\nwarnings %v, want %q", tc.text, warnings, tc.want)
		}
	}
	// These name what there is one of.
	_, warnings := load(t, "plugins: [{type: active-request-scorer, parameters: {inFlightLoadProducerName: a}}, {type: token-load-scorer, parameters: {inFlightLoadProducerName: a, queueThresholdTokens: 0}}, {type: no-hit-lru-scorer, parameters: {lruSize: 0}}]")
	if len(warnings) > 0 {
		t.Errorf("warnings %v", warnings)
	}
	c, _ := load(t, "plugins: [{type: prefix-cache-scorer, parameters: {blockSize: 256, autoTune: false}}]")
	if c.Prefix.BlockSizeTokens != 64 || c.Prefix.AutoTune {
		t.Errorf("prefix %+v", c.Prefix)
	}
}

// TestGates: gates from outside win over the file's, and need none.
func TestGates(t *testing.T) {
	for _, tt := range []struct {
		file, gate string
		on         bool
	}{
		{"", "flowControl", true},
		{"", "flowControl=false", false},
		{"featureGates: [flowControl]", "flowControl=false", false},
		{"featureGates: [flowControl=false]", "flowControl=true", true},
	} {
		c, _, err := Options{Gates: []string{tt.gate}}.Load([]byte(tt.file))
		if err != nil || (c.FlowControl != nil) != tt.on {
			t.Errorf("%q with %s: %v, flow control %v", tt.file, tt.gate, err, c != nil && c.FlowControl != nil)
		}
	}
	if _, _, err := (Options{Gates: []string{"flowContrl"}}).Load(nil); err == nil || !strings.Contains(err.Error(), "--feature-gates") {
		t.Errorf("an unknown gate: %v", err)
	}
}
