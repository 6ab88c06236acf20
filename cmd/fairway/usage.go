package main

import (
	"errors"
	"fmt"
	"os"
	"strings"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"
)

// suggestWithin is how many letters a name may differ by to be suggested, as in cobra.
const suggestWithin = 2

// noArgs refuses arguments, and says what was probably meant: a command of that name, or
// a file that goes with -f.
func noArgs(cmd *cobra.Command, args []string) error {
	if len(args) == 0 {
		return nil
	}
	if cmd.HasSubCommands() {
		cmd.SuggestionsMinimumDistance = suggestWithin
		meant := didYouMean("", cmd.SuggestionsFor(args[0]))
		if meant == "" {
			meant = "; " + cmd.CommandPath() + " --help lists them"
		}
		return fmt.Errorf("unknown command %.60q for %q%s", args[0], cmd.CommandPath(), meant)
	}
	text := fmt.Sprintf("%s takes no arguments, and got %.60q", cmd.CommandPath(), args[0])
	if cmd.Flags().ShorthandLookup("f") != nil {
		if _, err := os.Stat(args[0]); err == nil || strings.Contains(args[0], ".") {
			text += fmt.Sprintf("; write -f %.60s for a file", args[0])
		}
	}
	return errors.New(text)
}

// files wants the names of files: at least one, or where one is true no other number.
func files(one bool) cobra.PositionalArgs {
	return func(cmd *cobra.Command, args []string) error {
		if len(args) > 0 && !(one && len(args) > 1) {
			return nil
		}
		return fmt.Errorf("name the file, as in %s epp-config.yaml; there are %d", cmd.CommandPath(), len(args))
	}
}

// flagError says of a flag that does not exist which one was probably meant, and of one
// that does what its value must be.
func flagError(cmd *cobra.Command, err error) error {
	var unknown *pflag.NotExistError
	var missing *pflag.ValueRequiredError
	var invalid *pflag.InvalidValueError
	switch {
	case errors.As(err, &invalid):
		return badValue(invalid)
	case errors.As(err, &missing):
		f := missing.GetFlag()
		word, _ := pflag.UnquoteUsage(f)
		return fmt.Errorf("--%s: the value is missing, as in --%s %s", f.Name, f.Name, strings.ToUpper(word))
	case !errors.As(err, &unknown):
		return err
	case unknown.GetSpecifiedShortnames() != "":
		return fmt.Errorf("%w; %s --help lists the flags", err, cmd.CommandPath())
	}
	// As cobra does for commands.
	flags := &cobra.Command{SuggestionsMinimumDistance: suggestWithin}
	cmd.Flags().VisitAll(func(f *pflag.Flag) {
		if !f.Hidden {
			flags.AddCommand(&cobra.Command{Use: f.Name, Run: func(*cobra.Command, []string) {}})
		}
	})
	if s := flags.SuggestionsFor(unknown.GetSpecifiedName()); len(s) > 0 {
		return fmt.Errorf("%w%s", err, didYouMean("--", s))
	}
	return fmt.Errorf("%w; %s --help lists the flags", err, cmd.CommandPath())
}

func didYouMean(dashes string, names []string) string {
	if len(names) == 0 || len(names) > 3 {
		return ""
	}
	return "; did you mean " + dashes + strings.Join(names, ", "+dashes) + "?"
}
