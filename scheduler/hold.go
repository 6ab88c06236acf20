package scheduler

import (
	"cmp"
	"slices"
	"time"
)

// Held is a request bound to an endpoint and waiting in its [HoldQueue].
type Held struct {
	// Request is what was decided upon.
	Request *Request
	// Since is when the request was bound.
	Since time.Time
	// Uncached is the latest estimate of prompt tokens to prefill there.
	Uncached int64
	// Payload is the caller's own.
	Payload any

	queued bool
	seq    uint64
}

// HoldQueue holds the requests bound to one endpoint that have not been sent to
// it. A request leaves when little enough prefill work is outstanding there, the
// one with the least uncached work first, with aging: the smallest of
//
//	uncached / prefill rate - 0.15 × waiting time
//
// leaves next, recomputed at release, since the cache has moved on. The zero
// HoldQueue is ready to use. It is not safe for concurrent use.
type HoldQueue struct {
	items []*Held
	seq   uint64
}

const (
	// holdAging is the weight of waiting time against prefill time. Larger values
	// drift to first come, first served, smaller ones to starvation.
	holdAging = 0.15
	// HoldTokens is the outstanding prefill work, in tokens, at which an endpoint
	// gets nothing more: about one step of chunked prefill.
	HoldTokens = 8_192
	// DefaultPrefillRate is assumed, in tokens per second, until an endpoint's own
	// rate has been learned.
	DefaultPrefillRate = 20_480
	// holdRescore bounds how many held requests are looked up again at a release.
	holdRescore = 64
)

// Admits reports whether an endpoint with that many outstanding prefill tokens
// takes another request now. An idle endpoint always does.
func Admits(prefilling int64) bool { return prefilling < HoldTokens }

// Len is the number of held requests.
func (q *HoldQueue) Len() int { return len(q.items) }

// Push adds a request.
func (q *HoldQueue) Push(h *Held) {
	q.seq++
	h.seq, h.queued = q.seq, true
	q.items = append(q.items, h)
}

// Remove takes a request out, and reports whether it was held.
func (q *HoldQueue) Remove(h *Held) bool {
	if !h.queued {
		return false
	}
	i := slices.Index(q.items, h)
	if i < 0 {
		return false
	}
	q.remove(i)
	return true
}

// Pop takes out the request to send next, nil when none is held. rate is the
// endpoint's prefill speed in tokens per second, 0 when unknown; uncached looks
// up a request's current uncached tokens there. Of a long queue only the most
// promising requests are looked up again.
func (q *HoldQueue) Pop(now time.Time, rate float64, uncached func(*Held) int64) *Held {
	if len(q.items) == 0 {
		return nil
	}
	if rate <= 0 {
		rate = DefaultPrefillRate
	}
	key := func(h *Held) float64 {
		return float64(h.Uncached)/rate - holdAging*now.Sub(h.Since).Seconds()
	}
	less := func(a, b *Held) int {
		return cmp.Or(cmp.Compare(key(a), key(b)), cmp.Compare(a.seq, b.seq))
	}
	if len(q.items) > holdRescore {
		slices.SortFunc(q.items, less)
	}
	if uncached != nil {
		for _, h := range q.items[:min(len(q.items), holdRescore)] {
			h.Uncached = uncached(h)
		}
	}
	best := 0
	for i := range q.items[:min(len(q.items), holdRescore)] {
		if i > 0 && less(q.items[i], q.items[best]) < 0 {
			best = i
		}
	}
	h := q.items[best]
	q.remove(best)
	return h
}

// Drain takes out every request, in order of arrival: the endpoint is gone.
func (q *HoldQueue) Drain() []*Held {
	out := q.items
	q.items = nil
	for _, h := range out {
		h.queued = false
	}
	slices.SortFunc(out, func(a, b *Held) int { return cmp.Compare(a.seq, b.seq) })
	return out
}

func (q *HoldQueue) remove(i int) {
	h := q.items[i]
	last := len(q.items) - 1
	q.items[i] = q.items[last]
	q.items[last] = nil
	q.items = q.items[:last]
	h.queued = false
}
