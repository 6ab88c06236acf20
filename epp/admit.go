package epp

import (
	"context"

	"github.com/fairway-ai/fairway/epp/flowcontrol"
	"github.com/fairway-ai/fairway/epp/metrics"
	"github.com/fairway-ai/fairway/extproc"
)

// admit gets the request to where it may be scheduled: it is shed, waits for its
// pool, or goes on.
func (r *request) admit(ctx context.Context, req *extproc.Request) error {
	p, g := r.picker, r.route.state.flow
	if s := p.o.Shed; s != nil && r.sheds(s) {
		r.refusal = &shed
		return r.refusedBy(g)
	}
	if g == nil {
		return nil
	}
	now := p.clock.Now()
	at := g.enter(r, now)
	p.o.Metrics.FlowEnqueued(r.counts, r.enqueued(at), p.clock.Now().Sub(now))
	if at == waits {
		var err error
		if at, err = r.wait(ctx, req, g); err != nil {
			p.o.Metrics.FlowOutcome(r.route.name, r.counts, string(flowcontrol.EvictedContextCancelled))
			return err
		}
	}
	if at == unwilling {
		p.o.Metrics.FlowOutcome(r.route.name, r.counts, string(flowcontrol.EvictedContextCancelled))
		return req.Unheld()
	}
	if at == refused {
		return r.refusedBy(g)
	}
	p.o.Metrics.FlowOutcome(r.route.name, r.counts, string(flowcontrol.Dispatched))
	return nil
}

// enqueued is what came of coming to the queue.
func (r *request) enqueued(at passage) string {
	switch at {
	case waits:
		return metrics.EnqueueWaits
	case refused:
		return string(r.refusal.outcome)
	case unwilling:
		return string(flowcontrol.EvictedContextCancelled)
	}
	return string(flowcontrol.Dispatched)
}

// refusedBy is the refusal as an error.
func (r *request) refusedBy(g *gate) error {
	if g != nil {
		r.picker.o.Metrics.FlowOutcome(r.route.name, r.counts, string(r.refusal.outcome))
	}
	return r.refusal.rejection()
}

// chance is a number in [0, 1) that a seed gives.
func chance(seed uint64) float64 {
	seed ^= seed >> 30
	seed *= 0xbf58476d1ce4e5b9
	seed ^= seed >> 27
	seed *= 0x94d049bb133111eb
	seed ^= seed >> 31
	return float64(seed>>11) / (1 << 53)
}
