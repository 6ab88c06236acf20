package scheduler

import (
	"fmt"
	"slices"
	"testing"
	"time"

	"github.com/fairway-ai/fairway/scheduler/prefix"
)

// fakeWatch goes on by a second with each lap, and keeps what it is told.
type fakeWatch struct {
	parts []Part
	now   time.Duration
	laps  []string
	reads int
}

func (w *fakeWatch) Lap(part int, since time.Duration) time.Duration {
	w.now += time.Second
	w.reads++
	if part >= 0 {
		p := w.parts[part]
		w.laps = append(w.laps, fmt.Sprintf("%s %s %s", p.Point, p.Type, p.Name))
		if w.now-since != time.Second {
			w.laps = append(w.laps, fmt.Sprintf("%v since another lap", w.now-since))
		}
	}
	return w.now
}

// several runs profiles one after the other.
type several struct{ list []*Profile }

func (s *several) Name() string { return "several" }
func (s *several) Schedule(c *Cycle) []int32 {
	for _, p := range s.list {
		c.Picked = c.RunStage(StagePick, p, c.Picked[:0])
	}
	return c.Picked
}

// handling is several as a plugin.
type handling struct{ *several }

func (h handling) Plugin() (typ, name string) { return "handler", "mine" }
func (h handling) Profiles() []*Profile       { return h.list }

type wrapping struct{ Policy }

func (w wrapping) Unwrap() Policy { return w.Policy }

// reports are Holdings by slot: tokens and blocks.
type reports map[int32][2]int32

func (r reports) Match(_ []prefix.Block, snap *Snapshot, tokens, blocks []int32) int {
	for i := range snap.Endpoints {
		if n, ok := r[snap.Endpoints[i].Slot]; ok {
			tokens[i], blocks[i] = n[0], n[1]
		} else {
			blocks[i] = -1
		}
	}
	return len(r)
}

func (r reports) MatchOne(_ []prefix.Block, slot int32) (int64, bool) {
	n, ok := r[slot]
	return int64(n[0]), ok
}

type quietScorer struct{ name string }

func (s quietScorer) Name() string              { return s.name }
func (quietScorer) Score(_ *Cycle, _ []float32) {}

// TestParts: a stopwatch is told of every plugin, at its point, in order, with no time
// between two of them left out, and decisions stay as they are.
func TestParts(t *testing.T) {
	one := func(name string, drop int32) *Profile {
		return NewProfile(name, []Filter{&fakeFilter{drop: drop}}, []Weighted{{&fakeScorer{name: name + "-s", values: make([]float32, 3)}, 1}, {quietScorer{name + "-q"}, 1}}, &fakePicker{})
	}
	typed := one("a", 0).Typed([]string{"f-type", "s-type", "q-type", "p-type"})
	ofA := []string{
		"Filter f-type fake-filter", "Scorer s-type a-s", "Scorer q-type a-q", "Picker p-type fake-picker",
		"PreRequest f-type fake-filter", "PreRequest s-type a-s",
	}
	ofB := []string{ // without types
		"Filter fake-filter fake-filter", "Scorer b-s b-s", "Scorer b-q b-q", "Picker fake-picker fake-picker",
		"PreRequest fake-filter fake-filter", "PreRequest b-s b-s",
	}
	const chose = "ProfilePicker handler mine"
	index := prefix.New(prefix.Options{})
	for i := range 3 {
		index.AddEndpoint(int32(i), 0)
	}
	blocks := []prefix.Block{{Hash: 1, Tokens: 60}}
	const looked = "DataProducer approx-prefix-cache-producer approx-prefix-cache-producer"
	const asked = "DataProducer precise-prefix-cache-producer precise-prefix-cache-producer"
	for _, tc := range []struct {
		name   string
		policy Policy
		req    Request
		with   []Option
		want   []string
		reads  int // of the clock besides
	}{
		{"the default policy", Priced{}, Request{}, nil, []string{"Picker priced priced"}, 2},
		{"a prompt", Priced{}, Request{Blocks: blocks}, nil, []string{looked, "Picker priced priced"}, 2},
		{"reported caches", Priced{}, Request{Blocks: blocks, Keys: blocks, KeysKnown: true}, []Option{WithHoldings(reports{2: {60, 1}})}, []string{asked, looked, "Picker priced priced"}, 2},
		{"a profile", typed, Request{}, nil, ofA, 2},
		{"a wrapped profile", wrapping{wrapping{typed}}, Request{}, nil, ofA, 2},
		{"all filtered out", NewProfile("p", []Filter{&fakeFilter{drop: -1}}, nil, &fakePicker{}), Request{}, nil, []string{"Filter fake-filter fake-filter"}, 2},
		{"a handler", handling{&several{list: []*Profile{typed, one("b", 1)}}}, Request{}, nil, slices.Concat([]string{chose}, ofA, []string{chose}, ofB, []string{chose}), 2},
		{"an unknown policy of profiles", &several{list: []*Profile{typed}}, Request{}, nil, []string{"Picker several several"}, 2},
	} {
		watch := &fakeWatch{parts: Parts(tc.policy)}
		var with, without Decision
		for _, s := range []struct {
			dec *Decision
			s   *Scheduler
		}{{&without, New(tc.policy, index, tc.with...)}, {&with, New(tc.policy, index, append(slices.Clone(tc.with), WithStopwatch(watch))...)}} {
			req := tc.req
			req.PromptTokens = 100
			_ = s.s.Schedule(&req, testPool(3), s.dec, nil)
		}
		if !slices.Equal(watch.laps, tc.want) {
			t.Errorf("%s:\n got %q\nwant %q", tc.name, watch.laps, tc.want)
		}
		if want := len(tc.want) + tc.reads; watch.reads != want {
			t.Errorf("%s: the clock was read %d times, want %d", tc.name, watch.reads, want)
		}
		if !slices.Equal(with.Ranked, without.Ranked) || with.Cached != without.Cached {
			t.Errorf("%s: %+v with a stopwatch, %+v without", tc.name, with, without)
		}
	}
}

// Nothing is allocated for a stopwatch.
func TestStopwatchDoesNotAllocate(t *testing.T) {
	if raceDetector {
		t.Skip("the race detector allocates")
	}
	for name, p := range map[string]Policy{
		"default": Priced{}, "profile": NewProfile("p", nil, []Weighted{{quietScorer{"q"}, 1}}, quietPicker{}),
		"handler": handling{&several{list: []*Profile{NewProfile("p", nil, []Weighted{{quietScorer{"q"}, 1}}, quietPicker{})}}},
	} {
		snap, req := testPool(8), &Request{PromptTokens: 1000}
		s := New(p, nil, WithStopwatch(silentWatch{}))
		var dec Decision
		if n := testing.AllocsPerRun(200, func() {
			if err := s.Schedule(req, snap, &dec, nil); err != nil {
				t.Fatal(err)
			}
		}); n != 0 {
			t.Errorf("%s: %v allocations per decision", name, n)
		}
	}
}

type silentWatch struct{}

func (silentWatch) Lap(int, time.Duration) time.Duration { return 0 }

type quietPicker struct{}

func (quietPicker) Name() string                       { return "quiet" }
func (quietPicker) Pick(c *Cycle, _ []float32) []int32 { return c.Candidates }
