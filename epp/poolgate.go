package epp

import (
	"time"

	"github.com/fairway-ai/fairway/epp/flowcontrol"
	"github.com/fairway-ai/fairway/epp/metrics"
	"github.com/fairway-ai/fairway/scheduler"
)

// MetricsAnnouncer is an Endpoints that says when its metrics have changed. Requests
// that wait for a pool which does not are looked at again every now and then.
type MetricsAnnouncer interface {
	// OnMetrics calls f after every change of the endpoints' metrics until cancel. f
	// may take a lock, and must not be called with one that Snapshot takes.
	OnMetrics(f func()) (cancel func())
}

// recheck is how often requests that wait for a pool are looked at again when it
// does not announce its metrics.
const recheck = 100 * time.Millisecond

// poolValve says how full a pool is. The gate's lock guards it.
type poolValve struct {
	name      string
	endpoints Endpoints
	detector  flowcontrol.Detector
	meter     flowcontrol.Meter
	recheck   time.Duration
	// pending are let through and not bound to an endpoint yet.
	pending flowcontrol.Pending
	metrics *metrics.Metrics
	// evictor chooses running requests to end; nil when none is ended.
	evictor *flowcontrol.Evictor
}

// newPoolGate makes the gate in front of a pool, and has it told of what changes
// there.
func newPoolGate(e Endpoints, o *Options, clock Clock, name string) (g *gate, cancel func()) {
	c := o.Flow
	g = &gate{clock: clock, pool: &poolValve{name: name, endpoints: e, detector: c.Detector, recheck: recheck, metrics: o.Metrics}}
	if c.Evict {
		g.pool.evictor = flowcontrol.NewEvictor(c.Detector)
	}
	g.queue = flowcontrol.NewQueue(c, nil, func(w *flowcontrol.Waiter) {
		g.refuse(w.Payload.(*request), &displaced)
	})
	a, announces := e.(MetricsAnnouncer)
	if announces {
		g.pool.recheck = 0
	}
	stop := e.OnChange(func(*scheduler.Snapshot) { g.changed() })
	g.changed()
	if !announces {
		return g, stop
	}
	stopMetrics := a.OnMetrics(func() { g.release(clock.Now()) })
	return g, func() { stop(); stopMetrics() }
}

// changed takes note of the pool's endpoints.
func (g *gate) changed() {
	now := g.clock.Now()
	g.mu.Lock()
	defer g.mu.Unlock()
	if g.closed {
		return
	}
	g.queue.SetEmpty(now, g.pool.endpoints.Snapshot().Len() == 0)
	g.serve(now)
}

// look brings the meter up to date.
func (v *poolValve) look(now time.Time) { v.meter.Update(now, v.detector, v.endpoints.Snapshot()) }

// settle ends a request's time between the gate and an endpoint: an endpoint counts it
// now, or it is over. In between it counted twice, so that another one may have been
// kept waiting for nothing.
func (g *gate) settle(r *request, now time.Time) {
	g.mu.Lock()
	defer g.mu.Unlock()
	r.pending = false
	g.pool.pending.Requests--
	g.pool.pending.Tokens -= r.sched.PromptTokens
	if g.queue.Len() > 0 {
		g.serve(now)
	}
}

// unsettle counts a request that looks for another endpoint.
func (g *gate) unsettle(r *request) {
	g.mu.Lock()
	defer g.mu.Unlock()
	r.pending = true
	g.pool.pending.Requests++
	g.pool.pending.Tokens += r.sched.PromptTokens
}

// served counts the tokens that a flow was served with.
func (g *gate) served(now time.Time, priority int, flow string, tokens float64) {
	g.mu.Lock()
	defer g.mu.Unlock()
	g.queue.Served(now, priority, flow, tokens)
}

// view is what metrics show of the gate.
func (g *gate) view(c *flowcontrol.Config) *metrics.FlowView {
	g.mu.Lock()
	defer g.mu.Unlock()
	if g.closed {
		return &metrics.FlowView{MaxRequests: c.MaxRequests, MaxBytes: c.MaxBytes}
	}
	now := g.clock.Now()
	g.pool.look(now)
	reading := g.pool.meter.All()
	v := &metrics.FlowView{
		Saturation: reading.With(g.pool.pending), Stale: reading.Stale,
		Requests: g.queue.Len(), Bytes: g.queue.Bytes(), MaxRequests: c.MaxRequests, MaxBytes: c.MaxBytes,
	}
	for f := range g.queue.Flows {
		v.Flows = append(v.Flows, f)
	}
	for b := range g.queue.Bands {
		v.Bands = append(v.Bands, b)
	}
	for p := range g.queue.Programs(now) {
		v.Programs = append(v.Programs, p)
	}
	if e := g.pool.evictor; e != nil {
		v.Evicts, v.Target, v.Owed = true, e.Target(), e.Owed(&g.pool.meter)
	}
	return v
}
