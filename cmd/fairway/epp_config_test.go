package main

import (
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/spf13/pflag"
)

// parsed are the flags of args.
func parsed(t *testing.T, args ...string) *eppFlags {
	t.Helper()
	var f eppFlags
	fs := pflag.NewFlagSet("epp", pflag.ContinueOnError)
	f.register(fs)
	if err := fs.Parse(args); err != nil {
		t.Fatal(err)
	}
	if err := f.validate(fs); err != nil {
		t.Fatal(err)
	}
	return &f
}

const blend = `
apiVersion: llm-d.ai/v1alpha1
kind: EndpointPickerConfig
plugins:
  - {type: queue-scorer}
  - {type: max-score-picker}
  - {name: here, type: file-discovery, parameters: {path: list.yaml, watchFile: true}}
schedulingProfiles:
  - name: default
    plugins: [{pluginRef: queue-scorer, weight: 2}, {pluginRef: max-score-picker}]
dataLayer: {discovery: {pluginRef: here}}
`

func TestLoadConfig(t *testing.T) {
	t.Run("none", func(t *testing.T) {
		c, err := parsed(t, "-f", "fairway.yaml").loadConfig()
		if err != nil || c.policy != nil || c.endpoints != "fairway.yaml" || !c.watch || !c.scrape || len(c.warnings) != 0 {
			t.Errorf("%+v %v, want the default policy and the file", c, err)
		}
	})
	t.Run("profile and discovery", func(t *testing.T) {
		c, err := parsed(t, "--config-text", blend).loadConfig()
		if err != nil {
			t.Fatal(err)
		}
		if c.endpoints != "list.yaml" || !c.watch {
			t.Errorf("endpoints from %q, watched %v", c.endpoints, c.watch)
		}
		if c.policy == nil || c.policy().Name() != "default" || c.policy() == c.policy() {
			t.Error("want a policy of its own for each pool")
		}
	})
	t.Run("flags win", func(t *testing.T) {
		file := filepath.Join(t.TempDir(), "c.yaml")
		if err := os.WriteFile(file, []byte(blend), 0o600); err != nil {
			t.Fatal(err)
		}
		c, err := parsed(t, "--config-file", file, "--endpoints-file", "mine.yaml").loadConfig()
		if err != nil || c.endpoints != "mine.yaml" {
			t.Errorf("%+v %v, want mine.yaml", c, err)
		}
	})
	t.Run("metrics and prefix", func(t *testing.T) {
		text := strings.Replace(blend, "pluginRef: here}", "pluginRef: here}, sources: [{pluginRef: src, extractors: [{pluginRef: ext}]}]", 1)
		text = strings.Replace(text, "plugins:\n", `plugins:
  - {name: src, type: metrics-data-source, parameters: {interval: 300ms, port: 9999}}
  - {name: ext, type: core-metrics-extractor, parameters: {defaultEngine: mine, engineConfigs: [{name: mine, queuedRequestsSpec: q, kvUsageSpec: k, cacheInfoSpec: c}]}}
  - {type: approx-prefix-cache-producer, parameters: {autoTune: false, blockSizeTokens: 64, maxPrefixTokensToMatch: 6400, lruCapacityPerServer: 9}}
`, 1)
		c, err := parsed(t, "--config-text", text).loadConfig()
		if err != nil {
			t.Fatal(err)
		}
		if c.pool.Interval != 300*time.Millisecond || c.scan.BlockBytes != 256 || c.scan.MaxBlocks != 100 {
			t.Errorf("interval %v, blocks of %d bytes, at most %d", c.pool.Interval, c.scan.BlockBytes, c.scan.MaxBlocks)
		}
		if e, _ := c.pool.Engines.For(nil); e.Name() != "mine" {
			t.Errorf("engine %q, want mine", e.Name())
		}
		if got := c.pool.Scraper.URL("10.0.0.1:8000"); got != "http://10.0.0.1:9999/metrics" {
			t.Errorf("metrics are read at %s", got)
		}
		if !strings.Contains(strings.Join(c.warnings, "\n"), "lruCapacityPerServer") {
			t.Errorf("warnings %q, want one about lruCapacityPerServer", c.warnings)
		}
		if c, err := parsed(t, "--config-text", text, "--refresh-metrics-interval", "70ms").loadConfig(); err != nil || c.pool.Interval != 70*time.Millisecond {
			t.Errorf("%v: the interval of the flag did not win", err)
		}
	})
	for text, want := range map[string]string{
		"plugins: [{type: no-such}]": "--config-text: line 1",
		"plugins: []":                "where are the endpoints",
	} {
		if _, err := parsed(t, "--config-text", text).loadConfig(); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%s: error %v, want one with %q", text, err, want)
		}
	}
	if _, err := parsed(t, "--config-file", "/does/not/exist").loadConfig(); err == nil || !strings.Contains(err.Error(), "--config-file") {
		t.Errorf("error %v, want one that names --config-file", err)
	}
}

// TestExampleConfig: the published example is one.
func TestExampleConfig(t *testing.T) {
	c, err := parsed(t, "--config-file", "../../examples/epp-config.yaml").loadConfig()
	if err != nil || c.policy == nil || c.endpoints == "" {
		t.Errorf("%+v %v", c, err)
	}
}
