package epp

import (
	"sync"
	"time"

	"github.com/fairway-ai/fairway/scheduler"
)

// gate lets requests through to one endpoint. While an endpoint has as much
// prefill work as it should, the requests bound to it wait here.
type gate struct {
	id   string
	load *scheduler.Load
	slot int32

	mu     sync.Mutex
	queue  scheduler.HoldQueue
	closed bool
}

// passage is what became of a request at a gate.
type passage uint8

const (
	// passed: the request was dispatched.
	passed passage = iota
	// waits: the request is in the queue; it hears on its own channel.
	waits
	// gone: the endpoint left the pool; choose another.
	gone
)

// enter dispatches r at once when the endpoint takes it, and queues it otherwise.
func (g *gate) enter(r *request, now time.Time) passage {
	g.mu.Lock()
	defer g.mu.Unlock()
	if g.closed {
		return gone
	}
	if g.queue.Len() == 0 && scheduler.Admits(g.load.Prefilling()) {
		r.dispatch(now, r.decision.Uncached)
		return passed
	}
	// A Held is made anew each time: a timer of an earlier hold may still look at
	// the earlier one.
	r.held = &scheduler.Held{Request: &r.sched, Since: now, Uncached: r.decision.Uncached, Payload: r}
	g.queue.Push(r.held)
	return waits
}

// release sends held requests while the endpoint takes them. It is called after
// everything that lowers the endpoint's outstanding prefill.
func (g *gate) release(now time.Time) {
	g.mu.Lock()
	defer g.mu.Unlock()
	for g.queue.Len() > 0 && scheduler.Admits(g.load.Prefilling()) {
		h := g.queue.Pop(now, g.load.View().PrefillRate, g.uncached)
		g.send(h, now)
	}
}

// expire sends h although the endpoint is busy, when it is still held: it has
// waited long enough.
func (g *gate) expire(h *scheduler.Held, now time.Time) {
	g.mu.Lock()
	defer g.mu.Unlock()
	if g.queue.Remove(h) {
		h.Uncached = g.uncached(h)
		g.send(h, now)
	}
}

// leave takes h out and reports whether it was still held. When it was not, the
// request has been told already what became of it.
func (g *gate) leave(h *scheduler.Held) bool {
	g.mu.Lock()
	defer g.mu.Unlock()
	return g.queue.Remove(h)
}

// close turns every held request away: the endpoint is gone.
func (g *gate) close() {
	g.mu.Lock()
	defer g.mu.Unlock()
	g.closed = true
	g.drain()
}

// flush turns every held request away, and goes on: the endpoint refuses
// connections.
func (g *gate) flush() {
	g.mu.Lock()
	defer g.mu.Unlock()
	g.drain()
}

func (g *gate) drain() {
	for _, h := range g.queue.Drain() {
		h.Payload.(*request).told <- gone
	}
}

func (g *gate) held() int {
	g.mu.Lock()
	defer g.mu.Unlock()
	return g.queue.Len()
}

// send dispatches a request taken from the queue and tells it. The request may
// be over before send returns, so nothing touches it afterwards. told never
// blocks: it has room for one message, and only the queue's taker sends one.
func (g *gate) send(h *scheduler.Held, now time.Time) {
	r := h.Payload.(*request)
	r.dispatch(now, h.Uncached)
	r.told <- passed
}

func (g *gate) uncached(h *scheduler.Held) int64 {
	return h.Payload.(*request).route.scheduler.Uncached(h.Request, g.slot)
}
