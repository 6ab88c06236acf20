package limits

import (
	"fmt"
	"math/rand/v2"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/testutil"

	"github.com/fairway-ai/fairway/aibackend/chat"
	"github.com/fairway-ai/fairway/api/v1alpha1"
	"github.com/fairway-ai/fairway/gateway/airoute"
)

// clock is a time that tests move.
type clock struct{ t time.Time }

func (c *clock) now() time.Time { return c.t }

func (c *clock) add(d time.Duration) { c.t = c.t.Add(d) }

// ruleOf is a rule for models with limits.
func ruleOf(name string, models []string, all ...airoute.Limit) airoute.Rule {
	r := airoute.Rule{Name: name, Limits: all}
	for _, m := range models {
		r.Matches = append(r.Matches, airoute.Match{Model: airoute.Equal(m)})
	}
	return r
}

func newLimiter(t testing.TB, rules ...airoute.Rule) (*Limiter, *clock, *prometheus.Registry) {
	t.Helper()
	c, r := &clock{time.Date(2026, 1, 2, 3, 4, 5, 0, time.UTC)}, prometheus.NewRegistry()
	l, err := New(r, c.now)
	if err != nil {
		t.Fatal(err)
	}
	l.SetRules(&airoute.Config{Rules: rules})
	return l, c, r
}

func requests(n int64, period time.Duration) airoute.Limit {
	return airoute.Limit{Type: v1alpha1.LimitRequests, Max: n, Period: period}
}

func tokens(n int64, period time.Duration) airoute.Limit {
	return airoute.Limit{Type: v1alpha1.LimitTotalTokens, Max: n, Period: period}
}

func noHeader(string) string { return "" }

// admitted asks once, and says whether the request was let in.
func admitted(t testing.TB, l *Limiter, rule string, q Request) bool {
	t.Helper()
	if q.Header == nil {
		q.Header = noHeader
	}
	a, no := l.Admit(rule, &q)
	if (a == nil) == (no == nil) {
		t.Fatalf("%v and %v", a, no)
	}
	return a != nil
}

// TestNoPeriodSeesMore: wherever a period begins, it has no more requests than the limit,
// and a request that a period and a tenth ago were few enough for is let in.
func TestNoPeriodSeesMore(t *testing.T) {
	const most, period = 7, time.Minute
	l, c, _ := newLimiter(t, ruleOf("ns/a/0", nil, requests(most, period)))
	r := rand.New(rand.NewPCG(1, 2))
	var in []time.Time
	for range 5000 {
		c.add(time.Duration(r.Int64N(int64(9 * time.Second))))
		within := func(d time.Duration) (n int) {
			for _, at := range in {
				if c.t.Sub(at) < d {
					n++
				}
			}
			return n
		}
		ok := admitted(t, l, "ns/a/0", Request{})
		if n := within(period); ok && n >= most {
			t.Fatalf("let in after %d in the last %s", n, period)
		}
		if n := within(period + period/parts); !ok && n < most {
			t.Fatalf("refused after only %d in the last %s and a tenth", n, period)
		}
		if ok {
			in = append(in, c.t)
		}
	}
	if len(in) < 4000/9 {
		t.Errorf("only %d were let in", len(in))
	}
}

// TestWait: who waits as long as he is told is let in, and not much sooner.
func TestWait(t *testing.T) {
	l, c, _ := newLimiter(t, ruleOf("ns/a/0", nil, requests(3, time.Hour)))
	for range 3 {
		if !admitted(t, l, "ns/a/0", Request{}) {
			t.Fatal("refused")
		}
		c.add(10 * time.Minute)
	}
	_, no := l.Admit("ns/a/0", &Request{Header: noHeader})
	if no == nil || no.Wait < 30*time.Minute || no.Wait > 36*time.Minute || no.Left != 0 {
		t.Fatalf("%+v", no)
	}
	if want := "the limit of 3 requests in 1 hours is reached; try again in"; !strings.HasPrefix(no.Error(), want) {
		t.Errorf("%q", no.Error())
	}
	c.add(no.Wait - time.Second)
	if admitted(t, l, "ns/a/0", Request{}) {
		t.Error("let in too soon")
	}
	c.add(time.Second)
	if !admitted(t, l, "ns/a/0", Request{}) {
		t.Error("refused after waiting as long as told")
	}
	c.add(-time.Hour)
	if admitted(t, l, "ns/a/0", Request{}) {
		t.Error("let in because the clock went back")
	}
}

func TestReservations(t *testing.T) {
	q := Request{Prompt: 100, MaxTokens: 50, Header: noHeader}
	admit := func(t *testing.T, l *Limiter) *Admission {
		t.Helper()
		a, no := l.Admit("ns/a/0", &q)
		if no != nil {
			t.Fatal(no)
		}
		return a
	}
	left := func(t *testing.T, l *Limiter) int64 {
		t.Helper()
		a := admit(t, l)
		defer a.Cancel()
		return a.states[0].Left + 150
	}
	for name, tt := range map[string]struct {
		do   func(*Admission)
		left int64
	}{
		"under way":                {func(*Admission) {}, 850},
		"canceled":                 {func(a *Admission) { a.Cancel(); a.Cancel(); a.End(true, 0) }, 1000},
		"reported":                 {func(a *Admission) { a.Charge(chat.Usage{Input: 10, Output: 5}, nil); a.End(true, 0) }, 985},
		"reported late":            {func(a *Admission) { a.End(true, 0); a.Charge(chat.Usage{Input: 10, Output: 5}, nil) }, 985},
		"reported while under way": {func(a *Admission) { a.Charge(chat.Usage{Input: 10}, nil) }, 840},
		"by two tries": {func(a *Admission) {
			a.Charge(chat.Usage{Input: 9}, nil)
			a.Charge(chat.Usage{Output: 1}, nil)
			a.End(true, 0)
		}, 990},
		"nobody reported":               {func(a *Admission) { a.End(true, 0) }, 850},
		"nobody reported, but counted":  {func(a *Admission) { a.End(true, 300) }, 600},
		"nobody was at work":            {func(a *Admission) { a.End(false, 0); a.End(true, 9) }, 1000},
		"a report that is not possible": {func(a *Admission) { a.Charge(chat.Usage{Input: -5, Output: -1 << 62}, nil); a.End(true, 0) }, 1000},
	} {
		t.Run(name, func(t *testing.T) {
			l, _, _ := newLimiter(t, ruleOf("ns/a/0", nil, tokens(1000, time.Hour)))
			tt.do(admit(t, l))
			if n := left(t, l); n != tt.left {
				t.Errorf("%d are left, want %d", n, tt.left)
			}
		})
	}
	t.Run("burst", func(t *testing.T) {
		l, c, _ := newLimiter(t, ruleOf("ns/a/0", nil, tokens(1000, time.Hour)))
		var all []*Admission
		for range 100 {
			if a, _ := l.Admit("ns/a/0", &q); a != nil {
				all = append(all, a)
			}
			c.add(2 * time.Hour) // reservations do not run out
		}
		if len(all) != 6 {
			t.Errorf("%d were let in at once, want 6 of 150 tokens", len(all))
		}
		for _, a := range all {
			a.Charge(chat.Usage{Input: 100, Output: 4000}, nil)
			a.End(true, 0)
		}
		// What goes over the limit counts for the whole period.
		c.add(time.Hour - time.Minute)
		if _, no := l.Admit("ns/a/0", &q); no == nil || no.Wait > 7*time.Minute {
			t.Errorf("%+v", no)
		}
	})
	t.Run("larger than the limit", func(t *testing.T) {
		l, _, _ := newLimiter(t, ruleOf("ns/a/0", nil, tokens(1000, time.Hour)))
		big := Request{Prompt: 1 << 62, Header: noHeader}
		a, no := l.Admit("ns/a/0", &big)
		if no != nil {
			t.Fatal("a request that can never fit waits forever")
		}
		if _, no := l.Admit("ns/a/0", &q); no == nil {
			t.Error("the limit is not held while it is under way")
		}
		a.Cancel()
	})
	t.Run("what answers are long", func(t *testing.T) {
		l, _, _ := newLimiter(t, ruleOf("ns/a/0", nil, tokens(1_000_000, time.Hour)))
		for range 200 {
			a, no := l.Admit("ns/a/0", &Request{Prompt: 1, Header: noHeader})
			if no != nil {
				t.Fatal(no)
			}
			a.Charge(chat.Usage{Input: 1, Output: 2000}, nil)
			a.End(true, 0)
		}
		a, _ := l.Admit("ns/a/0", &Request{Prompt: 1, Header: noHeader})
		if e := a.items[0].estimate; e < 1900 || e > 2001 {
			t.Errorf("after answers of 2000 tokens, %d are expected", e)
		}
	})
}

func TestKinds(t *testing.T) {
	limit := func(kind v1alpha1.LimitType) airoute.Limit {
		return airoute.Limit{Type: kind, Cost: map[bool]string{true: "cents"}[kind == v1alpha1.LimitCost], Max: 1000, Period: time.Hour}
	}
	for kind, want := range map[v1alpha1.LimitType]int64{
		v1alpha1.LimitRequests: 1, v1alpha1.LimitInputTokens: 70, v1alpha1.LimitOutputTokens: 30,
		v1alpha1.LimitTotalTokens: 100, v1alpha1.LimitCost: 210,
	} {
		l, _, _ := newLimiter(t, ruleOf("ns/a/0", nil, limit(kind)))
		costs := func(u chat.Usage) map[string]uint64 { return map[string]uint64{"cents": 3 * uint64(u.Input)} }
		for range 2 { // an estimate, and what is reported, count the same
			a, no := l.Admit("ns/a/0", &Request{Prompt: 70, MaxTokens: 30, Header: noHeader, Costs: costs})
			if no != nil {
				t.Fatal(kind, no)
			}
			u := chat.Usage{Known: true, Input: 70, Output: 30}
			a.Charge(u, costs(u))
			a.End(true, 0)
		}
		if a, _ := l.Admit("ns/a/0", &Request{NoOutput: true, Header: noHeader}); a.states[0].Left != 1000-2*want-map[bool]int64{true: 1}[kind == v1alpha1.LimitRequests] {
			t.Errorf("%s: %d are left", kind, a.states[0].Left)
		}
	}
}

// TestCountersAreSeparate: by rule and model, and by what tells clients apart; and
// nowhere can a client have another one by making something up.
func TestCountersAreSeparate(t *testing.T) {
	per := func(p v1alpha1.LimitKeyType, header string) airoute.Limit {
		return airoute.Limit{Type: v1alpha1.LimitRequests, Max: 1, Period: time.Hour, Per: p, Header: header}
	}
	l, _, _ := newLimiter(t,
		ruleOf("red/chat/0", []string{"gpt", "other"}, requests(1, time.Hour)),
		ruleOf("blue/chat/0", []string{"gpt"}, requests(1, time.Hour)),
		ruleOf("red/any/0", nil, requests(1, time.Hour)),
		ruleOf("red/header/0", []string{"gpt"}, per(v1alpha1.LimitPerHeader, "x-team")),
		ruleOf("red/user/0", nil, per(v1alpha1.LimitPerUser, "")),
		ruleOf("red/id/0", nil, per(v1alpha1.LimitPerSPIFFEID, "")),
	)
	team := func(v string) func(string) string {
		return func(name string) string {
			if name == "x-team" {
				return v
			}
			return ""
		}
	}
	for i, step := range []struct {
		rule string
		q    Request
		want bool
	}{
		{"red/chat/0", Request{Model: "gpt"}, true},
		{"red/chat/0", Request{Model: "gpt"}, false},
		{"red/chat/0", Request{Model: "other"}, true},
		{"blue/chat/0", Request{Model: "gpt"}, true},
		{"red/any/0", Request{Model: "gpt"}, true},
		{"red/any/0", Request{Model: "made up"}, false},
		{"red/header/0", Request{Model: "gpt", Header: team("a")}, true},
		{"red/header/0", Request{Model: "gpt", Header: team("a")}, false},
		{"red/header/0", Request{Model: "gpt", Header: team("b")}, true},
		{"red/header/0", Request{Model: "gpt"}, true},
		{"red/header/0", Request{Model: "gpt"}, false},
		{"red/user/0", Request{User: "a", Model: "x"}, true},
		{"red/user/0", Request{User: "a", Model: "y"}, false},
		{"red/user/0", Request{User: "b"}, true},
		{"red/id/0", Request{Identity: "spiffe://d/a"}, true},
		{"red/id/0", Request{Identity: "spiffe://d/a", User: "x"}, false},
		{"red/id/0", Request{Identity: "spiffe://d/b"}, true},
	} {
		if got := admitted(t, l, step.rule, step.q); got != step.want {
			t.Errorf("step %d: %s %+v: let in %t", i, step.rule, step.q, got)
		}
	}
	if a, no := l.Admit("ns/without/0", &Request{}); a != nil || no != nil {
		t.Error("a rule without limits has some")
	}
}

// TestSeveralLimits: all must hold, and one that does not takes nothing from the others.
func TestSeveralLimits(t *testing.T) {
	l, _, r := newLimiter(t, ruleOf("ns/a/0", nil, requests(10, time.Hour), requests(2, time.Minute), tokens(1000, time.Minute)))
	for range 5 {
		admitted(t, l, "ns/a/0", Request{Prompt: 1})
	}
	_, no := l.Admit("ns/a/0", &Request{Prompt: 1, Header: noHeader})
	if no == nil || no.Limit.Max != 2 {
		t.Fatalf("%+v", no)
	}
	if n := (*l.rules.Load())["ns/a/0"].limits[0].models[""].total; n != 2 {
		t.Errorf("%d requests count, though only 2 were let in", n)
	}
	const want = `
# HELP fairway_limit_allowed_total Requests of rules with limits that were within them.
# TYPE fairway_limit_allowed_total counter
fairway_limit_allowed_total{route="ns/a",rule="0"} 2
# HELP fairway_limit_refused_total Requests that were answered with 429 because of a limit of their rule.
# TYPE fairway_limit_refused_total counter
fairway_limit_refused_total{route="ns/a",rule="0"} 4
`
	if err := testutil.GatherAndCompare(r, strings.NewReader(want), "fairway_limit_allowed_total", "fairway_limit_refused_total"); err != nil {
		t.Error(err)
	}
	l.SetRules(&airoute.Config{})
	if n, err := testutil.GatherAndCount(r, "fairway_limit_allowed_total", "fairway_limit_refused_total"); n != 0 || err != nil {
		t.Errorf("%d series of rules that are gone: %v", n, err)
	}
}

// TestRulesChange: counters live on, whatever else changes.
func TestRulesChange(t *testing.T) {
	keyed := requests(1, time.Hour)
	keyed.Per = v1alpha1.LimitPerUser
	l, _, _ := newLimiter(t, ruleOf("ns/a/0", []string{"m"}, requests(2, time.Hour), tokens(9, time.Hour)), ruleOf("ns/b/0", nil, keyed))
	use := func(want bool, rule string) {
		t.Helper()
		if got := admitted(t, l, rule, Request{Model: "m", User: "u", NoOutput: true}); got != want {
			t.Errorf("%s: let in %t", rule, got)
		}
	}
	use(true, "ns/a/0")
	use(true, "ns/b/0")
	other := keyed
	other.Per, other.Header = v1alpha1.LimitPerHeader, "x"
	l.SetRules(&airoute.Config{Rules: []airoute.Rule{
		ruleOf("ns/new/0", nil, other),
		ruleOf("ns/a/0", []string{"more", "m"}, tokens(9, time.Hour), requests(3, time.Hour)),
		ruleOf("ns/b/0", nil, keyed),
	}})
	use(false, "ns/b/0")
	use(true, "ns/a/0")
	use(true, "ns/a/0")
	use(false, "ns/a/0")
	l.SetRules(&airoute.Config{Rules: []airoute.Rule{ruleOf("ns/a/0", []string{"m"}, requests(3, time.Minute))}})
	use(true, "ns/a/0") // another period is another limit
}

// TestClientsAreBounded: values that are made up take room from their own limit alone.
func TestClientsAreBounded(t *testing.T) {
	limit := airoute.Limit{Type: v1alpha1.LimitRequests, Max: 1, Period: time.Hour, Per: v1alpha1.LimitPerUser}
	l, _, r := newLimiter(t, ruleOf("ns/a/0", nil, limit), ruleOf("ns/b/0", nil, limit))
	admitted(t, l, "ns/b/0", Request{User: "u"})
	for i := range 2 * mostOfLimit {
		admitted(t, l, "ns/a/0", Request{User: fmt.Sprint(i)})
	}
	n := 0
	c := (*l.rules.Load())["ns/a/0"].limits[0].clients
	for i := range c.shards {
		n += len(c.shards[i].by)
		if len(c.shards[i].by) != c.shards[i].order.Len() {
			t.Error("a shard has lost count")
		}
	}
	if n > mostOfLimit || n < mostOfLimit-mostOfLimit/10 {
		t.Errorf("%d clients are kept", n)
	}
	if admitted(t, l, "ns/b/0", Request{User: "u"}) {
		t.Error("another limit's client was forgotten")
	}
	if admitted(t, l, "ns/a/0", Request{User: fmt.Sprint(2*mostOfLimit - 1)}) {
		t.Error("the latest client was forgotten")
	}
	if v, err := testutil.GatherAndCount(r, "fairway_limit_clients_forgotten_total"); v != 1 || err != nil {
		t.Error(v, err)
	}
}

func TestHeaders(t *testing.T) {
	l, c, _ := newLimiter(t, ruleOf("ns/a/0", nil, requests(60, time.Hour), requests(2, time.Minute), tokens(1000, time.Minute),
		airoute.Limit{Type: v1alpha1.LimitCost, Cost: "c", Max: 5, Period: time.Hour}))
	q := Request{Prompt: 10, MaxTokens: 10, Header: noHeader}
	a, _ := l.Admit("ns/a/0", &q)
	got := fmt.Sprint(a.Headers(false), a.Headers(true))
	want := "[{x-ratelimit-limit-requests 2} {x-ratelimit-remaining-requests 1} {x-ratelimit-reset-requests 1m6s}" +
		" {x-ratelimit-limit-tokens 1000} {x-ratelimit-remaining-tokens 980} {x-ratelimit-reset-tokens 0s}]" +
		" [{anthropic-ratelimit-requests-limit 2} {anthropic-ratelimit-requests-remaining 1} {anthropic-ratelimit-requests-reset 2026-01-02T03:05:11Z}" +
		" {anthropic-ratelimit-tokens-limit 1000} {anthropic-ratelimit-tokens-remaining 980} {anthropic-ratelimit-tokens-reset 2026-01-02T03:04:05Z}]"
	if got != want {
		t.Errorf("got  %s\nwant %s", got, want)
	}
	c.add(20500 * time.Millisecond)
	admitted(t, l, "ns/a/0", q)
	_, no := l.Admit("ns/a/0", &q)
	got = fmt.Sprint(no.Headers(false))
	if want = "[{x-ratelimit-limit-requests 2} {x-ratelimit-remaining-requests 0} {x-ratelimit-reset-requests 1m3.5s} {retry-after 46}]"; got != want {
		t.Errorf("got  %s\nwant %s", got, want)
	}
}

// TestConcurrently: a limit holds whoever asks at once.
func TestConcurrently(t *testing.T) {
	l, _, _ := newLimiter(t, ruleOf("ns/a/0", nil, requests(100, time.Hour), tokens(1<<40, time.Hour)))
	var in atomic.Int64
	var all sync.WaitGroup
	for range 8 {
		all.Go(func() {
			for range 50 {
				a, _ := l.Admit("ns/a/0", &Request{Prompt: 5, MaxTokens: 5, Header: noHeader})
				if a == nil {
					continue
				}
				in.Add(1)
				var both sync.WaitGroup
				both.Go(func() { a.Charge(chat.Usage{Input: 1, Output: 2}, nil) })
				both.Go(func() { a.End(true, 0) })
				both.Wait()
			}
		})
	}
	all.Wait()
	c := (*l.rules.Load())["ns/a/0"].limits[1].models[""]
	if in.Load() != 100 || c.total != 300 || c.reserved != 0 {
		t.Errorf("%d were let in, which used %d and have %d reserved", in.Load(), c.total, c.reserved)
	}
}

func TestStatesAreTheLeast(t *testing.T) {
	states := []State{{Left: 3}, {Left: 1}, {Left: 1}, {Left: 9, Limit: tokens(1, 1)}}
	var got []int
	for i := range states {
		if least(states, i) {
			got = append(got, i)
		}
	}
	if !slices.Equal(got, []int{1, 3}) {
		t.Error(got)
	}
}
