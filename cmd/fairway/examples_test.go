package main

import (
	"math/rand/v2"
	"os"
	"path/filepath"
	"testing"

	"github.com/fairway-ai/fairway/epp/config"
	"github.com/fairway-ai/fairway/pool/file"
	"github.com/fairway-ai/fairway/sim/workload"
)

const examples = "../../examples"

func TestExampleEndpoints(t *testing.T) {
	for name, want := range map[string]map[string]int{
		"fairway.yaml":   {"default/demo": 2},
		"two-pools.yaml": {"default/llama": 2, "default/qwen": 2},
		"endpoints.yaml": {"default/default": 2},
	} {
		c, err := file.Load(t.Context(), filepath.Join(examples, name))
		if err != nil {
			t.Errorf("%s: %v", name, err)
			continue
		}
		if len(c.Warnings) > 0 || len(c.Pools) != len(want) {
			t.Errorf("%s: %d pools, warnings %q", name, len(c.Pools), c.Warnings)
		}
		for i := range c.Pools {
			if p := &c.Pools[i]; len(p.Specs) != want[p.FullName()] {
				t.Errorf("%s: pool %s has %d endpoints, want %d", name, p.FullName(), len(p.Specs), want[p.FullName()])
			}
		}
	}
}

func TestExamplePickerConfig(t *testing.T) {
	t.Chdir("../..") // its paths are those of who follows examples/README.md
	c, err := parsed(t, "--config-file", "examples/epp-config.yaml").loadConfig()
	if err != nil {
		t.Fatal(err)
	}
	if c.policy == nil || len(c.warnings) > 0 {
		t.Errorf("warnings %q, profile %v", c.warnings, c.policy != nil)
	}
	if _, err := file.Load(t.Context(), c.endpoints); err != nil {
		t.Error(err)
	}
}

func TestExampleTrace(t *testing.T) {
	f, err := os.Open(filepath.Join(examples, "traces", "sample.jsonl"))
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	w, err := workload.ReadMooncake("sample", f, rand.New(rand.NewPCG(1, 2)))
	if err != nil || len(w.Requests) == 0 {
		t.Fatalf("%v", err)
	}
}

func TestExampleProviders(t *testing.T) {
	t.Setenv("OPENAI_API_KEY", "sk-one")
	t.Setenv("ANTHROPIC_API_KEY", "sk-two")
	warnings, err := validateFile(t.Context(), filepath.Join(examples, "providers.yaml"), nil, config.Options{})
	if err != nil || len(warnings) > 0 {
		t.Errorf("%v, warnings %q", err, warnings)
	}
}

// TestExamplesAreTested fails when a file is added that no test above loads.
func TestExamplesAreTested(t *testing.T) {
	known := map[string]bool{
		"README.md": true, "fairway.yaml": true, "two-pools.yaml": true, "endpoints.yaml": true,
		"epp-config.yaml": true, "providers.yaml": true, filepath.Join("traces", "sample.jsonl"): true,
	}
	for _, pattern := range []string{"*.*", "*/*.*"} {
		names, err := filepath.Glob(filepath.Join(examples, pattern))
		if err != nil || len(names) == 0 {
			t.Fatalf("%s: found %d: %v", pattern, len(names), err)
		}
		for _, name := range names {
			rel, err := filepath.Rel(examples, name)
			// Those for Kubernetes are applied by test/e2e, which knows each of them.
			// Those of prefill-decode are used by test/envoy.
			if err != nil || !known[rel] && filepath.Dir(rel) != "kubernetes" && filepath.Dir(rel) != "prefill-decode" {
				t.Errorf("%s is not loaded by any test: %v", rel, err)
			}
		}
	}
}
