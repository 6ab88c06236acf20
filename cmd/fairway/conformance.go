package main

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"

	"github.com/spf13/cobra"

	conformance "github.com/fairway-ai/fairway/conformance/epp"
)

func newConformanceCommand() *cobra.Command {
	return newGroup("conformance", "Judge pickers and gateways by their protocols", `Judge an endpoint picker or a gateway, whoever made it, by the protocols of the Gateway
API Inference Extension.

The exit status is 0 when it conforms, and else 1.`,
		newConformanceEPPCommand(), newConformanceGAIECommand(), newConformanceGAIEChildCommand())
}

// conformanceOptions are the flags of fairway conformance epp.
type conformanceOptions struct {
	conformance.Options
	plaintext      bool
	ca, serverName string
	run, report    string
	json, verbose  bool
	list           bool
}

func newConformanceEPPCommand() *cobra.Command {
	var o conformanceOptions
	cmd := &cobra.Command{
		Use:   "epp --target HOST:PORT",
		Short: "Judge an endpoint picker by the Gateway API Inference Extension's protocol",
		Long: `Play a gateway against an endpoint picker, any implementation's, and check what it
answers: picks, bodies sent back, subsets, errors, health. The picker must be running
and have ready endpoints; the endpoints themselves are not called. Requests are
short-lived but real: do not point it at a picker that serves others.

The exit status is 0 when every MUST passed, and else 1.`,
		Example: `  fairway conformance epp --target 127.0.0.1:9002 --health-target 127.0.0.1:9003 --model llama-3
  fairway conformance epp --target picker:9002 --endpoints 10.0.0.7:8000,10.0.0.8:8000 --report report.yaml
  fairway conformance epp --target 127.0.0.1:9002 --plaintext --run '^subset/'
  fairway conformance epp --list`,
		Args: noArgs,
		RunE: func(cmd *cobra.Command, _ []string) error { return o.judge(cmd.Context(), cmd.OutOrStdout()) },
	}
	f := cmd.Flags()
	f.StringVar(&o.Target, "target", "", "`address` of the picker's ext_proc server, host:port")
	f.StringVar(&o.HealthTarget, "health-target", "", "`address` of its gRPC health checks, host:port, without TLS (default --target)")
	f.BoolVar(&o.plaintext, "plaintext", false, "connect without TLS")
	f.StringVar(&o.ca, "ca", "", "PEM `file` of certificates to verify the picker's by (default any is accepted)")
	f.StringVar(&o.serverName, "server-name", "", "with --ca, the `name` that the picker's certificate must have (default the host of --target)")
	f.StringVar(&o.Model, "model", conformance.DefaultModel, "`name` of the model that requests ask for")
	f.StringSliceVar(&o.Endpoints, "endpoints", nil, "`addresses` of the picker's ready endpoints, ip:port (default learnt from its picks)")
	f.DurationVar(&o.Timeout, "timeout", conformance.DefaultTimeout, "how long an answer may take")
	f.StringVar(&o.run, "run", "", "run only the cases whose name matches this regular expression, the `pattern`")
	offered(f, "run", caseNames())
	f.BoolVar(&o.json, "json", false, "print the report as JSON")
	f.StringVar(&o.report, "report", "", "also write the report to this `file`, as its name ends: "+anyOf(yamlFiles()))
	f.BoolVarP(&o.verbose, "verbose", "v", false, "show every case's clause")
	f.BoolVar(&o.list, "list", false, "list the cases and stop")
	return cmd
}

// judge runs the suite and prints to w.
func (o *conformanceOptions) judge(ctx context.Context, w io.Writer) error {
	if err := o.complete(); err != nil {
		return err
	}
	if o.list {
		return conformance.WriteCases(w, o.selected())
	}
	var reporter conformance.Reporter
	if !o.json {
		text := conformance.NewTextReporter(w)
		text.Verbose = o.verbose
		reporter = text
	}
	report, err := conformance.Run(ctx, o.Options, reporter)
	if err != nil {
		return err
	}
	report.Version = version
	write := report.WriteSummary
	if o.json {
		write = report.WriteJSON
	}
	if err := write(w); err != nil {
		return err
	}
	if o.report != "" {
		if err := writeReport(o.report, &report); err != nil {
			return fmt.Errorf("--report: %w", err)
		}
	}
	if ctx.Err() != nil {
		return errors.New("interrupted before the end")
	}
	if !report.Conformant() {
		return fmt.Errorf("the picker fails %d of the protocol's MUST cases", report.Summary.Must.Failed)
	}
	return nil
}

// complete checks the flags and turns them into Options.
func (o *conformanceOptions) complete() error {
	if o.run != "" {
		re, err := regexp.Compile(o.run)
		if err != nil {
			return fmt.Errorf("--run: %w", err)
		}
		if o.Run = re; len(o.selected()) == 0 {
			return fmt.Errorf("--run: no case's name matches %q; --list shows them", o.run)
		}
	}
	if o.list {
		return nil
	}
	if o.Target == "" {
		return errors.New("--target: is missing; name the host:port of the picker's ext_proc server")
	}
	if o.Timeout <= 0 {
		return fmt.Errorf("--timeout: %v must be longer than 0", o.Timeout)
	}
	if o.report != "" && !slices.Contains(yamlFiles(), strings.TrimPrefix(filepath.Ext(o.report), ".")) {
		return fmt.Errorf("--report: %q must end in %s", o.report, anyOf(yamlFiles()))
	}
	if o.plaintext {
		if o.ca != "" || o.serverName != "" {
			return errors.New("--plaintext: has no certificate to verify, leave out --ca and --server-name")
		}
		return nil
	}
	if o.ca == "" {
		if o.serverName != "" {
			return errors.New("--server-name: is only verified with --ca")
		}
		// As gateways do: pickers make their own certificates.
		o.TLS = &tls.Config{InsecureSkipVerify: true, MinVersion: tls.VersionTLS12}
		return nil
	}
	pem, err := os.ReadFile(o.ca)
	if err != nil {
		return fmt.Errorf("--ca: %w", err)
	}
	roots := x509.NewCertPool()
	if !roots.AppendCertsFromPEM(pem) {
		return fmt.Errorf("--ca: %s holds no PEM certificate", o.ca)
	}
	o.TLS = &tls.Config{RootCAs: roots, ServerName: o.serverName, MinVersion: tls.VersionTLS12}
	return nil
}

// caseNames are the names that --run is matched with.
func caseNames() []string {
	var names []string
	for _, c := range conformance.Cases() {
		names = append(names, c.ID)
	}
	return names
}

// selected are the cases that --run matches.
func (o *conformanceOptions) selected() []conformance.Case {
	var out []conformance.Case
	for _, c := range conformance.Cases() {
		if o.Run == nil || o.Run.MatchString(c.ID) {
			out = append(out, c)
		}
	}
	return out
}

func writeReport(name string, r *conformance.Report) error {
	f, err := os.Create(name)
	if err != nil {
		return err
	}
	write := r.WriteYAML
	if strings.HasSuffix(name, ".json") {
		write = r.WriteJSON
	}
	return errors.Join(write(f), f.Close())
}
