package epp

import (
	"github.com/fairway-ai/fairway/scheduler"
	"github.com/fairway-ai/fairway/scheduler/prefix"
)

// Sharer tells other replicas of this process what this one does. *replicas.Replicas
// is one. What is in flight it reads from the endpoints' Loads.
type Sharer interface {
	// Sent says that a prompt of these blocks was sent to the endpoint whose Load is l.
	// It is called for each request, and must neither wait nor keep blocks.
	Sent(l *scheduler.Load, blocks []prefix.Block)
	// SentKeys says so of a prompt whose tokens are known, by the keys that engines'
	// events are looked up by. It is called besides Sent, under the same conditions.
	SentKeys(l *scheduler.Load, keys []prefix.Block)
}

// cached records that an endpoint gets the request's prompt, and then has it cached.
func (r *request) cached(slot int32, l *scheduler.Load) {
	if r.route.index != nil {
		r.route.index.Insert(slot, r.blocks)
	}
	if r.sched.KeysKnown {
		r.route.cache.Dispatched(slot, r.keys)
	}
	if s := r.picker.o.Share; s != nil {
		s.Sent(l, r.blocks)
		if r.sched.KeysKnown {
			s.SentKeys(l, r.keys)
		}
	}
}

// Assume says that another replica has sent a prompt with these keys to the endpoint
// whose Load is l: it counts as cached there until the engine says so, as after a
// dispatch of this process.
func (p *Picker) Assume(l *scheduler.Load, keys []prefix.Block) {
	for _, r := range p.routes.Load().all {
		if g := (*r.state.gates.Load())[l]; g != nil && r.cache != nil {
			r.cache.Dispatched(g.slot, keys)
		}
	}
}

// EachPool calls yield with each pool's name, snapshot and prefix index, which may be
// nil, until it returns false.
func (p *Picker) EachPool(yield func(name string, snap *scheduler.Snapshot, index *prefix.Index) bool) {
	for _, r := range p.routes.Load().all {
		if !yield(r.name, r.state.endpoints.Snapshot(), r.index) {
			return
		}
	}
}

// Lowered says that less work of other replicas is outstanding on the endpoint whose
// Load is l: requests that wait for it, or for its pool, may go.
func (p *Picker) Lowered(l *scheduler.Load) {
	now := p.clock.Now()
	for _, r := range p.routes.Load().all {
		g := (*r.state.gates.Load())[l]
		if g == nil {
			continue
		}
		g.release(now)
		if r.state.flow != nil {
			r.state.flow.release(now)
		}
	}
}
