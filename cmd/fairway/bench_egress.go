package main

import (
	"errors"
	"fmt"
	"os"
	"time"

	"github.com/spf13/cobra"

	"github.com/fairway-ai/fairway/bench"
	"github.com/fairway-ai/fairway/gateway/standalone"
)

func newBenchEgressCommand() *cobra.Command {
	var (
		o      bench.EgressOptions
		asJSON bool
	)
	cmd := &cobra.Command{
		Use:   "egress",
		Short: "Measure requests to AI providers, straight and through Envoy and Fairway",
		Long: `Measure requests in OpenAI's API to providers that answer at once: straight to one of
that API, and through real Envoy and Fairway to it, to one of Anthropic's API and to
one of AWS Bedrock's, in turns. Bodies have 1 KB and 220 KB; streamed answers have 200
events. Beside it, what translation alone costs, and with --streams the memory of
streams that are open at a time. Load, providers, Envoy and Fairway share the machine.`,
		Example: "  fairway bench egress\n  fairway bench egress --duration 10s --streams 10000 --json",
		Args:    noArgs,
		RunE: func(cmd *cobra.Command, _ []string) (err error) {
			switch {
			case cmd.Flags().Changed("duration") && cmd.Flags().Changed("requests"):
				return errors.New("--duration and --requests: set only one")
			case o.Rounds < 1 || o.Rounds > 1000:
				return fmt.Errorf("--rounds: %d must be 1 to 1000", o.Rounds)
			case o.Duration < time.Duration(o.Rounds)*minSlice:
				return fmt.Errorf("--duration: %v must be at least %v for each of %d rounds", o.Duration, minSlice, o.Rounds)
			case o.Requests < 0:
				return fmt.Errorf("--requests: %d must not be negative", o.Requests)
			case o.Streams < 0 || o.Streams > 20_000:
				return fmt.Errorf("--streams: %d must be 0 to 20000", o.Streams)
			}
			if o.Envoy, err = standalone.FindEnvoy(o.Envoy); err != nil {
				return err
			}
			if o.Self, err = os.Executable(); err != nil {
				return fmt.Errorf("the path of this program: %w", err)
			}
			o.Progress = progressLine(cmd.ErrOrStderr())
			result, err := bench.Egress(cmd.Context(), o)
			clearLine(cmd.ErrOrStderr())
			if err != nil {
				return err
			}
			if asJSON {
				return encodeEach(cmd.OutOrStdout(), []any{result})
			}
			return bench.WriteEgress(cmd.OutOrStdout(), result)
		},
	}
	f := cmd.Flags()
	f.StringVar(&o.Envoy, "envoy", "", envoyUsage)
	f.DurationVar(&o.Duration, "duration", 4*time.Second, "time for each case and side")
	f.IntVar(&o.Requests, "requests", 0, "number of requests instead of --duration")
	f.IntVar(&o.Rounds, "rounds", 5, "number of turns that the time is divided into")
	f.IntVar(&o.Streams, "streams", 0, "hold this many streams open and measure their memory")
	f.BoolVar(&asJSON, "json", false, "print a JSON object")
	return cmd
}
