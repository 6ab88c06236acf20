// Command fairway routes LLM traffic: it picks the model server for every
// request behind Envoy.
package main

import (
	"context"
	"fmt"
	"os"
	"os/signal"
	"path/filepath"
	"strings"
	"syscall"

	"github.com/spf13/cobra"
)

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), ends()...)
	defer stop()
	root := newRootCommand()
	root.SetArgs(commandArgs(os.Args))
	if err := root.ExecuteContext(ctx); err != nil {
		fmt.Fprintln(os.Stderr, "fairway:", err)
		os.Exit(exitCode(err))
	}
}

// commandArgs are the arguments of the command line. Where the program is called
// by another picker's name, as an image's entrypoint, it is one; and also where the
// arguments are a picker's and name no command, because manifests that put this image
// in a picker's place give those alone.
func commandArgs(argv []string) []string {
	if len(argv) == 0 {
		return nil
	}
	args := argv[1:]
	switch filepath.Base(argv[0]) {
	case "epp", "lwepp":
		return append([]string{"epp"}, args...)
	}
	if len(args) == 1 && args[0] == "--version" {
		return []string{"version"}
	}
	if len(args) > 0 && strings.HasPrefix(args[0], "-") && args[0] != "-h" && args[0] != "--help" {
		return append([]string{"epp"}, args...)
	}
	return args
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
	root := newGroup("fairway", "Route LLM traffic to the right model server", `Fairway picks the model server for every LLM request, behind Envoy, and takes requests
to AI providers.

Begin with "fairway run": it starts Envoy, the endpoint picker and simulated model
servers on this machine.

The exit status is 0 when a command did what it was asked, and 1 when it did not; the
reason is on standard error. "config convert --strict" has one more.`)
	root.SilenceUsage, root.SilenceErrors = true, true
	for _, g := range []struct {
		id, title string
		commands  []*cobra.Command
	}{
		{"serve", "Route traffic:", []*cobra.Command{newRunCommand(), newGatewayCommand(), newEPPCommand(), newSimCommand()}},
		{"look", "Look closer:", []*cobra.Command{newExplainCommand(), newConfigCommand(), newConformanceCommand(), newBenchCommand()}},
	} {
		root.AddGroup(&cobra.Group{ID: g.id, Title: g.title})
		for _, c := range g.commands {
			c.GroupID = g.id
			root.AddCommand(c)
		}
	}
	root.AddCommand(newVersionCommand())
	root.SetFlagErrorFunc(flagError)
	addCompletions(root)
	return root
}

// newGroup returns a command that only has others, and shows its help on its own.
func newGroup(use, short, long string, commands ...*cobra.Command) *cobra.Command {
	cmd := &cobra.Command{
		Use:                   use,
		Short:                 short,
		Long:                  long,
		Args:                  noArgs,
		DisableFlagsInUseLine: true,
		RunE:                  func(cmd *cobra.Command, _ []string) error { return cmd.Help() },
	}
	cmd.AddCommand(commands...)
	return cmd
}
