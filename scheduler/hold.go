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

	queue *HoldQueue // nil when it is in none
	seq   uint64
	at    int     // index in front or rest
	front bool    // in front
	rank  float64 // in rest
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
	// front are the most promising requests, at most holdRescore, in no order; rest
	// is a heap of the others by rank.
	front, rest []*Held
	seq         uint64
	base        time.Time // that ranks count waiting time from
	rate        float64   // that ranks were computed with
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
func (q *HoldQueue) Len() int { return len(q.front) + len(q.rest) }

// Push adds a request.
func (q *HoldQueue) Push(h *Held) {
	if q.Len() == 0 {
		q.base = h.Since
	}
	q.seq++
	h.seq, h.queue = q.seq, q
	if len(q.rest) == 0 && len(q.front) < holdRescore {
		q.toFront(h)
	} else {
		q.toRest(h)
	}
}

// Remove takes a request out, and reports whether it was held.
func (q *HoldQueue) Remove(h *Held) bool {
	if h.queue != q {
		return false
	}
	q.take(h)
	h.queue = nil
	return true
}

// Pop takes out the request to send next, nil when none is held. rate is the
// endpoint's prefill speed in tokens per second, 0 when unknown; uncached looks
// up a request's current uncached tokens there. Of a long queue only the most
// promising requests are looked up again.
func (q *HoldQueue) Pop(now time.Time, rate float64, uncached func(*Held) int64) *Held {
	if q.Len() == 0 {
		return nil
	}
	if rate <= 0 {
		rate = DefaultPrefillRate
	}
	q.promote(rate)
	key := func(h *Held) float64 {
		return float64(h.Uncached)/rate - holdAging*now.Sub(h.Since).Seconds()
	}
	var best *Held
	var bestKey float64
	for _, h := range q.front {
		if uncached != nil {
			h.Uncached = uncached(h)
		}
		if k := key(h); best == nil || k < bestKey || k == bestKey && h.seq < best.seq {
			best, bestKey = h, k
		}
	}
	q.Remove(best)
	return best
}

// Next is the request that Pop would take out, by what was looked up last, nil when
// none is held.
func (q *HoldQueue) Next(rate float64) *Held {
	if rate <= 0 {
		rate = DefaultPrefillRate
	}
	q.promote(rate)
	var next *Held
	for _, h := range q.front {
		if h.rank = q.rankOf(h); next == nil || h.before(next) {
			next = h
		}
	}
	return next
}

// Drain takes out every request, in order of arrival: the endpoint is gone.
func (q *HoldQueue) Drain() []*Held {
	out := append(q.front, q.rest...)
	q.front, q.rest = nil, nil
	for _, h := range out {
		h.queue = nil
	}
	slices.SortFunc(out, func(a, b *Held) int { return cmp.Compare(a.seq, b.seq) })
	return out
}

// promote makes front the most promising requests at that rate.
func (q *HoldQueue) promote(rate float64) {
	if rate != q.rate && len(q.rest) > 0 {
		q.rate = rate
		for _, h := range q.rest {
			h.rank = q.rankOf(h)
		}
		for i := len(q.rest)/2 - 1; i >= 0; i-- {
			q.down(i)
		}
	}
	q.rate = rate
	for len(q.rest) > 0 {
		first := q.rest[0]
		if len(q.front) < holdRescore {
			q.take(first)
			q.toFront(first)
			continue
		}
		last := q.front[0]
		last.rank = q.rankOf(last)
		for _, h := range q.front[1:] {
			if h.rank = q.rankOf(h); last.before(h) {
				last = h
			}
		}
		if !first.before(last) {
			return
		}
		q.take(first)
		q.take(last)
		q.toFront(first)
		q.toRest(last)
	}
}

// rankOf is what Pop goes by, but for what is the same for all at one moment.
func (q *HoldQueue) rankOf(h *Held) float64 {
	rate := q.rate
	if rate <= 0 {
		rate = DefaultPrefillRate
	}
	return float64(h.Uncached)/rate + holdAging*h.Since.Sub(q.base).Seconds()
}

func (h *Held) before(o *Held) bool {
	return h.rank < o.rank || h.rank == o.rank && h.seq < o.seq
}

func (q *HoldQueue) toFront(h *Held) {
	h.front, h.at = true, len(q.front)
	q.front = append(q.front, h)
}

func (q *HoldQueue) toRest(h *Held) {
	h.front, h.at, h.rank = false, len(q.rest), q.rankOf(h)
	q.rest = append(q.rest, h)
	q.up(h.at)
}

// take removes h from where it is.
func (q *HoldQueue) take(h *Held) {
	list := &q.rest
	if h.front {
		list = &q.front
	}
	i, last := h.at, len(*list)-1
	(*list)[i] = (*list)[last]
	(*list)[i].at = i
	(*list)[last] = nil
	*list = (*list)[:last]
	if !h.front && i < last && !q.up(i) {
		q.down(i)
	}
}

func (q *HoldQueue) up(i int) (moved bool) {
	for i > 0 && q.rest[i].before(q.rest[(i-1)/2]) {
		q.swap(i, (i-1)/2)
		i, moved = (i-1)/2, true
	}
	return moved
}

func (q *HoldQueue) down(i int) {
	for {
		child := 2*i + 1
		if child+1 < len(q.rest) && q.rest[child+1].before(q.rest[child]) {
			child++
		}
		if child >= len(q.rest) || !q.rest[child].before(q.rest[i]) {
			return
		}
		q.swap(i, child)
		i = child
	}
}

func (q *HoldQueue) swap(i, j int) {
	q.rest[i], q.rest[j] = q.rest[j], q.rest[i]
	q.rest[i].at, q.rest[j].at = i, j
}
