package index

import (
	"cmp"
	"fmt"
	"slices"
	"strings"

	"github.com/fairway-ai/fairway/scheduler/prefix"
)

// maxTiers is how many kinds of memory are told apart: the full one, which is 0,
// and others of less weight.
const maxTiers = 4

// tiers are the media that count less than fully, the best first.
type tiers struct{ weak []weakTier }

type weakTier struct {
	name   string
	weight float32
	// index holds the blocks whose best copy is in this tier.
	index *prefix.Index
}

func newTiers(weights map[string]float32) (tiers, error) {
	var t tiers
	for name, w := range weights {
		if !(w >= 0 && w <= 1) || name == "" {
			return t, fmt.Errorf("weight %g of medium %q: must be 0 to 1", w, name)
		}
		if w < 1 {
			t.weak = append(t.weak, weakTier{strings.ToLower(name), w, prefix.New(prefix.Options{})})
		}
	}
	if len(t.weak) >= maxTiers {
		return t, fmt.Errorf("%d media of less than full weight: at most %d are supported", len(t.weak), maxTiers-1)
	}
	slices.SortFunc(t.weak, func(a, b weakTier) int {
		return cmp.Or(cmp.Compare(b.weight, a.weight), cmp.Compare(a.name, b.name))
	})
	return t, nil
}

// of is the tier of a medium: the one with the longest name that it begins with.
func (t tiers) of(medium string) int {
	tier, length := 0, 0
	for i, w := range t.weak {
		if len(w.name) > length && strings.HasPrefix(medium, w.name) {
			tier, length = i+1, len(w.name)
		}
	}
	return tier
}

// tier is where the best copy of the block is.
func (b *block) tier() int {
	for i, n := range b.refs {
		if n > 0 {
			return i
		}
	}
	return 0
}

// Matches is a result of [Index.Match], reused from request to request.
type Matches struct {
	prefix.Matches
	lost []float32 // by slot: what lesser tiers take from the matched tokens
}

// Weighted is the matched tokens of a slot, each counted as the medium is worth.
func (m *Matches) Weighted(slot int32) float32 { return float32(m.Tokens(slot)) - m.lost[slot] }

// Match fills m for slots 0..slots-1 as prefix.Index.Match does. It does not
// allocate once m has grown to the pool.
func (x *Index) Match(blocks []prefix.Block, slots int, m *Matches) {
	x.o.Prefix.Match(blocks, slots, &m.Matches)
	m.lost = slices.Grow(m.lost[:0], max(0, slots))[:max(0, slots)]
	clear(m.lost)
	list := *x.bySlot.Load()
	for slot := range min(slots, len(list)) {
		ep := list[slot]
		if ep == nil || ep.weak.Load() == 0 {
			continue
		}
		m.lost[slot] = x.lost(blocks[:m.Blocks(int32(slot))], int32(slot))
	}
}

// lost is what lesser tiers take from blocks that a slot holds.
func (x *Index) lost(blocks []prefix.Block, slot int32) (tokens float32) {
	for _, b := range blocks {
		for _, w := range x.tiers.weak {
			if w.index.Holds(slot, b.Hash) {
				tokens += (1 - w.weight) * float32(b.Tokens)
				break
			}
		}
	}
	return tokens
}

// MatchOne is the weighted tokens of Match for one slot, in O(log blocks): it is asked
// again and again while a request is held. What the engine holds of the prompt is taken
// to be contiguous, see [prefix.Index.Reach].
func (x *Index) MatchOne(blocks []prefix.Block, slot int32) float32 {
	tokens := x.o.Prefix.Reach(blocks, slot)
	ep := x.at(slot)
	if ep == nil || tokens == 0 || ep.weak.Load() == 0 {
		return float32(tokens)
	}
	held := 0
	for sum := int64(0); held < len(blocks) && sum < tokens; held++ {
		sum += int64(max(0, blocks[held].Tokens))
	}
	return float32(tokens) - x.lost(blocks[:held], slot)
}
