package index

import (
	"errors"
	"fmt"
	"hash/maphash"
	"sync"
	"sync/atomic"
	"time"

	"github.com/fairway-ai/fairway/pool/kvevents"
	"github.com/fairway-ai/fairway/scheduler/prefix"
)

// Options are the settings of an [Index].
type Options struct {
	// Prefix is the index to keep. Required. Its slots are its owner's.
	Prefix *prefix.Index
	// BlockTokens is the size of our blocks; 0 means 16.
	BlockTokens int
	// TierWeights are what a block is worth that is only in a medium whose name
	// begins so, 0 to 1; one that matches none counts fully. nil means 0.8 for
	// "cpu".
	TierWeights map[string]float32
	// MaxBlocks bounds the blocks followed of one endpoint, where one of the engine's
	// counts as many as it has of ours; 0 means 1<<20.
	MaxBlocks int
	// SpeculativeTTL is how long a dispatched prompt counts as cached before the
	// engine says so; 0 means 2 s, less than 0 not at all.
	SpeculativeTTL time.Duration
	// Now is the clock; nil means time.Now.
	Now func() time.Time
}

// Defaults of [Options].
const (
	DefaultBlockTokens    = 16
	DefaultMaxBlocks      = 1 << 20
	DefaultSpeculativeTTL = 2 * time.Second
	defaultCPUWeight      = 0.8
	maxBlockTokens        = 4096
)

// Index is a [kvevents.Sink] that keeps a prefix index, and the view of that index
// for requests whose tokens are known.
type Index struct {
	o     Options
	tiers tiers
	mult  uint64 // of blocks

	mu        sync.Mutex
	endpoints map[string]*endpoint
	bySlot    atomic.Pointer[[]*endpoint] // replaced, never changed

	speculative atomic.Int64  // blocks that are assumed, of all endpoints
	turn        atomic.Uint64 // whose speculation is looked after next
	stats       counters
}

var _ kvevents.Sink = (*Index)(nil)

// New returns an index that knows no endpoint.
func New(o Options) (*Index, error) {
	if o.Prefix == nil {
		return nil, errors.New("KV block index: no prefix index")
	}
	if o.BlockTokens == 0 {
		o.BlockTokens = DefaultBlockTokens
	}
	if o.BlockTokens < 1 || o.BlockTokens > maxBlockTokens {
		return nil, fmt.Errorf("KV block index: block size %d: must be 1 to %d tokens", o.BlockTokens, maxBlockTokens)
	}
	if o.MaxBlocks <= 0 {
		o.MaxBlocks = DefaultMaxBlocks
	}
	if o.SpeculativeTTL == 0 {
		o.SpeculativeTTL = DefaultSpeculativeTTL
	}
	if o.Now == nil {
		o.Now = time.Now
	}
	if o.TierWeights == nil {
		o.TierWeights = map[string]float32{"cpu": defaultCPUWeight}
	}
	ts, err := newTiers(o.TierWeights)
	if err != nil {
		return nil, fmt.Errorf("KV block index: %w", err)
	}
	// The seed decides where blocks lie in memory, and no answer.
	x := &Index{o: o, tiers: ts, endpoints: make(map[string]*endpoint), mult: maphash.String(maphash.MakeSeed(), "blocks") | 1}
	x.bySlot.Store(new([]*endpoint))
	return x, nil
}

// Attach says which slot of the prefix index an endpoint has. It comes before the
// endpoint's first event.
func (x *Index) Attach(name string, slot int32) {
	if slot < 0 || slot > maxSlot {
		return
	}
	x.mu.Lock()
	defer x.mu.Unlock()
	if old := x.endpoints[name]; old != nil {
		if old.slot == slot {
			return
		}
		x.detach(old)
	}
	ep := newEndpoint(x, slot)
	x.endpoints[name] = ep
	for _, w := range x.tiers.weak {
		w.index.AddEndpoint(slot, 0)
	}
	x.setSlot(slot, ep)
}

const maxSlot = 1<<16 - 1

// Detach forgets an endpoint. Its slot in the prefix index is its owner's to
// remove.
func (x *Index) Detach(name string) {
	x.mu.Lock()
	defer x.mu.Unlock()
	if ep := x.endpoints[name]; ep != nil {
		delete(x.endpoints, name)
		x.detach(ep)
	}
}

func (x *Index) detach(ep *endpoint) {
	ep.close()
	for _, w := range x.tiers.weak {
		w.index.RemoveEndpoint(ep.slot)
	}
	if list := *x.bySlot.Load(); list[ep.slot] == ep {
		x.setSlot(ep.slot, nil)
	}
}

func (x *Index) setSlot(slot int32, ep *endpoint) {
	old := *x.bySlot.Load()
	list := make([]*endpoint, max(len(old), int(slot)+1))
	copy(list, old)
	list[slot] = ep
	x.bySlot.Store(&list)
}

func (x *Index) at(slot int32) *endpoint {
	list := *x.bySlot.Load()
	if slot < 0 || int(slot) >= len(list) {
		return nil
	}
	return list[slot]
}

func (x *Index) named(name string) *endpoint {
	x.mu.Lock()
	defer x.mu.Unlock()
	return x.endpoints[name]
}

// Exact reports whether the slot's engine says what it holds, so that nothing has
// to be guessed: its events are followed, and most of them are understood.
func (x *Index) Exact(slot int32) bool {
	ep := x.at(slot)
	return ep != nil && ep.live.Load() && !ep.trust.patchy.Load()
}

// Live implements [kvevents.Sink].
func (x *Index) Live(name string) {
	if ep := x.named(name); ep != nil {
		ep.begin()
	}
}

// Lost implements [kvevents.Sink]. What was known of the endpoint is forgotten.
func (x *Index) Lost(name string) {
	if ep := x.named(name); ep != nil {
		ep.lose()
	}
}

// Cleared implements [kvevents.Sink].
func (x *Index) Cleared(name string) {
	if ep := x.named(name); ep != nil {
		ep.clear()
	}
}

// Unread implements [kvevents.Sink]: it counts as so many blocks that were not understood.
func (x *Index) Unread(name string, events int) {
	if ep := x.named(name); ep != nil {
		ep.unread(events)
	}
}

// Stored implements [kvevents.Sink].
func (x *Index) Stored(name string, e *kvevents.Stored) {
	if ep := x.named(name); ep != nil {
		ep.store(e)
	}
}

// Removed implements [kvevents.Sink].
func (x *Index) Removed(name string, e *kvevents.Removed) {
	if ep := x.named(name); ep != nil {
		ep.remove(e)
	}
}

// Stats is a reading of an [Index]'s counters, all in engines' blocks.
type Stats struct {
	// Blocks are those followed now.
	Blocks int64
	// Orphans had a parent that is not known, Unknown were to be removed or moved
	// without having been stored, Dropped were beyond an endpoint's bound. Torn had
	// fewer tokens than their size, or had the name of another block, or it is not told
	// which tokens are theirs.
	Orphans, Unknown, Dropped, Torn uint64
	// Speculated are our blocks that were assumed to be cached, Expired those of
	// them that were given up or confirmed in time and are assumed no more.
	Speculated, Expired uint64
}

type counters struct {
	blocks                          atomic.Int64
	orphans, unknown, dropped, torn atomic.Uint64
	speculated, expired             atomic.Uint64
}

// Stats reads the counters.
func (x *Index) Stats() Stats {
	c := &x.stats
	return Stats{
		Blocks: c.blocks.Load(), Orphans: c.orphans.Load(), Unknown: c.unknown.Load(), Dropped: c.dropped.Load(), Torn: c.torn.Load(),
		Speculated: c.speculated.Load(), Expired: c.expired.Load(),
	}
}
