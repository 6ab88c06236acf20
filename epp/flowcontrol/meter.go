package flowcontrol

import (
	"math/bits"
	"strings"
	"time"

	"github.com/fairway-ai/fairway/scheduler"
)

// Meter reads the saturation of a pool again and again. It keeps what each endpoint
// contributes, and looks again only at endpoints whose Load has changed; at all of them
// when the snapshot is another one, or when metrics have become too old. The zero Meter
// is ready to use. It is not safe for concurrent use, but Loads may change meanwhile.
type Meter struct {
	detector Detector
	now      int64
	snap     *scheduler.Snapshot
	changes  *scheduler.Changes
	index    map[*scheduler.Load]int32 // in snap
	parts    []part                    // by index in snap
	sum      part
	until    int64 // when the first part changes by itself

	// log holds the latest changes of parts, for lanes to catch up with; logged counts
	// them all. takes counts how often all parts were taken anew, and members how often
	// the endpoints were others.
	log            [maxLog]change
	logged         uint64
	takes, members uint64
}

// change is by how much an endpoint's part has changed.
type change struct {
	at int32
	by part
}

// maxLog is how many changes a lane may be behind before it adds up anew.
const maxLog = 128

// Update brings the meter to the endpoints and metrics of s, and to what their Loads
// count now.
func (m *Meter) Update(now time.Time, d Detector, s *scheduler.Snapshot) {
	m.now, m.detector = now.UnixNano(), d
	switch {
	case s != m.snap:
		if m.snap == nil || !scheduler.SameEndpoints(m.snap.Endpoints, s.Endpoints) {
			m.watch(s)
		}
		m.snap = s
		m.take()
	case m.now >= m.until:
		m.take()
	default:
		m.catchUp()
	}
}

// watch begins to note the changes of the endpoints of s, instead of those before.
func (m *Meter) watch(s *scheduler.Snapshot) {
	m.Close()
	m.members++
	m.changes = scheduler.NewChanges(len(s.Endpoints))
	m.index = make(map[*scheduler.Load]int32, len(s.Endpoints))
	m.parts = make([]part, len(s.Endpoints))
	for i := range s.Endpoints {
		l := s.Endpoints[i].Load
		l.Watch(m.changes, i)
		m.index[l] = int32(i)
	}
}

// Close ends the noting of changes. The meter may be used again.
func (m *Meter) Close() {
	if m.snap == nil {
		return
	}
	for i := range m.snap.Endpoints {
		m.snap.Endpoints[i].Load.Unwatch(m.changes)
	}
	m.snap = nil
}

// take looks at all endpoints.
func (m *Meter) take() {
	for w := range m.changes.Words() {
		m.changes.Take(w) // before the look: what comes in between is looked at again
	}
	m.takes++
	m.sum, m.until = part{}, forever
	for i := range m.parts {
		p := m.partOf(int32(i), gone{})
		m.parts[i] = p
		m.sum = m.sum.plus(p)
		m.until = min(m.until, p.until)
	}
}

// catchUp looks at the endpoints that have changed.
func (m *Meter) catchUp() {
	for w := range m.changes.Words() {
		for word := m.changes.Take(w); word != 0; word &= word - 1 {
			i := int32(64*w + bits.TrailingZeros64(word))
			p := m.partOf(i, gone{})
			by := p.minus(m.parts[i])
			m.parts[i] = p
			m.until = min(m.until, p.until)
			if by == (part{}) {
				continue
			}
			m.sum = m.sum.plus(by)
			m.log[m.logged%maxLog] = change{i, by}
			m.logged++
		}
	}
}

func (m *Meter) partOf(i int32, g gone) part {
	return m.detector.part(m.now, &m.snap.Metrics[i], m.snap.Endpoints[i].Load, g)
}

// All is the reading of all endpoints at the Update before.
func (m *Meter) All() Reading { return m.detector.reading(m.sum, len(m.parts)) }

// laneSum is what a meter keeps of a lane.
type laneSum struct {
	of             *Meter
	takes, members uint64
	logged         uint64
	only           []uint64 // the lane's endpoints, a bit each
	n              int
	sum            part
}

func (s *laneSum) has(i int32) bool { return s.only[i/64]&(1<<(i%64)) != 0 }

// Lane is the reading of a lane's endpoints at the Update before.
func (m *Meter) Lane(l *Lane) Reading {
	if l.Subset == nil {
		return m.All()
	}
	s := m.laneSum(l)
	return m.detector.reading(s.sum, s.n)
}

// laneSum brings a lane's sum up to date.
func (m *Meter) laneSum(l *Lane) *laneSum {
	s := &l.sum
	if s.of != m || s.members != m.members {
		m.findMembers(s, l.Subset)
	}
	if s.takes != m.takes || m.logged-s.logged > maxLog {
		s.takes, s.sum = m.takes, part{}
		for w, word := range s.only {
			for ; word != 0; word &= word - 1 {
				s.sum = s.sum.plus(m.parts[64*w+bits.TrailingZeros64(word)])
			}
		}
		s.logged = m.logged
		return s
	}
	for ; s.logged < m.logged; s.logged++ {
		if c := &m.log[s.logged%maxLog]; s.has(c.at) {
			s.sum = s.sum.plus(c.by)
		}
	}
	return s
}

// findMembers finds the endpoints of a subset.
func (m *Meter) findMembers(s *laneSum, subset []string) {
	words := (len(m.parts) + 63) / 64
	if cap(s.only) < words {
		s.only = make([]uint64, words)
	}
	s.only = s.only[:words]
	clear(s.only)
	s.of, s.members, s.takes, s.n = m, m.members, 0, 0
	for i := range m.snap.Endpoints {
		if contains(subset, m.snap.Endpoints[i].Address) {
			s.only[i/64] |= 1 << (i % 64)
			s.n++
		}
	}
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
