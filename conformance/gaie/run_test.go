package gaie

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"os"
	"slices"
	"strings"
	"testing"
	"time"

	"sigs.k8s.io/gateway-api-inference-extension/conformance/tests"
)

// playEnv makes the test binary play a child; its value says which.
const playEnv = "FAIRWAY_TEST_PLAY"

func TestMain(m *testing.M) {
	if script := os.Getenv(playEnv); script != "" {
		os.Exit(play(script))
	}
	os.Exit(m.Run())
}

// play prints what a child would, for the parts named in script, and its order to
// stderr.
func play(script string) int {
	b, err := io.ReadAll(os.Stdin)
	if err != nil {
		return 3
	}
	fmt.Fprintf(os.Stderr, "order %s\n", b)
	var o order
	if err := json.Unmarshal(b, &o); err != nil {
		return 3
	}
	line := func(s string) { fmt.Print(strings.ReplaceAll(s, "^", string(marker)), "\n") }
	line("^=== RUN   GAIE")
	switch script {
	case "setup":
		line("    suite.go:1: the GatewayClass is not accepted\n^--- FAIL: GAIE (0.10s)")
		return 1
	case "hang":
		line("^=== RUN   GAIE/Hangs")
		select {}
	case "panic":
		line("^=== RUN   GAIE/Panics\npanic: oh")
		return 2
	case "none":
		line("^--- PASS: GAIE (0.10s)")
		return 0
	case "skip":
		line("^=== RUN   GAIE/Left\n^--- SKIP: GAIE/Left (0.00s)\n^--- PASS: GAIE (0.10s)")
		return 0
	case "fail":
		line("^=== RUN   GAIE/Bad\n    bad.go:1: reason\n^--- FAIL: GAIE/Bad (0.10s)\n^--- FAIL: GAIE (0.10s)")
		return 1
	}
	line(fmt.Sprintf("^=== RUN   GAIE/%[1]s\n^--- PASS: GAIE/%[1]s (0.10s)\n^--- PASS: GAIE (0.10s)", "Of"+o.Part))
	return 0
}

func runScript(t *testing.T, ctx context.Context, script string, o Options) (Result, string, error) {
	t.Helper()
	t.Setenv(playEnv, script)
	var progress bytes.Buffer
	o.GatewayClass = "fairway"
	r := Runner{Command: []string{os.Args[0]}, Progress: &progress}
	res, err := r.Run(ctx, o)
	return res, progress.String(), err
}

func TestRunBothParts(t *testing.T) {
	o := Options{Report: "r.yaml", Cleanup: true, Extra: true, PickerImage: "fairway:dev", Implementation: Implementation{Project: "p"}}
	res, progress, err := runScript(t, t.Context(), "pass", o)
	if err != nil || !res.OK() || len(res.Suite) != 1 || len(res.Extra) != 1 || res.Suite[0].Name != "Ofsuite" || res.Extra[0].Name != "Ofextra" {
		t.Fatalf("%v %+v", err, res)
	}
	suite, extra, ok := strings.Cut(progress, `"Part":"extra"`)
	if !ok {
		t.Fatalf("progress:\n%s", progress)
	}
	for _, want := range []string{"-gateway-class=fairway", "-cleanup-base-resources=false", "-report-output=r.yaml", "-project=p", `"PickerImage":"fairway:dev"`} {
		if !strings.Contains(suite, want) {
			t.Errorf("the suite's order lacks %s:\n%s", want, suite)
		}
	}
	if !strings.Contains(extra, "-cleanup-base-resources=true") || strings.Contains(extra, "report-output") {
		t.Errorf("the order of our own tests: %s", extra)
	}
	var summary bytes.Buffer
	if err := res.WriteSummary(&summary); err != nil || !strings.Contains(summary.String(), "1 of 1 tests of the suite passed, 1 of 1 of our own passed") {
		t.Errorf("%v:\n%s", err, summary.String())
	}
}

func TestFailuresAreTold(t *testing.T) {
	for script, want := range map[string]string{
		"fail":  "1 of 1 of the suite did not pass",
		"skip":  "1 of 1 of the suite did not pass",
		"none":  "no test ran",
		"setup": "suite: it failed outside of any test:\n    suite.go:1: the GatewayClass is not accepted",
		"panic": "suite: it ended early (exit status 2)",
	} {
		res, progress, err := runScript(t, t.Context(), script, Options{Extra: true})
		if err != nil || res.OK() || !strings.Contains(res.Err().Error(), want) {
			t.Errorf("%s: %v, %v; want %q", script, err, res.Err(), want)
		}
		if script == "setup" && (strings.Contains(res.Err().Error(), "extra") || strings.Contains(progress, `"Part":"extra"`)) {
			t.Errorf("the second part runs where the first could not: %v\n%s", res.Err(), progress)
		}
		if script == "fail" && !strings.Contains(progress, "bad.go:1: reason") {
			t.Errorf("%s: the log is not shown:\n%s", script, progress)
		}
	}
}

func TestInterruptEndsTheChild(t *testing.T) {
	ctx, cancel := context.WithCancel(t.Context())
	time.AfterFunc(100*time.Millisecond, cancel)
	_, _, err := runScript(t, ctx, "hang", Options{})
	if err == nil || !strings.Contains(err.Error(), "interrupted") {
		t.Errorf("error %v", err)
	}
}

func TestOptionsAreChecked(t *testing.T) {
	for want, o := range map[string]Options{
		"--gateway-class: is empty":                     {},
		"--timeout: must not":                           {GatewayClass: "x", Timeout: -1},
		`--run-test: no test is called "no"; there are`: {GatewayClass: "x", RunTest: "no"},
		"--kubeconfig: stat /does/not/exist":            {GatewayClass: "x", Kubeconfig: "/does/not/exist"},
	} {
		if err := o.complete(); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%+v: error %v, want %q", o, err, want)
		}
	}
}

// TestAllTestsAreThere pins what the suite is: a version with other tests is to be
// looked at, not to slip in.
func TestAllTestsAreThere(t *testing.T) {
	if n := len(tests.ConformanceTests); n != 14 {
		t.Errorf("the suite has %d tests, want 14", n)
	}
	names := Names()
	slices.Sort(names)
	if len(slices.Compact(names)) != 14+len(ExtraTests()) {
		t.Errorf("names are not unique: %v", names)
	}
	extra := Options{RunTest: ExtraTests()[0].ShortName}
	if p := extra.parts(); len(p) != 1 || p[0] != partExtra {
		t.Errorf("one of our own tests runs %v", p)
	}
}

func TestChildRefusesBadOrders(t *testing.T) {
	for _, bad := range []string{"", "{", `{"Part":"other"}`} {
		if err := Child(strings.NewReader(bad)); err == nil {
			t.Errorf("%q is accepted", bad)
		}
	}
}
