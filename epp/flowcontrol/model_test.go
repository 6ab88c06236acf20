package flowcontrol

import (
	"fmt"
	"math/rand/v2"
	"slices"
	"testing"
	"time"
)

// source yields the choices of a history.
type source interface{ IntN(n int) int }

// bytesSource makes choices of a fuzzer's bytes, and ends when they do.
type bytesSource struct{ data []byte }

func (s *bytesSource) IntN(n int) int {
	if len(s.data) == 0 {
		return 0
	}
	b := s.data[0]
	s.data = s.data[1:]
	return int(b) % n
}

// item is a request as the model knows it.
type item struct {
	w       *Waiter
	lane    string
	endless bool
	expires time.Time
	order   int
}

// model plays a history on a queue and checks every step against a plain list.
type model struct {
	t    testing.TB
	s    source
	c    *Config
	q    *Queue
	now  time.Time
	list []*item // what waits, in order of arrival
	n    int
	// turns counts, for each waiting flow, the turns of every other flow of its band
	// since its own last.
	turns map[string]map[string]int

	inflight map[string]int // by endpoint
	served   []string
	accepted int
	gone     int
	passed   int
	emptied  time.Time
	empty    bool
}

var modelSubsets = [][]string{nil, {"a"}, {"b"}, {"a", "b"}}

const modelSlots = 3 // of each of the endpoints a, b and c

func laneOf(subset []string) string {
	if subset == nil {
		return "*"
	}
	return fmt.Sprint(subset)
}

func (m *model) members(subset []string) []string {
	if subset == nil {
		return []string{"a", "b", "c"}
	}
	return subset
}

// Saturation implements Valve: requests in flight over slots.
func (m *model) Saturation(l *Lane) float64 { return m.saturation(l.Subset) }

func (m *model) saturation(subset []string) float64 {
	used, all := 0, 0
	for _, e := range m.members(subset) {
		used += m.inflight[e]
		all += modelSlots
	}
	return float64(used) / float64(all)
}

func modelConfig(s source) *Config {
	bound := func(n int) int64 {
		if s.IntN(2) == 0 {
			return 0
		}
		return int64(1 + s.IntN(n))
	}
	band := func(p int) Band {
		return Band{
			Priority: p, MaxRequests: bound(20), MaxBytes: bound(100),
			Fairness: Fairness{Type: []string{GlobalStrict, RoundRobin, ProgramAware}[s.IntN(3)], Programs: DefaultPrograms()},
			Ordering: []string{FCFS, EDF, SLODeadline}[s.IntN(3)],
		}
	}
	c := &Config{
		MaxRequests: bound(30), MaxBytes: bound(150), Default: band(0), Evict: s.IntN(2) == 0,
		TTL: time.Duration(s.IntN(5)) * time.Second, NoEndpointTTL: time.Duration(s.IntN(5)) * time.Second,
		Bands: []Band{band(2), band(-1)},
		Limit: UsageLimit{Type: StaticLimit, Threshold: 1},
	}
	if s.IntN(2) == 0 {
		c.Limit = UsageLimit{Type: HoldbackLimit, Holdback: Holdback{Domain: DomainRank, MinCeiling: 0.4, MaxCeiling: 1}}
	}
	if s.IntN(2) == 0 {
		b := band(-7)
		c.DefaultNegative = &b
	}
	return c
}

func newModel(t testing.TB, s source) *model {
	m := &model{t: t, s: s, c: modelConfig(s), now: time.Unix(1e9, 0), inflight: map[string]int{}, turns: map[string]map[string]int{}}
	m.q = NewQueue(m.c, nil, m.displaced)
	return m
}

func (m *model) find(w *Waiter) *item {
	for _, it := range m.list {
		if it.w == w {
			return it
		}
	}
	m.t.Fatalf("a request left that does not wait: lost or served twice")
	return nil
}

// forget takes it off the list.
func (m *model) forget(it *item) {
	m.list = slices.DeleteFunc(m.list, func(o *item) bool { return o == it })
	m.gone++
	flow := m.flowKey(it)
	if !slices.ContainsFunc(m.list, func(o *item) bool { return m.flowKey(o) == flow }) {
		delete(m.turns, flow)
	}
}

func (m *model) bandKey(it *item) string { return fmt.Sprint(it.lane, it.w.Priority) }
func (m *model) flowKey(it *item) string { return m.bandKey(it) + "/" + it.w.Flow }

func (m *model) displaced(w *Waiter) {
	it := m.find(w)
	if w.Waiting() {
		m.t.Fatal("a displaced request still waits")
	}
	if w.Priority >= 0 || !m.c.Evict {
		m.t.Fatalf("a request of priority %d was displaced (eviction %t)", w.Priority, m.c.Evict)
	}
	for _, o := range m.list {
		if o.w.Priority < w.Priority || o.w.Priority == w.Priority && o.order > it.order {
			m.t.Fatal("displaced was not the latest of the lowest priority")
		}
	}
	m.forget(it)
}

func (m *model) sums(priority int, all bool) (n, bytes int64) {
	for _, it := range m.list {
		if all || it.w.Priority == priority {
			n++
			bytes += it.w.Bytes
		}
	}
	return n, bytes
}

func within(n, limit int64) bool { return limit == 0 || n <= limit }

func (m *model) push() {
	w := &Waiter{
		Priority: []int{2, 0, -1, 5, -3}[m.s.IntN(5)], Flow: string(rune('x' + m.s.IntN(3))), Bytes: int64(m.s.IntN(20)),
	}
	if m.s.IntN(3) == 0 {
		w.FirstTokenBy = m.now.Add(time.Duration(m.s.IntN(3000)) * time.Millisecond)
	}
	subset := modelSubsets[m.s.IntN(len(modelSubsets))]
	band := m.c.band(w.Priority)
	n, bytes := m.sums(w.Priority, false)
	fits := within(n+1, band.MaxRequests) && within(bytes+w.Bytes, band.MaxBytes)
	all, allBytes := m.sums(0, true)
	room := within(all+1, m.c.MaxRequests) && within(allBytes+w.Bytes, m.c.MaxBytes)
	if m.passes(w, subset, fits && room) {
		return
	}
	if m.c.Evict && !room {
		for _, it := range m.list {
			if it.w.Priority < 0 && it.w.Priority < w.Priority {
				all--
				allBytes -= it.w.Bytes
			}
		}
		room = within(all+1, m.c.MaxRequests) && within(allBytes+w.Bytes, m.c.MaxBytes)
	}
	before := len(m.list)
	outcome := m.q.Push(m.now, w, subset)
	if (outcome == Dispatched) != (fits && room) {
		m.t.Fatalf("push: %s, but it fits its band %t and the queue %t", outcome, fits, room)
	}
	if outcome != Dispatched {
		if want := map[bool]Outcome{true: RejectedNoEndpoints, false: RejectedCapacity}[m.empty]; outcome != want {
			m.t.Fatalf("push: %s, want %s", outcome, want)
		}
		if len(m.list) != before {
			m.t.Fatal("requests were displaced for one that was refused")
		}
		return
	}
	m.n++
	m.accepted++
	it := &item{w: w, lane: laneOf(subset), order: m.n}
	m.expiry(it, m.now)
	m.list = append(m.list, it)
	if m.turns[m.flowKey(it)] == nil {
		m.turns[m.flowKey(it)] = map[string]int{}
	}
}

// passes has a request served that has no room and need not wait.
func (m *model) passes(w *Waiter, subset []string, room bool) bool {
	if got := m.q.Fits(m.now, w); got != room {
		m.t.Fatalf("a request fits: %t, want %t", got, room)
	}
	got := m.q.Passes(m.now, w, subset, m)
	want := m.saturation(subset) < m.ceiling(w.Priority)
	for _, it := range m.list {
		want = want && (it.lane != laneOf(subset) || it.w.Priority < w.Priority)
	}
	if got != want {
		m.t.Fatalf("a request of priority %d for %s, with room %t, passes: %t", w.Priority, laneOf(subset), room, got)
	}
	if !got || room {
		return false // it waits, or is served in its turn at once
	}
	m.passed++
	m.serve(laneOf(subset))
	return true
}

func (m *model) expiry(it *item, since time.Time) {
	ttl := m.c.TTL
	if m.empty {
		ttl = m.c.NoEndpointTTL
	}
	from := since
	if m.emptied.After(from) {
		from = m.emptied
	}
	it.endless = ttl == 0
	it.expires = from.Add(ttl)
	if longest := since.Add(max(m.c.TTL, m.c.NoEndpointTTL)); m.c.TTL > 0 && m.c.NoEndpointTTL > 0 && it.expires.After(longest) {
		it.expires = longest
	}
}

// expire plays the timer.
func (m *model) expire() {
	for {
		w, outcome := m.q.Expire(m.now)
		if w == nil {
			break
		}
		it := m.find(w)
		if it.endless || it.expires.After(m.now) {
			m.t.Fatalf("expired %v before its time", it.expires.Sub(m.now))
		}
		if (outcome == EvictedNoEndpoints) != m.empty {
			m.t.Fatalf("expired as %s", outcome)
		}
		m.forget(it)
	}
	var next time.Time
	for _, it := range m.list {
		if !it.endless && !it.expires.After(m.now) {
			m.t.Fatal("a request waits past its deadline")
		}
		if !it.endless && (next.IsZero() || it.expires.Before(next)) {
			next = it.expires
		}
	}
	if at, ok := m.q.Deadline(); ok != !next.IsZero() || ok && !at.Equal(next) {
		m.t.Fatalf("deadline %v %t, want %v", at, ok, next)
	}
}

// top is the highest priority that waits in each lane, and whether it may be
// served.
func (m *model) top(lane string, subset []string) (priority int, open, any bool) {
	for _, it := range m.list {
		if it.lane == lane && (!any || it.w.Priority > priority) {
			priority, any = it.w.Priority, true
		}
	}
	if !any {
		return 0, false, false
	}
	return priority, m.saturation(subset) < m.ceiling(priority), true
}

func (m *model) ceiling(priority int) float64 {
	out := make([]float64, len(m.q.ranks))
	(&limiter{UsageLimit: m.c.Limit}).ceilings(0, m.q.ranks, out)
	return out[slices.Index(m.q.ranks, priority)]
}

// dispatch serves until nothing may be.
func (m *model) dispatch() {
	for {
		type top struct {
			priority int
			open     bool
		}
		tops := map[string]top{}
		for _, s := range modelSubsets {
			if p, open, any := m.top(laneOf(s), s); any {
				tops[laneOf(s)] = top{p, open}
			}
		}
		w := m.q.Pop(m.now, m)
		if w == nil {
			for lane, t := range tops {
				if t.open {
					m.t.Fatalf("priority %d of lane %s waits although its endpoints are free", t.priority, lane)
				}
			}
			return
		}
		it := m.find(w)
		if t := tops[it.lane]; !t.open || t.priority != w.Priority {
			m.t.Fatalf("served priority %d of lane %s; its first is %d, open %t", w.Priority, it.lane, t.priority, t.open)
		}
		for lane, t := range tops {
			if t.open && t.priority > w.Priority {
				m.t.Fatalf("served priority %d while %d of lane %s could be", w.Priority, t.priority, lane)
			}
		}
		m.checkOrder(it)
		m.checkTurn(it)
		m.forget(it)
		m.serve(it.lane)
	}
}

// serve puts a request of a lane on an endpoint.
func (m *model) serve(lane string) {
	for _, e := range m.members(subsetOf(lane)) {
		if m.inflight[e] < modelSlots {
			m.inflight[e]++
			m.served = append(m.served, e)
			return
		}
	}
	m.t.Fatal("served more than the endpoints take")
}

func subsetOf(lane string) []string {
	for _, s := range modelSubsets {
		if laneOf(s) == lane {
			return s
		}
	}
	return nil
}

// checkOrder checks that nothing of the same order should have gone before.
func (m *model) checkOrder(it *item) {
	b := m.c.band(it.w.Priority)
	for _, o := range m.list {
		same := m.flowKey(o) == m.flowKey(it) || b.Fairness.Type == GlobalStrict && m.bandKey(o) == m.bandKey(it)
		if !same || o == it {
			continue
		}
		var mine, theirs time.Time
		if b.Ordering != FCFS {
			mine, theirs = it.w.FirstTokenBy, o.w.FirstTokenBy
		}
		early := func(a, b time.Time) bool { return !a.IsZero() && (b.IsZero() || a.Before(b)) }
		switch b.Ordering {
		case FCFS:
			if o.order < it.order {
				m.t.Fatal("not first come, first served")
			}
		case SLODeadline:
			if early(theirs, mine) || mine.Equal(theirs) && o.order < it.order {
				m.t.Fatal("a request that is due earlier waits")
			}
		case EDF:
			if lineBefore(o.w, &Waiter{key: it.w.key, seq: it.w.seq}) {
				m.t.Fatal("a request with an earlier deadline waits")
			}
		}
	}
}

// checkTurn checks that no waiting flow is passed over twice by another.
func (m *model) checkTurn(it *item) {
	if m.c.band(it.w.Priority).Fairness.Type != RoundRobin {
		return
	}
	mine := m.flowKey(it)
	seen := map[string]bool{}
	for _, o := range m.list {
		k := m.flowKey(o)
		if m.bandKey(o) != m.bandKey(it) || k == mine || seen[k] {
			continue
		}
		seen[k] = true
		if m.turns[k][mine]++; m.turns[k][mine] > 1 {
			m.t.Fatalf("flow %s had two turns while %s waited", mine, k)
		}
	}
	m.turns[mine] = map[string]int{}
}

func (m *model) step() {
	switch k := m.s.IntN(16); {
	case k < 7:
		m.push()
	case k < 11 && len(m.served) > 0:
		i := m.s.IntN(len(m.served))
		m.inflight[m.served[i]]--
		m.served = slices.Delete(m.served, i, i+1)
		m.q.Served(m.now, 0, string(rune('x'+m.s.IntN(3))), float64(m.s.IntN(1000)))
	case k < 12 && len(m.list) > 0:
		it := m.list[m.s.IntN(len(m.list))]
		if !m.q.Remove(it.w) || m.q.Remove(it.w) {
			m.t.Fatal("remove: not once and only once")
		}
		m.forget(it)
	case k < 13:
		m.now = m.now.Add(time.Duration(m.s.IntN(2000)) * time.Millisecond)
	case k < 14 && m.s.IntN(4) == 0:
		m.empty = !m.empty
		m.emptied = m.now
		for _, it := range m.list {
			m.expiry(it, it.w.Since())
		}
		m.q.SetEmpty(m.now, m.empty)
	}
	m.expire()
	m.dispatch()
	n, bytes := m.sums(0, true)
	if int64(m.q.Len()) != n || m.q.Bytes() != bytes {
		m.t.Fatalf("%d requests and %d bytes wait, want %d and %d", m.q.Len(), m.q.Bytes(), n, bytes)
	}
	flows, flowBytes := 0, int64(0)
	for f := range m.q.Flows {
		flows += f.Requests
		flowBytes += f.Bytes
	}
	if int64(flows) != n || flowBytes != bytes {
		m.t.Fatalf("flows hold %d requests and %d bytes, want %d and %d", flows, flowBytes, n, bytes)
	}
	for b := range m.q.Bands {
		if !within(int64(b.Requests), b.MaxRequests) || !within(b.Bytes, b.MaxBytes) {
			m.t.Fatalf("band %d holds %d requests and %d bytes: more than it may", b.Priority, b.Requests, b.Bytes)
		}
	}
	if !within(n, m.c.MaxRequests) || !within(bytes, m.c.MaxBytes) {
		m.t.Fatalf("%d requests and %d bytes wait: more than may", n, bytes)
	}
}

func (m *model) finish() {
	last := -1
	m.q.Drain(func(w *Waiter) {
		it := m.find(w)
		if it.order < last {
			m.t.Fatal("drained out of order")
		}
		last = it.order
		m.forget(it)
	})
	if len(m.list) > 0 || m.gone != m.accepted || m.q.Len() != 0 || m.q.Bytes() != 0 || len(m.q.lanes) != 0 {
		m.t.Fatalf("%d of %d requests left, %d wait, %d lanes", m.gone, m.accepted, m.q.Len(), len(m.q.lanes))
	}
	if _, ok := m.q.Deadline(); ok {
		m.t.Fatal("an empty queue has a deadline")
	}
}

// TestHistories plays random histories against the model.
func TestHistories(t *testing.T) {
	passed := 0
	for seed := range uint64(400) {
		t.Run(fmt.Sprint(seed), func(t *testing.T) {
			m := newModel(t, rand.New(rand.NewPCG(seed, 7)))
			for range 300 {
				m.step()
			}
			m.finish()
			passed += m.passed
		})
	}
	if passed < 100 {
		t.Errorf("%d requests passed others for which there was no room: the histories prove little", passed)
	}
}

func FuzzHistory(f *testing.F) {
	for seed := range uint64(8) {
		rng := rand.New(rand.NewPCG(seed, 9))
		data := make([]byte, 120)
		for i := range data {
			data[i] = byte(rng.Uint32())
		}
		f.Add(data)
	}
	f.Fuzz(func(t *testing.T, data []byte) {
		s := &bytesSource{data[:min(len(data), 1024)]}
		m := newModel(t, s)
		for len(s.data) > 0 {
			m.step()
		}
		m.finish()
	})
}
