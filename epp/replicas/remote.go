package replicas

import (
	"slices"
	"time"

	"github.com/fairway-ai/fairway/scheduler"
)

// remote is another replica, as heard.
type remote struct {
	id          string
	incarnation uint64
	stream      uint64 // the number of the stream that counts
	heard       time.Time
	shares      map[uint64]*share // by endpoint
	full        uint64            // the newest full frame's sequence number
}

// share is what it has on one endpoint, as of a sequence number.
type share struct {
	scheduler.Share
	sequence uint64
}

// forgetEndpoint takes off what the replica has on an endpoint.
func (m *remote) forgetEndpoint(now time.Time, key uint64) {
	if s := m.shares[key]; s != nil {
		s.End(now)
		delete(m.shares, key)
	}
}

// forget takes off all that the replica has, and returns where that leaves less work.
func (m *remote) forget(now time.Time) (lowered []*scheduler.Load) {
	for key, s := range m.shares {
		if l := s.Load(); s.End(now) {
			lowered = append(lowered, l)
		}
		delete(m.shares, key)
	}
	m.full = 0
	return lowered
}

// joinLocked makes a stream the one that counts for a replica. It reports false for an
// earlier life than the one that is known, and when there are too many.
func (r *Replicas) joinLocked(now time.Time, h *hello, stream uint64) (lowered []*scheduler.Load, ok bool) {
	m := r.remotes[h.id]
	switch {
	case m == nil && len(r.remotes) >= maxRemotes:
		return nil, false
	case m == nil:
		m = &remote{id: h.id, incarnation: h.incarnation, shares: map[uint64]*share{}}
		r.remotes[h.id] = m
	case h.incarnation < m.incarnation:
		return nil, false
	case h.incarnation > m.incarnation:
		lowered = m.forget(now)
		m.incarnation = h.incarnation
	}
	m.stream, m.heard = stream, now
	r.metrics.peers.Set(float64(len(r.remotes)))
	return lowered, true
}

// leave forgets a replica whose stream has ended, unless another stream counts by now.
func (r *Replicas) leave(id string, stream uint64) {
	r.mu.Lock()
	m := r.remotes[id]
	if m == nil || m.stream != stream {
		r.mu.Unlock()
		return
	}
	lowered := r.dropLocked(r.o.Now(), m)
	p := r.picker
	r.mu.Unlock()
	r.log.Info("replica is gone", "replica", id)
	for _, l := range lowered {
		p.Lowered(l)
	}
}

func (r *Replicas) dropLocked(now time.Time, m *remote) (lowered []*scheduler.Load) {
	lowered = m.forget(now)
	delete(r.remotes, m.id)
	r.metrics.peers.Set(float64(len(r.remotes)))
	return lowered
}

// expireLocked forgets the replicas that have been silent. Should one speak again on
// the same stream, it is told to connect anew.
func (r *Replicas) expireLocked(now time.Time) (lowered []*scheduler.Load) {
	for _, m := range r.remotes {
		if now.Sub(m.heard) > r.o.Silence {
			r.log.Warn("replica is silent, what it has in flight no longer counts", "replica", m.id)
			lowered = append(lowered, r.dropLocked(now, m)...)
		}
	}
	return lowered
}

// apply takes in a frame. It reports false when the stream no longer counts.
func (r *Replicas) apply(id string, stream uint64, f *frame) bool {
	r.mu.Lock()
	m := r.remotes[id]
	if m == nil || m.stream != stream {
		r.mu.Unlock()
		return false
	}
	now := r.o.Now()
	m.heard = now
	for _, e := range r.directory.refresh(r.picker) {
		for _, o := range r.remotes {
			o.forgetEndpoint(now, e.key)
		}
	}
	lowered, unknown := r.applyWorkLocked(now, m, f)
	var prompts []prompt
	var at []*endpoint
	for _, p := range f.prompts {
		e := r.directory.byKey[p.endpoint]
		if e == nil {
			unknown++
			continue
		}
		if e.index != nil || p.exact {
			prompts, at = append(prompts, p), append(at, e)
		}
	}
	p := r.picker
	r.mu.Unlock()
	for i := range prompts {
		if prompts[i].exact {
			p.Assume(at[i].load, prompts[i].blocks)
		} else {
			at[i].index.Insert(at[i].slot, prompts[i].blocks)
		}
	}
	r.metrics.received.Add(float64(len(f.work) + len(f.prompts) - unknown))
	r.metrics.unknown.Add(float64(unknown))
	for _, l := range lowered {
		p.Lowered(l)
	}
	return true
}

// applyWorkLocked sets the totals that are newer than what is known.
func (r *Replicas) applyWorkLocked(now time.Time, m *remote, f *frame) (lowered []*scheduler.Load, unknown int) {
	if f.sequence <= m.full {
		return nil, 0 // all of it is older than what is known
	}
	for i := range f.work {
		w := &f.work[i]
		e := r.directory.byKey[w.endpoint]
		if e == nil {
			unknown++
			continue
		}
		s := m.shares[e.key]
		if s == nil {
			s = new(share)
			m.shares[e.key] = s
		}
		if f.sequence <= s.sequence {
			continue
		}
		s.sequence = f.sequence
		if s.Load() == e.load {
			before := s.Work()
			e.pool.count(&before, &w.Work)
		}
		if s.Set(now, e.load, w.heard(now)) {
			lowered = append(lowered, e.load)
		}
	}
	if !f.full {
		return lowered, unknown
	}
	m.full = f.sequence
	for key, s := range m.shares {
		if s.sequence >= f.sequence {
			continue
		}
		l := s.Load()
		if s.End(now) {
			lowered = append(lowered, l)
		}
		delete(m.shares, key)
	}
	return lowered, unknown
}

// estimateLocked counts, at the endpoints that are not this replica's own, what others
// may be sending there without it being known yet.
func (r *Replicas) estimateLocked(now time.Time, lag time.Duration) {
	ids := make([]string, 0, len(r.remotes)+1)
	ids = append(ids, r.o.ID)
	for id := range r.remotes {
		ids = append(ids, id)
	}
	slices.Sort(ids)
	own := slices.Index(ids, r.o.ID)
	for _, p := range r.directory.pools {
		p.loads = p.loads[:0]
		for _, e := range p.endpoints {
			p.loads = append(p.loads, e.load)
		}
		p.unseen.Observe(now, p.sent, p.prompts)
		p.unseen.Reserve(p.loads, own, len(ids), lag+r.o.Interval)
	}
}
