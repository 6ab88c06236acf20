package pool

import (
	"context"
	"maps"
	"time"

	"github.com/fairway-ai/fairway/pool/scrape"
	"github.com/fairway-ai/fairway/scheduler"
)

// Spec is an endpoint as a source (a file, a cluster) describes it.
type Spec struct {
	// ID is the endpoint's identity: "namespace/name", with "-rank-i" appended
	// where one server has several ports.
	ID string
	// Address is "ip:port".
	Address string
	// MetricsURL replaces the scraper's idea of where the metrics page is; it is
	// never logged.
	MetricsURL string
	// Labels are the pod's or the file's labels. They name the engine.
	Labels map[string]string
}

func (s *Spec) equal(o *Spec) bool {
	return s.ID == o.ID && s.Address == o.Address && s.MetricsURL == o.MetricsURL && maps.Equal(s.Labels, o.Labels)
}

// member is one life of an endpoint: from the Set that brings its ID and address
// to the one that no longer has them.
type member struct {
	slot int32
	load *scheduler.Load
	kick chan struct{} // scrape now; capacity 1

	// Guarded by Pool.mu:
	spec    Spec
	url     string
	engine  *scrape.Engine
	metrics scheduler.Metrics
	stop    context.CancelFunc // nil while it is not scraped
	gone    bool               // has left the pool; its slot may be another's
}

func (m *member) wake() {
	select {
	case m.kick <- struct{}{}:
	default: // a scrape is due anyway
	}
}

// Set makes the specs the pool's endpoints, in their order. An endpoint whose ID
// and Address were there before keeps its Load, its Slot and what is known of it;
// any other is new, with a Load of its own and nothing inherited, even under an
// old ID. Of specs with the same ID or the same Address the first counts.
//
// When anything changes, a snapshot is published before Set returns and OnChange's
// functions are called with it.
func (p *Pool) Set(specs []Spec) {
	specs = p.unique(specs)
	p.mu.Lock()
	if p.unchangedLocked(specs) {
		p.mu.Unlock()
		return
	}
	old := make(map[string]*member, len(p.members))
	for _, m := range p.members {
		old[m.spec.ID] = m
	}
	// First what goes, so that the members that come find no slot that a member
	// still holds. Slots freed now are still too young to be reused.
	next := make([]*member, len(specs))
	for i := range specs {
		m := old[specs[i].ID]
		if m == nil || m.spec.Address != specs[i].Address {
			continue
		}
		next[i] = m
		delete(old, specs[i].ID)
	}
	now := p.o.Now()
	for _, m := range p.members {
		if old[m.spec.ID] == m {
			p.removeLocked(m, now)
		}
	}
	var added []*member
	for i, s := range specs {
		if next[i] == nil {
			next[i] = p.addLocked(now)
			added = append(added, next[i])
		}
		p.describeLocked(next[i], s)
	}
	p.members = next
	p.endpoints = make([]scheduler.Endpoint, len(next))
	for i, m := range next {
		p.endpoints[i] = scheduler.Endpoint{
			ID: m.spec.ID, Address: m.spec.Address, Slot: m.slot, Labels: m.spec.Labels, Load: m.load,
		}
	}
	for _, m := range added {
		p.startLocked(m)
	}
	p.publishLocked(now)
	p.pending = append(p.pending, p.snap.Load())
	p.mu.Unlock()
	p.announce()
}

// unique drops specs whose ID or Address an earlier one has: counters and Envoy's
// host selection both need them to be different.
func (p *Pool) unique(specs []Spec) []Spec {
	ids, addresses := make(map[string]bool, len(specs)), make(map[string]bool, len(specs))
	out := make([]Spec, 0, len(specs))
	for _, s := range specs {
		if ids[s.ID] || addresses[s.Address] {
			p.log.Warn("endpoint ignored: another one has its name or its address", "endpoint", s.ID, "address", s.Address)
			continue
		}
		ids[s.ID], addresses[s.Address] = true, true
		s.Labels = maps.Clone(s.Labels)
		out = append(out, s)
	}
	return out
}

func (p *Pool) unchangedLocked(specs []Spec) bool {
	if len(specs) != len(p.members) {
		return false
	}
	for i := range specs {
		if !specs[i].equal(&p.members[i].spec) {
			return false
		}
	}
	return true
}

func (p *Pool) removeLocked(m *member, now time.Time) {
	m.gone = true
	if m.stop != nil {
		m.stop()
	}
	p.index.RemoveEndpoint(m.slot)
	p.slots.release(m.slot, m.load, now)
}

func (p *Pool) addLocked(now time.Time) *member {
	m := &member{slot: p.slots.take(now), load: new(scheduler.Load), kick: make(chan struct{}, 1)}
	p.index.AddEndpoint(m.slot, 0) // until the engine reports its capacity
	return m
}

// describeLocked takes over what may change within a life.
func (p *Pool) describeLocked(m *member, s Spec) {
	engine, ok := p.o.Engines.For(s.Labels)
	if !ok && !maps.Equal(s.Labels, m.spec.Labels) {
		p.log.Warn("endpoint's engine-type label names no known engine; its metrics are read as the default engine's",
			"endpoint", s.ID, "default", engine.Name(), "known", p.o.Engines.Names())
	}
	url := s.MetricsURL
	if url == "" {
		url = p.o.Scraper.URL(s.Address)
	}
	if m.engine != nil && (url != m.url || engine != m.engine) {
		m.wake() // what is known came from another page
	}
	m.spec, m.url, m.engine = s, url, engine
}

// slotGrace is how long a freed slot rests: longer than a request takes from
// reading a snapshot to counting itself on a Load and writing to the index, so
// that no straggler writes to a slot's next owner.
const slotGrace = time.Second

// slots hands out small numbers.
type slots struct {
	next  int32 // never handed out
	freed []freedSlot
}

type freedSlot struct {
	slot int32
	load *scheduler.Load // of the last owner
	at   time.Time
}

// take returns the smallest slot whose last owner has nothing in flight and has
// been gone for slotGrace, or a new one.
func (s *slots) take(now time.Time) int32 {
	best := -1
	for i, f := range s.freed {
		if now.Sub(f.at) >= slotGrace && f.load.Idle() && (best < 0 || f.slot < s.freed[best].slot) {
			best = i
		}
	}
	if best < 0 {
		s.next++
		return s.next - 1
	}
	slot := s.freed[best].slot
	last := len(s.freed) - 1
	s.freed[best] = s.freed[last]
	s.freed[last] = freedSlot{}
	s.freed = s.freed[:last]
	return slot
}

func (s *slots) release(slot int32, load *scheduler.Load, now time.Time) {
	s.freed = append(s.freed, freedSlot{slot, load, now})
}
