package epp

import (
	"sync"
	"sync/atomic"
	"time"

	"github.com/fairway-ai/fairway/epp/flowcontrol"
	"github.com/fairway-ai/fairway/scheduler"
)

// gate lets requests through: to one endpoint, while little enough prefill work is
// outstanding there, or with flow control to a pool, while it is not saturated.
// The others wait here.
type gate struct {
	id    string
	clock Clock
	// load and slot are the endpoint's; load is nil at a pool's gate, and pool at an
	// endpoint's.
	load *scheduler.Load
	slot int32
	pool *poolValve
	// callers counts requests that wait or are about to decide whether they must.
	callers atomic.Int64

	mu      sync.Mutex
	queue   *flowcontrol.Queue
	closed  bool
	leaving bool        // nobody may begin to wait
	stop    func() bool // the timer's; nil while none runs
	alarmAt time.Time
}

// passage is what became of a request at a gate.
type passage uint8

const (
	// passed: the request may go on.
	passed passage = iota
	// waits: the request is in the queue; it hears on its own channel.
	waits
	// gone: the endpoint left the pool; choose another.
	gone
	// refused: the request's refusal says why.
	refused
	// unwilling: the request would have to wait, and does not.
	unwilling
)

// endpointQueue is how requests wait for one endpoint: by priority, then as the
// hold queue orders them.
func endpointQueue() *flowcontrol.Config {
	return &flowcontrol.Config{
		Default: flowcontrol.Band{Fairness: flowcontrol.Fairness{Type: flowcontrol.GlobalStrict}, Ordering: flowcontrol.Cheapest},
		Limit:   flowcontrol.UsageLimit{Type: flowcontrol.StaticLimit, Threshold: 1},
	}
}

func newEndpointGate(c *flowcontrol.Config, clock Clock, e *scheduler.Endpoint) *gate {
	g := &gate{id: e.ID, clock: clock, load: e.Load, slot: e.Slot}
	g.queue = flowcontrol.NewQueue(c, &flowcontrol.Prefill{
		Rate:     func() float64 { return g.load.View().PrefillRate },
		Uncached: g.uncached,
	}, nil)
	return g
}

// enter lets r through at once when it need not wait, and queues it otherwise.
func (g *gate) enter(r *request, now time.Time) passage {
	// Before a look at how full it is: what makes room later must find a caller.
	g.callers.Add(1)
	g.mu.Lock()
	defer g.mu.Unlock()
	at := g.admit(r, now)
	if at != waits {
		g.callers.Add(-1)
	}
	return at
}

func (g *gate) admit(r *request, now time.Time) passage {
	if g.closed {
		if g.pool == nil {
			return gone
		}
		r.refusal = &notServed
		return refused
	}
	var subset []string
	if g.pool != nil && r.sched.HasSubset {
		subset = r.sched.Subset
		if subset == nil {
			subset = []string{}
		}
	}
	if g.pool != nil {
		g.pool.look(now)
	}
	if g.queue.Free(now, r.sched.Priority, subset, g) {
		g.pass(r, now, r.uncached(r.decision.Uncached))
		return passed
	}
	if g.leaving {
		r.refusal = &notServed
		return refused
	}
	w := &r.waiter
	*w = flowcontrol.Waiter{Priority: r.sched.Priority, Flow: r.sched.FairnessID, Payload: r}
	if g.pool == nil {
		w.Held = scheduler.Held{Request: &r.sched, Since: now, Uncached: r.uncached(r.decision.Uncached)}
		w.Until = r.holdUntil(now)
	} else {
		w.Bytes, w.FirstTokenBy = r.size, r.firstTokenBy
	}
	// Nobody is turned out or ended for a request that does not wait.
	if waitless := r.waitless(); waitless || !g.queue.Fits(now, w) {
		if g.queue.Passes(now, w, subset, g) {
			g.pass(r, now, w.Held.Uncached)
			return passed
		}
		if waitless {
			return unwilling
		}
	}
	switch g.queue.Push(now, w, subset) {
	case flowcontrol.RejectedCapacity:
		r.refusal = &queueFull
		return refused
	case flowcontrol.RejectedNoEndpoints:
		r.refusal = &queueFullEmpty
		return refused
	}
	g.serve(now)
	if !w.Waiting() {
		g.callers.Add(1) // serve took it off, and enter will again
		return <-r.told
	}
	return waits
}

// release lets waiting requests through while they may go. It is called after
// everything that makes room. A nil gate has nobody who waits.
func (g *gate) release(now time.Time) {
	if g == nil || g.callers.Load() == 0 {
		return
	}
	g.mu.Lock()
	defer g.mu.Unlock()
	g.serve(now)
}

// serve takes out who has waited long enough, lets through who may go, and sets the
// timer. The caller holds the lock.
func (g *gate) serve(now time.Time) {
	switch {
	case g.pool == nil:
		g.serveAll(now)
		return
	case g.closed: // nobody waits, and the pool is no longer watched
		return
	}
	start := g.clock.Now()
	g.pool.look(now)
	g.serveAll(now)
	g.pool.metrics.FlowCycle(g.clock.Now().Sub(start))
}

func (g *gate) serveAll(now time.Time) {
	for w, outcome := g.queue.Expire(now); w != nil; w, outcome = g.queue.Expire(now) {
		r := w.Payload.(*request)
		switch {
		case g.pool == nil: // it is sent although the endpoint is busy
			w.Held.Uncached = g.uncached(&w.Held)
			g.send(w, now)
		case outcome == flowcontrol.EvictedNoEndpoints:
			g.refuse(r, &waitedEmpty)
		default:
			g.refuse(r, &waitedTooLong)
		}
	}
	g.tellNext()
	for w := g.queue.Pop(now, g); w != nil; w = g.queue.Pop(now, g) {
		g.tellNext()
		g.send(w, now)
	}
	g.evict(now)
	g.arm(now)
}

// tellNext keeps other replicas told of who goes next here: they wait for it with
// theirs. The caller holds the lock.
func (g *gate) tellNext() {
	if g.load == nil || !g.load.Shared() {
		return
	}
	var next scheduler.Next
	if w := g.queue.Next(); w != nil {
		next = scheduler.NextOf(&w.Held, w.Priority)
	}
	g.load.SetNext(next)
}

// send lets a request through that left the queue, and tells it. The request may be
// over before send returns, so nothing touches it afterwards. told never blocks: it
// has room for one message, and only who takes a request from the queue sends one.
func (g *gate) send(w *flowcontrol.Waiter, now time.Time) {
	r := w.Payload.(*request)
	g.pass(r, now, w.Held.Uncached)
	g.callers.Add(-1)
	r.told <- passed
}

// pass counts r as let through.
func (g *gate) pass(r *request, now time.Time, uncached int64) {
	if g.pool == nil {
		r.dispatch(now, uncached)
		return
	}
	g.pool.pending.Requests++
	g.pool.pending.Tokens += r.sched.PromptTokens
	r.pending = true
}

// refuse tells a request that left the queue that it is not served.
func (g *gate) refuse(r *request, why *refusal) {
	r.refusal = why
	g.callers.Add(-1)
	r.told <- refused
}

// arm makes the one timer fire when the next request has waited long enough. A
// timer that fires too early only looks again.
func (g *gate) arm(now time.Time) {
	at, ok := g.queue.Deadline()
	if g.pool != nil && g.queue.Len() > 0 {
		earlier := func(again time.Time) {
			if !ok || again.Before(at) {
				at, ok = again, true
			}
		}
		if g.pool.recheck > 0 {
			earlier(now.Add(g.pool.recheck))
		}
		if e := g.pool.evictor; e != nil {
			if again, some := e.Deadline(); some {
				earlier(again)
			}
		}
	}
	if !ok || g.stop != nil && !g.alarmAt.After(at) {
		return
	}
	if g.stop != nil {
		g.stop()
	}
	g.alarmAt = at
	g.stop = g.clock.AfterFunc(max(0, at.Sub(now)), g.alarm)
}

func (g *gate) alarm() {
	now := g.clock.Now()
	g.mu.Lock()
	defer g.mu.Unlock()
	if g.stop != nil && !g.alarmAt.After(now) {
		g.stop = nil
	}
	if !g.closed {
		g.serve(now)
	}
}

// leave takes r out and reports whether it still waited. When it did not, the
// request has been told already what became of it.
func (g *gate) leave(r *request) bool {
	g.mu.Lock()
	defer g.mu.Unlock()
	if !g.queue.Remove(&r.waiter) {
		return false
	}
	g.tellNext()
	g.callers.Add(-1)
	return true
}

func (g *gate) held() int {
	g.mu.Lock()
	defer g.mu.Unlock()
	return g.queue.Len()
}

// Saturation implements flowcontrol.Valve. The caller holds the lock.
func (g *gate) Saturation(l *flowcontrol.Lane) float64 {
	if g.pool == nil {
		return g.load.Saturation()
	}
	return g.pool.meter.Lane(l).With(g.pool.pending)
}

func (g *gate) uncached(h *scheduler.Held) int64 {
	r := h.Payload.(*flowcontrol.Waiter).Payload.(*request)
	return r.uncached(r.route.scheduler.Uncached(h.Request, g.slot))
}
