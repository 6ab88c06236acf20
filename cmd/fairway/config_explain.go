package main

import (
	"context"
	"fmt"
	"io"
	"strings"

	"github.com/spf13/cobra"

	"github.com/fairway-ai/fairway/epp/config"
	"github.com/fairway-ai/fairway/epp/objectives"
	"github.com/fairway-ai/fairway/gateway/airoute"
)

func newConfigExplainCommand() *cobra.Command {
	var o config.Options
	cmd := &cobra.Command{
		Use:   "explain FILE",
		Short: "Show what a configuration file comes to",
		Long: `Show the configuration that a file comes to. Of an EndpointPickerConfig that is the
whole of it, as YAML with every default; a comment behind each value says where it comes
from: a line of the file, what it is called there if by an earlier name, or a default. Of
AIRoute, AIBackend and InferencePool objects it is a summary of the rules in their order
and of the backends. - reads an EndpointPickerConfig from standard input.`,
		Example: `  fairway config explain epp-config.yaml
  kubectl get configmap epp -o jsonpath='{.data.config\.yaml}' | fairway config explain -`,
		Args:              files(true),
		ValidArgsFunction: completeYAML(true),
		RunE: func(cmd *cobra.Command, args []string) error {
			return explainFile(cmd.Context(), args[0], cmd.InOrStdin(), cmd.OutOrStdout(), cmd.ErrOrStderr(), o)
		},
	}
	cmd.Flags().BoolVar(&o.Experimental, experimentalFlag, false, experimentalUsage)
	return cmd
}

// explainFile writes to out what a file comes to, and warnings to notes.
func explainFile(ctx context.Context, name string, stdin io.Reader, out, notes io.Writer, o config.Options) error {
	data, err := readNamed(name, stdin)
	if err != nil {
		return err
	}
	if name == "-" || isPickerConfig(data) {
		text, warnings, err := o.Explain(data)
		for _, w := range warnings {
			fmt.Fprintf(notes, "warning: %s: %s\n", name, w)
		}
		if err != nil {
			return fmt.Errorf("%s: %w", name, err)
		}
		_, err = out.Write(text)
		return err
	}
	c, err := fileLoader().Load(ctx, name)
	if err == nil {
		err = resolveAI(c)
	}
	if err != nil {
		return err
	}
	for _, w := range c.Warnings {
		fmt.Fprintf(notes, "warning: %s\n", w)
	}
	var b strings.Builder
	if len(c.Pools) > 0 {
		b.WriteString("pools:\n")
	}
	for i := range c.Pools {
		p := &c.Pools[i]
		models := "models that no other pool names"
		if len(p.Models) > 0 {
			models = strings.Join(p.Models, ", ")
		}
		fmt.Fprintf(&b, "  %s: endpoints: %d; %s\n", p.FullName(), len(p.Specs), models)
	}
	if o := aiOf(c).objectives; o != nil {
		summarizeObjectives(&b, o)
	}
	summarize(&b, aiOf(c).rules)
	_, err = io.WriteString(out, b.String())
	return err
}

// summarizeObjectives writes what objects say of priorities and of models' names.
func summarizeObjectives(b *strings.Builder, o *objectives.Objects) {
	if len(o.Objectives) > 0 {
		b.WriteString("objectives:\n")
	}
	for _, x := range o.Objectives {
		fmt.Fprintf(b, "  %s/%s: priority %d in pool %s\n", x.Namespace, x.Name, x.Priority, x.Pool)
	}
	if len(o.Rewrites) > 0 {
		b.WriteString("model rewrites:\n")
	}
	for _, x := range o.Rewrites {
		fmt.Fprintf(b, "  %s/%s: in pool %s\n", x.Namespace, x.Name, x.Pool)
		for _, r := range x.Rules {
			from := strings.Join(r.Models, ", ")
			if r.All {
				from = "any other model"
			}
			to := make([]string, len(r.Targets))
			for i, t := range r.Targets {
				if to[i] = t.Model; len(to) > 1 {
					to[i] += fmt.Sprintf(" (weight %d)", t.Weight)
				}
			}
			if len(to) == 0 {
				to = []string{"itself"}
			}
			fmt.Fprintf(b, "    %s becomes %s\n", from, strings.Join(to, ", "))
		}
	}
}

// summarize writes the rules in the order in which they are tried, and the backends.
func summarize(b *strings.Builder, c *airoute.Config) {
	if len(c.Rules) > 0 {
		b.WriteString("rules, the first that matches:\n")
	}
	for i := range c.Rules {
		r := &c.Rules[i]
		fmt.Fprintf(b, "  %s\n    when %s\n", r.Name, matchesOf(r.Matches))
		for g, group := range r.Groups {
			word := "then"
			if g > 0 {
				word = "else"
			}
			if g >= max(r.Attempts, 1) {
				word = "never"
			}
			fmt.Fprintf(b, "    %s %s\n", word, targetsOf(group))
		}
		if len(r.Groups) == 0 {
			b.WriteString("    then 500: none of its backends can be used\n")
		}
		if on := triggersOf(r.On); len(r.Groups) > 1 && on != "" {
			fmt.Fprintf(b, "    else on %s\n", on)
		}
		if r.FirstByteTimeout > 0 || r.Timeout > 0 {
			fmt.Fprintf(b, "    within %v for the first byte, %v in all (0s: no bound)\n", r.FirstByteTimeout, r.Timeout)
		}
	}
	if len(c.Backends) > 0 {
		b.WriteString("backends:\n")
	}
	for i := range c.Backends {
		k := &c.Backends[i]
		at := k.Pool
		if at == "" {
			at = fmt.Sprintf("%s:%d", k.Host, k.Port)
		}
		fmt.Fprintf(b, "  %s: %s at %s", k.Name, k.Provider.Schema, at)
		switch {
		case k.TLS.Off:
			b.WriteString(", without TLS")
		case k.TLS.Insecure:
			b.WriteString(", with TLS of any certificate")
		}
		if k.Provider.Model != "" {
			fmt.Fprintf(b, ", model %s", k.Provider.Model)
		}
		if len(k.Models) > 0 {
			fmt.Fprintf(b, ", serves %s", strings.Join(k.Models, ", "))
		}
		b.WriteString("\n")
	}
}

// matchesOf says which requests a rule is for.
func matchesOf(matches []airoute.Match) string {
	if len(matches) == 0 {
		return "anything"
	}
	var out []string
	for i := range matches {
		m := &matches[i]
		var all []string
		add := func(what string, c *airoute.Comparison) {
			if c.IsSet() {
				all = append(all, what+" "+comparison(c))
			}
		}
		add("model", &m.Model)
		add("path", &m.Path)
		for j := range m.Headers {
			add("header "+m.Headers[j].Name, &m.Headers[j].Value)
		}
		if len(all) == 0 {
			all = append(all, "anything")
		}
		out = append(out, strings.Join(all, " and "))
	}
	return strings.Join(out, ", or ")
}

func comparison(c *airoute.Comparison) string {
	switch {
	case c.Regexp != nil:
		return "matches " + c.Regexp.String()
	case c.Element:
		return "is below " + c.Prefix + "/"
	case c.Prefix != "":
		return "begins with " + c.Prefix
	}
	return "is " + c.Exact
}

// targetsOf says where a group sends to.
func targetsOf(group []airoute.Target) string {
	var total uint64
	for _, t := range group {
		total += uint64(t.Weight)
	}
	var out []string
	for _, t := range group {
		text := "backend " + t.Backend
		if t.Pool != "" {
			text = "pool " + t.Pool
			if t.Backend != "" {
				text += " as backend " + t.Backend
			}
		}
		if t.Model != "" {
			text += " for model " + t.Model
		}
		if len(group) > 1 && total > 0 {
			text = fmt.Sprintf("%.4g%% %s", 100*float64(t.Weight)/float64(total), text)
		}
		out = append(out, text)
	}
	return strings.Join(out, ", ")
}

// triggersOf says what leads to the next group.
func triggersOf(t airoute.Triggers) string {
	var out []string
	for _, x := range []struct {
		on   bool
		name string
	}{
		{t.ConnectFailure, "ConnectFailure"}, {t.ServerError, "ServerError"}, {t.TooManyRequests, "TooManyRequests"},
		{t.NoEndpoints, "NoEndpoints"}, {t.Saturated, "Saturated"}, {t.PickerUnavailable, "PickerUnavailable"},
	} {
		if x.on {
			out = append(out, x.name)
		}
	}
	return strings.Join(out, ", ")
}
