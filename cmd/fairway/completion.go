package main

import (
	"context"
	"encoding/json"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"

	"github.com/fairway-ai/fairway/epp/explain"
)

// yamlFiles are the endings of files with objects or a configuration.
func yamlFiles() []string { return []string{"yaml", "yml", "json"} }

// fileEndings are the endings of the files that flags name. A flag that is not here
// takes a file of any name.
func fileEndings() map[string][]string {
	return map[string][]string{
		"ca":                     pemFiles(),
		"config-file":            yamlFiles(),
		"endpoints-file":         yamlFiles(),
		"file":                   yamlFiles(),
		"filename":               yamlFiles(),
		"metrics-client-ca-file": pemFiles(),
		"output":                 yamlFiles(),
		"plot":                   {"svg"},
		"policy-config":          yamlFiles(),
		"provider-ca-file":       pemFiles(),
		"report":                 yamlFiles(),
		flagTokenizers:           {"json"},
		"trace":                  {"jsonl", "json"},
	}
}

func pemFiles() []string { return []string{"pem", "crt", "cer"} }

// freeText are the words by which help calls values that nobody can know beforehand. A
// flag whose value is text needs one of these, or file, path, directory, or a set of
// known values: see [valueKind].
func freeText() []string {
	return []string{
		"address", "addresses", "domain", "host", "image", "key", "kinds", "labels", "name", "names",
		"namespace", "namespaces", "page", "pattern", "series", "text", "topic", "URL", "version", "YAML",
	}
}

// kind is how a flag's value is completed.
type kind int

const (
	kindUnknown kind = iota // a mistake: see freeText
	kindNothing
	kindValues
	kindFile
	kindDirectory
)

// valueKind tells how a flag's value is completed, by its set of values, its type, and
// the word by which help calls it.
func valueKind(f *pflag.Flag) kind {
	if _, ok := f.Annotations[valuesKey]; ok {
		return kindValues
	}
	if f.Value.Type() == "bool" || isNumber(f) {
		return kindNothing
	}
	switch word, _ := pflag.UnquoteUsage(f); {
	case word == "file", word == "path", word == "MODEL=PATH":
		return kindFile
	case word == "directory":
		return kindDirectory
	case slices.Contains(freeText(), word):
		return kindNothing
	}
	return kindUnknown
}

// isNumber tells whether a flag's value is one or several numbers, or a duration.
func isNumber(f *pflag.Flag) bool {
	switch f.Value.Type() {
	case "int", "int64", "uint64", "float64", "duration", "intSlice", "float64Slice", "size":
		return true
	}
	return false
}

// addCompletions tells shells how the flags and arguments of a command, and of those
// below it, are completed. What nobody can know completes to nothing, not to files.
func addCompletions(c *cobra.Command) {
	if c.ValidArgsFunction == nil {
		c.ValidArgsFunction = cobra.NoFileCompletions
	}
	c.LocalFlags().VisitAll(func(f *pflag.Flag) {
		complete := cobra.NoFileCompletions
		switch valueKind(f) {
		case kindValues:
			complete = completeValues(f)
		case kindFile:
			complete = completeFiles(f.Name)
		case kindDirectory:
			complete = cobra.FixedCompletions(nil, cobra.ShellCompDirectiveFilterDirs)
		}
		if err := c.RegisterFlagCompletionFunc(f.Name, complete); err != nil {
			panic(err) // it is the command's, and completed once
		}
	})
	for _, sub := range c.Commands() {
		addCompletions(sub)
	}
}

// completeFiles offers files with the endings of the flag of that name, any where it has
// none.
func completeFiles(flag string) cobra.CompletionFunc {
	return func(*cobra.Command, []string, string) ([]cobra.Completion, cobra.ShellCompDirective) {
		if endings := fileEndings()[flag]; len(endings) > 0 {
			return endings, cobra.ShellCompDirectiveFilterFileExt
		}
		return nil, cobra.ShellCompDirectiveDefault
	}
}

// completeValues offers a flag's known values. Of a list it completes the last one, by
// those that are not in it yet.
func completeValues(f *pflag.Flag) cobra.CompletionFunc {
	values := f.Annotations[valuesKey]
	_, list := f.Value.(pflag.SliceValue)
	return func(_ *cobra.Command, _ []string, typed string) ([]cobra.Completion, cobra.ShellCompDirective) {
		directive := cobra.ShellCompDirectiveNoFileComp
		before := ""
		if list {
			directive |= cobra.ShellCompDirectiveNoSpace // a comma may follow
			before = typed[:strings.LastIndexByte(typed, ',')+1]
		}
		var out []cobra.Completion
		for _, v := range values {
			if strings.HasPrefix(before+v, typed) && !slices.Contains(strings.Split(before, ","), v) {
				out = append(out, before+v)
			}
		}
		return out, directive
	}
}

// completeYAML offers files for the arguments of a command, or where one is true for the
// first alone.
func completeYAML(one bool) cobra.CompletionFunc {
	return func(_ *cobra.Command, args []string, _ string) ([]cobra.Completion, cobra.ShellCompDirective) {
		if one && len(args) > 0 {
			return nil, cobra.ShellCompDirectiveNoFileComp
		}
		return yamlFiles(), cobra.ShellCompDirectiveFilterFileExt
	}
}

const (
	// completeTime is how long a shell waits for a picker that is asked for its decisions.
	completeTime = time.Second
	// completeIDs is how many decisions are offered.
	completeIDs = 50
)

// plainID is an ID that no shell takes for anything else. Clients choose IDs.
var plainID = regexp.MustCompile(`^[A-Za-z0-9][A-Za-z0-9._-]{0,127}$`)

// completeRequests offers the IDs of the latest requests of the picker at *addr.
func completeRequests(addr *string) cobra.CompletionFunc {
	return func(cmd *cobra.Command, args []string, typed string) ([]cobra.Completion, cobra.ShellCompDirective) {
		const directive = cobra.ShellCompDirectiveNoFileComp | cobra.ShellCompDirectiveKeepOrder
		if len(args) > 0 {
			return nil, directive
		}
		ctx, cancel := context.WithTimeout(cmd.Context(), completeTime)
		defer cancel()
		body, err := getDecisions(ctx, *addr, explain.Path+"?n="+strconv.Itoa(completeIDs))
		var decisions []explain.Decision
		if err != nil || json.Unmarshal(body, &decisions) != nil {
			return nil, directive // nothing to offer is no error of the shell's
		}
		var out []cobra.Completion
		for i := range decisions {
			if id := decisions[i].ID; strings.HasPrefix(id, typed) && plainID.MatchString(id) {
				out = append(out, id)
			}
		}
		return out, directive
	}
}
