package epp

import (
	"time"

	"github.com/fairway-ai/fairway/epp/flowcontrol"
	"github.com/fairway-ai/fairway/epp/metrics"
	"github.com/fairway-ai/fairway/extproc"
)

// victim is a request that was sent, has no response yet, and may be ended so that
// another one can go. It is not reused, since who ends it may come late.
type victim struct {
	flowcontrol.Runner
	interrupt extproc.Interrupt
	over      bool // it has a response, or has ended; the pool's gate guards it
}

// victimize makes a request that was just picked for one that may be ended, if its
// priority allows that.
func (r *request) victimize(pick *extproc.Pick) {
	g := r.route.state.flow
	if g == nil || g.pool.evictor == nil || !flowcontrol.Evictable(r.sched.Priority) {
		return
	}
	r.victim = &victim{Runner: flowcontrol.Runner{
		Priority: r.sched.Priority, Load: r.endpoint.Load, Tokens: r.flight.Context(),
	}}
	v := r.victim
	v.Payload = v
	// Until the proxy has the pick, nobody can end it.
	v.interrupt.Ready = func() { g.offer(v) }
	pick.Interrupt = &v.interrupt
}

// offer has a request be ended if somebody needs its room.
func (g *gate) offer(v *victim) {
	g.mu.Lock()
	defer g.mu.Unlock()
	if v.over {
		return
	}
	g.pool.evictor.Add(&v.Runner)
	if g.queue.Len() > 0 {
		g.serve(g.clock.Now())
	}
}

// responded says that the request has a response: nobody ends it any more.
func (r *request) responded() {
	if r.victim == nil {
		return
	}
	g := r.route.state.flow
	g.mu.Lock()
	defer g.mu.Unlock()
	r.victim.over = true
	g.pool.evictor.Remove(&r.victim.Runner)
}

// evict ends running requests when somebody waits who may go then. The caller holds the
// lock.
func (g *gate) evict(now time.Time) {
	if g.pool == nil || g.pool.evictor == nil || g.closed {
		return
	}
	e := g.pool.evictor
	g.pool.metrics.Revoked(g.pool.name, metrics.RevocationTimedOut, e.Expire(now))
	for _, v := range e.Choose(now, g.queue, &g.pool.meter, g.pool.pending) {
		// The proxy may be slow to read, and nobody must wait for that.
		go g.end(v.Payload.(*victim), e.Demand())
	}
}

// end ends a request for one of a priority.
func (g *gate) end(v *victim, priority int) {
	if v.interrupt.Reject(evicted.rejection()) {
		g.pool.metrics.Revoking(g.pool.name, priority)
		return
	}
	// Its response came first.
	g.mu.Lock()
	defer g.mu.Unlock()
	g.pool.evictor.Failed(&v.Runner)
	g.serve(g.clock.Now())
}

// ended says that the request is no longer counted anywhere: there is room for another
// one.
func (g *gate) ended(r *request, now time.Time) {
	if r.victim == nil {
		g.release(now)
		return
	}
	g.mu.Lock()
	defer g.mu.Unlock()
	r.victim.over = true
	took, evicted := g.pool.evictor.Ended(now, &r.victim.Runner)
	if evicted {
		g.pool.metrics.Revoked(g.pool.name, metrics.RevocationConfirmed, 1)
		g.pool.metrics.RevocationTook(g.pool.name, took)
	}
	g.serve(now)
}
