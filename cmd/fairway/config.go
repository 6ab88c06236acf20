package main

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"os"

	"github.com/spf13/cobra"
	"go.yaml.in/yaml/v3"

	"github.com/fairway-ai/fairway/epp/config"
	"github.com/fairway-ai/fairway/epp/run"
	"github.com/fairway-ai/fairway/pool/file"
)

func newConfigCommand() *cobra.Command {
	return newGroup("config", "Check, explain and convert configuration files", `Work with configuration files: the EndpointPickerConfig that says how the picker
chooses, and the objects that say what is served. Nothing is started, and no cluster is
asked.`,
		newConfigValidateCommand(), newConfigExplainCommand(), newConfigConvertCommand())
}

func newConfigValidateCommand() *cobra.Command {
	var experimental bool
	cmd := &cobra.Command{
		Use:   "validate FILE...",
		Short: "Explain every mistake in configuration files",
		Long: `Check files as run and epp would read them: an EndpointPickerConfig, or AIRoute,
AIBackend, Secret and InferencePool objects and endpoints. Each mistake is named with
line and field. - reads an EndpointPickerConfig from standard input.

The exit status is 1 when a file is wrong; warnings leave it at 0.`,
		Example: `  fairway config validate fairway.yaml
  fairway config validate epp-config.yaml endpoints.yaml`,
		Args:              files(false),
		ValidArgsFunction: completeYAML(false),
		RunE: func(cmd *cobra.Command, args []string) error {
			bad := 0
			for _, name := range args {
				warnings, err := validateFile(cmd.Context(), name, cmd.InOrStdin(), config.Options{Experimental: experimental})
				for _, w := range warnings {
					fmt.Fprintf(cmd.OutOrStdout(), "warning: %s\n", w)
				}
				if err != nil {
					bad++
					fmt.Fprintln(cmd.OutOrStdout(), err)
					continue
				}
				fmt.Fprintf(cmd.OutOrStdout(), "%s: ok\n", name)
			}
			if bad > 0 {
				return fmt.Errorf("%d of %d files are wrong", bad, len(args))
			}
			return nil
		},
	}
	cmd.Flags().BoolVar(&experimental, experimentalFlag, false, experimentalUsage)
	return cmd
}

// validateFile checks one file, of whichever kind it is.
func validateFile(ctx context.Context, name string, stdin io.Reader, o config.Options) (warnings []string, err error) {
	data, err := readNamed(name, stdin)
	if err != nil {
		return nil, err
	}
	if name != "-" && !isPickerConfig(data) {
		c, err := fileLoader().Load(ctx, name)
		if err == nil {
			err = resolveAI(c)
		}
		if err != nil {
			return nil, err
		}
		return c.Warnings, nil
	}
	c, found, err := o.Load(data)
	for _, w := range found {
		warnings = append(warnings, name+": "+w.String())
	}
	if err == nil {
		var more []string
		more, err = run.Check(c)
		for _, w := range more {
			warnings = append(warnings, name+": "+w)
		}
	}
	if err != nil {
		return warnings, fmt.Errorf("%s: %w", name, err)
	}
	return warnings, nil
}

// readNamed reads a file, or standard input by the name -.
func readNamed(name string, stdin io.Reader) ([]byte, error) {
	in := stdin
	if name != "-" {
		f, err := os.Open(name)
		if err != nil {
			return nil, err
		}
		defer f.Close()
		in = f
	}
	data, err := io.ReadAll(io.LimitReader(in, file.MaxSize+1))
	if err != nil {
		return nil, fmt.Errorf("%s: %w", name, err)
	}
	if len(data) > file.MaxSize {
		return nil, fmt.Errorf("%s: is longer than %d bytes", name, file.MaxSize)
	}
	return data, nil
}

// isPickerConfig reports whether the first document looks like an
// EndpointPickerConfig, which may come without apiVersion and kind.
func isPickerConfig(data []byte) bool {
	var doc map[string]yaml.Node
	if err := yaml.NewDecoder(bytes.NewReader(data)).Decode(&doc); err != nil && !errors.Is(err, io.EOF) {
		return false
	}
	if kind, ok := doc["kind"]; ok {
		return kind.Value == "EndpointPickerConfig"
	}
	for key := range doc {
		if config.Section(key) {
			return true
		}
	}
	return false
}
