package index

import (
	"slices"
	"sync"
	"sync/atomic"

	"github.com/fairway-ai/fairway/pool/kvevents"
	"github.com/fairway-ai/fairway/scheduler/prefix"
)

// endpoint is what one engine has reported.
type endpoint struct {
	x    *Index
	slot int32
	live atomic.Bool
	// weak is how many of our blocks are in a lesser tier only.
	weak atomic.Int64

	mu     sync.Mutex
	closed bool
	blocks blocks
	// rest are tokens after a block's last key, by the engine's hash, where the
	// engine's block size is no multiple of ours.
	rest map[uint64][]uint32
	// more are the keys of blocks that have several, without the last one.
	more map[uint64][]uint64
	// twice counts the further blocks that have a key, as where a model's groups of
	// layers differ in block size.
	twice map[uint64]int32
	// size is what counts against MaxBlocks: the weights of all blocks.
	size int
	// scratch
	keys  []uint64
	carry []uint32
	fresh []prefix.Block // keys to be stored
	gone  []uint64       // keys to be removed

	spec speculation
}

// block is one of the engine's blocks.
type block struct {
	// state is the key before whatever comes next: the last of the block's own keys
	// if it has any.
	state uint64
	// refs counts, for each tier, how often the block was stored there and not
	// removed: an engine may have several copies, in several groups of layers.
	refs [maxTiers]uint8
	keys uint8 // 0, 1, or 2 for "see more"
}

func newEndpoint(x *Index, slot int32) *endpoint {
	ep := &endpoint{x: x, slot: slot}
	ep.reset()
	return ep
}

// reset forgets the engine's blocks; the prefix index is not touched.
func (ep *endpoint) reset() {
	ep.x.stats.blocks.Add(-int64(ep.blocks.n))
	ep.blocks, ep.rest = blocks{mult: ep.x.mult}, make(map[uint64][]uint32)
	ep.more, ep.twice = make(map[uint64][]uint64), make(map[uint64]int32)
	ep.size = 0
	ep.weak.Store(0)
	ep.x.forgetAssumed(ep)
}

func (ep *endpoint) begin() {
	ep.mu.Lock()
	defer ep.mu.Unlock()
	if !ep.closed {
		ep.live.Store(true)
	}
}

func (ep *endpoint) lose() {
	ep.mu.Lock()
	defer ep.mu.Unlock()
	ep.live.Store(false)
	ep.forget()
}

func (ep *endpoint) clear() {
	ep.mu.Lock()
	defer ep.mu.Unlock()
	ep.forget()
}

// forget drops everything known of the endpoint, unless its slot is somebody
// else's by now.
func (ep *endpoint) forget() {
	if ep.closed {
		return
	}
	ep.reset()
	ep.x.o.Prefix.Clear(ep.slot)
	for _, w := range ep.x.tiers.weak {
		w.index.Clear(ep.slot)
	}
}

func (ep *endpoint) close() {
	ep.mu.Lock()
	defer ep.mu.Unlock()
	ep.closed = true
	ep.live.Store(false)
	ep.reset()
}

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
	state, rest := origin(e), []uint32(nil)
	if e.HasParent {
		parent, ok := ep.blocks.get(e.Parent)
		if !ok {
			c.orphans.Add(uint64(len(e.Hashes)))
			return
		}
		state, rest = parent.state, ep.rest[e.Parent]
	}
	ep.fresh = ep.fresh[:0]
	defer ep.enter(tier)
	for i, h := range e.Hashes {
		if i%together == 0 {
			ep.blocks.touch(e.Hashes[i:min(i+together, len(e.Hashes))])
		}
		at, ok := ep.blocks.find(h)
		if ok {
			ep.enter(tier)
			state, rest = ep.add(h, at, tier).state, ep.rest[h]
			continue
		}
		if (i+1)*e.BlockSize > len(e.Tokens) {
			c.torn.Add(uint64(len(e.Hashes) - i))
			return
		}
		if ep.size+max(1, e.BlockSize/ep.x.o.BlockTokens) > ep.x.o.MaxBlocks {
			c.dropped.Add(uint64(len(e.Hashes) - i))
			return
		}
		if i < len(e.Extra) {
			for _, extra := range e.Extra[i] {
				if string(extra.Key) != e.LoRA { // the seed has it
					state = mix(state, extra.Key)
				}
			}
		}
		state, rest = ep.create(h, at, tier, state, rest, e.Tokens[i*e.BlockSize:(i+1)*e.BlockSize])
	}
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

// origin is the state before a prompt's first block.
func origin(e *kvevents.Stored) uint64 {
	switch {
	case e.LoRA != "":
		return seed(e.LoRA)
	case e.LoRAID != 0:
		// An adapter without a name is nobody's model.
		return mix(seed(e.Model), []byte{0, byte(e.LoRAID), byte(e.LoRAID >> 8), byte(e.LoRAID >> 16), byte(e.LoRAID >> 24)})
	}
	return seed(e.Model)
}

// create notes a new block at its place and returns what follows it. Its keys are yet
// to be entered.
func (ep *endpoint) create(h uint64, at, tier int, state uint64, rest, tokens []uint32) (uint64, []uint32) {
	size := ep.x.o.BlockTokens
	ep.keys = ep.keys[:0]
	if len(rest) > 0 || len(tokens)%size != 0 {
		ep.carry = append(append(ep.carry[:0], rest...), tokens...)
		tokens = ep.carry
	}
	for len(tokens) >= size {
		state = link(state, tokens[:size])
		ep.keys = append(ep.keys, state)
		tokens = tokens[size:]
	}
	rest = nil
	if len(tokens) > 0 {
		rest = slices.Clone(tokens)
		ep.rest[h] = rest
	}
	b := block{state: state, keys: uint8(min(len(ep.keys), 2))}
	b.refs[tier] = 1
	if n := len(ep.keys); n > 1 {
		ep.more[h] = slices.Clone(ep.keys[:n-1])
	}
	ep.blocks.put(at, h, b)
	ep.size += ep.weight(h)
	ep.x.stats.blocks.Add(1)
	for _, key := range ep.keys {
		ep.fresh = append(ep.fresh, prefix.Block{Hash: key, Tokens: int32(size)})
	}
	return state, rest
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
