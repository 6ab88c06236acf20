package index

import (
	"math"
	"slices"
	"sync"
	"sync/atomic"
	"time"

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
	blocks map[uint64]block // by the engine's hash
	// rest are tokens after a block's last key, by the engine's hash, where the
	// engine's block size is no multiple of ours.
	rest map[uint64][]uint32
	// more are the keys of blocks that have several, without the last one.
	more map[uint64][]uint64
	// twice counts the further blocks that have a key, as where a model's groups of
	// layers differ in block size.
	twice map[uint64]int32
	// scratch
	keys  []uint64
	carry []uint32

	specMu sync.Mutex
	spec   map[uint64]time.Time // speculative keys and when they end
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
	ep.x.stats.blocks.Add(-int64(len(ep.blocks)))
	ep.blocks, ep.rest = make(map[uint64]block), make(map[uint64][]uint32)
	ep.more, ep.twice = make(map[uint64][]uint64), make(map[uint64]int32)
	ep.weak.Store(0)
	ep.specMu.Lock()
	ep.spec = make(map[uint64]time.Time)
	ep.specMu.Unlock()
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
			if b, ok := ep.blocks[h]; ok {
				ep.add(h, b, tier)
			} else {
				c.unknown.Add(1)
			}
		}
		return
	}
	state, rest := origin(e), []uint32(nil)
	if e.HasParent {
		parent, ok := ep.blocks[e.Parent]
		if !ok {
			c.orphans.Add(uint64(len(e.Hashes)))
			return
		}
		state, rest = parent.state, ep.rest[e.Parent]
	}
	for i, h := range e.Hashes {
		if b, ok := ep.blocks[h]; ok {
			ep.add(h, b, tier)
			state, rest = b.state, ep.rest[h]
			continue
		}
		if (i+1)*e.BlockSize > len(e.Tokens) {
			c.torn.Add(uint64(len(e.Hashes) - i))
			return
		}
		if len(ep.blocks) >= ep.x.o.MaxBlocks {
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
		state, rest = ep.create(h, tier, state, rest, e.Tokens[i*e.BlockSize:(i+1)*e.BlockSize])
	}
}

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

// create notes a new block and returns what follows it.
func (ep *endpoint) create(h uint64, tier int, state uint64, rest, tokens []uint32) (uint64, []uint32) {
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
	ep.blocks[h] = b
	ep.x.stats.blocks.Add(1)
	for _, key := range ep.keys {
		if !ep.x.o.Prefix.Store(ep.slot, prefix.Block{Hash: key, Tokens: int32(size)}) {
			ep.twice[key]++
		} else {
			ep.move(key, 0, tier)
		}
	}
	return state, rest
}

// add notes another copy of a block.
func (ep *endpoint) add(h uint64, b block, tier int) {
	before := b.tier()
	if b.refs[tier] < math.MaxUint8 {
		b.refs[tier]++
	}
	ep.blocks[h] = b
	ep.moveAll(h, b, before)
}

func (ep *endpoint) remove(e *kvevents.Removed) {
	ep.mu.Lock()
	defer ep.mu.Unlock()
	if !ep.live.Load() {
		return
	}
	tier := ep.x.tiers.of(e.Medium)
	for _, h := range e.Hashes {
		b, ok := ep.blocks[h]
		if !ok || b.refs[tier] == 0 {
			ep.x.stats.unknown.Add(1)
			continue
		}
		before := b.tier()
		b.refs[tier]--
		if b.refs != ([maxTiers]uint8{}) {
			ep.blocks[h] = b
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
				ep.x.o.Prefix.Remove(ep.slot, key)
			}
		})
		delete(ep.blocks, h)
		delete(ep.rest, h)
		delete(ep.more, h)
		ep.x.stats.blocks.Add(-1)
	}
}

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
