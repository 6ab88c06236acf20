package scheduler_test

import (
	"errors"
	"fmt"
	"testing"

	"github.com/fairway-ai/fairway/scheduler"
	"github.com/fairway-ai/fairway/scheduler/filter"
	"github.com/fairway-ai/fairway/scheduler/picker"
	"github.com/fairway-ai/fairway/scheduler/prefix"
	"github.com/fairway-ai/fairway/scheduler/scorer"
)

// engines are Holdings by slot: the tokens that each engine reports.
type engines map[int32]int32

func (e engines) Match(_ []prefix.Block, snap *scheduler.Snapshot, tokens, blocks []int32) (known int) {
	for i := range snap.Endpoints {
		n, ok := e[snap.Endpoints[i].Slot]
		if !ok {
			blocks[i] = -1
			continue
		}
		known++
		tokens[i], blocks[i] = n, (n+15)/16
	}
	return known
}

func (e engines) MatchOne(_ []prefix.Block, slot int32) (int64, bool) {
	n, ok := e[slot]
	return int64(n), ok
}

// seen is a policy that shows what a cycle knows.
type seen struct{ cached, blocks, share, exact string }

func (*seen) Name() string { return "seen" }

func (s *seen) Schedule(c *scheduler.Cycle) []int32 {
	var shares []string
	for _, i := range c.Candidates {
		shares = append(shares, fmt.Sprintf("%.3f", c.CachedShare(i)))
	}
	s.cached, s.blocks, s.share, s.exact = fmt.Sprint(c.Cached), fmt.Sprint(c.CachedBlocks), fmt.Sprint(shares), fmt.Sprint(c.Exact)
	return c.Candidates
}

func chain(n int, tokens int32) []prefix.Block {
	out := make([]prefix.Block, n)
	for i := range out {
		out[i] = prefix.Block{Hash: uint64(i + 1), Tokens: tokens}
	}
	return out
}

func threeEndpoints() (*scheduler.Snapshot, *prefix.Index) {
	snap, index := &scheduler.Snapshot{Slots: 3, Metrics: make([]scheduler.Metrics, 3)}, prefix.New(prefix.Options{})
	for i := range int32(3) {
		snap.Endpoints = append(snap.Endpoints, scheduler.Endpoint{ID: fmt.Sprint(i), Address: fmt.Sprintf("10.0.0.%d:1", i), Slot: i, Load: new(scheduler.Load)})
		index.AddEndpoint(i, 1<<20)
	}
	return snap, index
}

// TestHoldings: what engines report counts where it is known, for requests whose keys
// are; everything else is concluded from what was sent.
func TestHoldings(t *testing.T) {
	snap, index := threeEndpoints()
	blocks, keys := chain(4, 50), chain(10, 16)
	for i := range int32(3) {
		index.Insert(i, blocks[:3])
	}
	for _, test := range []struct {
		name                         string
		holdings                     scheduler.Holdings
		known                        bool
		keys                         []prefix.Block
		index                        *prefix.Index
		cached, blocks, share, exact string
		uncached                     []int64
	}{
		{"nothing reported", nil, true, keys, index, "[150 150 150]", "[3 3 3]", "[0.750 0.750 0.750]", "[]", []int64{50, 50, 50}},
		{"keys not known", engines{0: 160, 1: 160, 2: 160}, false, nil, index, "[150 150 150]", "[3 3 3]", "[0.750 0.750 0.750]", "[]", []int64{50, 50, 50}},
		{"all report", engines{0: 0, 1: 80, 2: 160}, true, keys, index, "[0 80 160]", "[0 5 10]", "[0.000 0.500 1.000]", "[true true true]", []int64{200, 120, 40}},
		{"a lesser tier", engines{0: 0, 1: 72, 2: 0}, true, keys, index, "[0 72 0]", "[0 5 0]", "[0.000 0.450 0.000]", "[true true true]", []int64{200, 128, 200}},
		{"one does not", engines{0: 0, 2: 160}, true, keys, index, "[0 150 160]", "[0 3 10]", "[0.000 0.750 1.000]", "[true false true]", []int64{200, 50, 40}},
		{"one, and nothing to conclude from", engines{2: 160}, true, keys, nil, "[0 0 160]", "[0 0 10]", "[0.000 0.000 1.000]", "[false false true]", []int64{200, 200, 40}},
		{"a short prompt", engines{0: 0, 1: 0, 2: 0}, true, nil, index, "[0 0 0]", "[0 0 0]", "[0.000 0.000 0.000]", "[true true true]", []int64{200, 200, 200}},
		{"none reports", engines{}, true, keys, index, "[150 150 150]", "[3 3 3]", "[0.750 0.750 0.750]", "[]", []int64{50, 50, 50}},
	} {
		t.Run(test.name, func(t *testing.T) {
			var p seen
			s := scheduler.New(&p, test.index, scheduler.WithHoldings(test.holdings))
			req := scheduler.Request{PromptTokens: 200, Blocks: blocks, Keys: test.keys, KeysKnown: test.known}
			var dec scheduler.Decision
			var ex scheduler.Explanation
			// A used cycle must not show through.
			if err := errors.Join(s.Schedule(&scheduler.Request{PromptTokens: 200, Keys: keys, KeysKnown: true}, snap, &dec, nil), s.Schedule(&req, snap, &dec, &ex)); err != nil {
				t.Fatal(err)
			}
			if p.cached != test.cached || p.blocks != test.blocks || p.share != test.share || p.exact != test.exact {
				t.Errorf("%+v", p)
			}
			for slot, want := range test.uncached {
				if got := s.Uncached(&req, int32(slot)); got != want {
					t.Errorf("%d uncached tokens in slot %d, want %d", got, slot, want)
				}
			}
			shown := false
			for _, c := range ex.Columns {
				shown = shown || c.Name == scheduler.ExactFact
			}
			if shown != (test.holdings != nil) {
				t.Errorf("explained: %v", shown)
			}
		})
	}
}

// TestPluginsReadHoldings: scorers and filters compare what is reported of one endpoint
// with what is concluded of another by the share of the prompt, not by blocks.
func TestPluginsReadHoldings(t *testing.T) {
	snap, index := threeEndpoints()
	blocks, keys := chain(4, 50), chain(100, 16)
	index.Insert(1, blocks) // all of it, in 4 blocks
	held := engines{0: 32, 2: 0}
	pick := func(filters []scheduler.Filter, scorers ...scheduler.Weighted) []int32 {
		t.Helper()
		s := scheduler.New(scheduler.NewProfile("p", filters, scorers, picker.NewMaxScore("", picker.Parameters{MaxNumOfEndpoints: 3})), index, scheduler.WithHoldings(held))
		var dec scheduler.Decision
		if err := s.Schedule(&scheduler.Request{PromptTokens: 1600, Blocks: blocks, Keys: keys, KeysKnown: true}, snap, &dec, nil); err != nil {
			t.Fatal(err)
		}
		return dec.Ranked
	}
	score := scheduler.Weighted{Scorer: scorer.NewPrefixCache("", scorer.PrefixCacheParameters{MatchLengthScaleTokens: 1 << 20}), Weight: 1}
	if got := fmt.Sprint(pick(nil, score)); got != "[1 0 2]" {
		t.Errorf("ranked %s, want the whole prompt first, then 2 %% of it", got)
	}
	if got := fmt.Sprint(pick([]scheduler.Filter{filter.NewPrefixAffinity("", filter.PrefixAffinityParameters{AffinityThreshold: .5, MaxTTFTPenaltyMs: 0})})); got != "[1]" {
		t.Errorf("kept %s, want the one with half of the prompt or more", got)
	}
}
