package filter_test

import (
	"math"
	"slices"
	"testing"

	"github.com/fairway-ai/fairway/scheduler"
	"github.com/fairway-ai/fairway/scheduler/filter"
	"github.com/fairway-ai/fairway/scheduler/prefix"
	"github.com/fairway-ai/fairway/scheduler/topology"
)

// ep is one endpoint of a test.
type ep struct {
	metrics scheduler.Metrics
	load    scheduler.LoadView
	blocks  int32
	labels  set
}

func cycle(req scheduler.Request, eps ...ep) *scheduler.Cycle {
	c := &scheduler.Cycle{Request: &req, Snapshot: &scheduler.Snapshot{}, Peer: -1}
	for i, e := range eps {
		c.Snapshot.Endpoints = append(c.Snapshot.Endpoints, scheduler.Endpoint{Labels: e.labels})
		c.Snapshot.Metrics = append(c.Snapshot.Metrics, e.metrics)
		c.Loads = append(c.Loads, e.load)
		c.CachedBlocks = append(c.CachedBlocks, e.blocks)
		c.Candidates = append(c.Candidates, int32(i))
	}
	return c
}

func wantKept(t *testing.T, f scheduler.Filter, c *scheduler.Cycle, want ...int32) {
	t.Helper()
	if got := f.Filter(c, slices.Clone(c.Candidates)); !slices.Equal(got, want) {
		t.Errorf("%s kept %v, want %v", f.Name(), got, want)
	}
}

func num(v float64) *float64 { return &v }

func TestUtilization(t *testing.T) {
	m := func(waiting, running int32, kv float32) scheduler.Metrics {
		return scheduler.Metrics{Known: true, Waiting: waiting, Running: running, KVUsage: kv}
	}
	eps := []ep{
		{metrics: m(0, 8, 0.2)}, {metrics: m(5, 2, 0.9)}, {metrics: m(6, 0, 0.95), load: scheduler.LoadView{Requests: 9}},
		{load: scheduler.LoadView{Requests: 4, Dispatched: 4, Waiting: 3}}, // says nothing of itself
	}
	run := func(fallback bool, conditions ...filter.Condition) *filter.Utilization {
		p := filter.UtilizationParameters{Conditions: conditions, FallbackOnEmpty: fallback}
		if err := p.Validate(); err != nil {
			t.Fatal(err)
		}
		return filter.NewUtilization("", p)
	}
	c := cycle(scheduler.Request{}, eps...)
	wantKept(t, run(false, filter.Condition{Metric: "waiting-queue", MaxValue: num(5)}), c, 0, 1, 3)
	wantKept(t, run(false, filter.Condition{Metric: "running-requests", MaxValue: num(0)}), c, 2)
	wantKept(t, run(false, filter.Condition{Metric: "active-requests", MaxValue: num(4)}), c, 0, 1, 3)
	wantKept(t, run(false, filter.Condition{Metric: "kv-cache-utilization", MaxValue: num(0.8)}), c, 0, 3)
	wantKept(t, run(false, filter.Condition{Metric: "waiting-queue", MaxValue: num(5)}, filter.Condition{Metric: "running-requests", MaxValue: num(2)}), c, 1, 3)
	none := []filter.Condition{{Metric: "waiting-queue", MaxValue: num(0)}, {Metric: "running-requests", MaxValue: num(0)}}
	wantKept(t, run(false, none...), c)
	wantKept(t, run(true, none...), c, 0, 1, 2, 3)

	for _, bad := range []filter.UtilizationParameters{
		{},
		{Conditions: []filter.Condition{{Metric: "temperature", MaxValue: num(1)}}},
		{Conditions: []filter.Condition{{Metric: "waiting-queue"}}},
		{Conditions: []filter.Condition{{Metric: "waiting-queue", MaxValue: num(-1)}}},
		{Conditions: []filter.Condition{{Metric: "waiting-queue", MaxValue: num(math.NaN())}}},
		{Conditions: []filter.Condition{{Metric: "kv-cache-utilization", MaxValue: num(80)}}},
		{Conditions: make([]filter.Condition, 100)},
	} {
		if bad.Validate() == nil {
			t.Errorf("%+v was accepted", bad)
		}
	}
}

func TestPrefixAffinity(t *testing.T) {
	req := scheduler.Request{Blocks: make([]prefix.Block, 10)}
	p := filter.DefaultPrefixAffinityParameters()
	backlog := func(blocks int32, tokens int64) ep {
		return ep{blocks: blocks, load: scheduler.LoadView{Backlog: tokens}}
	}
	f := filter.NewPrefixAffinity("", p)
	wantKept(t, f, cycle(req, backlog(0, 0), backlog(8, 0), backlog(10, 0), backlog(7, 0)), 1, 2)
	wantKept(t, f, cycle(req, backlog(0, 0), backlog(7, 0)), 0, 1) // nobody has enough
	wantKept(t, f, cycle(scheduler.Request{}, backlog(0, 0), backlog(9, 0)), 0, 1)
	// 18 seconds are 286,704 tokens.
	wantKept(t, f, cycle(req, backlog(0, 1000), backlog(9, 287_704)), 1)
	wantKept(t, f, cycle(req, backlog(0, 1000), backlog(9, 287_705)), 0, 1)
	wantKept(t, f, cycle(req, backlog(0, 1000), backlog(9, 999_999), backlog(10, 5)), 1, 2)
	// Answers count where they are estimated.
	answers := backlog(9, 1000)
	answers.load.Output = 286_705
	wantKept(t, f, cycle(req, backlog(0, 1000), answers), 0, 1)
	answers.load.Output--
	wantKept(t, f, cycle(req, backlog(0, 1000), answers), 1)
	always := p
	always.MaxTTFTPenaltyMs = 0
	wantKept(t, filter.NewPrefixAffinity("", always), cycle(req, backlog(0, 0), backlog(9, 1<<40)), 1)
	explore := p
	explore.ExplorationProbability = 1
	wantKept(t, filter.NewPrefixAffinity("", explore), cycle(req, backlog(0, 0), backlog(9, 0)), 0, 1)
	off := p
	off.AffinityThreshold = 0
	wantKept(t, filter.NewPrefixAffinity("", off), cycle(req, backlog(0, 0), backlog(9, 0)), 0, 1)

	for _, change := range []func(*filter.PrefixAffinityParameters){
		func(p *filter.PrefixAffinityParameters) { p.AffinityThreshold = 1.1 },
		func(p *filter.PrefixAffinityParameters) { p.ExplorationProbability = math.NaN() },
		func(p *filter.PrefixAffinityParameters) { p.MaxTTFTPenaltyMs = -1 },
		func(p *filter.PrefixAffinityParameters) { p.PeakPrefillThroughput = 0 },
		func(p *filter.PrefixAffinityParameters) { p.TTFTSource = "latencyPredictor" },
	} {
		bad := p
		change(&bad)
		if bad.Validate() == nil {
			t.Errorf("%+v was accepted", bad)
		}
	}
	if err := p.Validate(); err != nil {
		t.Error(err)
	}
}

// attribute is an endpoint-attribute-filter of the second custom metric.
func attribute(t *testing.T, change func(*filter.AttributeParameters)) *filter.Attribute {
	t.Helper()
	p := filter.AttributeParameters{Attribute: "depth"}
	change(&p)
	if err := p.Validate(); err != nil {
		t.Fatal(err)
	}
	return filter.NewAttribute("", p, 1)
}

func threshold(op string, v float64) filter.AttributeAlgorithm {
	a := filter.AttributeAlgorithm{Type: "threshold"}
	a.Threshold = &struct {
		Operator string   `json:"operator"`
		Value    *float64 `json:"value"`
	}{op, &v}
	return a
}

func topK(k int, higher *bool) filter.AttributeAlgorithm {
	a := filter.AttributeAlgorithm{Type: "topK"}
	a.TopK = &struct {
		K              int   `json:"k"`
		HigherIsBetter *bool `json:"higherIsBetter"`
	}{k, higher}
	return a
}

func percentile(q float64, higher *bool) filter.AttributeAlgorithm {
	a := filter.AttributeAlgorithm{Type: "percentile"}
	a.Percentile = &struct {
		Percentile     *float64 `json:"percentile"`
		HigherIsBetter *bool    `json:"higherIsBetter"`
	}{&q, higher}
	return a
}

func span(lo, hi float64) filter.AttributeAlgorithm {
	a := filter.AttributeAlgorithm{Type: "range"}
	a.Range = &struct {
		Min *float64 `json:"min"`
		Max *float64 `json:"max"`
	}{&lo, &hi}
	return a
}

func TestAttribute(t *testing.T) {
	v := func(x float64) ep { return ep{metrics: scheduler.Metrics{Custom: []float64{-1, x}}} }
	c := cycle(scheduler.Request{}, v(2), v(6), v(4), v(4), v(math.NaN()), ep{})
	low := false
	for _, tc := range []struct {
		a    filter.AttributeAlgorithm
		want []int32 // besides those without the attribute
	}{
		{threshold("LessThan", 4), []int32{0}},
		{threshold("LessThanOrEqual", 4), []int32{0, 2, 3}},
		{threshold("GreaterThan", 4), []int32{1}},
		{threshold("GreaterThanOrEqual", 4), []int32{1, 2, 3}},
		{threshold("Equal", 4), []int32{2, 3}},
		{threshold("NotEqual", 4), []int32{0, 1}},
		{span(2, 4), []int32{0, 2, 3}},
		{topK(2, nil), []int32{1, 2}},
		{topK(2, &low), []int32{0, 2}},
		{topK(9, nil), []int32{0, 1, 2, 3}},
		{percentile(50, nil), []int32{1, 2, 3}},
		{percentile(25, &low), []int32{0}},
		{percentile(0, &low), []int32{0}},
		{percentile(100, nil), []int32{1}},
	} {
		fail := attribute(t, func(p *filter.AttributeParameters) { p.Algorithm, p.OnMissing = tc.a, "Fail" })
		wantKept(t, fail, c, tc.want...)
		pass := attribute(t, func(p *filter.AttributeParameters) { p.Algorithm = tc.a })
		wantKept(t, pass, c, append(slices.Clone(tc.want), 4, 5)...)
	}
	all := func(fallback bool) *filter.Attribute {
		return attribute(t, func(p *filter.AttributeParameters) {
			p.Algorithm, p.OnMissing, p.FallbackOnEmpty = threshold("LessThan", 0), "Fail", fallback
		})
	}
	wantKept(t, all(false), c)
	wantKept(t, all(true), c, 0, 1, 2, 3, 4, 5)

	for _, bad := range []filter.AttributeParameters{
		{Algorithm: threshold("Equal", 1)},
		{Attribute: "a"},
		{Attribute: "a", Algorithm: filter.AttributeAlgorithm{Type: "topK"}},
		{Attribute: "a", Algorithm: threshold("Near", 1)},
		{Attribute: "a", Algorithm: span(2, 1)},
		{Attribute: "a", Algorithm: topK(0, nil)},
		{Attribute: "a", Algorithm: percentile(101, nil)},
		{Attribute: "a", OnMissing: "Ignore", Algorithm: topK(1, nil)},
		{Attribute: "a", Algorithm: filter.AttributeAlgorithm{Type: "range", TopK: topK(1, nil).TopK}},
	} {
		if bad.Validate() == nil {
			t.Errorf("%+v was accepted", bad)
		}
	}
}

func TestTopology(t *testing.T) {
	l := topology.DefaultLabels()
	at := func(host, zone string) ep { return ep{labels: set{l.Hostname: host, l.Zone: zone}} }
	eps := []ep{at("1", "a"), at("2", "a"), at("3", "b"), {}}
	for min, want := range map[string][]int32{"host": {0}, "rack": {0}, "zone": {0, 1}, "region": {0, 1}} {
		p := filter.TopologyParameters{MinAffinity: min}
		if err := p.Validate(); err != nil {
			t.Fatal(err)
		}
		f := filter.NewTopology("", p, l)
		c := cycle(scheduler.Request{}, eps...)
		wantKept(t, f, c, 0, 1, 2, 3) // no earlier stage
		c.Peer = 0
		wantKept(t, f, c, want...)
		c.Peer = 3 // which is nowhere
		wantKept(t, f, c, 0, 1, 2, 3)
	}
	if (filter.TopologyParameters{MinAffinity: "town"}).Validate() == nil {
		t.Error("a place that there is not was accepted")
	}
}
