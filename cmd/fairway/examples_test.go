package main

import (
	"context"
	"math/rand/v2"
	"os"
	"path/filepath"
	"testing"

	"github.com/fairway-ai/fairway/sim/workload"
)

// Every example is loaded as the program would load it.
func TestExamples(t *testing.T) {
	files, err := filepath.Glob("../../examples/*.yaml")
	if err != nil || len(files) < 4 {
		t.Fatalf("%d examples, %v", len(files), err)
	}
	for _, name := range files {
		warnings, err := validateFile(context.Background(), name, nil)
		if err != nil {
			t.Errorf("%v", err)
		}
		for _, w := range warnings {
			t.Errorf("%s: warning: %s", name, w)
		}
	}
	traces, err := filepath.Glob("../../examples/traces/*.jsonl")
	if err != nil || len(traces) == 0 {
		t.Fatalf("%d traces, %v", len(traces), err)
	}
	for _, name := range traces {
		f, err := os.Open(name)
		if err != nil {
			t.Fatal(err)
		}
		defer f.Close()
		if _, err := workload.ReadMooncake(name, f, rand.New(rand.NewPCG(1, 1))); err != nil {
			t.Error(err)
		}
	}
}
