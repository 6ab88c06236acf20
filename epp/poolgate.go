package epp

import (
	"strings"
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
	endpoints Endpoints
	detector  flowcontrol.Detector
	recheck   time.Duration
	// pending are let through and not bound to an endpoint yet.
	pending flowcontrol.Pending
	only    []int32
}

// newPoolGate makes the gate in front of a pool, and has it told of what changes
// there.
func newPoolGate(e Endpoints, c *flowcontrol.Config, clock Clock) (g *gate, cancel func()) {
	g = &gate{clock: clock, pool: &poolValve{endpoints: e, detector: c.Detector, recheck: recheck}}
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

// read is the saturation of the endpoints in subset, nil for all.
func (v *poolValve) read(now time.Time, subset []string) flowcontrol.Reading {
	s := v.endpoints.Snapshot()
	if subset == nil {
		return v.detector.Read(now, s, nil, false)
	}
	v.only = v.only[:0]
	for i := range s.Endpoints {
		if contains(subset, s.Endpoints[i].Address) {
			v.only = append(v.only, int32(i))
		}
	}
	return v.detector.Read(now, s, v.only, true)
}

// contains reports whether a subset, of "ip:port" or "ip", has an address.
func contains(subset []string, address string) bool {
	for _, s := range subset {
		if s == address || len(s) < len(address) && address[len(s)] == ':' && address[:len(s)] == s && strings.LastIndexByte(address, ':') == len(s) {
			return true
		}
	}
	return false
}

// settle ends a request's time between the gate and an endpoint. bound says that an
// endpoint counts it now; otherwise there is room for another one.
func (g *gate) settle(r *request, now time.Time, bound bool) {
	g.mu.Lock()
	defer g.mu.Unlock()
	r.pending = false
	g.pool.pending.Requests--
	g.pool.pending.Tokens -= r.sched.PromptTokens
	if !bound {
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
	reading := g.pool.read(g.clock.Now(), nil)
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
	return v
}
