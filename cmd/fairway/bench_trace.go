package main

import (
	"fmt"
	"math/rand/v2"

	"github.com/spf13/cobra"

	"github.com/fairway-ai/fairway/sim/workload"
)

func newTraceCommand() *cobra.Command {
	var (
		generate string
		requests int
		seed     uint64
	)
	cmd := &cobra.Command{
		Use:   "trace --generate NAME",
		Short: "Write a generated workload as a trace file",
		Long: `Write a generated workload to standard output in Mooncake's trace format, to look
at it or to replay it with another tool.

Workloads:
` + workload.Describe(),
		Example: "  fairway bench trace --generate agents --requests 1000 > agents.jsonl",
		Args:    noArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			switch {
			case generate == "":
				return fmt.Errorf("--generate: is missing; name a workload: %s", anyOf(workload.Names()))
			case requests < 1:
				return fmt.Errorf("--requests: %d must be at least 1", requests)
			}
			w, err := workload.Generate(generate, requests, rand.New(rand.NewPCG(seed, 7)))
			if err != nil {
				return fmt.Errorf("--generate: %w", err)
			}
			return workload.WriteMooncake(cmd.OutOrStdout(), w)
		},
	}
	f := cmd.Flags()
	f.StringVar(&generate, "generate", "", "the workload")
	known(f, "generate", workload.Names())
	f.IntVar(&requests, "requests", 1000, "number of requests")
	f.Uint64Var(&seed, "seed", 1, "seed of the random source")
	return cmd
}
