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
	ctx, stop := signal.NotifyContext(context.Background(), ends()...)
	defer stop()
	if err := newRootCommand().ExecuteContext(ctx); err != nil {
		fmt.Fprintln(os.Stderr, "fairway:", err)
		os.Exit(1)
	}
}

// ends are the signals that end a command in good order: Ctrl-C, a supervisor's
// request, and a terminal that is closed, unless nohup has it ignored.
func ends() []os.Signal {
	s := []os.Signal{os.Interrupt, syscall.SIGTERM}
	if !signal.Ignored(syscall.SIGHUP) {
		s = append(s, syscall.SIGHUP)
	}
	return s
}

func newRootCommand() *cobra.Command {
	root := &cobra.Command{
		Use:           "fairway",
		Short:         "Route LLM traffic to the right model server",
		SilenceUsage:  true,
		SilenceErrors: true,
	}
	for _, g := range []struct {
		id, title string
		commands  []*cobra.Command
	}{
		{"serve", "Route traffic:", []*cobra.Command{newRunCommand(), newEPPCommand(), newSimCommand()}},
		{"look", "Look closer:", []*cobra.Command{newExplainCommand(), newConfigCommand(), newConformanceCommand(), newBenchCommand()}},
	} {
		root.AddGroup(&cobra.Group{ID: g.id, Title: g.title})
		for _, c := range g.commands {
			c.GroupID = g.id
			root.AddCommand(c)
		}
	}
	root.AddCommand(newVersionCommand())
	return root
}
