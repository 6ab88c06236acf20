package prefix

import (
	"hash/maphash"
	"sync"
	"sync/atomic"
)

// DefaultCapacityTokens is assumed for an endpoint that does not report its KV
// cache size: 31,250 blocks of 16 tokens, which llm-d also assumes.
const DefaultCapacityTokens = 31_250 * 16

// Options are the settings of an [Index].
type Options struct {
	// Shards is the number of independently locked parts, rounded up to a power of
	// two; 0 means 64.
	Shards int
}

// Index is the prefix index. Its methods are safe for concurrent use. Slots
// outside 0..65535 and slots that were not added are ignored by every method.
//
// Memory: about 63 bytes for a block that one endpoint holds, and 47 for each
// (endpoint, block) pair of blocks that eight endpoints hold (BenchmarkMemory). A
// pool of 100 endpoints of 500,000 tokens each in blocks of 64 needs some 55 MB
// at most.
type Index struct {
	shards []shard
	mask   uint64
	mult   uint64

	grow      sync.Mutex
	endpoints atomic.Pointer[[]*endpoint] // by slot; nil where never added

	exact                      atomic.Int64 // blocks that engines reported, all endpoints
	reporting                  atomic.Int64 // endpoints with e.reported
	lookups, hits              atomic.Uint64
	inserted, evicted, dropped atomic.Uint64
}

// New returns an empty index.
func New(o Options) *Index {
	n := 64
	if o.Shards > 0 {
		for n = 1; n < o.Shards && n < 1<<12; n *= 2 {
		}
	}
	x := &Index{shards: make([]shard, n), mask: uint64(n - 1)}
	// The seed only decides where in a table a hash lies, so that nobody can write
	// prompts whose blocks all collide. No answer depends on it.
	x.mult = maphash.String(maphash.MakeSeed(), "prefix") | 1
	for i := range x.shards {
		x.shards[i].init(x.mult)
	}
	x.endpoints.Store(new([]*endpoint))
	return x
}

func (x *Index) shard(hash uint64) *shard { return &x.shards[hash&x.mask] }

// at returns the endpoint of a slot, nil when it was never added.
func (x *Index) at(slot int32) *endpoint {
	list := *x.endpoints.Load()
	if slot < 0 || int(slot) >= len(list) {
		return nil
	}
	return list[slot]
}

// AddEndpoint makes a slot known. capacityTokens is its KV cache size; when it
// is 0 or less, DefaultCapacityTokens is assumed. On a slot that is already
// known it does what Resize does.
func (x *Index) AddEndpoint(slot int32, capacityTokens int64) {
	if slot < 0 || slot >= maxSlots {
		return
	}
	e := x.at(slot)
	if e == nil {
		e = x.create(slot)
	}
	e.mu.Lock()
	defer e.mu.Unlock()
	if !e.active {
		e.active = true
		e.capacity = DefaultCapacityTokens
	}
	x.resize(e, capacityTokens)
}

// create adds the slot's endpoint, once for the life of the index: whoever holds
// a stale pointer to it still takes the lock that RemoveEndpoint took.
func (x *Index) create(slot int32) *endpoint {
	x.grow.Lock()
	defer x.grow.Unlock()
	list := *x.endpoints.Load()
	if int(slot) < len(list) && list[slot] != nil {
		return list[slot]
	}
	grown := make([]*endpoint, max(len(list), int(slot)+1))
	copy(grown, list)
	grown[slot] = newEndpoint(uint16(slot), x.mult)
	x.endpoints.Store(&grown)
	return grown[slot]
}

// Resize sets a slot's KV cache size, and evicts what no longer fits. 0 or less
// changes nothing.
func (x *Index) Resize(slot int32, capacityTokens int64) {
	if e := x.at(slot); e != nil {
		e.mu.Lock()
		defer e.mu.Unlock()
		if e.active {
			x.resize(e, capacityTokens)
		}
	}
}

func (x *Index) resize(e *endpoint, capacityTokens int64) {
	if capacityTokens > 0 {
		e.capacity = capacityTokens
		x.evict(e)
	}
}

// RemoveEndpoint forgets a slot and its blocks. Whatever is still on its way to
// the slot is ignored. The slot may be added again, for another endpoint.
func (x *Index) RemoveEndpoint(slot int32) {
	if e := x.at(slot); e != nil {
		e.mu.Lock()
		defer e.mu.Unlock()
		x.forget(e)
		e.active = false
	}
}

// Clear forgets a slot's blocks: the engine has reset its cache.
func (x *Index) Clear(slot int32) {
	if e := x.at(slot); e != nil {
		e.mu.Lock()
		defer e.mu.Unlock()
		x.forget(e)
	}
}

func (x *Index) forget(e *endpoint) {
	for i := range e.nodes {
		if e.nodes[i].tokens > 0 {
			x.shard(e.nodes[i].hash).removeOne(e.nodes[i].hash, e.slot)
		}
	}
	x.forgetSaid(e)
	for i := range x.shards {
		x.shards[i].fit()
	}
	x.exact.Add(-e.exact.Load())
	if e.reported.Swap(false) {
		x.reporting.Add(-1)
	}
	e.reset()
}

// Insert records that a prompt was sent to a slot, which thereby holds its
// blocks. The chain becomes the most recently used of the slot, parents more so
// than children: whatever is evicted later goes from a chain's end, and what is
// held of a prompt is always contiguous from its start. Blocks beyond the slot's
// capacity are evicted, least recently used first; of a prompt larger than the
// cache, the start is kept.
func (x *Index) Insert(slot int32, blocks []Block) {
	e := x.at(slot)
	if e == nil || len(blocks) == 0 {
		return
	}
	e.mu.Lock()
	defer e.mu.Unlock()
	if !e.active {
		return
	}
	var room, added int64
	last, before, reports := none, e.used, e.said.len() > 0
	for i := range blocks {
		if i%ahead == 0 {
			x.touch(blocks, i)
		}
		tokens := max(1, blocks[i].Tokens) // nothing is free: capacity bounds memory
		if room += int64(tokens); room > e.capacity {
			break
		}
		hash := blocks[i].Hash
		if reports && e.said.has(hash) {
			continue
		}
		k, at := e.find(hash)
		switch {
		case k == none:
			k = e.create(hash, tokens, at)
			e.linkAfter(k, last)
			e.used += int64(tokens)
			x.shard(hash).add(hash, e.slot)
			added++
		case k == last:
			continue
		case e.nodes[k].prev != last:
			e.unlink(k)
			e.linkAfter(k, last)
		}
		last = k
	}
	e.tokens.Add(e.used - before)
	if added > 0 {
		x.inserted.Add(uint64(added))
	}
	x.evict(e)
}

// evict drops the least recently used blocks beyond the capacity.
func (x *Index) evict(e *endpoint) {
	if e.used <= e.capacity {
		return
	}
	before := e.used
	var n uint64
	for e.used > e.capacity && e.tail != none {
		k := e.tail
		hash := e.nodes[k].hash
		_, at := e.find(hash)
		e.used -= int64(e.nodes[k].tokens)
		e.unlink(k)
		e.drop(k, at)
		x.shard(hash).remove(hash, e.slot)
		n++
	}
	e.tokens.Add(e.used - before)
	x.evicted.Add(n)
}
