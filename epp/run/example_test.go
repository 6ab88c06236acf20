package run_test

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"

	"github.com/fairway-ai/fairway/epp"
	"github.com/fairway-ai/fairway/epp/plugin"
	"github.com/fairway-ai/fairway/epp/run"
	"github.com/fairway-ai/fairway/scheduler"
)

// tierParameters are what a configuration says of a tierScorer.
type tierParameters struct {
	Label string `json:"label"`
	Best  string `json:"best"`
}

// Validate refuses what could never work.
func (p tierParameters) Validate() error {
	if p.Best == "" {
		return errors.New("best is missing: name the value of the label")
	}
	return nil
}

// tierScorer prefers endpoints whose label has a value.
type tierScorer struct {
	name string
	p    tierParameters
}

func (s tierScorer) Name() string { return s.name }

func (s tierScorer) Score(c *scheduler.Cycle, out []float32) {
	for _, i := range c.Candidates {
		out[i] = 0
		if c.Snapshot.Endpoints[i].Labels[s.p.Label] == s.p.Best {
			out[i] = 1
		}
	}
}

// tier is the type, as a configuration names it.
func tier() plugin.Type {
	return plugin.Scorer("example.com/tier-scorer",
		func() tierParameters { return tierParameters{Label: "tier"} },
		func(name string, p tierParameters) (scheduler.Scorer, error) { return tierScorer{name, p}, nil })
}

const pickerConfig = `
plugins:
- type: queue-scorer
- type: example.com/tier-scorer
  parameters: {best: gold}
schedulingProfiles:
- name: default
  plugins:
  - {pluginRef: queue-scorer}
  - {pluginRef: example.com/tier-scorer, weight: 2}
dataLayer: {injectDefaults: false}
`

const endpoints = `
endpoints:
- {name: one, address: 10.0.0.1, port: 8000, labels: {tier: silver}}
- {name: two, address: 10.0.0.2, port: 8000, labels: {tier: gold}}
`

// A picker with a scorer of one's own. A program would end ctx on a signal.
func Example() {
	dir, err := os.MkdirTemp("", "picker")
	if err != nil {
		fmt.Println(err)
		return
	}
	defer func() { _ = os.RemoveAll(dir) }()
	file := filepath.Join(dir, "endpoints.yaml")
	if err := os.WriteFile(file, []byte(endpoints), 0o600); err != nil {
		fmt.Println(err)
		return
	}
	ctx, stop := context.WithCancel(context.Background())
	defer stop()
	err = run.Run(ctx, run.Options{
		Config:    []byte(pickerConfig),
		Plugins:   []plugin.Type{tier()},
		Endpoints: file,
		Server:    epp.ServerOptions{GRPCAddr: "127.0.0.1:0"},
		Started: func(*epp.Server) {
			fmt.Println("serving")
			stop()
		},
	})
	fmt.Println("ended:", err)
	// Output:
	// serving
	// ended: <nil>
}
