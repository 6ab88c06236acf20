package main

import (
	"bytes"
	"path/filepath"
	"strings"
	"testing"

	"github.com/fairway-ai/fairway/internal/testkit"
)

func TestConfigValidate(t *testing.T) {
	write := testkit.Files(t)
	good := write("good.yaml", "endpoints:\n- {name: a, address: 127.0.0.1, port: 8000}\n")
	badPort := write("port.yaml", "endpoints:\n- {name: a, address: 127.0.0.1, port: 99999}\n")
	picker := write("picker.yaml", "plugins:\n- type: queue-scorer\nschedulingProfiles:\n- name: default\n  plugins:\n  - pluginRef: queue-scorer\n")
	typo := write("typo.yaml", "kind: EndpointPickerConfig\napiVersion: llm-d.ai/v1alpha1\nplugins:\n- type: que-scorer\n")
	gates := write("gates.yaml", "featureGates: [flowControl]\n")
	queues := write("queues.yaml", "flowControl: {maxRequests: 1k}\nsaturationDetector: {pluginRef: utilization-detector}\n")
	engine := write("engine.yaml", "plugins: [{type: core-metrics-extractor, parameters: {defaultEngine: nope}}]\n")
	series := write("series.yaml", "plugins: [{type: core-metrics-extractor, parameters: {engineConfigs: [{name: mine, queuedRequestsSpec: 'a{b'}]}}]\n")
	blocks := write("blocks.yaml", "plugins:\n- {type: approx-prefix-cache-producer, parameters: {autoTune: false, lruCapacityPerServer: 5}}\n- {type: metrics-data-source, parameters: {caCertPath: /not/here}}\n")
	for _, tc := range []struct {
		args []string
		want []string
		fail bool
	}{
		{args: []string{engine}, want: []string{`engine.yaml: core-metrics-extractor: default engine "nope": is unknown`}, fail: true},
		{args: []string{series}, want: []string{`series.yaml: core-metrics-extractor: engine "mine": waiting: series "a{b": has no closing brace`}, fail: true},
		{args: []string{blocks}, want: []string{"warning: ", "lruCapacityPerServer has no effect", "blocks.yaml: ok"}},
		{args: []string{gates, queues}, want: []string{"gates.yaml: ok", "queues.yaml: ok", "saturationDetector: is deprecated"}},
		{args: []string{good, picker}, want: []string{"good.yaml: ok", "picker.yaml: ok"}},
		{args: []string{badPort}, want: []string{"port.yaml:2", "port"}, fail: true},
		{args: []string{typo, good}, want: []string{"que-scorer", "queue-scorer", "good.yaml: ok"}, fail: true},
		{args: []string{filepath.Join(t.TempDir(), "none.yaml")}, want: []string{"none.yaml"}, fail: true},
	} {
		cmd := newConfigCommand()
		var out bytes.Buffer
		cmd.SetOut(&out)
		cmd.SetErr(&out)
		cmd.SetArgs(append([]string{"validate"}, tc.args...))
		err := cmd.Execute()
		if (err != nil) != tc.fail {
			t.Errorf("%v: error %v, want one: %v", tc.args, err, tc.fail)
		}
		for _, want := range tc.want {
			if !strings.Contains(out.String(), want) {
				t.Errorf("%v printed %q, want %q in it", tc.args, out.String(), want)
			}
		}
	}
}
