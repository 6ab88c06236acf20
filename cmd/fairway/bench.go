package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"os"
	"path/filepath"
	"time"

	"github.com/spf13/cobra"
	"golang.org/x/term"

	"github.com/fairway-ai/fairway/sim/engine"
	"github.com/fairway-ai/fairway/sim/replay"
	"github.com/fairway-ai/fairway/sim/workload"
)

func newBenchCommand() *cobra.Command {
	return newGroup("bench", "Compare routing policies, and measure what the picker costs", `Compare routing policies on a workload, without servers and without waiting (replay),
and measure what the picker costs on this machine (the others). What is measured here
depends on the machine: let nothing else run meanwhile.`,
		newReplayCommand(), newTraceCommand(),
		newBenchRequestsCommand(), newBenchGatewayCommand(), newBenchEgressCommand(), newBenchKVCacheCommand(), newBenchIdleCommand(), newBenchEchoCommand())
}

// replayOptions are the flags of bench replay.
type replayOptions struct {
	trace, generate   string
	requests          int
	speeds            []float64
	thinkTime         bool
	endpoints, blocks int
	index             string
	staleness         time.Duration
	policies          []string
	policyFiles       []string
	seeds             int
	mixed             bool
	json              bool
	plot              string
	replicas          int
	delay             time.Duration
	maxLoRA           int
	loraLoad          time.Duration
}

func newReplayCommand() *cobra.Command {
	var o replayOptions
	cmd := &cobra.Command{
		Use:   "replay (--trace FILE | --generate NAME)",
		Short: "Replay a trace through the real scheduler, against simulated engines",
		Long: `Replay a workload as discrete events through the scheduler, prefix index and hold
queue that serve live traffic, and through the rules of other routers, against
simulated vLLM engines. No wall clock is involved: an hour of traffic takes
seconds, and the same seed gives the same result.

A trace is in Mooncake's format: a JSON object per line with timestamp (ms),
input_length, output_length and hash_ids (512-token prefix blocks), and adapter for
requests to a LoRA adapter.

Generated workloads, with --generate:
` + workload.Describe(),
		Example: `  fairway bench replay --trace trace.jsonl --speed 2.5 --kv-blocks 596
  fairway bench replay --generate agents --policy default,sticky --plot agents.svg
  fairway bench replay --trace trace.jsonl --policy-config epp-config.yaml
  fairway bench replay --generate agents --policy default --replicas 4 --staleness 50ms`,
		Args: noArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			policies, err := o.chosen(cmd.Flags().Changed("policy"), cmd.ErrOrStderr())
			if err != nil {
				return err
			}
			return o.run(cmd.Context(), policies, cmd.OutOrStdout(), cmd.ErrOrStderr())
		},
	}
	f := cmd.Flags()
	f.StringVar(&o.trace, "trace", "", "trace `file` in Mooncake's format")
	f.StringVar(&o.generate, "generate", "", "generated workload instead of --trace")
	known(f, "generate", workload.Names())
	f.IntVar(&o.requests, "requests", 6000, "requests of a generated workload")
	f.Float64SliceVar(&o.speeds, "speed", []float64{1}, "divide arrival times by these `factors`; several draw a curve")
	f.BoolVar(&o.thinkTime, "think-time", false, "send a session's next request after its last answer plus the trace's think time, not at the trace's timestamp")
	f.IntVar(&o.endpoints, "endpoints", 8, "number of model servers")
	f.IntVar(&o.blocks, "kv-blocks", 596, "KV cache of each server in 512-token blocks")
	f.IntVar(&o.maxLoRA, "max-loras", 4, "LoRA adapters that each server can run at a time, for workloads with adapters")
	f.DurationVar(&o.loraLoad, "lora-load-time", 100*time.Millisecond, "how long a server takes to load an adapter that it does not have in memory")
	f.StringVar(&o.index, "index", string(replay.Exact), "the router's view of the caches")
	oneOf(f, "index", texts(replay.IndexModes()))
	f.DurationVar(&o.staleness, "metrics-staleness", 50*time.Millisecond, "period of metric scrapes")
	f.StringSliceVar(&o.policies, "policy", []string{replay.All}, "policies to compare, with commas between them")
	known(f, "policy", replay.Names())
	f.StringArrayVar(&o.policyFiles, "policy-config", nil, "EndpointPickerConfig `file` whose filters, scorers and picker to compare, with the default policy unless --policy names others; may be repeated")
	f.IntVar(&o.seeds, "seeds", 1, "replay with this many seeds and average")
	f.IntVar(&o.replicas, "replicas", 1, "compare one replica of the router with this many that share what they do, and with as many that do not")
	f.DurationVar(&o.delay, "staleness", 50*time.Millisecond, "how long after a decision the other replicas know of it")
	f.BoolVar(&o.mixed, "mixed", false, "make every other server half as fast")
	f.BoolVar(&o.json, "json", false, "print one JSON object per policy")
	f.StringVar(&o.plot, "plot", "", "draw the results to an SVG `file`")
	return cmd
}

func (o *replayOptions) run(ctx context.Context, policies []replay.Policy, out, errOut io.Writer) error {
	if err := o.validate(); err != nil {
		return err
	}
	if o.replicas > 1 {
		return o.compareReplicas(ctx, policies, out, errOut)
	}
	var rows []replay.Summary
	for _, speed := range o.speeds {
		var table []replay.Summary
		for _, p := range policies {
			s, err := o.replay(ctx, p, speed, replay.Config{}, errOut)
			if err != nil {
				return err
			}
			table = append(table, s)
			if o.json {
				if err := json.NewEncoder(out).Encode(s); err != nil {
					return err
				}
			}
		}
		if !o.json {
			fmt.Fprintf(out, "%s x%g: %d endpoints, %d KV blocks, %s index, %d requests\n",
				table[0].Workload, speed, o.endpoints, o.blocks, o.index, table[0].Requests)
			if err := replay.WriteTable(out, table); err != nil {
				return err
			}
		}
		rows = append(rows, table...)
	}
	if o.plot == "" {
		return nil
	}
	return o.draw(rows)
}

func (o *replayOptions) validate() error {
	switch {
	case o.trace == "" && o.generate == "":
		return errors.New("which workload? Name a trace with --trace, or a generated one with --generate")
	case o.trace != "" && o.generate != "":
		return errors.New("--trace and --generate: set only one")
	case o.seeds < 1:
		return fmt.Errorf("--seeds: %d must be at least 1", o.seeds)
	case o.endpoints < 1 || o.endpoints > 4096:
		return fmt.Errorf("--endpoints: %d must be 1 to 4096", o.endpoints)
	case o.blocks < 1:
		return fmt.Errorf("--kv-blocks: %d must be at least 1", o.blocks)
	case o.requests < 1:
		return fmt.Errorf("--requests: %d must be at least 1", o.requests)
	case o.maxLoRA < 1 || o.maxLoRA > 4096:
		return fmt.Errorf("--max-loras: %d must be 1 to 4096", o.maxLoRA)
	case o.loraLoad < 0 || o.loraLoad > time.Hour:
		return fmt.Errorf("--lora-load-time: %v must be 0 to 1h", o.loraLoad)
	case o.replicas < 1 || o.replicas > 64:
		return fmt.Errorf("--replicas: %d must be 1 to 64", o.replicas)
	case o.delay < 0:
		return fmt.Errorf("--staleness: %v must not be negative", o.delay)
	case o.replicas > 1 && o.plot != "":
		return errors.New("--plot: cannot be combined with --replicas")
	case o.staleness < 0:
		return fmt.Errorf("--metrics-staleness: %v must not be negative", o.staleness)
	}
	for _, s := range o.speeds {
		if s <= 0 {
			return fmt.Errorf("--speed: %g must be greater than 0", s)
		}
	}
	return nil
}

func (o *replayOptions) load(seed uint64) (*workload.Workload, error) {
	rng := rand.New(rand.NewPCG(seed, 7))
	if o.generate != "" {
		w, err := workload.Generate(o.generate, o.requests, rng)
		if err != nil {
			return nil, fmt.Errorf("--generate: %w", err)
		}
		return w, nil
	}
	file, err := os.Open(o.trace)
	if err != nil {
		return nil, fmt.Errorf("--trace: %w", err)
	}
	defer file.Close()
	w, err := workload.ReadMooncake(filepath.Base(o.trace), file, rng)
	if err != nil {
		return nil, err
	}
	w.ByThinkTime = o.thinkTime
	return w, nil
}

// replay runs a policy with every seed, on the routers that config has.
func (o *replayOptions) replay(ctx context.Context, p replay.Policy, speed float64, config replay.Config, errOut io.Writer) (replay.Summary, error) {
	var runs [][]replay.Sample
	name := ""
	for seed := uint64(1); seed <= uint64(o.seeds); seed++ {
		w, err := o.load(seed)
		if err != nil {
			return replay.Summary{}, err
		}
		name = w.Name
		config.Engine, config.Endpoints, config.Index = engine.Config{Blocks: o.blocks, MaxLoRA: o.maxLoRA, LoRALoad: o.loraLoad}, o.endpoints, replay.IndexMode(o.index)
		config.Staleness, config.Seed, config.Progress = o.staleness, seed, o.progress(errOut, p.Name, speed)
		if o.mixed {
			config.EngineOf = replay.HalfSpeed
		}
		samples, err := replay.Run(ctx, w.AtSpeed(speed), p, config)
		if err != nil {
			return replay.Summary{}, fmt.Errorf("policy %s: %w", p.Name, err)
		}
		runs = append(runs, samples)
	}
	return replay.Summarise(p.Name, name, speed, runs...), nil
}

// progress draws a line on a terminal and nothing elsewhere.
func (o *replayOptions) progress(errOut io.Writer, policy string, speed float64) func(done, total int) {
	f, ok := errOut.(*os.File)
	if !ok || !term.IsTerminal(int(f.Fd())) {
		return nil
	}
	return func(done, total int) {
		fmt.Fprintf(errOut, "\r%-14s x%g  %3d%%", policy, speed, 100*done/max(1, total))
		if done == total {
			fmt.Fprint(errOut, "\r\033[K")
		}
	}
}

func (o *replayOptions) draw(rows []replay.Summary) (err error) {
	file, err := os.Create(o.plot)
	if err != nil {
		return fmt.Errorf("--plot: %w", err)
	}
	defer func() { err = errors.Join(err, file.Close()) }()
	title := fmt.Sprintf("%s: %d endpoints, %d KV blocks, %s index", rows[0].Workload, o.endpoints, o.blocks, o.index)
	return replay.WritePlot(file, title, rows)
}
