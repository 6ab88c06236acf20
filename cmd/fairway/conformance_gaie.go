package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"strings"

	"github.com/spf13/cobra"

	"github.com/fairway-ai/fairway/conformance/gaie"
)

// gaieChild is the hidden command that runs the suite, in a process of its own.
const gaieChild = "gaie-child"

// The pickers that conformance gaie can run behind the gateway.
const (
	pickerReference = "reference"
	pickerFairway   = "fairway"
)

// gaieOptions are the flags of fairway conformance gaie.
type gaieOptions struct {
	gaie.Options
	epp  string
	list bool
	// command starts the child; tests put their own here.
	command []string
}

func newConformanceGAIECommand() *cobra.Command {
	var o gaieOptions
	cmd := &cobra.Command{
		Use:   "gaie",
		Short: "Judge a gateway by the Gateway API Inference Extension's conformance suite",
		Long: `Run the conformance suite of the Gateway API Inference Extension ` + gaie.Version + ` against a
gateway in a cluster: all its tests, none skipped, with the suite's own manifests, and
with --report write its standard report. Then run Fairway's own tests of what a pool
promises when its picker is gone; they are not in the report.

The cluster needs the Gateway API's CRDs ` + gaie.GatewayAPIVersion + `, the extension's ` + gaie.Version + `, a GatewayClass,
and the images that the suite's manifests name. When the CRDs or the class are missing,
no test is run. The suite makes the namespaces
inference-conformance-infra and inference-conformance-app-backend.

With --epp fairway the suite's pools are picked for by Fairway's endpoint picker instead
of the reference picker. Everything else stays as it is.

The exit status is 0 when every test passed, and 1 when one failed or was skipped, or
none could run.`,
		Example: `  fairway conformance gaie --report report.yaml
  fairway conformance gaie --run-test GatewayFollowingEPPRouting --debug --cleanup=false
  fairway conformance gaie --epp fairway --epp-image fairway:dev
  fairway conformance gaie --gateway-class istio --organization istio --project istio`,
		Args: noArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			return o.judge(cmd.Context(), cmd.OutOrStdout(), cmd.ErrOrStderr())
		},
	}
	f := cmd.Flags()
	f.StringVar(&o.GatewayClass, "gateway-class", "fairway", "`name` of the GatewayClass to judge")
	f.StringVar(&o.Kubeconfig, "kubeconfig", "", "`file` with the cluster's address and credentials (default $KUBECONFIG, then the pod's own, then ~/.kube/config)")
	f.StringVar(&o.RunTest, "run-test", "", "run only the test of this `name`")
	offered(f, "run-test", gaie.Names())
	f.StringVar(&o.Report, "report", "", "`file` to write the suite's report to, as YAML")
	f.StringVar(&o.epp, "epp", pickerReference, "picker behind the gateway, the suite's own or Fairway's")
	oneOf(f, "epp", []string{pickerReference, pickerFairway})
	f.StringVar(&o.PickerImage, "epp-image", "", "with --epp fairway, the `image` to run")
	f.BoolVar(&o.Extra, "extra", true, "run Fairway's own tests after the suite, too")
	f.BoolVar(&o.Cleanup, "cleanup", true, "remove the suite's objects at the end")
	f.BoolVar(&o.Debug, "debug", false, "show the suite's whole log, with requests and answers")
	f.DurationVar(&o.Timeout, "timeout", gaie.DefaultTimeout, "how long the suite, and Fairway's own tests, may take, each")
	f.StringVar(&o.Implementation.Organization, "organization", "fairway-ai", "in the report, `name` of who makes the gateway")
	f.StringVar(&o.Implementation.Project, "project", "fairway", "in the report, the gateway's `name`")
	f.StringVar(&o.Implementation.URL, "url", "https://github.com/fairway-ai/fairway", "in the report, the gateway's `URL`")
	f.StringVar(&o.Implementation.Version, "version", version, "in the report, the gateway's `version`")
	f.StringVar(&o.Implementation.Contact, "contact", "https://github.com/fairway-ai/fairway/issues", "in the report, whom to ask: `addresses` with commas between them")
	f.BoolVar(&o.list, "list", false, "list the tests and stop")
	return cmd
}

// newConformanceGAIEChildCommand is what judge starts.
func newConformanceGAIEChildCommand() *cobra.Command {
	return &cobra.Command{
		Use:    gaieChild,
		Short:  "Run the suite as told on stdin, for conformance gaie",
		Hidden: true,
		Args:   noArgs,
		RunE:   func(cmd *cobra.Command, _ []string) error { return gaie.Child(cmd.InOrStdin()) },
	}
}

// judge runs the suite and prints the results to w.
func (o *gaieOptions) judge(ctx context.Context, w, progress io.Writer) error {
	if o.list {
		_, err := fmt.Fprintln(w, strings.Join(gaie.Names(), "\n"))
		return err
	}
	if err := o.complete(); err != nil {
		return err
	}
	runner := gaie.Runner{Command: o.command, Check: gaie.CheckCluster, Progress: progress}
	result, err := runner.Run(ctx, o.Options)
	if summaryErr := result.WriteSummary(w); err == nil {
		err = summaryErr
	}
	if err != nil {
		return err
	}
	return result.Err()
}

// complete checks the flags and finds this binary.
func (o *gaieOptions) complete() error {
	switch {
	case o.epp == pickerFairway && o.PickerImage == "":
		return errors.New("--epp-image: is missing; name the image of Fairway to run as the picker")
	case o.epp == pickerReference && o.PickerImage != "":
		return errors.New("--epp-image: is only for --epp fairway")
	case o.Timeout <= 0:
		return fmt.Errorf("--timeout: %v must be longer than 0", o.Timeout)
	}
	if o.command != nil {
		return nil
	}
	self, err := os.Executable()
	if err != nil {
		return fmt.Errorf("finding this binary: %w", err)
	}
	o.command = []string{self, "conformance", gaieChild}
	return nil
}
