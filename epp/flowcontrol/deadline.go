package flowcontrol

import (
	"math"
	"time"
)

// SetEmpty says whether the pool has endpoints. A change begins the wait anew for
// all who wait, up to the longer of both bounds.
func (q *Queue) SetEmpty(now time.Time, empty bool) {
	if empty == q.empty {
		return
	}
	q.empty, q.emptied = empty, now
	q.due.items = q.due.items[:0]
	for _, l := range q.lanes {
		for _, b := range l.bands {
			for w := b.oldest; w != nil; w = w.next {
				q.setExpiry(w)
			}
		}
	}
}

// ttl is how long a request may wait now; 0 is without end.
func (q *Queue) ttl() time.Duration {
	if q.empty {
		return q.c.NoEndpointTTL
	}
	return q.c.TTL
}

// setExpiry decides when w leaves without having been served, and notes it.
func (q *Queue) setExpiry(w *Waiter) {
	w.due, w.expires = -1, math.MaxInt64
	at := w.Until
	if ttl := q.ttl(); at.IsZero() && ttl > 0 {
		from := w.since
		if q.emptied.After(from) {
			from = q.emptied
		}
		at = from.Add(ttl)
		if longest := w.since.Add(max(q.c.TTL, q.c.NoEndpointTTL)); q.c.TTL > 0 && q.c.NoEndpointTTL > 0 && at.After(longest) {
			at = longest
		}
	}
	if !at.IsZero() {
		w.expires = q.number(at)
		q.due.push(w)
	}
}

// Deadline is when the next request must leave; ok is false when none must.
func (q *Queue) Deadline() (at time.Time, ok bool) {
	if len(q.due.items) == 0 {
		return time.Time{}, false
	}
	return q.epoch.Add(time.Duration(q.due.items[0].expires)), true
}

// Expire takes out a request that must leave by now, nil when there is none, and
// says why.
func (q *Queue) Expire(now time.Time) (*Waiter, Outcome) {
	if len(q.due.items) == 0 || q.due.items[0].expires > q.number(now) {
		return nil, ""
	}
	w := q.due.items[0]
	q.Remove(w)
	if q.empty {
		return w, EvictedNoEndpoints
	}
	return w, EvictedTTL
}

// number is a time as what is kept of it: nanoseconds of the epoch, by the
// monotonic clock where the times have one.
func (q *Queue) number(t time.Time) int64 { return int64(t.Sub(q.epoch)) }
