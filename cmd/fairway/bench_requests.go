package main

import (
	"fmt"
	"os"
	"runtime/debug"
	"time"

	"github.com/spf13/cobra"

	"github.com/fairway-ai/fairway/bench"
)

func newBenchRequestsCommand() *cobra.Command {
	var (
		o      bench.RequestsOptions
		asJSON bool
	)
	cmd := &cobra.Command{
		Use:   "requests",
		Short: "Measure the CPU time of a request in the picker",
		Long: `Measure the picker's CPU time per request over gRPC (ext_proc), with 1 KB and 220 KB
chat requests in both body modes, beside two servers that only answer: one that does
not decode messages at all, one with the generated protobuf code. Each server is a
process of its own. The endpoints' metrics are not read meanwhile.`,
		Example: "  fairway bench requests --endpoints 8,1000",
		Args:    noArgs,
		RunE: func(cmd *cobra.Command, _ []string) (err error) {
			switch {
			case o.Concurrency < 1 || o.Concurrency > 64:
				return fmt.Errorf("--concurrency: %d must be 1 to 64", o.Concurrency)
			case o.Rounds < 1 || o.Rounds > 1000:
				return fmt.Errorf("--rounds: %d must be 1 to 1000", o.Rounds)
			case o.Slice < minSlice:
				return fmt.Errorf("--slice: %v must be at least %v", o.Slice, minSlice)
			}
			for _, n := range o.Endpoints {
				if n < 1 || n > 4096 {
					return fmt.Errorf("--endpoints: %d must be 1 to 4096", n)
				}
			}
			if o.Self, err = os.Executable(); err != nil {
				return fmt.Errorf("the path of this program: %w", err)
			}
			o.Progress = progressLine(cmd.ErrOrStderr())
			rows, err := bench.Requests(cmd.Context(), o)
			clearLine(cmd.ErrOrStderr())
			if err != nil {
				return err
			}
			if asJSON {
				return encodeEach(cmd.OutOrStdout(), rows)
			}
			return bench.WriteRequests(cmd.OutOrStdout(), rows)
		},
	}
	f := cmd.Flags()
	f.IntSliceVar(&o.Endpoints, "endpoints", []int{8, 100, 1000}, "sizes of the pools to pick from")
	f.IntVar(&o.Concurrency, "concurrency", 8, "requests under way at a time")
	f.IntVar(&o.Rounds, "rounds", 7, "how often each server is measured")
	f.DurationVar(&o.Slice, "slice", 600*time.Millisecond, "how long each time")
	f.BoolVar(&asJSON, "json", false, "print one JSON object per case and server")
	return cmd
}

// newBenchEchoCommand is what bench requests compares the picker with.
func newBenchEchoCommand() *cobra.Command {
	var (
		kind, socket string
		duplex       bool
	)
	cmd := &cobra.Command{
		Use:    "echo",
		Short:  "Serve ext_proc and only answer",
		Hidden: true,
		Args:   noArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			if os.Getenv("GOGC") == "" { // as the picker does: it is not what is compared
				debug.SetGCPercent(defaultGCPercent)
			}
			return bench.ServeEcho(cmd.Context(), kind, socket, duplex)
		},
	}
	f := cmd.Flags()
	f.StringVar(&kind, "kind", bench.EchoRaw, "what the server does")
	oneOf(f, "kind", bench.EchoKinds())
	f.StringVar(&socket, "socket", "", "`path` of the unix socket to serve on")
	f.BoolVar(&duplex, "duplex", false, "send request bodies back")
	return cmd
}
