package index

import (
	"sync"
	"time"

	"github.com/fairway-ai/fairway/scheduler/prefix"
)

// maxSpeculative bounds the speculative blocks of all endpoints together; beyond,
// the oldest end early.
const maxSpeculative = 1 << 19

// speculation is what is assumed to be cached soon, in the order in which it ends.
type speculation struct {
	mu   sync.Mutex
	list []assumed
	head int
}

type assumed struct {
	ep   *endpoint
	key  uint64
	ends time.Time
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
	ends := now.Add(x.o.SpeculativeTTL)
	x.spec.mu.Lock()
	defer x.spec.mu.Unlock()
	ep.specMu.Lock()
	n := 0
	if !ep.live.Load() { // lost just now: what was forgotten must not come back
		blocks = nil
	}
	for _, b := range blocks {
		if _, again := ep.spec[b.Hash]; again || !x.o.Prefix.Holds(slot, b.Hash) {
			ep.spec[b.Hash] = ends
			x.spec.list = append(x.spec.list, assumed{ep, b.Hash, ends})
			n++
		}
	}
	if n > 0 {
		x.stats.speculated.Add(uint64(n))
		x.o.Prefix.Insert(slot, blocks)
	}
	ep.specMu.Unlock()
	x.expire(now)
}

// Expire ends the speculation that is overdue. Dispatched does so too; a caller
// that wants it done while no request comes calls it once a second or so.
func (x *Index) Expire() {
	x.spec.mu.Lock()
	defer x.spec.mu.Unlock()
	x.expire(x.o.Now())
}

func (x *Index) expire(now time.Time) {
	s := &x.spec
	n := 0
	for s.head < len(s.list) && (!s.list[s.head].ends.After(now) || len(s.list)-s.head > maxSpeculative) {
		a := s.list[s.head]
		s.list[s.head] = assumed{}
		s.head++
		n++
		a.ep.specMu.Lock()
		// A later request for the same block ends later.
		ends, ok := a.ep.spec[a.key]
		over := ok && !ends.After(a.ends)
		if over {
			delete(a.ep.spec, a.key)
		}
		a.ep.specMu.Unlock()
		if over {
			x.o.Prefix.Forget(a.ep.slot, a.key)
		}
	}
	x.stats.expired.Add(uint64(n))
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

const keptAssumed = 1 << 14
