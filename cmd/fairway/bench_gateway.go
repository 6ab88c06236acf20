package main

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"os"
	"time"

	"github.com/spf13/cobra"
	"golang.org/x/term"

	"github.com/fairway-ai/fairway/bench"
	"github.com/fairway-ai/fairway/gateway/standalone"
)

func newBenchGatewayCommand() *cobra.Command {
	var (
		o      bench.GatewayOptions
		asJSON bool
	)
	cmd := &cobra.Command{
		Use:   "gateway",
		Short: "Measure requests through real Envoy, with the picker and without",
		Long: `Measure throughput, latency and CPU time of requests through real Envoy, with the
picker and with the same configuration without it, in turns. Bodies are chat requests
of 1 KB and 220 KB, streamed and not. The servers answer at once, so that what is
measured is Envoy and the picker. Load, servers, Envoy and picker share the machine.`,
		Example: "  fairway bench gateway\n  fairway bench gateway --duration 30s --concurrency 64 --json",
		Args:    noArgs,
		RunE: func(cmd *cobra.Command, _ []string) (err error) {
			switch {
			case cmd.Flags().Changed("duration") && cmd.Flags().Changed("requests"):
				return errors.New("--duration and --requests: set only one")
			case o.Endpoints < 1 || o.Endpoints > 1000:
				return fmt.Errorf("--endpoints: %d must be 1 to 1000", o.Endpoints)
			case o.Concurrency < 1 || o.Concurrency > 1000:
				return fmt.Errorf("--concurrency: %d must be 1 to 1000", o.Concurrency)
			case o.Rounds < 1 || o.Rounds > 1000:
				return fmt.Errorf("--rounds: %d must be 1 to 1000", o.Rounds)
			case o.Duration < time.Duration(o.Rounds)*minSlice:
				return fmt.Errorf("--duration: %v must be at least %v for each of %d rounds", o.Duration, minSlice, o.Rounds)
			case o.Requests < 0:
				return fmt.Errorf("--requests: %d must not be negative", o.Requests)
			}
			if o.Envoy, err = standalone.FindEnvoy(o.Envoy); err != nil {
				return err
			}
			if o.Self, err = os.Executable(); err != nil {
				return fmt.Errorf("the path of this program: %w", err)
			}
			o.Log = slog.New(slog.NewTextHandler(cmd.ErrOrStderr(), &slog.HandlerOptions{Level: slog.LevelWarn}))
			o.Progress = progressLine(cmd.ErrOrStderr())
			rows, err := bench.Gateway(cmd.Context(), o)
			clearLine(cmd.ErrOrStderr())
			if err != nil {
				return err
			}
			if asJSON {
				return encodeEach(cmd.OutOrStdout(), rows)
			}
			return bench.WriteGateway(cmd.OutOrStdout(), rows, o.Concurrency)
		},
	}
	f := cmd.Flags()
	f.StringVar(&o.Envoy, "envoy", "", envoyUsage)
	f.IntVar(&o.Endpoints, "endpoints", 8, "number of model servers")
	f.IntVar(&o.Concurrency, "concurrency", 16, "requests under way at a time, for throughput")
	f.DurationVar(&o.Duration, "duration", 6*time.Second, "time for each case, side, and throughput or latency")
	f.IntVar(&o.Requests, "requests", 0, "number of requests instead of --duration")
	f.IntVar(&o.Rounds, "rounds", 5, "number of turns that the time is divided into")
	f.BoolVar(&asJSON, "json", false, "print one JSON object per case")
	return cmd
}

// minSlice is the shortest turn: CPU times are known to 10 ms.
const minSlice = 200 * time.Millisecond

// progressLine draws on a terminal and nowhere else.
func progressLine(w io.Writer) func(string) {
	if f, ok := w.(*os.File); !ok || !term.IsTerminal(int(f.Fd())) {
		return nil
	}
	return func(text string) { fmt.Fprintf(w, "\r\033[K%s", text) }
}

func clearLine(w io.Writer) {
	if p := progressLine(w); p != nil {
		p("")
	}
}

func encodeEach[T any](out io.Writer, rows []T) error {
	e := json.NewEncoder(out)
	for _, r := range rows {
		if err := e.Encode(r); err != nil {
			return fmt.Errorf("print: %w", err)
		}
	}
	return nil
}
