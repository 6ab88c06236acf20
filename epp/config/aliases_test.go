package config

import (
	"strings"
	"testing"
	"time"
)

// forms are one configuration as every published version of the format has it, and
// what each is warned of.
var forms = []struct{ name, text, warns string }{
	{"llm-d.ai/v1alpha1", `
apiVersion: llm-d.ai/v1alpha1
kind: EndpointPickerConfig
plugins: [{type: queue-scorer}, {name: files, type: file-discovery, parameters: {path: e.yaml}}, {name: det, type: utilization-detector, parameters: {queueDepthThreshold: 9}}, {type: openai-parser}]
dataLayer: {discovery: {pluginRef: files}}
flowControl: {saturationDetector: {pluginRef: det}}
requestHandler: {parsers: [{pluginRef: openai-parser}]}
`, ""},
	{"llm-d.ai/v1", `
apiVersion: llm-d.ai/v1
kind: EndpointPickerConfig
plugins: [{type: queue-scorer}, {name: files, type: file-discovery, parameters: {path: e.yaml}}, {name: det, type: utilization-detector, parameters: {queueDepthThreshold: 9}}]
dataLayer: {discovery: {endpoints: {pluginRef: files}}}
flowControl: {saturationDetector: {pluginRef: det}}
`, ""},
	{"no type", `
plugins: [{type: queue-scorer}, {name: files, type: file-discovery, parameters: {path: e.yaml}}, {name: det, type: utilization-detector, parameters: {queueDepthThreshold: 9}}]
dataLayer: {discovery: {pluginRef: files}}
flowControl: {saturationDetector: {pluginRef: det}}
`, ""},
	{"kind only", `
kind: EndpointPickerConfig
plugins: [{type: queue-scorer}, {name: files, type: file-discovery, parameters: {path: e.yaml}}, {name: det, type: utilization-detector, parameters: {queueDepthThreshold: 9}}]
dataLayer: {discovery: {pluginRef: files}}
flowControl: {saturationDetector: {pluginRef: det}}
`, ""},
	{"the earlier field in v1", `
apiVersion: llm-d.ai/v1
plugins: [{type: queue-scorer}, {name: files, type: file-discovery, parameters: {path: e.yaml}}, {name: det, type: utilization-detector, parameters: {queueDepthThreshold: 9}}]
dataLayer:
  discovery: {pluginRef: files}
flowControl: {saturationDetector: {pluginRef: det}}
`, "line 5: dataLayer.discovery.pluginRef: is deprecated in llm-d.ai/v1: write dataLayer.discovery.endpoints.pluginRef"},
	{"inference.networking.x-k8s.io/v1alpha1", `
apiVersion: inference.networking.x-k8s.io/v1alpha1
kind: EndpointPickerConfig
plugins: [{type: queue-scorer}, {name: files, type: file-discovery, parameters: {path: e.yaml}}, {name: det, type: utilization-detector, parameters: {queueDepthThreshold: 9}}]
dataLayer: {discovery: {pluginRef: files}}
saturationDetector: {pluginRef: det}
`, "line 2: apiVersion: inference.networking.x-k8s.io/v1alpha1 is deprecated: write llm-d.ai/v1alpha1 | line 6: saturationDetector: is deprecated: write flowControl.saturationDetector"},
	{"thresholds in saturationDetector", `
apiVersion: llm-d.ai/v1alpha1
plugins: [{type: queue-scorer}, {name: files, type: file-discovery, parameters: {path: e.yaml}}]
dataLayer: {discovery: {pluginRef: files}}
saturationDetector:
  queueDepthThreshold: 9
`, "line 6: saturationDetector.queueDepthThreshold: is deprecated: write it in the parameters of a utilization-detector | saturationDetector: is deprecated"},
	{"data", `
plugins: [{type: queue-scorer}, {name: files, type: file-discovery, parameters: {path: e.yaml}}, {name: det, type: utilization-detector, parameters: {queueDepthThreshold: 9}}]
data: {discovery: {pluginRef: files}}
flowControl: {saturationDetector: {pluginRef: det}}
`, "line 3: data: is deprecated: write dataLayer"},
	{"both detectors: the present place counts", `
plugins: [{type: queue-scorer}, {name: files, type: file-discovery, parameters: {path: e.yaml}}, {name: det, type: utilization-detector, parameters: {queueDepthThreshold: 9}}, {name: old, type: utilization-detector}]
dataLayer: {discovery: {pluginRef: files}}
saturationDetector: {pluginRef: old}
flowControl: {saturationDetector: {pluginRef: det}}
`, "line 4: saturationDetector: is deprecated"},
	{"JSON", `{"apiVersion": "llm-d.ai/v1alpha1", "kind": "EndpointPickerConfig",
"plugins": [{"type": "queue-scorer"}, {"name": "files", "type": "file-discovery", "parameters": {"path": "e.yaml"}}],
"data": {"discovery": {"pluginRef": "files"}}, "saturationDetector": {"queueDepthThreshold": 9}}`,
		"line 3: data: is deprecated | line 3: saturationDetector.queueDepthThreshold: is deprecated | saturationDetector: is deprecated"},
}

// TestForms: every form means the same.
func TestForms(t *testing.T) {
	for _, f := range forms {
		t.Run(f.name, func(t *testing.T) {
			c, warnings := load(t, f.text)
			if got := columns(t, c.Policy); got != "queue-scorer*1" {
				t.Errorf("policy %q", got)
			}
			if c.Discovery == nil || c.Discovery.Path != "e.yaml" {
				t.Errorf("discovery %+v, want e.yaml", c.Discovery)
			}
			want := defaultSaturation()
			want.QueueDepthThreshold = 9
			if c.Saturation == nil || *c.Saturation != want {
				t.Errorf("saturation %+v, want %+v", c.Saturation, want)
			}
			var got []string
			for _, w := range warnings {
				got = append(got, w.String())
			}
			var wants []string
			if f.warns != "" {
				wants = strings.Split(f.warns, " | ")
			}
			if len(got) != len(wants) {
				t.Fatalf("warnings %q, want %q", got, wants)
			}
			for i := range wants {
				if !strings.Contains(got[i], wants[i]) {
					t.Errorf("warning %q, want %q", got[i], wants[i])
				}
			}
		})
	}
}

func TestDetectorAlias(t *testing.T) {
	c, _ := load(t, "saturationDetector: {queueDepthThreshold: 7, kvCacheUtilThreshold: 0.5, metricsStalenessThreshold: 3s}\n")
	want := Saturation{QueueDepthThreshold: 7, KVCacheUtilThreshold: 0.5, MetricsStalenessThreshold: Duration{3 * time.Second}}
	if c.Saturation == nil || *c.Saturation != want {
		t.Errorf("saturation %+v, want %+v", c.Saturation, want)
	}
	for _, tc := range []struct{ text, want string }{
		{"plugins:\n- type: queue-scorer\nsaturationDetector:\n  queueDepthThreshold: 0\n", "line 4: saturationDetector.parameters: queueDepthThreshold is 0: must be 1 or more"},
		{"saturationDetector: {queueDepthThreshold: 5, pluginRef: x}\n", "saturationDetector.queueDepthThreshold: belongs to the parameters of the plugin that pluginRef names"},
		{"saturationDetector: {queueDepthTreshold: 5}\n", "saturationDetector.queueDepthTreshold: unknown field"},
		{"data: {}\ndataLayer: {}\n", "line 1: data: is an earlier name of dataLayer, which is there, too: remove one"},
		{"plugins: [{type: queue-scorer, name: saturationDetector}]\nsaturationDetector: {queueDepthThreshold: 5}\n", `"saturationDetector" is the name of another plugin`},
		{"plugins: {}\nsaturationDetector: {queueDepthThreshold: 5}\n", "plugins: is an object: must be a list"},
	} {
		if _, _, err := Load([]byte(tc.text)); err == nil || !strings.Contains(err.Error(), tc.want) {
			t.Errorf("%s\nerror %v, want %q", tc.text, err, tc.want)
		}
	}
	for _, text := range []string{"plugins:\nsaturationDetector: {queueDepthThreshold: 5}\n", "saturationDetector: {queueDepthThreshold: 5}\nplugins: null\n"} {
		if c, _ := load(t, text); c.Saturation == nil || c.Saturation.QueueDepthThreshold != 5 {
			t.Errorf("%s: saturation %+v", text, c.Saturation)
		}
	}
}

// TestFlatDisagg: the flat parameters of the handler mean what the nested ones do.
func TestFlatDisagg(t *testing.T) {
	file := func(params string) string {
		return "plugins:\n- type: always-disagg-pd-decider\n- type: always-disagg-multimodal-decider\n- type: decode-filter\n- type: disagg-profile-handler\n  parameters: " + params +
			"\nschedulingProfiles: [{name: d, plugins: [{pluginRef: decode-filter}]}, {name: p, plugins: [{pluginRef: decode-filter}]}, {name: e, plugins: [{pluginRef: decode-filter}]}]\n"
	}
	const nested = "{profiles: {decode: d, prefill: p, encode: e}, deciders: {prefill: always-disagg-pd-decider, encode: always-disagg-multimodal-decider}}"
	want, warnings := load(t, file(nested))
	if len(warnings) > 0 {
		t.Fatalf("warnings %v", warnings)
	}
	for params, n := range map[string]int{
		"{decodeProfile: d, prefillProfile: p, encodeProfile: e, prefillDeciderPluginName: always-disagg-pd-decider, encodeDeciderPluginName: always-disagg-multimodal-decider}":                            5,
		"{decodeProfile: d, prefillProfile: p, encodeProfile: e, deciderPluginName: always-disagg-pd-decider, encodeDeciderPluginName: always-disagg-multimodal-decider}":                                   5,
		"{decodeProfile: d, prefillProfile: p, encodeProfile: e, deciderPluginName: nobody, prefillDeciderPluginName: always-disagg-pd-decider, encodeDeciderPluginName: always-disagg-multimodal-decider}": 6,
	} {
		got, warnings := load(t, file(params))
		if len(warnings) != n || !strings.Contains(warnings[0].String(), "line 6: plugins[3].parameters.decodeProfile: is deprecated: write profiles.decode") {
			t.Errorf("%s: warnings %v", params, warnings)
		}
		if a, b := routed(t, want, nil), routed(t, got, nil); a != b {
			t.Errorf("%s: routes\n%swant\n%s", params, b, a)
		}
		want, _ = load(t, file(nested)) // policies remember
		out, _, err := Options{}.Explain([]byte(file(params)))
		if err != nil || !strings.Contains(string(out), "prefill: always-disagg-pd-decider # line 6, written as ") {
			t.Errorf("%s: %v\n%s", params, err, out)
		}
	}
	if _, _, err := Load([]byte(file("{decodeProfile: d, profiles: {prefill: p}}"))); err == nil || !strings.Contains(err.Error(), "plugins[3].parameters.decodeProfile: is an earlier form of profiles.decode, and profiles or deciders are there, too") {
		t.Errorf("error %v", err)
	}
}

func TestGatesWithoutEffect(t *testing.T) {
	for gate, want := range map[string]string{
		"enableLegacyMetrics":                "featureGates[0]: enableLegacyMetrics changes nothing",
		"haPopulateNonLeaderDatastore=false": "featureGates[0]: haPopulateNonLeaderDatastore=false changes nothing",
		"prepareDataPlugins":                 "prepareDataPlugins is no longer a feature gate",
		"haPopulateNonLeaderDatastore":       "",
		"haPopulateNonLeaderDatastore=true":  "",
	} {
		_, warnings := load(t, "featureGates: ['"+gate+"']\n")
		if (len(warnings) > 0) != (want != "") || want != "" && !strings.Contains(warnings[0].String(), want) {
			t.Errorf("%s: warnings %v, want %q", gate, warnings, want)
		}
	}
}
