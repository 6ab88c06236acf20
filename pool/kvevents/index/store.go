package index

import (
	"slices"
	"sync/atomic"

	"github.com/fairway-ai/fairway/pool/kvevents"
	"github.com/fairway-ai/fairway/scheduler/prefix"
)

// store follows a chain of blocks.
func (ep *endpoint) store(e *kvevents.Stored) {
	ep.mu.Lock()
	defer ep.mu.Unlock()
	if !ep.live.Load() {
		return
	}
	c := &ep.x.stats
	tier := ep.x.tiers.of(e.Medium)
	if len(e.Tokens) == 0 { // copies of what is known
		for _, h := range e.Hashes {
			if at, ok := ep.blocks.find(h); ok {
				ep.add(h, at, tier)
			} else {
				c.unknown.Add(1)
			}
		}
		return
	}
	known, why := 0, &c.orphans
	if from, ok := ep.origin(e); ok {
		ep.fresh = ep.fresh[:0]
		known, why = ep.follow(e, from, tier)
		ep.enter(tier)
	}
	if lost := len(e.Hashes) - known; lost > 0 {
		why.Add(uint64(lost))
		ep.trust.judge(known, lost)
	} else {
		ep.trust.judge(known, 0)
	}
}

// place is one between two blocks of a prompt.
type place struct {
	state uint64   // the key before whatever comes next
	rest  []uint32 // tokens behind it
}

// origin is the place before an event's first block; ok is false if that is not known.
func (ep *endpoint) origin(e *kvevents.Stored) (p place, ok bool) {
	if e.HasParent {
		parent, ok := ep.blocks.get(e.Parent)
		return place{parent.state, ep.rest[e.Parent]}, ok
	}
	switch {
	case e.LoRA != "":
		return place{state: seed(e.LoRA)}, true
	case e.LoRAID != 0:
		// An adapter without a name is nobody's model.
		return place{state: mix(seed(e.Model), []byte{0, byte(e.LoRAID), byte(e.LoRAID >> 8), byte(e.LoRAID >> 16), byte(e.LoRAID >> 24)})}, true
	}
	return place{state: seed(e.Model)}, true
}

// follow takes in an event's blocks. It returns how many are known then, and which counter
// the others belong to.
func (ep *endpoint) follow(e *kvevents.Stored, p place, tier int) (known int, why *atomic.Uint64) {
	c := &ep.x.stats
	// Of blocks whose tokens are told an engine may have kept some, as those of a sliding
	// window, and does not say which: only names that are known say something then.
	some := len(e.Tokens)-len(e.Hashes)*e.BlockSize >= e.BlockSize
	for i, h := range e.Hashes {
		if i%together == 0 {
			ep.blocks.touch(e.Hashes[i:min(i+together, len(e.Hashes))])
		}
		at, ok := ep.blocks.find(h)
		torn := some || (i+1)*e.BlockSize > len(e.Tokens)
		switch {
		case ok:
			if !torn && !ep.is(h, at, ep.next(p, e, i)) {
				return known, &c.torn // another block of that name
			}
			ep.enter(tier)
			p = place{ep.add(h, at, tier).state, ep.rest[h]}
		case some:
			continue
		case torn:
			return known, &c.torn
		case ep.size+max(1, e.BlockSize/ep.x.o.BlockTokens) > ep.x.o.MaxBlocks:
			return known, &c.dropped
		default:
			p = ep.create(h, at, tier, ep.next(p, e, i))
		}
		known++
	}
	return known, &c.torn
}

// next is the place behind block i of an event, which is behind p. The block's keys are in
// ep.keys; the place's rest is in scratch space.
func (ep *endpoint) next(p place, e *kvevents.Stored, i int) place {
	if i < len(e.Extra) {
		for k, extra := range e.Extra[i] {
			if k > 0 || string(extra.Key) != e.LoRA { // the seed has it
				p.state = mix(p.state, extra.Key)
			}
		}
	}
	size := ep.x.o.BlockTokens
	tokens := e.Tokens[i*e.BlockSize : (i+1)*e.BlockSize]
	ep.keys = ep.keys[:0]
	if len(p.rest) > 0 || len(tokens)%size != 0 {
		ep.carry = append(append(ep.carry[:0], p.rest...), tokens...)
		tokens = ep.carry
	}
	for len(tokens) >= size {
		p.state = link(p.state, tokens[:size])
		ep.keys = append(ep.keys, p.state)
		tokens = tokens[size:]
	}
	p.rest = tokens
	return p
}

// is reports whether a block that is known ends at p.
func (ep *endpoint) is(h uint64, at int, p place) bool {
	return ep.blocks.slots[at].block().state == p.state && slices.Equal(ep.rest[h], p.rest)
}

// create notes a new block at its place in the table, of which next has made p and the
// keys. They are yet to be entered.
func (ep *endpoint) create(h uint64, at, tier int, p place) place {
	if len(p.rest) > 0 {
		p.rest = slices.Clone(p.rest)
		ep.rest[h] = p.rest
	} else {
		p.rest = nil
	}
	b := block{state: p.state, keys: uint8(min(len(ep.keys), 2))}
	b.refs[tier] = 1
	if n := len(ep.keys); n > 1 {
		ep.more[h] = slices.Clone(ep.keys[:n-1])
	}
	ep.blocks.put(at, h, b)
	ep.size += ep.weight(h)
	ep.x.stats.blocks.Add(1)
	for _, key := range ep.keys {
		ep.fresh = append(ep.fresh, prefix.Block{Hash: key, Tokens: int32(ep.x.o.BlockTokens)})
	}
	return p
}

// add notes another copy of the block at a place, which it returns.
func (ep *endpoint) add(h uint64, at, tier int) block {
	b := ep.blocks.slots[at].block()
	before := b.tier()
	if b.refs[tier] < maxRefs {
		b.refs[tier]++
	}
	ep.blocks.put(at, h, b)
	ep.moveAll(h, b, before)
	return b
}

// enter stores the keys of new blocks in a tier.
func (ep *endpoint) enter(tier int) {
	if len(ep.fresh) == 0 {
		return
	}
	ep.x.o.Prefix.StoreAll(ep.slot, ep.fresh, func(i int, stored bool) {
		if key := ep.fresh[i].Hash; !stored {
			ep.twice[key]++
		} else {
			ep.move(key, 0, tier)
		}
	})
	ep.fresh = trim(ep.fresh)
}

// trim empties scratch space, and gives it up where it is unusually large.
func trim[T any](s []T) []T {
	if cap(s) > keptKeys {
		return nil
	}
	return s[:0]
}

// keptKeys is how many keys an endpoint's scratch space keeps between events.
const keptKeys = 1 << 12
