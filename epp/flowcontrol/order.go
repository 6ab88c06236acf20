package flowcontrol

import (
	"math"
	"time"

	"github.com/fairway-ai/fairway/scheduler"
)

// Prefill is what [Cheapest] asks about an endpoint.
type Prefill struct {
	// Rate is its prefill speed in tokens per second, 0 when unknown.
	Rate func() float64
	// Uncached is a request's prompt tokens that it would have to prefill now.
	Uncached func(*scheduler.Held) int64
}

// line is waiters in an order.
type line interface {
	push(w *Waiter)
	// pop takes out the first; there is one.
	pop(now time.Time) *Waiter
	// remove takes out w, which is in it.
	remove(w *Waiter)
	// next is the first by what is known of it, nil when there is none.
	next() *Waiter
	// head is the first, nil when there is none or nobody can say without taking it.
	head() *Waiter
}

func (q *Queue) newLine(ordering string) line {
	if ordering == Cheapest {
		return &heldLine{prefill: q.prefill}
	}
	return &keyLine{heap{before: lineBefore, index: lineIndex}}
}

// orderKey is what an ordering policy sorts a waiter by; equal keys are served in
// order of arrival.
func (q *Queue) orderKey(ordering string, w *Waiter) int64 {
	switch ordering {
	case EDF:
		key := w.expires
		if !w.FirstTokenBy.IsZero() {
			key = min(key, q.number(w.FirstTokenBy))
		}
		return key
	case SLODeadline:
		if !w.FirstTokenBy.IsZero() {
			return q.number(w.FirstTokenBy)
		}
		return math.MaxInt64
	}
	return 0
}

// keyLine orders by the waiters' keys.
type keyLine struct{ heap heap }

func (l *keyLine) push(w *Waiter)        { l.heap.push(w) }
func (l *keyLine) pop(time.Time) *Waiter { return l.heap.remove(0) }
func (l *keyLine) remove(w *Waiter)      { l.heap.remove(w.at) }

func (l *keyLine) head() *Waiter {
	if len(l.heap.items) == 0 {
		return nil
	}
	return l.heap.items[0]
}

func (l *keyLine) next() *Waiter { return l.head() }

// heldLine orders as an endpoint's hold queue does.
type heldLine struct {
	queue   scheduler.HoldQueue
	prefill *Prefill
}

func (l *heldLine) push(w *Waiter) {
	w.Held.Payload = w
	l.queue.Push(&w.Held)
}

func (l *heldLine) pop(now time.Time) *Waiter {
	return l.queue.Pop(now, l.prefill.Rate(), l.prefill.Uncached).Payload.(*Waiter)
}

func (l *heldLine) remove(w *Waiter) { l.queue.Remove(&w.Held) }
func (l *heldLine) head() *Waiter    { return nil }

func (l *heldLine) next() *Waiter {
	h := l.queue.Next(l.prefill.Rate())
	if h == nil {
		return nil
	}
	return h.Payload.(*Waiter)
}
