package pool

import (
	"slices"
	"time"

	"github.com/fairway-ai/fairway/scheduler"
)

// coalesce is the least time between two publications of metrics. Scrapes of a
// large pool come in at any moment; one snapshot carries many of them.
const coalesce = 10 * time.Millisecond

// publishLocked builds a snapshot of the members and swaps it in.
func (p *Pool) publishLocked(now time.Time) {
	s := &scheduler.Snapshot{
		Version:   p.snap.Load().Version + 1,
		Endpoints: p.endpoints,
		Metrics:   make([]scheduler.Metrics, len(p.members)),
		Adapters:  p.adapters,
	}
	for i, m := range p.members {
		s.Metrics[i] = m.metrics
		s.Slots = max(s.Slots, int(m.slot)+1)
	}
	p.snap.Store(s)
	p.published = now
	if len(p.metricsTold) > 0 && !p.telling {
		p.telling = true
		go p.tellMetrics()
	}
}

// OnMetrics calls f after every change of the endpoints' metrics, or of the membership,
// until cancel; changes that come while f runs are told of together afterwards. Calls
// come one at a time, and no lock is held during one. After cancel returns, f may still
// be called once, when the call had begun.
func (p *Pool) OnMetrics(f func()) (cancel func()) {
	p.mu.Lock()
	defer p.mu.Unlock()
	told := &f
	p.metricsTold = append(p.metricsTold, told)
	return func() {
		p.mu.Lock()
		defer p.mu.Unlock()
		// A new slice: tellMetrics may be walking through the old one.
		p.metricsTold = slices.DeleteFunc(slices.Clone(p.metricsTold), func(o *func()) bool { return o == told })
	}
}

// tellMetrics tells of publications until all have been told of.
func (p *Pool) tellMetrics() {
	p.mu.Lock()
	defer p.mu.Unlock()
	for seen := uint64(0); seen != p.snap.Load().Version; {
		seen = p.snap.Load().Version
		p.tellEach(p.metricsTold)
	}
	p.telling = false
}

// tellEach calls all with p.mu released, and takes it back even when one panics.
func (p *Pool) tellEach(to []*func()) {
	p.mu.Unlock()
	defer p.mu.Lock()
	for _, f := range to {
		(*f)()
	}
}

// publishSoonLocked publishes now, or shortly after the last publication.
func (p *Pool) publishSoonLocked(now time.Time) {
	if p.flushArmed {
		return
	}
	since := now.Sub(p.published)
	if since >= coalesce || since < 0 {
		p.publishLocked(now)
		return
	}
	p.flushArmed = true
	time.AfterFunc(coalesce-since, func() {
		p.mu.Lock()
		defer p.mu.Unlock()
		p.flushArmed = false
		p.publishLocked(p.o.Now())
	})
}

type subscriber struct{ f func(*scheduler.Snapshot) }

// OnChange calls f with the snapshot of every change of the membership, or of an
// endpoint's labels, and whenever an endpoint becomes unreachable, from now on;
// other changes of metrics are not announced. Calls come
// one at a time and in order. No lock is held during a call, so f may call the
// pool. By the time of a call the pool may be further ahead: f should treat what
// it gets as news, or read Snapshot again.
//
// After cancel returns, f may still be called once, when the call had begun.
func (p *Pool) OnChange(f func(*scheduler.Snapshot)) (cancel func()) {
	s := &subscriber{f: f}
	p.mu.Lock()
	defer p.mu.Unlock()
	p.subscribers = append(p.subscribers, s)
	return func() {
		p.mu.Lock()
		defer p.mu.Unlock()
		// A new slice: announce may be walking through the old one.
		p.subscribers = slices.DeleteFunc(slices.Clone(p.subscribers), func(o *subscriber) bool { return o == s })
	}
}

// announce tells the subscribers about all pending snapshots. When another call
// is at it already, maybe further up this very stack, it leaves the work to that.
func (p *Pool) announce() {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.announcing {
		return
	}
	p.announcing = true
	defer func() { p.announcing = false }()
	for len(p.pending) > 0 {
		s := p.pending[0]
		p.pending = slices.Delete(p.pending, 0, 1)
		p.tell(p.subscribers, s)
	}
}

// tell calls the subscribers with p.mu released. It takes the lock back even when
// a callback panics.
func (p *Pool) tell(to []*subscriber, s *scheduler.Snapshot) {
	p.mu.Unlock()
	defer p.mu.Lock()
	for _, t := range to {
		t.f(s)
	}
}
