package index

import (
	"github.com/fairway-ai/fairway/pool/kvevents"
	"github.com/fairway-ai/fairway/scheduler/prefix"
)

// remove follows blocks that go.
func (ep *endpoint) remove(e *kvevents.Removed) {
	ep.mu.Lock()
	defer ep.mu.Unlock()
	if !ep.live.Load() {
		return
	}
	tier := ep.x.tiers.of(e.Medium)
	ep.gone = ep.gone[:0]
	for i, h := range e.Hashes {
		if i%together == 0 {
			ep.blocks.touch(e.Hashes[i:min(i+together, len(e.Hashes))])
		}
		at, ok := ep.blocks.find(h)
		if !ok {
			ep.x.stats.unknown.Add(1)
			continue
		}
		b := ep.blocks.slots[at].block()
		if b.refs[tier] == 0 {
			ep.x.stats.unknown.Add(1)
			continue
		}
		before := b.tier()
		b.refs[tier]--
		if b.refs != ([maxTiers]uint8{}) {
			ep.blocks.put(at, h, b)
			ep.moveAll(h, b, before)
			continue
		}
		ep.each(h, b, func(key uint64) {
			if n := ep.twice[key]; n > 1 {
				ep.twice[key] = n - 1
			} else if n == 1 {
				delete(ep.twice, key)
			} else {
				ep.move(key, before, 0)
				ep.gone = append(ep.gone, key)
			}
		})
		ep.size -= ep.weight(h)
		ep.blocks.drop(at)
		if len(ep.rest) > 0 {
			delete(ep.rest, h)
		}
		if b.keys > 1 {
			delete(ep.more, h)
		}
		ep.x.stats.blocks.Add(-1)
	}
	ep.x.o.Prefix.RemoveAll(ep.slot, ep.gone)
	ep.gone = trim(ep.gone)
}

// weight is what a block takes of MaxBlocks, after what it takes of memory: an engine
// may say that its blocks are many times the size of ours.
func (ep *endpoint) weight(h uint64) int {
	w := 1
	if len(ep.more) > 0 {
		w += len(ep.more[h])
	}
	if len(ep.rest) > 0 {
		w += len(ep.rest[h]) / restTokens
	}
	return w
}

// restTokens is how many tokens of a rest take as much memory as a block.
const restTokens = 64

// each calls f for a block's keys.
func (ep *endpoint) each(h uint64, b block, f func(key uint64)) {
	if b.keys > 1 {
		for _, key := range ep.more[h] {
			f(key)
		}
	}
	if b.keys > 0 {
		f(b.state)
	}
}

// moveAll notes that a block's best copy may be in another tier than before.
func (ep *endpoint) moveAll(h uint64, b block, before int) {
	if now := b.tier(); now != before {
		ep.each(h, b, func(key uint64) {
			if ep.twice[key] == 0 {
				ep.move(key, before, now)
			}
		})
	}
}

func (ep *endpoint) move(key uint64, from, to int) {
	if from > 0 {
		ep.x.tiers.weak[from-1].index.Remove(ep.slot, key)
		ep.weak.Add(-1)
	}
	if to > 0 {
		ep.x.tiers.weak[to-1].index.Store(ep.slot, prefix.Block{Hash: key, Tokens: 1})
		ep.weak.Add(1)
	}
}
