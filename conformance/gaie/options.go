package gaie

import (
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"slices"
	"strings"
	"time"

	"sigs.k8s.io/gateway-api-inference-extension/conformance/tests"
	confsuite "sigs.k8s.io/gateway-api/conformance/utils/suite"
)

// DefaultTimeout is Options.Timeout when zero. The suite waits up to five minutes
// for one condition, so an implementation that fails everything needs long.
const DefaultTimeout = time.Hour

// Options say what to judge and how.
type Options struct {
	// GatewayClass is the class of the Gateways that the suite makes. Required.
	GatewayClass string
	// Kubeconfig is the cluster's; empty follows $KUBECONFIG and the usual places.
	Kubeconfig string
	// RunTest is the one test to run, of the suite or of ours; empty runs all.
	RunTest string
	// Report is the file that the suite writes its report to; empty for none.
	Report string
	// PickerImage is the image of Fairway's picker, to run in the place of the
	// reference picker; empty leaves the suite's manifests as they are.
	PickerImage string
	// Extra runs our own tests, too.
	Extra bool
	// Cleanup removes the suite's objects at the end.
	Cleanup bool
	// Debug makes the suite log requests and answers, and shows its whole log.
	Debug bool
	// Timeout bounds the suite, and our own tests, each.
	Timeout time.Duration
	// Implementation is what the report says about who was judged.
	Implementation Implementation
}

// Implementation names what is judged, in the report. Contact may be several,
// separated by commas.
type Implementation struct {
	Organization, Project, URL, Version, Contact string
}

// complete fills in the defaults and checks what was given. Errors name the flags of
// `fairway conformance gaie`.
func (o *Options) complete() error {
	if o.GatewayClass == "" {
		return errors.New("--gateway-class: is empty; name the GatewayClass to judge")
	}
	if o.Timeout == 0 {
		o.Timeout = DefaultTimeout
	}
	if o.Timeout < 0 {
		return errors.New("--timeout: must not be negative")
	}
	if o.RunTest != "" && !contains(tests.ConformanceTests, o.RunTest) && !contains(ExtraTests(), o.RunTest) {
		return fmt.Errorf("--run-test: no test is called %q; there are %s", o.RunTest, strings.Join(Names(), ", "))
	}
	if o.Kubeconfig != "" {
		if _, err := os.Stat(o.Kubeconfig); err != nil {
			return fmt.Errorf("--kubeconfig: %w; name the cluster's kubeconfig", err)
		}
	}
	return nil
}

// Names lists all tests, the suite's in its order and then ours.
func Names() []string {
	var names []string
	for _, t := range append(slices.Clone(tests.ConformanceTests), ExtraTests()...) {
		names = append(names, t.ShortName)
	}
	return names
}

func contains(list []confsuite.ConformanceTest, name string) bool {
	return slices.ContainsFunc(list, func(t confsuite.ConformanceTest) bool { return t.ShortName == name })
}

// part is which tests a child runs.
type part string

const (
	partSuite part = "suite"
	partExtra part = "extra"
)

// parts lists the children to run, in order.
func (o *Options) parts() []part {
	switch {
	case o.RunTest != "" && contains(ExtraTests(), o.RunTest):
		return []part{partExtra}
	case o.RunTest != "" || !o.Extra:
		return []part{partSuite}
	}
	return []part{partSuite, partExtra}
}

// order is what a child is told, on its stdin.
type order struct {
	Part part
	// Flags are for package flag: those of package testing and of the suite.
	Flags       []string
	PickerImage string
}

// order makes the order for one part; last is whether nothing comes after it, so
// that the objects that both parts use are removed once.
func (o *Options) order(p part, last bool) ([]byte, error) {
	flags := []string{
		"-test.v=test2json",
		"-test.timeout=" + o.Timeout.String(),
		"-gateway-class=" + o.GatewayClass,
		fmt.Sprintf("-debug=%t", o.Debug),
		fmt.Sprintf("-cleanup-base-resources=%t", o.Cleanup && last),
	}
	set := func(name, value string) {
		if value != "" {
			flags = append(flags, "-"+name+"="+value)
		}
	}
	set("run-test", o.RunTest)
	if p == partSuite {
		set("report-output", o.Report)
		set("organization", o.Implementation.Organization)
		set("project", o.Implementation.Project)
		set("url", o.Implementation.URL)
		set("version", o.Implementation.Version)
		set("contact", o.Implementation.Contact)
	}
	b, err := json.Marshal(order{Part: p, Flags: flags, PickerImage: o.PickerImage})
	if err != nil {
		return nil, fmt.Errorf("order for the %s: %w", p, err)
	}
	return b, nil
}
