package index

import (
	"sync"
	"time"

	"github.com/fairway-ai/fairway/scheduler/prefix"
)

// maxSpeculative bounds the speculative blocks of all endpoints together; beyond,
// those of the endpoint that gets more end early, the oldest first.
const maxSpeculative = 1 << 19

// speculation is what an endpoint is assumed to cache soon.
type speculation struct {
	mu sync.Mutex
	// ends is, by key, when the assumption is over, in Unix nanoseconds. It is a block's
	// state.
	ends blocks
	list []assumed // in the order in which they end
	head int
	gone []uint64 // scratch
}

type assumed struct {
	key  uint64
	ends int64
}

// Dispatched records that a prompt was sent to a slot whose engine reports what it
// holds: it counts as cached for a moment, until the report is there or overdue; so
// the next of many equal prompts sees where the first went. Of any other slot
// nothing is recorded: what is guessed would outlast the first report.
func (x *Index) Dispatched(slot int32, blocks []prefix.Block) {
	ep := x.at(slot)
	if ep == nil || x.o.SpeculativeTTL < 0 || !ep.live.Load() {
		return
	}
	now := x.o.Now()
	x.assume(ep, blocks[x.o.Prefix.Reported(slot, blocks):], now)
	// Others too, of which some may get no more requests.
	if list := *x.bySlot.Load(); len(list) > 0 {
		if other := list[x.turn.Add(1)%uint64(len(list))]; other != nil && other != ep && other.spec.mu.TryLock() {
			x.expire(other, now)
			other.spec.mu.Unlock()
		}
	}
}

// assume notes the blocks that the endpoint does not hold, or is assumed to.
func (x *Index) assume(ep *endpoint, blocks []prefix.Block, now time.Time) {
	s := &ep.spec
	ends := now.Add(x.o.SpeculativeTTL).UnixNano()
	s.mu.Lock()
	defer s.mu.Unlock()
	if !ep.live.Load() {
		return // lost just now: what was forgotten must not come back
	}
	first, n := -1, 0
	for i, b := range blocks {
		if i%together == 0 {
			x.o.Prefix.Fetch(blocks[i:min(i+together, len(blocks))])
		}
		at, again := s.ends.find(b.Hash)
		if !again && x.o.Prefix.Holds(ep.slot, b.Hash) {
			continue
		}
		s.ends.put(at, b.Hash, block{state: uint64(ends), keys: 1})
		s.list = append(s.list, assumed{b.Hash, ends})
		n++
		if first < 0 {
			first = i
		}
	}
	if n > 0 {
		x.speculative.Add(int64(n))
		x.stats.speculated.Add(uint64(n))
		x.o.Prefix.Insert(ep.slot, blocks[first:])
	}
	x.expire(ep, now)
}

// Expire ends the speculation that is overdue. Dispatched does so too, for some
// endpoints; a caller that wants it done while few requests come calls it once a
// second or so.
func (x *Index) Expire() {
	now := x.o.Now()
	for _, ep := range *x.bySlot.Load() {
		if ep != nil {
			ep.spec.mu.Lock()
			x.expire(ep, now)
			ep.spec.mu.Unlock()
		}
	}
}

// expire does so for one endpoint, whose speculation the caller has locked.
func (x *Index) expire(ep *endpoint, now time.Time) {
	s := &ep.spec
	n, until := 0, now.UnixNano()
	s.gone = s.gone[:0]
	for s.head < len(s.list) && (s.list[s.head].ends <= until || x.speculative.Load()-int64(n) > maxSpeculative) {
		a := s.list[s.head]
		s.head++
		n++
		// A later request for the same block ends later.
		if at, ok := s.ends.find(a.key); ok && int64(s.ends.slots[at].block().state) <= a.ends {
			s.ends.drop(at)
			s.gone = append(s.gone, a.key)
		}
	}
	x.o.Prefix.ForgetAll(ep.slot, s.gone)
	s.gone = trim(s.gone)
	if s.ends.n == 0 && len(s.ends.slots) > keptAssumed {
		s.ends = blocks{mult: x.mult}
	}
	x.over(n)
	switch {
	case s.head == len(s.list):
		s.head = 0
		if cap(s.list) > keptAssumed {
			s.list = nil
		}
		s.list = s.list[:0]
	case s.head > len(s.list)/2:
		s.list, s.head = append(s.list[:0], s.list[s.head:]...), 0
	}
}

// over counts n blocks that are speculative no more.
func (x *Index) over(n int) {
	if n > 0 {
		x.speculative.Add(-int64(n))
		x.stats.expired.Add(uint64(n))
	}
}

// forgetAssumed drops an endpoint's speculation; the prefix index is not touched.
func (x *Index) forgetAssumed(ep *endpoint) {
	s := &ep.spec
	s.mu.Lock()
	defer s.mu.Unlock()
	x.over(len(s.list) - s.head)
	s.ends, s.list, s.head = blocks{mult: x.mult}, nil, 0
}

const keptAssumed = 1 << 12
