// Command fairway routes LLM traffic: it picks the model server for every
// request behind Envoy.
package main

import (
	"context"
	"fmt"
	"os"
	"os/signal"
	"syscall"

	"github.com/spf13/cobra"
)

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	if err := newRootCommand().ExecuteContext(ctx); err != nil {
		fmt.Fprintln(os.Stderr, "fairway:", err)
		os.Exit(1)
	}
}

func newRootCommand() *cobra.Command {
	root := &cobra.Command{
		Use:           "fairway",
		Short:         "Route LLM traffic to the right model server",
		SilenceUsage:  true,
		SilenceErrors: true,
	}
	root.AddCommand(
		newBenchCommand(),
		newConfigCommand(),
		newRunCommand(),
		newEPPCommand(),
		newExplainCommand(),
		newSimCommand(),
		newVersionCommand(),
	)
	return root
}
