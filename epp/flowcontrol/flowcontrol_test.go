package flowcontrol

import (
	"fmt"
	"math"
	"strings"
	"testing"
	"time"

	"github.com/fairway-ai/fairway/scheduler"
)

func TestCeilings(t *testing.T) {
	holdback := func(domain string, ceilings map[int]float64) UsageLimit {
		return UsageLimit{Type: HoldbackLimit, Holdback: Holdback{Domain: domain, MinCeiling: 0.4, MaxCeiling: 0.9, Ceilings: ceilings}}
	}
	for _, tt := range []struct {
		name       string
		limit      UsageLimit
		saturation float64
		priorities []int
		want       string
	}{
		{"static", UsageLimit{Type: StaticLimit, Threshold: 0.8}, 0.5, []int{5, 0, -1}, "[0.8 0.8 0.8]"},
		{"rank", holdback(DomainRank, nil), 0, []int{100, 1, 0}, "[0.9 0.65 0.4]"},
		{"rank of one", holdback(DomainRank, nil), 0, []int{7}, "[0.9]"},
		{"value", holdback(DomainValue, nil), 0, []int{100, 80, 0}, "[0.9 0.8 0.4]"},
		{"explicit", holdback(DomainExplicit, map[int]float64{5: 0.7}), 0, []int{5, 0}, "[0.7 0]"},
		{"explicit of one", holdback(DomainExplicit, map[int]float64{5: 0.7}), 0, []int{0}, "[0]"},
		{"reflective, low", UsageLimit{Type: SoftReflective}, 0.4, []int{2, 1, 0}, "[1 1 1]"},
		{"reflective, full", UsageLimit{Type: SoftReflective}, 1, []int{2, 1, 0}, "[1 0 0]"},
		{"reflective of one", UsageLimit{Type: SoftReflective}, 0.99, []int{2}, "[1]"},
	} {
		out := make([]float64, len(tt.priorities))
		(&limiter{UsageLimit: tt.limit}).ceilings(tt.saturation, tt.priorities, out)
		for i := range out {
			out[i] = math.Round(out[i]*1e6) / 1e6
		}
		if got := fmt.Sprint(out); got != tt.want {
			t.Errorf("%s: %s, want %s", tt.name, got, tt.want)
		}
	}
	// Between its ceiling and 1 a band opens once in round(s / (1 - s)) calls.
	l := &limiter{UsageLimit: UsageLimit{Type: SoftReflective}}
	open := 0
	for range 300 {
		out := make([]float64, 2)
		l.ceilings(0.75, []int{1, 0}, out)
		open += int(out[1])
	}
	if open != 100 {
		t.Errorf("open in %d of 300 calls, want one in three", open)
	}
}

func TestHoldbackIsValidated(t *testing.T) {
	for _, tt := range []struct {
		h    Holdback
		want string
	}{
		{Holdback{Domain: "x"}, "domain"},
		{Holdback{Domain: DomainRank, MinCeiling: 1, MaxCeiling: 1}, "minCeiling"},
		{Holdback{Domain: DomainRank, MinCeiling: 0.5, MaxCeiling: 1.1}, "maxCeiling"},
		{Holdback{Domain: DomainValue, MinCeiling: 0.5, MaxCeiling: 0.5}, "minCeiling"},
		{Holdback{Domain: DomainRank, MaxCeiling: 1, Ceilings: map[int]float64{1: 1}}, "ceilings"},
		{Holdback{Domain: DomainExplicit}, "ceilings is missing"},
		{Holdback{Domain: DomainExplicit, Ceilings: map[int]float64{1: math.NaN()}}, "ceilings[1]"},
		{Holdback{Domain: DomainExplicit, Ceilings: map[int]float64{1: 0.5, 0: 0.6}}, "ceilings[0]"},
		{Holdback{Domain: DomainExplicit, Ceilings: map[int]float64{1: 0.6, 0: 0.6}}, ""},
	} {
		err := tt.h.Validate()
		if (err == nil) != (tt.want == "") || err != nil && !strings.HasPrefix(err.Error(), tt.want) {
			t.Errorf("%+v: %v, want %q", tt.h, err, tt.want)
		}
	}
}

// pool makes a snapshot of endpoints with metrics and requests in flight, each of so
// many tokens.
func pool(metrics []scheduler.Metrics, inflight []int, tokens int64) *scheduler.Snapshot {
	s := &scheduler.Snapshot{Metrics: metrics}
	for i := range metrics {
		l := new(scheduler.Load)
		for range inflight[i] {
			var f scheduler.Flight
			f.Bind(l, tokens, tokens)
		}
		s.Endpoints = append(s.Endpoints, scheduler.Endpoint{ID: fmt.Sprint(i), Address: fmt.Sprintf("10.0.0.%d:80", i), Load: l})
	}
	return s
}

func TestDetectors(t *testing.T) {
	now := time.Unix(1000, 0)
	at := func(m scheduler.Metrics, ago time.Duration) scheduler.Metrics {
		m.Known, m.UnixNano = true, now.Add(-ago).UnixNano()
		return m
	}
	m := func(waiting, running int32, kv float32) scheduler.Metrics {
		return at(scheduler.Metrics{Waiting: waiting, Running: running, KVUsage: kv}, 0)
	}
	u := DefaultUtilization()
	byTokens := &Concurrency{Mode: ByTokens, MaxRequests: 10, MaxTokens: 1000}
	both := &Concurrency{Mode: ByBoth, MaxRequests: 10, MaxTokens: 1000}
	requests := &Concurrency{Mode: ByRequests, MaxRequests: 10, MaxTokens: 1000}
	for _, tt := range []struct {
		name     string
		d        Detector
		metrics  []scheduler.Metrics
		inflight []int
		pending  Pending
		want     float64
		stale    int
	}{
		{"nothing", u, nil, nil, Pending{}, 1, 0},
		{"idle", u, []scheduler.Metrics{m(0, 0, 0)}, []int{0}, Pending{}, 0, 0},
		{"the larger share", u, []scheduler.Metrics{m(2, 0, 0.4), m(1, 0, 0.6)}, []int{0, 0}, Pending{}, (0.5 + 0.75) / 2, 0},
		{"unknown", u, []scheduler.Metrics{m(0, 0, 0), {}}, []int{0, 0}, Pending{}, 0.5, 1},
		{"stale", u, []scheduler.Metrics{at(scheduler.Metrics{Running: 1}, 201*time.Millisecond)}, []int{1}, Pending{}, 1, 1},
		{"just not stale", u, []scheduler.Metrics{at(scheduler.Metrics{Running: 1}, 200*time.Millisecond)}, []int{1}, Pending{}, 0, 0},
		{"old, but idle", u, []scheduler.Metrics{at(scheduler.Metrics{}, time.Second)}, []int{0}, Pending{}, 0, 0},
		{"sent since the reading", u, []scheduler.Metrics{m(1, 2, 0)}, []int{5}, Pending{}, 0.6, 0},
		{"all seen", u, []scheduler.Metrics{m(1, 4, 0)}, []int{5}, Pending{}, 0.2, 0},
		{"on its way", u, []scheduler.Metrics{m(0, 0, 0), m(0, 0, 0)}, []int{0, 0}, Pending{Requests: 5}, 0.5, 0},
		{"beyond", u, []scheduler.Metrics{m(20, 0, 0)}, []int{0}, Pending{}, 4, 0},

		{"no endpoint in flight", requests, nil, nil, Pending{}, 1, 0},
		{"in flight", requests, []scheduler.Metrics{{}, {}}, []int{10, 5}, Pending{}, 0.75, 0},
		{"in flight and on its way", requests, []scheduler.Metrics{{}, {}}, []int{10, 5}, Pending{Requests: 5}, 1, 0},
		{"tokens", byTokens, []scheduler.Metrics{{}, {}}, []int{10, 5}, Pending{Tokens: 100}, 0.8, 0},
		{"both, requests", both, []scheduler.Metrics{{}}, []int{5}, Pending{Requests: 4}, 0.9, 0},
		{"both, tokens", both, []scheduler.Metrics{{}}, []int{5}, Pending{Tokens: 200}, 0.7, 0},
	} {
		s := pool(tt.metrics, tt.inflight, 100)
		r := Read(tt.d, now, s)
		if got := r.With(tt.pending); math.Abs(got-tt.want) > 1e-6 || r.Stale != tt.stale {
			t.Errorf("%s: %v and %d stale, want %v and %d", tt.name, got, r.Stale, tt.want, tt.stale)
		}
		if len(tt.metrics) == 2 {
			one := pool(tt.metrics[:1], tt.inflight[:1], 100)
			var m Meter
			m.Update(now, tt.d, s)
			if a, b := m.Lane(&Lane{Subset: []string{s.Endpoints[0].Address}}), Read(tt.d, now, one); a != b {
				t.Errorf("%s: reading %+v of one endpoint, want %+v", tt.name, a, b)
			}
		}
	}
}

func TestFilters(t *testing.T) {
	now := time.Unix(1000, 0)
	known := func(waiting int32, kv float32) scheduler.Metrics {
		return scheduler.Metrics{Known: true, UnixNano: now.UnixNano(), Waiting: waiting, KVUsage: kv}
	}
	snap := pool([]scheduler.Metrics{known(5, 0), known(6, 0), known(7, 0), known(0, 0.9), known(0, 0.97), {}}, []int{2, 3, 4, 0, 0, 0}, 100)
	c := &scheduler.Cycle{Snapshot: snap}
	for i := range snap.Endpoints {
		c.Loads = append(c.Loads, snap.Endpoints[i].Load.View())
	}
	u := DefaultUtilization()
	u.Headroom = 0.2
	clock := func() time.Time { return now }
	for _, tt := range []struct {
		name string
		f    *Filter
		in   []int32
		want string
	}{
		{"within the headroom", NewUtilizationFilter("u", u, clock), []int32{0, 1, 2, 3, 4, 5}, "[0 1 3]"},
		{"none left", NewUtilizationFilter("u", u, clock), []int32{2, 4, 5}, "[2 4 5]"},
		{"requests", NewConcurrencyFilter("c", &Concurrency{Mode: ByRequests, MaxRequests: 3, Headroom: 0.1}), []int32{0, 1, 2}, "[0 1]"},
		{"tokens", NewConcurrencyFilter("c", &Concurrency{Mode: ByTokens, MaxTokens: 300}), []int32{0, 1, 2}, "[0]"},
		{"none left in flight", NewConcurrencyFilter("c", &Concurrency{Mode: ByBoth, MaxRequests: 1, MaxTokens: 1000}), []int32{0, 1}, "[]"},
	} {
		if got := fmt.Sprint(tt.f.Filter(c, tt.in)); got != tt.want {
			t.Errorf("%s: kept %s, want %s", tt.name, got, tt.want)
		}
	}
}

func TestProbabilistic(t *testing.T) {
	p := DefaultProbabilistic()
	for _, tt := range []struct {
		kv   float32
		want float64
	}{{0, 0}, {0.8 * 0.15, 0.0228}, {0.8 * 0.2, 0.096}, {0.8 * 0.3, 0.729}, {0.8 * 0.35, 1}} {
		s := pool([]scheduler.Metrics{{Known: true, KVUsage: tt.kv}}, []int{0}, 0)
		if got := p.Probability(s); math.Abs(got-tt.want) > 0.001 {
			t.Errorf("KV %v: shed with %v, want %v", tt.kv, got, tt.want)
		}
		shed := &Shedder{Probabilistic: &p}
		for _, chance := range []float64{0, 0.5, 0.9999} {
			if got, want := shed.Refuses(time.Time{}, -1, s, chance), chance < p.Probability(s); got != want {
				t.Errorf("KV %v, chance %v: refused %t", tt.kv, chance, got)
			}
			if shed.Refuses(time.Time{}, 0, s, chance) {
				t.Error("priority 0 was shed")
			}
		}
	}
	if got := p.Probability(pool(nil, nil, 0)); got != 0 {
		t.Errorf("an empty pool sheds with %v", got)
	}
	if got := p.Probability(pool([]scheduler.Metrics{{}}, []int{0}, 0)); got != 1 {
		t.Errorf("a pool of which nothing is known sheds with %v", got)
	}
}

// open is a valve that lets everything through.
type open struct{}

func (open) Saturation(*Lane) float64 { return 0 }

// TestProgramAware: the flow that was served least goes next; what was served longer
// ago counts less.
func TestProgramAware(t *testing.T) {
	now := time.Unix(1e9, 0)
	c := DefaultConfig()
	c.Default.Fairness = Fairness{Type: ProgramAware, Programs: DefaultPrograms()}
	order := func(q *Queue) string {
		var out strings.Builder
		for w := q.Pop(now, open{}); w != nil; w = q.Pop(now, open{}) {
			out.WriteString(w.Flow)
			q.Served(now, 0, w.Flow, map[string]float64{"a": 1000, "b": 100, "c": 100}[w.Flow])
		}
		return out.String()
	}
	push := func(q *Queue, flows string) {
		for _, f := range flows {
			q.Push(now, &Waiter{Flow: string(f)}, nil)
		}
	}
	q := NewQueue(c, nil, nil)
	push(q, "aaabbbccc")
	if got := order(q); got != "abcbcbcaa" {
		t.Errorf("served %s, want the one that was served least each time", got)
	}
	// Ten half-lives later the three are nearly equal again; b's later service counts.
	now = now.Add(10 * time.Minute)
	q.Served(now, 0, "b", 50)
	push(q, "abc")
	if got := order(q); got != "cab" {
		t.Errorf("served %s, want what was served of late to count most", got)
	}
	// The epoch moves without a change of order, and nobody is remembered for ever.
	now = now.Add(300 * time.Minute)
	q.Served(now, 0, "a", 1)
	q.Served(now, 0, "c", 2)
	push(q, "bca")
	if got := order(q); got != "bac" {
		t.Errorf("served %s after the epoch moved", got)
	}
	now = now.Add(2 * time.Hour)
	push(q, "z")
	if n := len(q.programsOf(c.Default.Fairness.Programs).known); n > 1 {
		t.Errorf("%d programs are remembered, want the one that waits", n)
	}
	for i := range maxPrograms + 100 {
		q.Served(now, 0, fmt.Sprint(i), 1)
	}
	if n := len(q.programsOf(c.Default.Fairness.Programs).known); n > maxPrograms {
		t.Errorf("%d programs are remembered", n)
	}
}

// TestHeadWait: of flows that were served alike the one that waits longest goes next.
func TestHeadWait(t *testing.T) {
	now := time.Unix(1e9, 0)
	c := DefaultConfig()
	c.Default.Fairness = Fairness{Type: ProgramAware, Programs: DefaultPrograms()}
	q := NewQueue(c, nil, nil)
	for _, f := range "xyz" {
		q.Push(now, &Waiter{Flow: string(f)}, nil)
		now = now.Add(time.Second)
	}
	if w := q.Pop(now, open{}); w.Flow != "x" {
		t.Errorf("served %s first, want x", w.Flow)
	}
}

// TestIdleBandsAreForgotten: bands that nobody configured count as active for a while.
func TestIdleBandsAreForgotten(t *testing.T) {
	now := time.Unix(1e9, 0)
	q := NewQueue(DefaultConfig(), nil, nil)
	for p := range 5 {
		q.Push(now, &Waiter{Priority: -p}, nil)
		q.Pop(now, open{})
	}
	now = now.Add(bandIdle + time.Second)
	w := &Waiter{Priority: 3}
	q.Push(now, w, nil)
	if got := fmt.Sprint(q.ranks); got != "[3 0]" {
		t.Errorf("active %s, want those in use and 0", got)
	}
	// A band that comes back is served.
	q.Push(now, &Waiter{Priority: -2}, nil)
	if a, b := q.Pop(now, open{}), q.Pop(now, open{}); a != w || b == nil || b.Priority != -2 {
		t.Errorf("served %v and %v", a, b)
	}
}

func TestConfigString(t *testing.T) {
	c := DefaultConfig()
	c.MaxBytes = 5
	negative := DefaultBand()
	negative.MaxRequests = 10
	c.DefaultNegative = &negative
	c.Bands = []Band{{Priority: 7, MaxRequests: 1, MaxBytes: 2, Fairness: Fairness{Type: ProgramAware, Programs: DefaultPrograms()}, Ordering: EDF}}
	c.Limit = UsageLimit{Type: HoldbackLimit, Holdback: Holdback{Domain: DomainExplicit, Ceilings: map[int]float64{1: 0.5, 2: 0.9}}}
	want := `maxRequests: 0 # no bound
maxBytes: 5
defaultRequestTTL: 1m0s
noEndpointRequestTTL: 1m0s
saturationDetector: {type: utilization-detector, queueDepthThreshold: 5, kvCacheUtilThreshold: 0.8, metricsStalenessThreshold: 200ms, headroom: 0}
usageLimitPolicy: {type: priority-holdback-policy, domain: explicit, ceilings: {2: 0.9, 1: 0.5}}
enableEviction: false
defaultPriorityBand: {maxRequests: 5000, maxBytes: 1000000000, fairnessPolicy: global-strict-fairness-policy, orderingPolicy: fcfs-ordering-policy}
defaultNegativePriorityBand: {maxRequests: 10, maxBytes: 1000000000, fairnessPolicy: global-strict-fairness-policy, orderingPolicy: fcfs-ordering-policy}
priorityBands:
- {priority: 7, maxRequests: 1, maxBytes: 2, fairnessPolicy: {type: program-aware-fairness, strategy: las, lasWeightService: 0.8, lasWeightHeadWait: 0.2, lasHalfLifeSeconds: 60, lasDecayFactor: 0.99997, evictionTtlSeconds: 3600}, orderingPolicy: edf-ordering-policy}
`
	if got := c.String(); got != want {
		t.Errorf("got\n%s\nwant\n%s", got, want)
	}
}
