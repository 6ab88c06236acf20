package gaie

import (
	"context"
	"encoding/json"
	"flag"
	"fmt"
	"io"
	"io/fs"
	"os"
	"os/signal"
	"testing"
	"testing/fstest"

	"github.com/go-logr/logr"
	"github.com/stretchr/testify/require"
	"sigs.k8s.io/controller-runtime/pkg/log"
	"sigs.k8s.io/gateway-api-inference-extension/conformance"
	confsuite "sigs.k8s.io/gateway-api/conformance/utils/suite"
)

// root is the name of the test that holds all others.
const root = "GAIE"

// derivedBase is the path of the derived base manifests. It differs from the
// suite's, because the suite joins files of one name.
const derivedBase = "fairway/base.yaml"

// Child reads an order from r, runs the tests it names and prints their log to
// stdout. It returns only when the order makes no sense: package testing ends the
// process, with exit code 1 when a test failed.
func Child(r io.Reader) error {
	var o order
	if err := json.NewDecoder(io.LimitReader(r, 1<<20)).Decode(&o); err != nil {
		return fmt.Errorf("order: %w", err)
	}
	run, ok := map[part]func(*testing.T, confsuite.ConformanceOptions){
		partSuite: conformance.RunConformanceWithOptions,
		partExtra: runExtra,
	}[o.Part]
	if !ok {
		return fmt.Errorf("order: there is no part %.20q", o.Part)
	}
	// Whoever runs this may catch signals; package testing must end at once.
	signal.Reset()
	testing.Init()
	if err := flag.CommandLine.Parse(o.Flags); err != nil {
		return fmt.Errorf("order: %w", err)
	}
	// Else it prints a stack trace after 30 seconds, in the middle of a test.
	log.SetLogger(logr.Discard())
	all := func(string, string) (bool, error) { return true, nil }
	testing.Main(all, []testing.InternalTest{{Name: root, F: func(t *testing.T) {
		opts := conformance.DefaultOptions(t)
		opts.ManifestFS = append(opts.ManifestFS, extraManifests)
		if o.PickerImage != "" {
			usePicker(t, &opts, o.PickerImage)
		}
		waitForDeletion(context.Background(), t, opts.Client)
		run(t, opts)
	}}}, nil, nil)
	return nil
}

// usePicker makes opts use Fairway's picker from image.
func usePicker(t *testing.T, opts *confsuite.ConformanceOptions, image string) {
	base, err := fs.ReadFile(&conformance.Manifests, opts.BaseManifests)
	require.NoError(t, err, "reading the suite's base manifests")
	derived, err := WithPicker(base, image)
	require.NoError(t, err, "deriving the base manifests")
	opts.BaseManifests = derivedBase
	opts.ManifestFS = append(opts.ManifestFS, fstest.MapFS{derivedBase: {Data: derived}})
	fmt.Fprintf(os.Stdout, "the endpoint pickers run %s\n", image)
}
