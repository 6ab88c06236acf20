package scheduler

import (
	"errors"
	"math"
	"slices"
	"testing"

	"github.com/fairway-ai/fairway/scheduler/prefix"
)

// pool is a snapshot of n idle endpoints, 10.0.0.1:8000 and up.
func testPool(n int) *Snapshot {
	s := &Snapshot{Endpoints: make([]Endpoint, n), Metrics: make([]Metrics, n), Slots: n}
	for i := range n {
		s.Endpoints[i] = Endpoint{
			ID: string(rune('a' + i)), Address: "10.0.0." + string(rune('1'+i)) + ":8000",
			Slot: int32(i), Load: new(Load),
		}
	}
	return s
}

type fakeFilter struct {
	drop   int32
	picked [][]int32
}

func (f *fakeFilter) Name() string { return "fake-filter" }
func (f *fakeFilter) Filter(_ *Cycle, in []int32) []int32 {
	return slices.DeleteFunc(in, func(i int32) bool { return i == f.drop || f.drop < 0 })
}
func (f *fakeFilter) Picked(_ *Cycle, ranked []int32) {
	f.picked = append(f.picked, slices.Clone(ranked))
}

type fakeScorer struct {
	name   string
	values []float32
	asked  []int32
	picked int
}

func (s *fakeScorer) Name() string { return s.name }
func (s *fakeScorer) Score(c *Cycle, out []float32) {
	s.asked = slices.Clone(c.Candidates)
	for _, i := range c.Candidates {
		out[i] = s.values[i]
	}
}
func (s *fakeScorer) Picked(*Cycle, []int32) { s.picked++ }

// fakePicker ranks by total and keeps what it saw.
type fakePicker struct{ total []float32 }

func (p *fakePicker) Name() string { return "fake-picker" }
func (p *fakePicker) Pick(c *Cycle, total []float32) []int32 {
	p.total = slices.Clone(total)
	slices.SortFunc(c.Candidates, func(a, b int32) int {
		if total[a] > total[b] {
			return -1
		}
		return 1
	})
	return c.Candidates
}

func TestProfile(t *testing.T) {
	nan := float32(math.NaN())
	f := &fakeFilter{drop: 1}
	s1 := &fakeScorer{name: "one", values: []float32{0.5, 9, 7, nan}} // 7 counts as 1, NaN as 0
	s2 := &fakeScorer{name: "two", values: []float32{1, 9, -3, 0.25}} // -3 counts as 0
	p := &fakePicker{}
	prof := NewProfile("mine", []Filter{f}, []Weighted{{s1, 2}, {s2, 4}}, p)
	sched := New(prof, nil)
	var dec Decision
	var ex Explanation
	if err := sched.Schedule(&Request{PromptTokens: 10}, testPool(4), &dec, &ex); err != nil {
		t.Fatal(err)
	}
	if want := []int32{0, 2, 3}; !slices.Equal(dec.Ranked, want) {
		t.Errorf("ranked %v, want %v", dec.Ranked, want)
	}
	if want := []float32{5, 0, 2, 1}; !slices.Equal(p.total, want) {
		t.Errorf("totals %v, want %v", p.total, want)
	}
	if want := []int32{0, 2, 3}; !slices.Equal(s1.asked, want) {
		t.Errorf("the scorer saw %v, want %v", s1.asked, want)
	}
	if s1.picked != 1 || s2.picked != 1 || len(f.picked) != 1 {
		t.Error("every observer is told once")
	}
	if dec.Cached != 0 || dec.Uncached != 10 {
		t.Errorf("cached %d, uncached %d", dec.Cached, dec.Uncached)
	}

	columns := map[string]Column{}
	for _, c := range ex.Columns {
		columns[c.Name] = c
	}
	for name, want := range map[string][]float32{
		"fake-filter": {1, 0, 1, 1},
		"one":         {0.5, NotAsked, 1, 0},
		"two":         {1, NotAsked, 0, 0.25},
		"total":       {5, 0, 2, 1},
	} {
		if got := columns[name].Values; !slices.Equal(got, want) {
			t.Errorf("explained %s: %v, want %v", name, got, want)
		}
	}
	if columns["two"].Weight != 4 || columns["two"].Kind != Score || columns["fake-filter"].Kind != Verdict {
		t.Error("kinds and weights are explained")
	}
	if ex.Policy != "mine" || prof.Name() != "mine" || sched.Policy() != Policy(prof) {
		t.Error("the policy is named")
	}
	if !slices.Equal(ex.Ranked, dec.Ranked) || ex.Uncached != 10 {
		t.Error("the decision is explained")
	}
}

// A second filter sees what the first left, and NotAsked what it removed.
func TestProfileFilters(t *testing.T) {
	prof := NewProfile("p", []Filter{&fakeFilter{drop: 0}, &fakeFilter{drop: 1}}, nil, &fakePicker{})
	var dec Decision
	var ex Explanation
	if err := New(prof, nil).Schedule(&Request{}, testPool(3), &dec, &ex); err != nil {
		t.Fatal(err)
	}
	last := ex.Columns[len(ex.Columns)-2]
	if want := []float32{NotAsked, 0, 1}; !slices.Equal(last.Values, want) {
		t.Errorf("verdict %v, want %v", last.Values, want)
	}
}

func TestScheduleErrors(t *testing.T) {
	all := NewProfile("p", []Filter{&fakeFilter{drop: -1}}, nil, &fakePicker{})
	var dec Decision
	ex := Explanation{Policy: "stale", Ranked: []int32{7}}
	for _, tc := range []struct {
		name   string
		policy Policy
		req    Request
		snap   *Snapshot
		want   error
	}{
		{"no endpoints", Priced{}, Request{}, &Snapshot{}, ErrNoEndpoints},
		{"empty subset", Priced{}, Request{HasSubset: true}, testPool(2), ErrSubset},
		{"subset elsewhere", Priced{}, Request{HasSubset: true, Subset: []string{"10.0.0.1:80", "10.0.0", "10.0.0.1:8000:1"}}, testPool(2), ErrSubset},
		{"filtered", all, Request{}, testPool(2), ErrFiltered},
	} {
		dec.Ranked = append(dec.Ranked[:0], 5)
		if err := New(tc.policy, nil).Schedule(&tc.req, tc.snap, &dec, &ex); !errors.Is(err, tc.want) {
			t.Errorf("%s: error %v, want %v", tc.name, err, tc.want)
		}
		if len(dec.Ranked) != 0 || len(ex.Ranked) != 0 || ex.Policy == "stale" {
			t.Errorf("%s: an earlier decision shines through: %v, %+v", tc.name, dec, ex)
		}
	}
}

func TestSubset(t *testing.T) {
	for _, tc := range []struct {
		address string
		subset  []string
		want    bool
	}{
		{"10.0.0.1:8000", []string{"10.0.0.1:8000"}, true},
		{"10.0.0.1:8000", []string{"10.0.0.2:8000", "10.0.0.1"}, true},
		{"10.0.0.1:8000", []string{"10.0.0.1:80"}, false},
		{"10.0.0.11:8000", []string{"10.0.0.1"}, false},
		{"10.0.0.1:8000", []string{""}, false},
		{"10.0.0.1:8000", nil, false},
		{"[fd00::1]:8000", []string{"[fd00::1]"}, true},
		{"[fd00::1]:8000", []string{"[fd00:"}, false},
	} {
		if got := inSubset(tc.subset, tc.address); got != tc.want {
			t.Errorf("%s in %q: %v", tc.address, tc.subset, got)
		}
	}
}

// Uncached and the decision follow the index.
func TestScheduleWithIndex(t *testing.T) {
	index := prefix.New(prefix.Options{})
	snap := testPool(2)
	for i := range snap.Endpoints {
		index.AddEndpoint(int32(i), 0)
	}
	chain := []prefix.Block{{Hash: 1, Tokens: 60}, {Hash: 2, Tokens: 60}}
	index.Insert(1, chain)
	req := &Request{PromptTokens: 100, Blocks: chain} // estimates differ: more in blocks than in all
	var dec Decision
	s := New(Priced{Alternatives: 2}, index)
	if err := s.Schedule(req, snap, &dec, nil); err != nil {
		t.Fatal(err)
	}
	if !slices.Equal(dec.Ranked, []int32{1, 0}) || dec.Cached != 100 || dec.Uncached != 0 {
		t.Errorf("decision %+v", dec)
	}
	if s.Uncached(req, 0) != 100 || s.Uncached(req, 1) != 0 || New(Priced{}, nil).Uncached(req, 1) != 100 {
		t.Error("Uncached")
	}
}

func TestScheduleDoesNotAllocate(t *testing.T) {
	if raceDetector {
		t.Skip("the race detector allocates")
	}
	snap := testPool(8)
	s := New(Priced{Alternatives: 3}, nil)
	req := &Request{PromptTokens: 1000}
	var dec Decision
	if n := testing.AllocsPerRun(200, func() {
		if err := s.Schedule(req, snap, &dec, nil); err != nil {
			t.Fatal(err)
		}
	}); n != 0 {
		t.Errorf("%v allocations per decision", n)
	}
}
