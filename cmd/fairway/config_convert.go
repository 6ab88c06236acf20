package main

import (
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"

	"github.com/spf13/cobra"

	"github.com/fairway-ai/fairway/gateway/convert"
)

// exitLost is the exit status of config convert --strict when something was lost.
const exitLost = 3

// exitError is an error with an exit status of its own.
type exitError struct {
	error
	code int
}

// exitCode is what the process ends with after err.
func exitCode(err error) int {
	if e := (exitError{}); errors.As(err, &e) {
		return e.code
	}
	return 1
}

type convertFlags struct {
	from                []string
	output              string
	strict, passthrough bool
}

func newConfigConvertCommand() *cobra.Command {
	var f convertFlags
	cmd := &cobra.Command{
		Use:   "convert [-f FILE|DIR|-]... [-o FILE]",
		Short: "Turn Envoy AI Gateway's objects into AIRoutes and AIBackends",
		Long: `Convert the objects of Envoy AI Gateway, of any version from 0.2 on: every
AIGatewayRoute becomes an AIRoute and every AIServiceBackend an AIBackend, together with
the BackendSecurityPolicy, the Backend and the BackendTLSPolicy that belong to it.
Secrets stay where they are, and are only named. ReferenceGrants are written for what is
named in other namespaces.

What is not the same afterwards is listed on standard error, with file, line, object and
field, and with what to do instead:

  not carried over   something does not work as before until you do that
  check              carried over, with a difference worth a look

All files are read together, so that objects may be in any of them and in any order; a
List, as kubectl prints it, is as good as documents. Nothing is sent anywhere, and
nothing in the cluster is changed.

The exit status is 0 also when something was not carried over, unless --strict is given:
then it is ` + strconv.Itoa(exitLost) + `.`,
		Example: `  kubectl get -A -o yaml aigatewayroutes,aiservicebackends,backendsecuritypolicies,\
  backends.gateway.envoyproxy.io,backendtlspolicies | fairway config convert -o fairway.yaml
  fairway config convert -f manifests/ --passthrough --strict >converted.yaml`,
		Args: noArgs,
		RunE: func(cmd *cobra.Command, _ []string) error { return f.run(cmd) },
	}
	fs := cmd.Flags()
	fs.StringArrayVarP(&f.from, "filename", "f", []string{"-"}, "`file` to read, or a folder of them, or - for standard input; may be repeated")
	fs.StringVarP(&f.output, "output", "o", "-", "`file` to write, or - for standard output")
	fs.BoolVar(&f.strict, "strict", false, fmt.Sprintf("end with exit status %d when something was not carried over", exitLost))
	fs.BoolVar(&f.passthrough, "passthrough", false, "also write the objects of other kinds, as they are")
	return cmd
}

func (f *convertFlags) run(cmd *cobra.Command) error {
	sources, err := f.read(cmd.InOrStdin())
	if err != nil {
		return err
	}
	result, err := convert.Convert(sources, convert.Options{Passthrough: f.passthrough})
	if err != nil {
		return err
	}
	lost := 0
	report := cmd.ErrOrStderr()
	for _, x := range result.Findings {
		if x.Lost {
			lost++
		}
		fmt.Fprintln(report, x)
	}
	fmt.Fprintf(report, "%d AIRoutes and %d AIBackends; %d not carried over, %d to check\n", result.Routes, result.Backends, lost, len(result.Findings)-lost)
	if f.output == "-" {
		_, err = cmd.OutOrStdout().Write(result.YAML)
	} else {
		err = os.WriteFile(f.output, result.YAML, 0o644)
	}
	if err != nil {
		return fmt.Errorf("--output: %w", err)
	}
	if f.strict && result.Lost() {
		return exitError{fmt.Errorf("%d things were not carried over", lost), exitLost}
	}
	return nil
}

// read reads what the flags name. Together it is at most convert.MaxInput bytes long.
func (f *convertFlags) read(stdin io.Reader) ([]convert.Source, error) {
	var sources []convert.Source
	left := int64(convert.MaxInput)
	take := func(name string, r io.Reader) error {
		data, err := io.ReadAll(io.LimitReader(r, left+1))
		if err != nil {
			return fmt.Errorf("%s: %w", name, err)
		}
		if left -= int64(len(data)); left < 0 {
			return fmt.Errorf("%s: the input is longer than %d bytes", name, convert.MaxInput)
		}
		sources = append(sources, convert.Source{Name: name, Data: data})
		return nil
	}
	file := func(name string) error {
		r, err := os.Open(name)
		if err != nil {
			return err
		}
		defer r.Close()
		return take(name, r)
	}
	for _, name := range f.from {
		if name == "-" {
			if err := take("-", stdin); err != nil {
				return nil, err
			}
			continue
		}
		names, err := filesIn(name)
		if err != nil {
			return nil, fmt.Errorf("--filename: %w", err)
		}
		for _, n := range names {
			if err := file(n); err != nil {
				return nil, fmt.Errorf("--filename: %w", err)
			}
		}
	}
	return sources, nil
}

// filesIn are the YAML files of a folder, in order, or the file itself.
func filesIn(name string) ([]string, error) {
	info, err := os.Stat(name)
	if err != nil || !info.IsDir() {
		return []string{name}, err
	}
	entries, err := os.ReadDir(name)
	if err != nil {
		return nil, err
	}
	var names []string
	for _, e := range entries {
		if ext := strings.ToLower(filepath.Ext(e.Name())); !e.IsDir() && ext != "" && slices.Contains(yamlFiles(), ext[1:]) {
			names = append(names, filepath.Join(name, e.Name()))
		}
	}
	if len(names) == 0 {
		return nil, fmt.Errorf("%s: has no files that end in %s", name, anyOf(yamlFiles()))
	}
	return names, nil
}
