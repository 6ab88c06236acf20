package flowcontrol

import (
	"cmp"
	"slices"
	"strings"
	"time"
)

// Lane is where requests wait that may go to the same endpoints.
type Lane struct {
	// Subset is those endpoints' addresses, as in scheduler.Request; nil is all.
	Subset []string

	sum      laneSum
	bands    []*band // by priority, highest first; empty ones stay
	requests int
}

// sameSubset reports whether two subsets are the same; nil, which is all, is not the empty one.
func sameSubset(a, b []string) bool { return (a == nil) == (b == nil) && slices.Equal(a, b) }

// keepSubset is a subset that stays as it is when the request's memory is used again.
func keepSubset(subset []string) []string {
	if subset == nil {
		return nil
	}
	return append(make([]string, 0, len(subset)), subset...)
}

// lane finds the lane of a subset, or makes it.
func (q *Queue) lane(subset []string) *Lane {
	if l := q.findLane(subset); l != nil {
		return l
	}
	if len(q.lanes) >= maxLanes && subset != nil {
		return q.lane(nil)
	}
	var l *Lane
	if n := len(q.spare); n > 0 {
		l = q.spare[n-1]
		q.spare = q.spare[:n-1]
	} else {
		l = new(Lane)
	}
	l.Subset = keepSubset(subset)
	l.sum.of = nil
	q.lanes = append(q.lanes, l)
	return l
}

// findLane finds the lane of a subset, nil where there is none.
func (q *Queue) findLane(subset []string) *Lane {
	for _, l := range q.lanes {
		if sameSubset(l.Subset, subset) {
			return l
		}
	}
	return nil
}

// band finds the lane's band of a class, or makes it.
func (l *Lane) band(q *Queue, c *class) *band {
	i, found := slices.BinarySearchFunc(l.bands, c.Priority, func(b *band, p int) int { return cmp.Compare(p, b.class.Priority) })
	if found {
		return l.bands[i]
	}
	b := newBand(q, l, c)
	l.bands = slices.Insert(l.bands, i, b)
	return b
}

// first is the highest band with waiters. A lane of the queue always has one.
func (l *Lane) first() *band {
	for _, b := range l.bands {
		if b.oldest != nil {
			return b
		}
	}
	return nil
}

// band is the waiters of one priority in one lane.
type band struct {
	lane         *Lane
	class        *class
	oldest, last *Waiter // by arrival
	flows        map[string]*flow
	fairness     fairness
	shared       line // of all flows, when they have one order; nil otherwise
}

// flow is the waiters of one fairness id in one band.
type flow struct {
	id       string
	requests int
	bytes    int64
	line     line // nil when the band has a shared one
	// prev and next are the neighbours in a ring; place the index in a list.
	prev, next *flow
	place      int
}

func newBand(q *Queue, l *Lane, c *class) *band {
	b := &band{lane: l, class: c, flows: map[string]*flow{}}
	switch c.Fairness.Type {
	case RoundRobin:
		b.fairness = new(ring)
	case ProgramAware:
		b.fairness = &leastServed{programs: q.programsOf(c.Fairness.Programs)}
	default:
		b.shared = q.newLine(c.Ordering)
	}
	return b
}

// line is where w stands.
func (b *band) line(w *Waiter) line {
	if b.shared != nil {
		return b.shared
	}
	return w.flow.line
}

// add puts a waiter into its flow.
func (b *band) add(q *Queue, w *Waiter) {
	w.prev, w.next = b.last, nil
	if b.last == nil {
		b.oldest = w
	} else {
		b.last.next = w
	}
	b.last = w
	b.lane.requests++
	f := b.flows[w.Flow]
	if f == nil {
		f = q.newFlow(w.Flow)
		b.flows[f.id] = f
		if b.shared == nil {
			if f.line == nil {
				f.line = q.newLine(b.class.Ordering)
			}
			b.fairness.join(f, w.since)
		}
	}
	f.requests++
	f.bytes += w.Bytes
	w.flow = f
	b.line(w).push(w)
	if b.shared == nil {
		b.fairness.changed(f)
	}
}

// pop takes the waiter whose turn it is out of its line. The band has one.
func (b *band) pop(now time.Time) *Waiter {
	if b.shared != nil {
		return b.shared.pop(now)
	}
	return b.fairness.pick(now).line.pop(now)
}

// drop takes a waiter out that its line no longer has.
func (b *band) drop(q *Queue, w *Waiter) {
	if w.prev == nil {
		b.oldest = w.next
	} else {
		w.prev.next = w.next
	}
	if w.next == nil {
		b.last = w.prev
	} else {
		w.next.prev = w.prev
	}
	w.prev, w.next = nil, nil
	b.lane.requests--
	f := w.flow
	f.requests--
	f.bytes -= w.Bytes
	if f.requests > 0 {
		if b.shared == nil {
			b.fairness.changed(f)
		}
		return
	}
	delete(b.flows, f.id)
	if b.shared == nil {
		b.fairness.leave(f)
	}
	q.freeFlow(f)
}

// maxSpareFlows bounds the memory that an idle queue keeps.
const maxSpareFlows = 1024

func (q *Queue) newFlow(id string) *flow {
	id = strings.Clone(id) // it must not keep the first request's headers
	if n := len(q.flows); n > 0 {
		f := q.flows[n-1]
		q.flows = q.flows[:n-1]
		f.id = id
		return f
	}
	return &flow{id: id}
}

// freeFlow keeps an empty flow for another one, with its line: which kind of line
// depends on nothing but the order of its keys, and those come from the waiters.
func (q *Queue) freeFlow(f *flow) {
	if len(q.flows) < maxSpareFlows {
		*f = flow{line: f.line}
		q.flows = append(q.flows, f)
	}
}

// FlowView is what waits in one flow.
type FlowView struct {
	Priority int
	Flow     string
	Requests int
	Bytes    int64
}

// Flows calls yield for every flow with waiters. A flow that waits for several
// subsets of the endpoints comes once for each.
func (q *Queue) Flows(yield func(FlowView) bool) {
	for _, l := range q.lanes {
		for _, b := range l.bands {
			for _, f := range b.flows {
				if !yield(FlowView{b.class.Priority, f.id, f.requests, f.bytes}) {
					return
				}
			}
		}
	}
}

// BandView is what waits in one priority, and how much may.
type BandView struct {
	Band
	Requests int
	Bytes    int64
}

// Bands calls yield for every active band, highest first.
func (q *Queue) Bands(yield func(BandView) bool) {
	for _, c := range q.classes {
		if !yield(BandView{c.Band, c.requests, c.bytes}) {
			return
		}
	}
}
