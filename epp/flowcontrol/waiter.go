package flowcontrol

import (
	"time"

	"github.com/fairway-ai/fairway/scheduler"
)

// Waiter is a request that waits in a [Queue]. The caller owns it and may use it
// again when it has left; its exported fields must not change while it waits.
type Waiter struct {
	// Priority is the request's band, Flow its fairness id.
	Priority int
	Flow     string
	// Bytes is what the request keeps in memory while it waits.
	Bytes int64
	// FirstTokenBy is when the client wants the first token; the zero Time says
	// nothing.
	FirstTokenBy time.Time
	// Until is when it leaves at the latest; the zero Time leaves that to the
	// queue's TTL.
	Until time.Time
	// Held is what [Cheapest] orders by; Payload is set by Push.
	Held scheduler.Held
	// Payload is the caller's own.
	Payload any

	lane       *Lane
	band       *band
	flow       *flow
	prev, next *Waiter // in the band, by arrival
	since      time.Time
	began      int64 // since, in nanoseconds of the queue's epoch
	seq        uint64
	key        int64 // within its line; smaller first
	expires    int64 // in nanoseconds of the queue's epoch
	at         int   // index in its line
	due        int   // index among the deadlines, -1 when it never expires
}

// Waiting reports whether it is in a queue.
func (w *Waiter) Waiting() bool { return w.band != nil }

// Since is when it was last put into a queue.
func (w *Waiter) Since() time.Time { return w.since }

// heap is a binary heap of waiters that know their place.
type heap struct {
	items  []*Waiter
	before func(a, b *Waiter) bool
	index  func(*Waiter) *int
}

func (h *heap) push(w *Waiter) {
	h.items = append(h.items, w)
	*h.index(w) = len(h.items) - 1
	h.up(len(h.items) - 1)
}

func (h *heap) remove(i int) *Waiter {
	w := h.items[i]
	last := len(h.items) - 1
	h.swap(i, last)
	h.items[last] = nil
	h.items = h.items[:last]
	*h.index(w) = -1
	if i < last && !h.up(i) {
		h.down(i)
	}
	return w
}

func (h *heap) swap(i, j int) {
	h.items[i], h.items[j] = h.items[j], h.items[i]
	*h.index(h.items[i]), *h.index(h.items[j]) = i, j
}

func (h *heap) up(i int) (moved bool) {
	for i > 0 {
		parent := (i - 1) / 2
		if !h.before(h.items[i], h.items[parent]) {
			break
		}
		h.swap(i, parent)
		i, moved = parent, true
	}
	return moved
}

func (h *heap) down(i int) {
	for {
		child := 2*i + 1
		if child >= len(h.items) {
			return
		}
		if child+1 < len(h.items) && h.before(h.items[child+1], h.items[child]) {
			child++
		}
		if !h.before(h.items[child], h.items[i]) {
			return
		}
		h.swap(i, child)
		i = child
	}
}

func lineIndex(w *Waiter) *int { return &w.at }
func dueIndex(w *Waiter) *int  { return &w.due }

func lineBefore(a, b *Waiter) bool { return a.key < b.key || a.key == b.key && a.seq < b.seq }

func dueBefore(a, b *Waiter) bool {
	return a.expires < b.expires || a.expires == b.expires && a.seq < b.seq
}
