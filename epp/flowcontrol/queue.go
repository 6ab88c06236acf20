package flowcontrol

import (
	"slices"
	"time"
)

// Valve says how full the endpoints of a lane are.
type Valve interface {
	// Saturation is 0 when nothing is in use and 1 when as much is as should be. A
	// band is served while it is below the band's ceiling.
	Saturation(l *Lane) float64
}

// maxLanes bounds the lanes of a queue, besides the one of all endpoints. There wait the
// requests for which there is no other.
const maxLanes = 64

// Queue holds requests. It is not safe for concurrent use.
type Queue struct {
	c       *Config
	prefill *Prefill
	limit   limiter

	lanes    []*Lane // those with waiters
	spare    []*Lane
	classes  []*class // by priority, highest first
	ranks    []int    // their priorities
	ceilings []float64
	idle     time.Time // when a class may have become idle; zero while none can
	due      heap
	epoch    time.Time // of all times that are kept as numbers
	probe    Lane
	seq      uint64
	requests int
	bytes    int64

	empty     bool // the pool has no endpoints
	emptied   time.Time
	flows     []*flow // spare
	programs  map[Programs]*programs
	displaced func(*Waiter)
}

// NewQueue returns an empty queue. prefill is for bands whose order is [Cheapest],
// and may be nil when there are none. displaced is told of waiters that Push takes
// out, when c.Evict is set.
func NewQueue(c *Config, prefill *Prefill, displaced func(*Waiter)) *Queue {
	q := &Queue{
		c: c, prefill: prefill, displaced: displaced, limit: limiter{UsageLimit: c.Limit},
		due: heap{before: dueBefore, index: dueIndex}, programs: map[Programs]*programs{},
	}
	for _, b := range c.Bands {
		q.class(time.Time{}, b.Priority).listed = true
	}
	q.class(time.Time{}, 0).listed = true
	return q
}

// open reports whether a band of class c may be served at a saturation.
func (q *Queue) open(c *class, saturation float64) bool {
	q.limit.ceilings(saturation, q.ranks, q.ceilings)
	return saturation < q.ceilings[c.rank]
}

// wouldOpen is open for a saturation that is only thought of.
func (q *Queue) wouldOpen(c *class, saturation float64) bool {
	return saturation < q.ceiling(c, saturation)
}

// ceiling is that of class c at a saturation.
func (q *Queue) ceiling(c *class, saturation float64) float64 {
	q.limit.steady(saturation, q.ranks, q.ceilings)
	return q.ceilings[c.rank]
}

// Free reports whether a request of that priority, for the endpoints of subset,
// need not wait: nobody waits, and they are open. A nil subset is all endpoints.
func (q *Queue) Free(now time.Time, priority int, subset []string, v Valve) bool {
	if q.requests > 0 {
		return false
	}
	return q.open(q.class(now, priority), v.Saturation(q.probeOf(subset)))
}

// probeOf is an empty lane of a subset, valid until the next call.
func (q *Queue) probeOf(subset []string) *Lane {
	if !sameSubset(subset, q.probe.Subset) {
		q.probe = Lane{Subset: keepSubset(subset), sum: laneSum{only: q.probe.sum.only}}
	}
	return &q.probe
}

// Fits reports whether there is room for w to wait although nobody makes any.
func (q *Queue) Fits(now time.Time, w *Waiter) bool { return q.fits(q.class(now, w.Priority), w) }

// Passes reports whether w need not wait although others do: its endpoints are open, and
// who waits for them has a lower priority. Everybody else who waits has to. It is for
// requests that cannot wait, or for which there is no room: the requests that wait for
// some endpoints, or in a band that is shut, do not keep them from endpoints that are free.
func (q *Queue) Passes(now time.Time, w *Waiter, subset []string, v Valve) bool {
	c := q.class(now, w.Priority)
	l := q.findLane(subset)
	if l == nil {
		l = q.probeOf(subset)
	} else if l.first().class.Priority >= w.Priority {
		return false
	}
	return q.open(c, v.Saturation(l))
}

// fits is Fits for a request of class c.
func (q *Queue) fits(c *class, w *Waiter) bool {
	requests, bytes := q.over(w)
	return q.fitsBand(c, w) && requests <= 0 && bytes <= 0
}

// fitsBand reports whether w's band has room for it.
func (q *Queue) fitsBand(c *class, w *Waiter) bool {
	return (c.MaxRequests <= 0 || int64(c.requests) < c.MaxRequests) && (c.MaxBytes <= 0 || c.bytes+w.Bytes <= c.MaxBytes)
}

// Push adds a request that waits for the endpoints of subset, nil for all. It returns RejectedCapacity or
// RejectedNoEndpoints, and does not add the request, when there is no room, and
// Dispatched otherwise.
func (q *Queue) Push(now time.Time, w *Waiter, subset []string) Outcome {
	c := q.class(now, w.Priority)
	if !q.room(c, w) {
		if q.empty {
			return RejectedNoEndpoints
		}
		return RejectedCapacity
	}
	if q.epoch.IsZero() {
		q.epoch = now
	}
	q.seq++
	w.seq, w.since, w.began, w.at = q.seq, now, q.number(now), -1
	q.setExpiry(w)
	w.key = q.orderKey(c.Ordering, w)
	w.lane = q.lane(subset)
	w.band = w.lane.band(q, c)
	w.band.add(q, w)
	c.requests++
	c.bytes += w.Bytes
	q.requests++
	q.bytes += w.Bytes
	return Dispatched
}

// room reports whether w fits, after making room where that is allowed.
func (q *Queue) room(c *class, w *Waiter) bool {
	if q.fits(c, w) {
		return true
	}
	if !q.c.Evict || !q.fitsBand(c, w) {
		return false
	}
	requests, bytes := q.over(w)
	// Nobody is turned out for a request that would not fit all the same.
	for _, o := range q.classes {
		if sheddable(o, w) {
			requests -= int64(o.requests)
			bytes -= o.bytes
		}
	}
	if requests > 0 || bytes > 0 {
		return false
	}
	for requests, bytes = q.over(w); requests > 0 || bytes > 0; requests, bytes = q.over(w) {
		victim := q.victim(w)
		q.Remove(victim)
		q.displaced(victim)
	}
	return true
}

// over is by how much w would exceed the bounds of the whole queue.
func (q *Queue) over(w *Waiter) (requests, bytes int64) {
	if q.c.MaxRequests > 0 {
		requests = int64(q.requests) + 1 - q.c.MaxRequests
	}
	if q.c.MaxBytes > 0 {
		bytes = q.bytes + w.Bytes - q.c.MaxBytes
	}
	return requests, bytes
}

// sheddable reports whether a waiter of class c may be turned out for w.
func sheddable(c *class, w *Waiter) bool { return c.Priority < 0 && c.Priority < w.Priority }

// victim is the latest arrival of the lowest priority that may be turned out for w.
func (q *Queue) victim(w *Waiter) *Waiter {
	for _, c := range slices.Backward(q.classes) {
		if c.requests == 0 || !sheddable(c, w) {
			continue
		}
		var latest *Waiter
		for _, l := range q.lanes {
			for _, b := range l.bands {
				if b.class == c && b.last != nil && (latest == nil || b.last.seq > latest.seq) {
					latest = b.last
				}
			}
		}
		return latest
	}
	return nil
}

// Pop takes out the request that goes next, nil when none may. Of the lanes whose
// first band with waiters is open it serves the highest band, and of those the one
// whose oldest request came first. A band that is shut holds up the lower ones of
// its lane.
func (q *Queue) Pop(now time.Time, v Valve) *Waiter {
	q.dropIdle(now)
	var best *band
	for _, l := range q.lanes {
		b := l.first()
		if best != nil && (b.class.Priority < best.class.Priority ||
			b.class == best.class && b.oldest.seq > best.oldest.seq) {
			continue
		}
		if q.open(b.class, v.Saturation(l)) {
			best = b
		}
	}
	if best == nil {
		return nil
	}
	w := best.pop(now)
	q.left(w)
	return w
}

// Next is the waiter that goes next of a queue that has one lane, and one order in each
// of its bands, as an endpoint's has: nil when nobody waits.
func (q *Queue) Next() *Waiter {
	for _, l := range q.lanes {
		if b := l.first(); b.shared != nil {
			return b.shared.next()
		}
	}
	return nil
}

// Remove takes a request out and reports whether it waited.
func (q *Queue) Remove(w *Waiter) bool {
	if !w.Waiting() {
		return false
	}
	w.band.line(w).remove(w)
	q.left(w)
	return true
}

// left ends the accounts of a waiter that its line no longer has.
func (q *Queue) left(w *Waiter) {
	b, c, l := w.band, w.band.class, w.lane
	b.drop(q, w)
	c.requests--
	c.bytes -= w.Bytes
	q.requests--
	q.bytes -= w.Bytes
	if w.due >= 0 {
		q.due.remove(w.due)
	}
	if l.requests == 0 {
		i := slices.Index(q.lanes, l)
		last := len(q.lanes) - 1
		q.lanes[i] = q.lanes[last]
		q.lanes[last] = nil
		q.lanes = q.lanes[:last]
		l.Subset = nil
		q.spare = append(q.spare, l)
	}
	w.lane, w.band, w.flow = nil, nil, nil
}

// Drain takes out every request, in order of arrival, and calls f for each.
func (q *Queue) Drain(f func(*Waiter)) {
	all := make([]*Waiter, 0, q.requests)
	for _, l := range q.lanes {
		for _, b := range l.bands {
			for w := b.oldest; w != nil; w = w.next {
				all = append(all, w)
			}
		}
	}
	slices.SortFunc(all, func(a, b *Waiter) int { return int(int64(a.seq - b.seq)) })
	for _, w := range all {
		q.Remove(w)
	}
	for _, w := range all {
		f(w)
	}
}

// Len and Bytes are what waits.
func (q *Queue) Len() int     { return q.requests }
func (q *Queue) Bytes() int64 { return q.bytes }
