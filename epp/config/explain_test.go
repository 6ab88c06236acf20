package config

import (
	"os"
	"path/filepath"
	"strings"
	"testing"
)

// What a responder brings along is shown with its defaults.
func TestExplainModels(t *testing.T) {
	out, _, err := Options{Experimental: true}.Explain([]byte("plugins: [{type: models-responder}]"))
	if err != nil {
		t.Fatal(err)
	}
	for _, want := range []string{
		"- name: models-data-source # default\n    type: models-data-source # default\n    parameters:\n      scheme: http # default\n      path: /v1/models # default\n      insecureSkipVerify: true # default\n      interval: 10s # default\n",
		"- name: models-data-extractor # default\n",
	} {
		if !strings.Contains(string(out), want) {
			t.Errorf("lacks %q:\n%s", want, out)
		}
	}
}

func TestExplain(t *testing.T) {
	const text = `apiVersion: llm-d.ai/v1alpha1
plugins:
- type: queue-scorer
- name: load
  type: load-aware-scorer
- type: request-attribute-reporter
  parameters: {attributes: [{key: {name: cost}, expression: usage.total_tokens}]}
- name: files
  type: file-discovery
  parameters: {path: e.yaml}
data:
  discovery:
    pluginRef: files
schedulingProfiles:
- name: main
  plugins:
  - pluginRef: queue-scorer
    weight: 2
  - pluginRef: load
parser: {pluginRef: p}
saturationDetector:
  queueDepthThreshold: 9
`
	out, warnings, err := Options{}.Explain([]byte(strings.Replace(text, "plugins:\n", "plugins:\n- {name: p, type: openai-parser}\n", 1)))
	if err != nil {
		t.Fatal(err)
	}
	if len(warnings) != 4 {
		t.Errorf("warnings %v", warnings)
	}
	for _, want := range []string{
		"apiVersion: llm-d.ai/v1alpha1 # line 1\n",
		"kind: EndpointPickerConfig # default\n",
		"- flowControl=false # default\n",
		"- name: queue-scorer # default: the type\n    type: queue-scorer # line 4\n",
		"- name: load # line 5\n    type: load-aware-scorer # line 6\n    parameters:\n      threshold: 128 # default\n",
		"parameters:\n      attributes:\n        - key:\n            namespace: envoy.lb # default\n            name: cost # line 8\n          expression: usage.total_tokens # line 8\n",
		"path: e.yaml # line 11\n      watchFile: false # default\n",
		"queueDepthThreshold: 9 # line 23, written as saturationDetector.queueDepthThreshold\n      kvCacheUtilThreshold: 0.8 # default\n      metricsStalenessThreshold: 200ms # default\n",
		"- name: max-score-picker # default\n    type: max-score-picker # default\n",
		"- name: single-profile-handler # default\n",
		"- name: metrics-data-source # default\n",
		"schedulingProfiles:\n  - name: main # line 16\n    plugins:\n      - pluginRef: queue-scorer # line 18\n        weight: 2 # line 19\n      - pluginRef: load # line 20\n        weight: 1 # default\n      - pluginRef: max-score-picker # default\n",
		"injectDefaults: true # default\n",
		"discovery:\n    endpoints:\n      pluginRef: files # line 14, written as dataLayer.discovery.pluginRef\n",
		"flowControl:\n  saturationDetector:\n    pluginRef: saturationDetector # line",
		"requestHandler:\n  parsers:\n    - pluginRef: p # line 21, written as parser.pluginRef\n",
	} {
		if !strings.Contains(string(out), want) {
			t.Errorf("lacks %q", want)
		}
	}
	if t.Failed() {
		t.Logf("\n%s", out)
	}

	out, _, err = Options{}.Explain(nil)
	if err != nil || !strings.Contains(string(out), "schedulingProfiles: [] # default: Fairway's own policy decides") || !strings.Contains(string(out), "- pluginRef: openai-parser # default") {
		t.Errorf("%v\n%s", err, out)
	}
	if _, _, err := (Options{}).Explain([]byte("plugins: [{type: x}]")); err == nil {
		t.Error("what is wrong is explained")
	}
}

// TestExplainFlowControl: the section is explained in full when it counts.
func TestExplainFlowControl(t *testing.T) {
	out, _, err := Options{}.Explain([]byte(`featureGates: [flowControl]
flowControl:
  maxRequests: 7
  priorityBands:
  - priority: 10
    maxRequests: 3
`))
	if err != nil {
		t.Fatal(err)
	}
	for _, want := range []string{
		"- flowControl # line 1\n", "maxRequests: 7 # line 3\n", "maxBytes: 0 # default; no bound\n", "defaultRequestTTL: 1m0s # default\n",
		"priority: 10 # line 5\n", "maxRequests: 3 # line 6\n", "fairnessPolicy: global-strict-fairness-policy # default\n",
	} {
		if !strings.Contains(string(out), want) {
			t.Errorf("lacks %q\n%s", want, out)
		}
	}
}

// TestExplainSamples: of every sample, what is explained means what the sample does.
func TestExplainSamples(t *testing.T) {
	files, err := filepath.Glob("testdata/*.yaml")
	if err != nil || len(files) == 0 {
		t.Fatal(err)
	}
	for _, file := range files {
		data, err := os.ReadFile(file)
		if err != nil {
			t.Fatal(err)
		}
		c, _, err := Options{Experimental: true}.Load(data)
		if err != nil || c.FlowControl != nil { // its section is in words of its own
			continue
		}
		out, _, err := Options{Experimental: true}.Explain(data)
		if err != nil {
			t.Errorf("%s: %v", file, err)
			continue
		}
		again, _, err := Options{Experimental: true}.Load(out)
		if err != nil || (again.Policy == nil) != (c.Policy == nil) {
			t.Errorf("%s: what is explained is no configuration: %v\n%s", file, err, out)
			continue
		}
		if names := c.NeedsRestart(again); len(names) > 0 {
			t.Errorf("%s: what is explained differs in %v\n%s", file, names, out)
		}
	}
}

// Defaults that depend on others, or stand for something else in the code, are there.
func TestExplainDefaults(t *testing.T) {
	const producer = "- {type: session-id-producer, parameters: {headerName: x-mine, ttl: 1m}}\n"
	for _, tc := range []struct {
		plugins   string
		want, not []string
	}{
		{"- {type: session-affinity-scorer}", []string{"strategy: encoded_endpoint_header # default", "header: x-session-token # default"}, []string{"eviction", "missThreshold"}},
		{"- {type: session-affinity-filter, parameters: {strategy: session_id}}", []string{"strategy: session_id # line 2", "evictionTtlSeconds: 300 # default", "evictionSweepSeconds: 10 # default"}, []string{"TtlSeconds: 0", "encodedEndpoint"}},
		{"- {type: session-affinity-filter, parameters: {strategy: session_id, evictionTtlSeconds: 7}}", []string{"evictionTtlSeconds: 7 # line 2", "evictionSweepSeconds: 10 # default"}, []string{"300"}},
		{producer + "- {type: session-affinity-filter, parameters: {strategy: session_id}}", []string{"evictionTtlSeconds: 60 # default", "headerName: x-mine # line 2", "ttl: 1m0s # line 2"}, []string{"lruSize"}},
		{producer + "- {type: session-affinity-filter, parameters: {strategy: session_id, evictionTtlSeconds: 7}}", []string{"evictionTtlSeconds: 7 # line 3"}, []string{"60 "}},
		{"- {type: token-load-scorer}", []string{"nonTextTokenWeight: 1 # default"}, nil},
		{"- {type: disagg-profile-handler}", []string{"stageOrder: decode-first # default"}, nil},
		{"- {type: topology-extractor}", []string{"zone: topology.kubernetes.io/zone # default"}, nil},
	} {
		text := "plugins:\n" + tc.plugins + "\nschedulingProfiles: [{name: decode}]\n"
		out, warned, err := Options{}.Explain([]byte(text))
		if err != nil {
			t.Fatalf("%s: %v", tc.plugins, err)
		}
		for _, want := range tc.want {
			if !strings.Contains(string(out), want) {
				t.Errorf("%s: no %q in\n%s", tc.plugins, want, out)
			}
		}
		for _, not := range tc.not {
			if strings.Contains(string(out), not) {
				t.Errorf("%s: %q in\n%s", tc.plugins, not, out)
			}
		}
		if _, again := load(t, string(out)); len(again) > len(warned) {
			t.Errorf("%s: what is in effect warns more: %v, the file %v\n%s", tc.plugins, again, warned, out)
		}
	}
}
