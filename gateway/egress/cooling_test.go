package egress

import (
	"fmt"
	"net/http"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/testutil"
)

// clock is a time that only a test moves.
type clock struct{ at atomic.Int64 }

func newClock() *clock {
	c := &clock{}
	c.at.Store(time.Date(2026, 3, 4, 5, 6, 7, 0, time.UTC).UnixNano())
	return c
}

func (c *clock) now() time.Time            { return time.Unix(0, c.at.Load()).UTC() }
func (c *clock) pass(d time.Duration)      { c.at.Add(int64(d)) }
func get(kv ...string) func(string) string { return getter(headers(kv...)).Get }

func TestWaitFor(t *testing.T) {
	now := newClock().now()
	in := func(d time.Duration) string { return now.Add(d).Format(http.TimeFormat) }
	for _, tt := range []struct {
		status  int
		headers []string
		want    time.Duration // negative for none asked
	}{
		{429, nil, time.Second},
		{429, []string{"retry-after", "7"}, 7 * time.Second},
		{429, []string{"retry-after", " 1.5 "}, 1500 * time.Millisecond},
		{429, []string{"retry-after", "7", "retry-after-ms", "250"}, 250 * time.Millisecond},
		{429, []string{"retry-after-ms", "120000"}, 2 * time.Minute},
		{429, []string{"retry-after", in(20 * time.Second)}, 20 * time.Second},
		{429, []string{"retry-after", in(-20 * time.Second)}, time.Second},
		{429, []string{"retry-after", in(80 * time.Second), "date", in(time.Minute)}, 20 * time.Second},
		{429, []string{"retry-after", "86400"}, 5 * time.Minute},
		{429, []string{"retry-after", "1e300"}, 5 * time.Minute},
		{429, []string{"retry-after", "-3"}, time.Second},
		{429, []string{"retry-after", "NaN"}, time.Second},
		{429, []string{"retry-after", "soon"}, time.Second},
		{429, []string{"x-ratelimit-remaining-requests", "0", "x-ratelimit-reset-requests", "6m0s"}, 5 * time.Minute},
		{429, []string{"x-ratelimit-remaining-requests", "0", "x-ratelimit-reset-requests", "1s", "x-ratelimit-remaining-tokens", "0", "x-ratelimit-reset-tokens", "7.66s"}, 7660 * time.Millisecond},
		{429, []string{"x-ratelimit-remaining-requests", "12", "x-ratelimit-reset-requests", "6m0s"}, time.Second},
		{429, []string{"x-ratelimit-reset-requests", "6m0s"}, time.Second},
		{429, []string{"x-ratelimit-remaining-tokens", "0", "x-ratelimit-reset-tokens", "9"}, 9 * time.Second},
		{429, []string{"anthropic-ratelimit-input-tokens-remaining", "0", "anthropic-ratelimit-input-tokens-reset", now.Add(30 * time.Second).Format(time.RFC3339)}, 30 * time.Second},
		{429, []string{"anthropic-ratelimit-requests-remaining", "0", "anthropic-ratelimit-requests-reset", "x"}, time.Second},
		{429, []string{"retry-after", "2", "x-ratelimit-remaining-requests", "0", "x-ratelimit-reset-requests", "9s"}, 2 * time.Second},
		{503, []string{"retry-after", "3"}, 3 * time.Second},
		{529, []string{"retry-after", "3"}, 3 * time.Second},
		{503, nil, -1},
		{503, []string{"x-ratelimit-remaining-requests", "0", "x-ratelimit-reset-requests", "9s"}, -1},
		{500, []string{"retry-after", "3"}, -1},
		{200, []string{"x-ratelimit-remaining-requests", "0", "x-ratelimit-reset-requests", "9s"}, -1},
	} {
		got, asked := waitFor(tt.status, get(tt.headers...), now)
		if !asked {
			got = -1
		}
		if got.Round(time.Millisecond) != tt.want.Round(time.Millisecond) {
			t.Errorf("%d %q: %v, want %v", tt.status, tt.headers, got, tt.want)
		}
	}
}

func FuzzWaitFor(f *testing.F) {
	f.Add(429, "7", "250", "6m0s", "2026-03-04T05:06:07Z", "Wed, 04 Mar 2026 05:06:07 GMT")
	f.Add(503, "Wed, 04 Mar 2026 05:06:07 GMT", "", "1e9h", "NaN", "")
	now := newClock().now()
	f.Fuzz(func(t *testing.T, status int, after, ms, reset, moment, date string) {
		d, asked := waitFor(status, get("retry-after", after, "retry-after-ms", ms, "x-ratelimit-remaining-tokens", "0",
			"x-ratelimit-reset-tokens", reset, "anthropic-ratelimit-tokens-remaining", "0", "anthropic-ratelimit-tokens-reset", moment, "date", date), now)
		if asked && (d <= 0 || d > longestWait) || !asked && (d != 0 || status == 429) {
			t.Fatalf("%v, %v", d, asked)
		}
	})
}

func TestCoolingByRefusal(t *testing.T) {
	at := newClock()
	c := NewCooling(at.now)
	c.Note("b", 429, get("retry-after", "10"))
	c.Note("b", 429, get("retry-after", "1")) // does not shorten it
	c.Note("b", 200, get())                   // one from before
	if !c.Cools("b") || c.Cools("other") {
		t.Error("does not cool, or too much does")
	}
	at.pass(9999 * time.Millisecond)
	if !c.Cools("b") {
		t.Error("ended early")
	}
	at.pass(time.Millisecond)
	for range 2 {
		if c.Cools("b") {
			t.Error("still cools")
		}
	}
	c.Note("b", 503, get())
	if c.Cools("b") {
		t.Error("one failure made it cool")
	}
}

func TestCoolingByFailure(t *testing.T) {
	at := newClock()
	c := NewCooling(at.now)
	fail := func(n int) {
		for i := range n {
			if i%2 == 0 {
				c.Failed("b")
			} else {
				c.Note("b", 500, get())
			}
		}
	}
	fail(4)
	c.Note("b", 404, get()) // it works
	c.Note("b", 501, get())
	fail(4)
	if c.Cools("b") {
		t.Fatal("cools after four")
	}
	fail(1)
	for _, rest := range []time.Duration{1, 2, 4, 8, 16, 30, 30} {
		rest *= time.Second
		if !c.Cools("b") {
			t.Fatal("does not cool")
		}
		fail(9) // of requests from before count no more
		at.pass(rest - 1)
		if !c.Cools("b") {
			t.Fatalf("ended before %v", rest)
		}
		at.pass(1)
		if c.Cools("b") {
			t.Fatalf("no probe after %v", rest)
		}
		if !c.Cools("b") {
			t.Fatal("two probes")
		}
		c.Note("b", 502, get())
	}
	at.pass(longestRest)
	if c.Cools("b") || !c.Cools("b") {
		t.Fatal("no probe, or two")
	}
	at.pass(probeLease) // the probe said nothing
	if c.Cools("b") || !c.Cools("b") {
		t.Fatal("no probe after a lost one, or two")
	}
	c.Note("b", 200, get())
	for range 2 {
		if c.Cools("b") {
			t.Error("cools after a success")
		}
	}
	fail(4)
	if c.Cools("b") {
		t.Error("failures before the success count")
	}
}

// Exactly one of many gets through.
func TestCoolingProbe(t *testing.T) {
	at := newClock()
	c := NewCooling(at.now)
	for range failuresInRow {
		c.Failed("b")
	}
	at.pass(firstRest)
	var through atomic.Int32
	var wg sync.WaitGroup
	for range 50 {
		wg.Go(func() {
			if !c.Cools("b") {
				through.Add(1)
			}
		})
	}
	wg.Wait()
	if n := through.Load(); n != 1 {
		t.Errorf("%d probes", n)
	}
}

func TestCoolingMetrics(t *testing.T) {
	at := newClock()
	c := NewCooling(at.now)
	reg := prometheus.NewRegistry()
	reg.MustRegister(c)
	c.Note("a", 200, get())
	c.Note("b", 429, get())
	for range failuresInRow {
		c.Failed("c")
	}
	at.pass(time.Second)
	want := `
# HELP fairway_backend_cooled_total How often a backend began to be passed over, or for longer: refusal, because it asked for that; failure, because it failed.
# TYPE fairway_backend_cooled_total counter
fairway_backend_cooled_total{backend="b",reason="failure"} 0
fairway_backend_cooled_total{backend="b",reason="refusal"} 1
fairway_backend_cooled_total{backend="c",reason="failure"} 1
fairway_backend_cooled_total{backend="c",reason="refusal"} 0
# HELP fairway_backend_cooling 1 while requests pass over a backend, because it asked for that or because it fails; else 0.
# TYPE fairway_backend_cooling gauge
fairway_backend_cooling{backend="b"} 0
fairway_backend_cooling{backend="c"} 1
`
	if err := testutil.GatherAndCompare(reg, strings.NewReader(want)); err != nil {
		t.Error(err)
	}
	c.Forget("b")
	c.Forget("c")
	if n := testutil.CollectAndCount(c); n != 0 {
		t.Errorf("%d series of backends that are gone", n)
	}
}

func TestTries(t *testing.T) {
	at := newClock()
	var lost []string
	tries := NewTries(func(label string) { lost = append(lost, label) }, at.now)
	tries.Answered("x", "a", 429)
	tries.Unanswered("x", "b")
	tries.Answered("y", "c", 500)
	tries.Unanswered("left", "d")
	if len(lost) > 0 {
		t.Errorf("%q before it was certain", lost)
	}
	if got := fmt.Sprint(tries.Take("x"), lost, tries.Take("x"), tries.Take("y"), tries.Take("z")); got != "[a: 429 b: reset] [b] [] [c: 500] []" {
		t.Error(got)
	}
	// The end of a try may be told after the answer to the client.
	tries.Unanswered("z", "late")
	if fmt.Sprint(lost) != "[b late]" || tries.Take("z") != nil {
		t.Errorf("lost %q", lost)
	}
	at.pass(takenLife)
	tries.Unanswered("z", "another")
	if fmt.Sprint(lost) != "[b late]" {
		t.Errorf("lost %q", lost)
	}
}

func TestTriesAreBounded(t *testing.T) {
	at := newClock()
	tries := NewTries(nil, at.now)
	for i := range 2 * maxTries {
		tries.Answered(fmt.Sprint(i), "a", 500)
	}
	for range 100 {
		tries.Unanswered("many", "b")
	}
	if n := len(tries.byID); n > maxTries || n != tries.order.Len() || tries.Take("0") != nil || tries.Take(fmt.Sprint(2*maxTries-1)) == nil {
		t.Errorf("%d are kept, or the wrong ones", n)
	}
	if n := len(tries.Take("many")); n != maxOfRequest {
		t.Errorf("%d tries of one request", n)
	}
	at.pass(triesLife + 1)
	tries.Answered("new", "a", 500)
	if len(tries.byID) != 1 {
		t.Errorf("%d are kept after their time", len(tries.byID))
	}
}
