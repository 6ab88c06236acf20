package main

import (
	"regexp"
	"strings"
	"testing"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"
)

// TestHelp: each command says what it does and gives an example that is one; each flag
// of it has a text, and those of one name say the same.
func TestHelp(t *testing.T) {
	// One word per concept, in help.
	avoid := regexp.MustCompile(`(?i)exit code|\(default: |can be repeated|\b0 (?:never|means|is) `)
	// Flags that mean the same wherever they are, and what they said.
	said := map[string]string{}
	shared := []string{"allow-experimental-plugins", "config-file", "drain-timeout", "envoy", "explain-header", "log-level", "max-body-bytes", "enable-pprof", "kv-events", "tokenizer-file"}
	everyCommand(newRootCommand(), func(c *cobra.Command) {
		if c.Hidden {
			return
		}
		path := c.CommandPath()
		if c.Short == "" || c.Long == "" || strings.HasSuffix(c.Short, ".") {
			t.Errorf("%s: has no help, or a short one that ends with a period", path)
		}
		for line := range strings.Lines(c.Long) {
			if len(strings.TrimRight(line, "\n")) > 90 {
				t.Errorf("%s: a line of the help is wider than 90: %s", path, line)
			}
		}
		if m := avoid.FindString(c.Long); m != "" {
			t.Errorf("%s: the help has %q", path, m)
		}
		if !c.HasSubCommands() && c.Name() != "version" && c.Example == "" {
			t.Errorf("%s: has no example", path)
		}
		for _, args := range commandLines(c.Example) {
			cmd, rest, err := newRootCommand().Find(args)
			if err == nil {
				err = cmd.ParseFlags(rest)
			}
			if err != nil || cmd.CommandPath() != path {
				t.Errorf("%s: the example %q is of %s: %v", path, args, cmd.CommandPath(), err)
			}
		}
		c.LocalFlags().VisitAll(func(f *pflag.Flag) {
			if f.Usage == "" || strings.HasSuffix(f.Usage, ".") || avoid.MatchString(f.Usage) {
				t.Errorf("%s --%s: text %q", path, f.Name, f.Usage)
			}
			for _, name := range shared {
				if f.Name != name {
					continue
				}
				if was, ok := said[name]; ok && was != f.Usage {
					t.Errorf("%s --%s: says %q, and elsewhere %q", path, name, f.Usage, was)
				}
				said[name] = f.Usage
			}
		})
	})
}
