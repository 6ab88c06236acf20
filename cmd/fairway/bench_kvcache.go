package main

import (
	"fmt"
	"time"

	"github.com/spf13/cobra"

	"github.com/fairway-ai/fairway/bench"
)

func newBenchKVCacheCommand() *cobra.Command {
	var (
		o      bench.KVCacheOptions
		asJSON bool
	)
	cmd := &cobra.Command{
		Use:   "kvcache",
		Short: "Measure the index of what KV caches hold: events in, lookups out",
		Long: `Measure the exact index of KV caches in this process: engines' events are decoded and
stored until the endpoints hold so many blocks, some of them the same documents, most
of them one endpoint's alone. Then requests of 1 KB and 220 KB are taken from their
body to the decision, as with KV cache events and as without them, in turns; lookups
are timed while events keep coming; blocks are removed and endpoints forgotten.
Beside it, what llm-d's own benchmarks of the same parts said on a machine of the same
class; those are not run. The tables are Markdown.

A million blocks take about 80 MB of memory at rest, and up to 500 MB while the
index grows.`,
		Example: "  fairway bench kvcache\n  fairway bench kvcache --endpoints 8 --blocks 500000 --json",
		Args:    noArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			switch {
			case o.Endpoints < 1 || o.Endpoints > 4096:
				return fmt.Errorf("--endpoints: %d must be 1 to 4096", o.Endpoints)
			case o.Blocks < 1000*o.Endpoints || o.Blocks > 1_000_000*o.Endpoints:
				return fmt.Errorf("--blocks: %d must be 1,000 to 1,000,000 for each endpoint", o.Blocks)
			case o.Duration < minSlice:
				return fmt.Errorf("--duration: %v must be at least %v", o.Duration, minSlice)
			case o.Rate < 1 || o.Rate > 10_000_000:
				return fmt.Errorf("--rate: %d must be 1 to 10,000,000", o.Rate)
			}
			o.Progress = progressLine(cmd.ErrOrStderr())
			result, err := bench.KVCache(cmd.Context(), o)
			clearLine(cmd.ErrOrStderr())
			if err != nil {
				return err
			}
			if asJSON {
				return encodeEach(cmd.OutOrStdout(), []any{result})
			}
			return bench.WriteKVCache(cmd.OutOrStdout(), result)
		},
	}
	f := cmd.Flags()
	f.IntVar(&o.Endpoints, "endpoints", 100, "number of model servers")
	f.IntVar(&o.Blocks, "blocks", 10_000_000, "blocks of 16 tokens that they hold in all")
	f.IntVar(&o.Rate, "rate", 125_000, "blocks stored per second, and as many removed, while lookups are timed: 100 endpoints that prefill 20,000 tokens/s each store 125,000")
	f.DurationVar(&o.Duration, "duration", 3*time.Second, "time for each size of prompt and case")
	f.BoolVar(&asJSON, "json", false, "print a JSON object")
	return cmd
}
