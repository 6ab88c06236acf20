package index

import (
	"sync"
	"sync/atomic"

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

	trust trust
	spec  speculation
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
	ep.trust.reset()
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

// unread counts events that were not understood.
func (ep *endpoint) unread(events int) {
	ep.mu.Lock()
	defer ep.mu.Unlock()
	if ep.live.Load() {
		ep.trust.judge(0, events)
	}
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
