package epp

import (
	"context"
	"errors"
	"maps"
	"net/netip"
	"regexp"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"golang.org/x/sync/errgroup"
	healthgrpc "google.golang.org/grpc/health/grpc_health_v1"
)

// failed returns the IDs of the cases that failed.
func failed(r *Report) []string {
	var ids []string
	for _, x := range r.Results {
		if x.Status == Failed {
			ids = append(ids, x.ID)
		}
	}
	return ids
}

// allPass fails the test for each case that did not pass.
func allPass(t *testing.T, r *Report, but ...string) {
	t.Helper()
	if len(r.Results) != len(Cases()) {
		t.Errorf("%d cases ran, want %d", len(r.Results), len(Cases()))
	}
	for _, x := range r.Results {
		if x.Status != Passed && !slices.Contains(but, x.ID) {
			t.Errorf("%s %s: %s %v", x.ID, x.Status, x.Reason, x.Failure)
		}
	}
}

func TestAPickerWithoutFaultPasses(t *testing.T) {
	t.Parallel()
	for name, endpoints := range map[string][]string{"given": testEndpoints, "learnt": nil} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			r, err := Run(t.Context(), Options{Target: servePicker(t, fault{}), Endpoints: endpoints, Streams: 50, Timeout: patience}, nil)
			if err != nil {
				t.Fatal(err)
			}
			if endpoints == nil {
				allPass(t, &r, "pick/pool")
			} else {
				allPass(t, &r)
			}
			slices.Sort(r.Endpoints)
			if !slices.Equal(r.Endpoints, testEndpoints) {
				t.Errorf("endpoints %v, want %v", r.Endpoints, testEndpoints)
			}
		})
	}
}

// faults are pickers that do one thing wrong, and which cases find it.
var faults = map[string]struct {
	fault fault
	fails string // pattern
}{
	"no header":   {fault{noHeader: true}, "pick/header"},
	"no metadata": {fault{metadata: func(string) string { return "" }}, "pick/metadata"},
	"wrong metadata": {fault{metadata: func(string) string { return "10.0.0.2:8000" }},
		"pick/agree"},
	"spaces in the list": {fault{list: func(a []string) string { return strings.Join(a, ", ") }}, "pick/syntax"},
	"an endpoint twice":  {fault{list: func(a []string) string { return a[0] + "," + a[0] }}, "pick/order"},
	"outside the pool":   {fault{list: func(a []string) string { return a[0] + ",10.9.9.9:1" }}, "pick/pool|subset/one|subset/several|subset/strangers|subset/bodyless|subset/string"},
	"no alternatives":    {fault{list: func(a []string) string { return a[0] }}, "pick/alternatives"},
	"host names": {fault{list: func(a []string) string { return "pod-1:8000" }},
		"pick/(syntax|pool|alternatives|bodyless)|subset/(one|several|strangers|bodyless|string)|mode/buffered"},
	"no GET":               {fault{noGET: true}, "pick/bodyless|subset/bodyless"},
	"no clear_route_cache": {fault{noClear: true}, "pick/clear-route-cache"},

	"truncated": {fault{body: func(b []byte) []byte { return b[:max(len(b)-1, 0)] }},
		"body/(1-byte|1-KiB|62000-bytes|64-KiB|1-MiB-and-1-byte|10-MiB|verbatim|trailers)|stream/concurrent"},
	"a byte too many": {fault{body: func(b []byte) []byte { return append(b, '\n') }}, "body/(0-bytes|1-byte|verbatim)"},
	"encoded again":   {fault{body: reencode}, "body/verbatim"},
	"one chunk":       {fault{chunk: 64 << 20}, "body/chunk-size"},
	"two ends":        {fault{twoEnds: true}, "body/end-of-stream|response/end-of-stream"},
	"body first":      {fault{bodyFirst: true}, "body/after-headers"},
	"end and trailers": {fault{endsBefore: true},
		"body/trailers|response/trailers"},
	"no trailers": {fault{noTrailers: true}, "body/trailers|response/trailers"},
	// What a picker does that reads no body.
	"acknowledges bodies": {fault{acks: true, noBuffered: true},
		"body/(0-bytes|1-byte|1-KiB|62000-bytes|64-KiB|1-MiB-and-1-byte|10-MiB|verbatim|end-of-stream|chunk-size|trailers)" +
			"|response/(body|1-MiB-and-1-byte|events|streaming|end-of-stream|trailers)|stream/concurrent|error/malformed-json"},

	"another path":      {fault{set: []string{":path", "/"}}, "headers/framing"},
	"wrong length":      {fault{set: []string{"content-length", "3"}}, "headers/framing"},
	"no authorization":  {fault{remove: []string{"authorization"}}, "headers/untouched"},
	"one of two values": {fault{set: []string{"x-conformance-list", "two"}}, "headers/untouched"},
	"new request ID":    {fault{set: []string{requestIDHeader, "mine"}}, "headers/request-id-kept"},
	"no request ID":     {fault{keepsID: true}, "headers/request-id-made"},

	"ignores subsets": {fault{subset: func([]string, string) bool { return true }}, "subset/.*"},
	"compares addresses": {fault{subset: func(allowed []string, e string) bool {
		ip := netip.MustParseAddrPort(e).Addr()
		return slices.ContainsFunc(allowed, func(a string) bool { return netip.MustParseAddrPort(a).Addr() == ip })
	}}, "subset/(one|several|strangers|port|bodyless|string)"},
	"any port of one": {fault{subset: func(allowed []string, e string) bool {
		return slices.ContainsFunc(allowed, func(a string) bool {
			return a == e || !slices.Contains(testEndpoints, a) && strings.HasPrefix(a, e[:strings.IndexByte(e, ':')+1])
		})
	}}, "subset/port"},
	"lists only":  {fault{listOnly: true}, "subset/string"},
	"gRPC errors": {fault{grpcErrors: true}, "subset/(port|bodyless|empty|none-eligible)|error/malformed-json"},
	"status 500":  {fault{status: 500}, "subset/(port|bodyless|empty|none-eligible)"},
	"unparsed":    {fault{unparsed: true}, "error/malformed-json"},

	"fails at responses": {fault{noResponse: true}, "response/.*|stream/(ends|concurrent)"},
	"other status":       {fault{setAnswer: []string{":status", "500"}}, "response/untouched"},
	"changed events":     {fault{answerBody: func(b []byte) []byte { return bytesReplace(b) }}, "response/events|stream/concurrent"},
	"cut responses": {fault{answerBody: func(b []byte) []byte { return b[:min(len(b), 1000)] }},
		"response/(body|1-MiB-and-1-byte|trailers)"},
	"buffers responses":  {fault{atOnce: true}, "response/(streaming|trailers)"},
	"only its own serve": {fault{onServed: true}, "response/served"},
	"ends with an error": {fault{endError: true}, "stream/ends"},
	"does not end":       {fault{noEnd: true}, "stream/ends|stream/half-close"},
	"leaks":              {fault{leaks: true}, "stream/cancel"},
	"objects only":       {fault{strict: true}, ""},
	"mixes streams":      {fault{mixes: true}, "stream/concurrent"},
	"full duplex only":   {fault{noBuffered: true}, "mode/buffered"},

	"not serving":   {fault{health: healthgrpc.HealthCheckResponse_NOT_SERVING}, "health/.*"},
	"own names":     {fault{services: []string{"liveness"}}, "health/(readiness|ext-proc|inference-extension)"},
	"other's names": {fault{services: []string{"inference-extension"}}, "health/(liveness|readiness|ext-proc)"},
}

// bytesReplace writes what is in an event, and in nothing else, another way.
func bytesReplace(b []byte) []byte {
	return []byte(strings.Replace(string(b), "data: {\"id\":\"x\",\"object\"", "data: {\"object\"", 1))
}

func TestFaultsAreFound(t *testing.T) {
	if testing.Short() {
		t.Skip("some fifty runs")
	}
	t.Parallel()
	type reports struct{ fail, pass Report }
	var mu sync.Mutex
	all := map[string]reports{}
	// Not by parallel subtests: many of these wait more than they work.
	var group errgroup.Group
	group.SetLimit(12)
	for name, f := range faults {
		// Those expected to fail and the others apart, each with a picker of its own,
		// so that only where a picker hangs a short timeout is needed.
		mustFail, others := servePicker(t, f.fault), servePicker(t, f.fault)
		group.Go(func() error {
			fail, pass := casesFor(f.fails)
			o := Options{Target: mustFail, Endpoints: testEndpoints, Timeout: patience, Streams: 16}
			if f.fault.hangs() {
				o.Timeout = 500 * time.Millisecond
			}
			var r reports
			var err1, err2 error
			r.fail, err1 = run(t.Context(), o, fail, nil)
			o.Target, o.Timeout = others, patience
			r.pass, err2 = run(t.Context(), o, pass, nil)
			mu.Lock()
			defer mu.Unlock()
			all[name] = r
			return errors.Join(err1, err2)
		})
	}
	if err := group.Wait(); err != nil {
		t.Fatal(err)
	}
	found := map[string]bool{}
	for name := range faults {
		t.Run(name, func(t *testing.T) {
			for _, x := range all[name].fail.Results {
				found[x.ID] = true
				if x.Status != Failed {
					t.Errorf("%s %s %s, want it to fail", x.ID, x.Status, x.Reason)
				}
			}
			for _, x := range all[name].pass.Results {
				if x.Status == Failed {
					t.Errorf("%s: %v", x.ID, x.Failure)
				}
			}
		})
	}
	for _, c := range Cases() {
		if !found[c.ID] {
			t.Errorf("no fault fails %s", c.ID)
		}
	}
}

// patience is the timeout where no answer is expected to lack: as long as a busy
// machine may need.
const patience = time.Minute

// casesFor are the cases that a fault is expected to fail, and those that it is
// not; long bodies only where they must fail.
func casesFor(fails string) (fail, pass []Case) {
	re := regexp.MustCompile("^(" + fails + ")$")
	for _, c := range Cases() {
		switch {
		case re.MatchString(c.ID):
			fail = append(fail, c)
		case !strings.Contains(c.ID, "-MiB"):
			pass = append(pass, c)
		}
	}
	return fail, pass
}

func TestSkips(t *testing.T) {
	t.Parallel()
	reason := func(f fault, o Options, id string) string {
		t.Helper()
		o.Timeout = patience
		o.Target, o.Run = servePicker(t, f), regexp.MustCompile("^"+id+"$")
		r, err := Run(t.Context(), o, nil)
		if err != nil {
			t.Fatal(err)
		}
		if len(r.Results) != 1 || r.Results[0].Status != Skipped || !r.Conformant() {
			t.Fatalf("%+v, want one case that is skipped", r.Results)
		}
		return r.Results[0].Reason
	}
	for want, got := range map[string]string{
		"--health-target": reason(fault{services: []string{}}, Options{}, "health/protocol"),
		"--endpoints":     reason(fault{}, Options{}, "pick/pool"),
		"400":             reason(fault{strict: true}, Options{}, "body/0-bytes"),
		"two endpoints":   reason(fault{}, Options{Endpoints: testEndpoints[:1]}, "pick/alternatives"),
		"2 are needed":    reason(fault{}, Options{Endpoints: testEndpoints[:1]}, "subset/several"),
	} {
		if !strings.Contains(got, want) {
			t.Errorf("reason %q, want it to name %q", got, want)
		}
	}
}

func TestHealthTarget(t *testing.T) {
	t.Parallel()
	o := Options{Target: servePicker(t, fault{services: []string{}}), HealthTarget: servePicker(t, fault{}), Timeout: patience, Run: regexp.MustCompile("^health/")}
	r, err := Run(t.Context(), o, nil)
	if err != nil || r.Summary.Must.Passed+r.Summary.Should.Passed != 5 {
		t.Errorf("%v %+v, want 5 cases passed", err, r.Summary)
	}
}

func TestWrongOptions(t *testing.T) {
	t.Parallel()
	for want, o := range map[string]Options{
		"target: is empty":    {},
		"endpoints[1]":        {Target: "x:1", Endpoints: []string{"10.0.0.1:1", "pod:1"}},
		"must not be neg":     {Target: "x:1", Timeout: -1},
		"no gRPC server answ": {Target: "127.0.0.1:1", Timeout: patience},
	} {
		if _, err := Run(t.Context(), o, nil); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("error %v, want %q", err, want)
		}
	}
}

func TestInterrupted(t *testing.T) {
	t.Parallel()
	ctx, cancel := context.WithCancel(t.Context())
	stop := reporterFunc(func(r Result) {
		if r.ID == "pick/header" {
			cancel()
		}
	})
	r, err := Run(ctx, Options{Target: servePicker(t, fault{}), Timeout: patience}, stop)
	if err != nil || len(failed(&r)) > 0 {
		t.Fatal(err, failed(&r))
	}
	if s := r.Summary; s.Must.Passed != 1 || s.Should.Passed != 0 || s.Must.Skipped == 0 {
		t.Errorf("%+v, want one passed and the rest skipped", s)
	}
}

type reporterFunc func(Result)

func (f reporterFunc) Done(r Result) { f(r) }

func TestCasesAreWellFormed(t *testing.T) {
	t.Parallel()
	seen := map[string]bool{}
	id := regexp.MustCompile(`^[a-z]+/[0-9A-Za-z-]+$`)
	sections := map[string]int{}
	for _, c := range Cases() {
		if seen[c.ID] || !id.MatchString(c.ID) || c.Clause == "" || c.run == nil || strings.ContainsAny(c.Clause, "|\n") {
			t.Errorf("case %+v", c)
		}
		if c.Level == Must && c.Section == secPractice {
			t.Errorf("%s: a MUST needs a written rule", c.ID)
		}
		seen[c.ID] = true
		sections[c.Section]++
	}
	for _, want := range []string{secIntro, secSubset, secDestination, secServed, secHealth, secExtProc} {
		if sections[want] == 0 {
			t.Errorf("no case for %q in %v", want, slices.Sorted(maps.Keys(sections)))
		}
	}
}
