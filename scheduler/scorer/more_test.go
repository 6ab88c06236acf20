package scorer_test

import (
	"math"
	"testing"

	"github.com/fairway-ai/fairway/scheduler"
	"github.com/fairway-ai/fairway/scheduler/scorer"
	"github.com/fairway-ai/fairway/scheduler/topology"
)

// attribute is an endpoint-attribute-scorer's parameters, changed.
func attribute(change func(*scorer.AttributeParameters)) scorer.AttributeParameters {
	p := scorer.AttributeParameters{AttributeKey: "depth"}
	p.Algorithm.Type = "linear_lower_is_better"
	change(&p)
	return p
}

func fixed(lo, hi float64) *struct {
	Min float64 `json:"min"`
	Max float64 `json:"max"`
} {
	return &struct {
		Min float64 `json:"min"`
		Max float64 `json:"max"`
	}{lo, hi}
}

func custom(values ...float64) ep { return ep{metrics: known(scheduler.Metrics{Custom: values})} }

func TestAttribute(t *testing.T) {
	nan := math.NaN()
	eps := []ep{custom(0, 2), custom(0, 6), custom(0, 4), custom(0, nan), {}, {out: true, metrics: scheduler.Metrics{Custom: []float64{0, 99}}}}
	lower := attribute(func(*scorer.AttributeParameters) {})
	higher := attribute(func(p *scorer.AttributeParameters) { p.Algorithm.Type = "linear_higher_is_better" })
	bound := attribute(func(p *scorer.AttributeParameters) { p.Algorithm.Normalization.FixedRange = fixed(0, 10) })
	wantScores(t, scorer.NewAttribute("", lower, 1), cycle(scheduler.Request{}, eps), 1, 0, 0.5, 0, 0, na)
	wantScores(t, scorer.NewAttribute("", higher, 1), cycle(scheduler.Request{}, eps), 0, 1, 0.5, 0, 0, na)
	wantScores(t, scorer.NewAttribute("", bound, 1), cycle(scheduler.Request{}, eps), 0.8, 0.4, 0.6, 0, 0, na)
	wantScores(t, scorer.NewAttribute("", bound, 0), cycle(scheduler.Request{}, []ep{custom(-5), custom(50)}), 1, 0)
	wantScores(t, scorer.NewAttribute("", lower, 0), cycle(scheduler.Request{}, []ep{custom(3), custom(3), custom(nan)}), 1, 1, 0)
	for _, ok := range []scorer.AttributeParameters{lower, higher, bound} {
		if err := ok.Validate(); err != nil {
			t.Errorf("%+v: %v", ok, err)
		}
	}
}

func labelled(c *scheduler.Cycle, labels ...map[string]string) *scheduler.Cycle {
	for i := range labels {
		c.Snapshot.Endpoints[i].Labels = labels[i]
	}
	return c
}

func TestHeaderLabel(t *testing.T) {
	s := scorer.NewHeaderLabel("", scorer.HeaderLabelParameters{HeaderName: "X-Zone", LabelKey: "zone", StampResponseHeader: true})
	zones := []map[string]string{{"zone": "a"}, {"zone": "b"}, nil}
	ask := func(value string) *scheduler.Cycle {
		return labelled(cycle(scheduler.Request{Header: func(name string) string {
			if name == "x-zone" {
				return value
			}
			return ""
		}}, make([]ep, 3)), zones...)
	}
	wantScores(t, s, ask("b"), 0, 1, 0)
	wantScores(t, s, ask("c"), 0, 0, 0)
	wantScores(t, s, ask(""), 0, 0, 0)
	wantScores(t, s, labelled(cycle(scheduler.Request{}, make([]ep, 3)), zones...), 0, 0, 0)
	if got := s.Stamps(); len(got) != 1 || got[0].Header != "x-zone" || got[0].Label != "zone" {
		t.Errorf("stamps %+v", got)
	}
	if got := scorer.NewHeaderLabel("", scorer.HeaderLabelParameters{HeaderName: "x", LabelKey: "y"}).Stamps(); got != nil {
		t.Errorf("stamps %+v of a scorer that sets none", got)
	}
}

func TestContextLength(t *testing.T) {
	const label = "llm-d.ai/context-length-range"
	s := scorer.NewContextLength("", scorer.DefaultContextLengthParameters())
	if _, ok := s.(scheduler.Filter); ok {
		t.Error("a filter without enableFiltering")
	}
	labels := []map[string]string{
		{label: "0-2000"}, {label: "2000-8000"}, {label: "1000-1000"}, nil, {label: "long"}, {label: "9-1"}, {label: "-5-5"}, {label: "5000-6000"},
	}
	at := func(tokens int64) *scheduler.Cycle {
		return labelled(cycle(scheduler.Request{PromptTokens: tokens}, make([]ep, len(labels))), labels...)
	}
	near := func(d float64) float64 { return 0.3 / (1 + d/1000) }
	in := func(tokens, lo, hi float64) float64 {
		return 0.3 + 0.7*(0.7/(1+(hi-lo)/10000)+0.3*(hi-tokens)/(hi-lo))
	}
	wantScores(t, s, at(1000), in(1000, 0, 2000), near(1000), 1, 0.5, 0, 0, 0, near(4000))
	wantScores(t, s, at(2000), in(2000, 0, 2000), in(2000, 2000, 8000), near(1000), 0.5, 0, 0, 0, near(3000))
	wantScores(t, s, at(9000), near(7000), near(1000), near(8000), 0.5, 0, 0, 0, near(3000))

	f := scorer.NewContextLength("", scorer.ContextLengthParameters{Label: label, EnableFiltering: true}).(scheduler.Filter)
	for tokens, want := range map[int64][]int32{1000: {0, 2, 3}, 2000: {0, 1, 3}, 9000: {3}} {
		c := at(tokens)
		if got := f.Filter(c, c.Candidates); !equal(got, want) {
			t.Errorf("%d tokens: kept %v, want %v", tokens, got, want)
		}
	}
}

func equal(a, b []int32) bool {
	if len(a) != len(b) {
		return false
	}
	for i := range a {
		if a[i] != b[i] {
			return false
		}
	}
	return true
}

func TestTopology(t *testing.T) {
	l := topology.Labels{Hostname: "h", Rack: "k", Zone: "z", Region: "r"}
	s := scorer.NewTopology("", l)
	places := []map[string]string{
		{"h": "1", "k": "1", "z": "1", "r": "1"}, {"h": "2", "k": "1", "z": "1", "r": "1"}, {"h": "3", "k": "2", "z": "1", "r": "1"},
		{"h": "4", "k": "3", "z": "2", "r": "1"}, {"h": "5", "z": "3", "r": "2"}, nil, {"h": ""},
	}
	c := labelled(cycle(scheduler.Request{}, make([]ep, len(places))), places...)
	c.Peer = 0
	wantScores(t, s, c, 1, 0.2, 0.05, 0.02, 0, 0, 0)
	c.Peer = 6 // what is nowhere is near nobody
	wantScores(t, s, c, 0, 0, 0, 0, 0, 0, 0)
	c.Peer = -1
	wantScores(t, s, c, 0, 0, 0, 0, 0, 0, 0)
}
