package flowcontrol

import (
	"fmt"
	"math/rand/v2"
	"slices"
	"testing"
	"time"

	"github.com/fairway-ai/fairway/scheduler"
)

// running is a request on an endpoint, as the model knows it.
type running struct {
	Runner
	flight    scheduler.Flight
	order     int
	evictable bool
	evicted   time.Time // zero unless it was
	late      bool      // and counted out since
}

// evictModel plays a history on a queue, a meter and an evictor, and checks every choice
// against what it finds itself.
type evictModel struct {
	t       testing.TB
	s       source
	d       Detector
	q       *Queue
	m       Meter
	e       *Evictor
	now     time.Time
	snap    *scheduler.Snapshot
	waiting []*Waiter
	running []*running
	// shown are the ends of evicted requests that metrics need not show yet.
	shown                   map[*scheduler.Load][]time.Time
	paused                  time.Time
	accepted, gone, evicted int
	order                   int
	every                   []*scheduler.Load
}

// Saturation implements Valve.
func (x *evictModel) Saturation(l *Lane) float64 { return x.m.Lane(l).With(Pending{}) }

func newEvictModel(t testing.TB, s source) *evictModel {
	x := &evictModel{t: t, s: s, now: time.Unix(1e9, 0), shown: map[*scheduler.Load][]time.Time{}}
	x.d = []Detector{
		&Concurrency{Mode: ByRequests, MaxRequests: 3, MaxTokens: 1}, &Concurrency{Mode: ByTokens, MaxRequests: 1, MaxTokens: 300},
		&Concurrency{Mode: ByBoth, MaxRequests: 3, MaxTokens: 300}, &Utilization{QueueDepthThreshold: 2, KVCacheUtilThreshold: 0.8, Staleness: 200 * time.Millisecond},
	}[s.IntN(4)]
	c := DefaultConfig()
	c.Detector, c.Evict, c.TTL, c.NoEndpointTTL = x.d, true, 30*time.Second, 30*time.Second
	switch s.IntN(3) {
	case 1:
		c.Limit = UsageLimit{Type: HoldbackLimit, Holdback: Holdback{Domain: DomainRank, MinCeiling: 0, MaxCeiling: 1}}
	case 2:
		c.Limit = UsageLimit{Type: SoftReflective}
	}
	x.q, x.e = NewQueue(c, nil, nil), NewEvictor(x.d)
	x.members()
	return x
}

// members changes who the endpoints are; some stay.
func (x *evictModel) members() {
	next := &scheduler.Snapshot{}
	for i := range 1 + x.s.IntN(3) {
		e := scheduler.Endpoint{ID: fmt.Sprint(i), Address: fmt.Sprintf("10.0.0.%d:80", i), Load: new(scheduler.Load)}
		if x.snap != nil && i < len(x.snap.Endpoints) && x.s.IntN(3) > 0 {
			e = x.snap.Endpoints[i]
		} else {
			x.every = append(x.every, e.Load)
		}
		next.Endpoints = append(next.Endpoints, e)
		next.Metrics = append(next.Metrics, scheduler.Metrics{})
	}
	x.snap = next
	x.scrape()
}

// scrape publishes what engines would say: three run at once, the others wait.
func (x *evictModel) scrape() {
	next := &scheduler.Snapshot{Endpoints: x.snap.Endpoints}
	for i := range next.Endpoints {
		n := int32(0)
		for _, r := range x.running {
			if r.Load == next.Endpoints[i].Load {
				n++
			}
		}
		next.Metrics = append(next.Metrics, scheduler.Metrics{
			Known: x.s.IntN(12) > 0, UnixNano: x.now.UnixNano(), Running: min(n, 3), Waiting: max(0, n-3), KVUsage: min(1, float32(n)/4),
		})
	}
	x.snap = next
}

// saturation is a lane's when the requests of gone are gone besides, found the long way.
func (x *evictModel) saturation(l *Lane, chosen []*Runner) float64 {
	var sum part
	n := 0
	for i := range x.snap.Endpoints {
		e := &x.snap.Endpoints[i]
		if l.Subset != nil && !contains(l.Subset, e.Address) {
			continue
		}
		n++
		var g gone
		for _, r := range x.running {
			if r.Load == e.Load && (!r.evicted.IsZero() && !r.late || slices.Contains(chosen, &r.Runner)) {
				g.counted++
				g.tokens += r.Tokens
			}
		}
		g.shown = int64(len(x.shown[e.Load]))
		sum = sum.plus(x.d.part(x.now.UnixNano(), &x.snap.Metrics[i], e.Load, g))
	}
	return x.d.reading(sum, n).With(Pending{})
}

func (x *evictModel) in(l *Lane, load *scheduler.Load) bool {
	return slices.ContainsFunc(x.snap.Endpoints, func(e scheduler.Endpoint) bool {
		return e.Load == load && (l.Subset == nil || contains(l.Subset, e.Address))
	})
}

// candidates are all that may be evicted for a priority in a lane, in their order.
func (x *evictModel) candidates(l *Lane, priority int) []*Runner {
	var all []*running
	for _, r := range x.running {
		if r.evictable && r.evicted.IsZero() && r.Priority < 0 && r.Priority < priority && x.in(l, r.Load) {
			all = append(all, r)
		}
	}
	slices.SortFunc(all, func(a, b *running) int {
		if a.Priority != b.Priority {
			return a.Priority - b.Priority
		}
		return b.order - a.order
	})
	var out []*Runner
	for _, r := range all {
		out = append(out, &r.Runner)
	}
	return out
}

// helps reports whether a lane's first request could go if all candidates were evicted,
// and cannot as it is.
func (x *evictModel) helps(l *Lane, without ...*Runner) (shut, helps bool) {
	c := l.first().class
	opens := func(chosen []*Runner) bool { return x.q.wouldOpen(c, x.saturation(l, chosen)) }
	all := slices.DeleteFunc(x.candidates(l, c.Priority), func(r *Runner) bool { return slices.Contains(without, r) })
	return !opens(without), opens(append(all, without...))
}

// choose has the evictor choose, and checks it.
func (x *evictModel) choose() {
	lag := x.d.Lag() > 0
	owed := 0
	for _, r := range x.running {
		if !r.evicted.IsZero() && !r.late {
			owed++
		}
	}
	for _, s := range x.shown {
		owed += len(s)
	}
	paced := lag && owed > 0 || x.now.Before(x.paused)
	chosen := x.e.Choose(x.now, x.q, &x.m, Pending{})
	if x.paused = x.e.again; x.paused.After(x.now.Add(searchPause)) {
		x.t.Fatalf("nobody is looked for until %v", x.paused)
	}
	if at, ok := x.e.Deadline(); ok && !at.After(x.now) {
		x.t.Fatal("the next deadline is over")
	}
	if len(chosen) == 0 {
		if paced || x.now.Before(x.paused) && !x.anyHelps() {
			return
		}
		if x.anyHelps() {
			x.t.Fatal("nobody is evicted although it would let a request go")
		}
		return
	}
	if paced {
		x.t.Fatal("evicted before it is seen what came of those before")
	}
	priority := x.e.Demand()
	var why string
	for _, l := range x.q.lanes {
		first := l.first().class.Priority
		if shut, helps := x.helps(l); first > priority && shut && helps {
			x.t.Fatalf("evicted for priority %d, but %d waits, too", priority, first)
		}
		if first != priority {
			continue
		}
		if why = x.wrong(l, chosen, lag); why == "" {
			break
		}
	}
	if why != "" {
		x.t.Fatal(why)
	}
	for _, c := range chosen {
		i := slices.IndexFunc(x.running, func(r *running) bool { return &r.Runner == c })
		x.running[i].evicted = x.now
		x.evicted++
	}
}

func (x *evictModel) anyHelps() bool {
	return slices.ContainsFunc(x.q.lanes, func(l *Lane) bool { shut, helps := x.helps(l); return shut && helps })
}

// wrong says what is wrong with a choice, if it was for that lane.
func (x *evictModel) wrong(l *Lane, chosen []*Runner, lag bool) string {
	c := l.first().class
	candidates := x.candidates(l, c.Priority)
	for _, r := range chosen {
		if !slices.Contains(candidates, r) {
			return fmt.Sprintf("a request of priority %d was evicted that must not be, for one of %d", r.Priority, c.Priority)
		}
	}
	shut, helps := x.helps(l)
	if !shut || !helps {
		return fmt.Sprintf("evicted for nothing: shut %t, helps %t", shut, helps)
	}
	if d, ok := x.d.(*Concurrency); ok && d.Mode == ByRequests && !slices.Equal(chosen, candidates[:len(chosen)]) {
		return "evicted out of order"
	}
	if lag {
		if len(chosen) > maxAtOnce {
			return fmt.Sprintf("%d evicted at once by an estimate", len(chosen))
		}
		for i := range chosen {
			if others := slices.Delete(slices.Clone(chosen), i, i+1); x.saturation(l, chosen) >= x.saturation(l, others) {
				return "evicted one whose end changes nothing"
			}
		}
		return ""
	}
	if !x.q.wouldOpen(c, x.saturation(l, chosen)) {
		return "evicted too few"
	}
	for i := range chosen {
		if others := slices.Delete(slices.Clone(chosen), i, i+1); x.q.wouldOpen(c, x.saturation(l, others)) {
			return "evicted more than were needed"
		}
	}
	return ""
}

// cycle does what a gate does after every event.
func (x *evictModel) cycle() {
	x.m.Update(x.now, x.d, x.snap)
	if got, want := x.m.All(), Read(x.d, x.now, x.snap); got != want {
		x.t.Fatalf("reading %+v, want %+v", got, want)
	}
	for w, _ := x.q.Expire(x.now); w != nil; w, _ = x.q.Expire(x.now) {
		x.left(w)
	}
	for range 3 { // the pool may be idle and open for all
		w := x.q.Pop(x.now, x)
		if w == nil {
			break
		}
		x.serve(w)
		x.m.Update(x.now, x.d, x.snap)
	}
	late := 0
	for _, r := range x.running {
		if !r.evicted.IsZero() && !r.late && !x.now.Before(r.evicted.Add(EvictTimeout)) {
			r.late = true
			late++
		}
	}
	for l, s := range x.shown {
		x.shown[l] = slices.DeleteFunc(s, func(at time.Time) bool { return !at.Add(x.d.Lag()).After(x.now) })
	}
	if n := x.e.Expire(x.now); n != late {
		x.t.Fatalf("%d evicted requests are late, want %d", n, late)
	}
	if w := x.q.Pop(x.now, x); w != nil {
		x.serve(w) // a periodic opening, or more than was served above
		return
	}
	x.choose()
}

// left takes a waiter off the list that must be there.
func (x *evictModel) left(w *Waiter) {
	i := slices.Index(x.waiting, w)
	if i < 0 {
		x.t.Fatal("a request left that does not wait: served twice")
	}
	x.waiting = slices.Delete(x.waiting, i, i+1)
	x.gone++
}

// serve sends a waiter to an endpoint.
func (x *evictModel) serve(w *Waiter) {
	x.left(w)
	subset := w.Payload.([]string)
	var allowed []scheduler.Endpoint
	for _, e := range x.snap.Endpoints {
		if subset == nil || contains(subset, e.Address) {
			allowed = append(allowed, e)
		}
	}
	e := allowed[x.s.IntN(len(allowed))]
	x.order++
	r := &running{order: x.order, Runner: Runner{Priority: w.Priority, Load: e.Load, Tokens: int64(x.s.IntN(150))}}
	r.flight.Bind(e.Load, 0, r.Tokens)
	if Evictable(w.Priority) {
		r.evictable = true
		x.e.Add(&r.Runner)
	}
	x.running = append(x.running, r)
}

// end ends a running request.
func (x *evictModel) end(r *running) {
	x.running = slices.DeleteFunc(x.running, func(o *running) bool { return o == r })
	r.flight.End(x.now)
	took, evicted := x.e.Ended(x.now, &r.Runner)
	if evicted != (!r.evicted.IsZero() && !r.late) || evicted && took != x.now.Sub(r.evicted) {
		x.t.Fatalf("ended as evicted %t after %v", evicted, took)
	}
	if again, twice := x.e.Ended(x.now, &r.Runner); twice {
		x.t.Fatalf("ended twice, after %v", again)
	}
	if evicted && x.d.Lag() > 0 {
		x.shown[r.Load] = append(x.shown[r.Load], x.now)
	}
}

func (x *evictModel) step() {
	some := func(f func(*running) bool) *running {
		var all []*running
		for _, r := range x.running {
			if f(r) {
				all = append(all, r)
			}
		}
		if len(all) == 0 {
			return nil
		}
		return all[x.s.IntN(len(all))]
	}
	isEvicted := func(r *running) bool { return !r.evicted.IsZero() }
	switch k := x.s.IntN(24); {
	case k < 9:
		var subset []string
		if x.s.IntN(3) == 0 {
			subset = []string{x.snap.Endpoints[x.s.IntN(len(x.snap.Endpoints))].Address}
		}
		w := &Waiter{Priority: []int{2, 0, -1, -2, -5}[x.s.IntN(5)], Flow: "f", Payload: subset}
		if x.q.Push(x.now, w, subset) != Dispatched {
			x.t.Fatal("no room")
		}
		x.accepted++
		x.waiting = append(x.waiting, w)
	case k < 12:
		if r := some(func(r *running) bool { return !isEvicted(r) }); r != nil {
			x.end(r)
		}
	case k < 16:
		if r := some(isEvicted); r != nil {
			x.end(r)
		}
	case k < 17: // the response came first
		if r := some(func(r *running) bool { return isEvicted(r) && !r.late }); r != nil {
			x.e.Failed(&r.Runner)
			r.evicted, r.evictable = time.Time{}, false
			x.evicted--
		}
	case k < 18:
		if r := some(func(r *running) bool { return r.evictable && !isEvicted(r) }); r != nil {
			x.e.Remove(&r.Runner)
			r.evictable = false
		}
	case k < 19 && len(x.waiting) > 0:
		w := x.waiting[x.s.IntN(len(x.waiting))]
		if !x.q.Remove(w) {
			x.t.Fatal("a waiter is lost")
		}
		x.left(w)
	case k < 20 && x.s.IntN(5) == 0:
		x.members()
	case k < 22:
		x.scrape()
	default:
		x.now = x.now.Add([]time.Duration{time.Millisecond, 100 * time.Millisecond, 4 * time.Second}[x.s.IntN(3)])
	}
	// Whoever waits for endpoints that are gone leaves, as with a subset that nobody is in.
	for _, w := range slices.Clone(x.waiting) {
		if subset := w.Payload.([]string); subset != nil && !slices.ContainsFunc(x.snap.Endpoints, func(e scheduler.Endpoint) bool { return contains(subset, e.Address) }) {
			x.q.Remove(w)
			x.left(w)
		}
	}
	x.cycle()
	n := 0
	for _, r := range x.running {
		if r.evictable && !isEvicted(r) {
			n++
		}
	}
	if got := x.e.Len(); got != n {
		x.t.Fatalf("%d may be evicted, want %d", got, n)
	}
	if x.q.Len() != len(x.waiting) {
		x.t.Fatalf("%d wait, want %d", x.q.Len(), len(x.waiting))
	}
}

func (x *evictModel) finish() {
	for len(x.running) > 0 {
		x.end(x.running[0])
	}
	x.now = x.now.Add(time.Minute)
	x.e.Expire(x.now)
	x.m.Update(x.now, x.d, x.snap)
	if x.e.Len() != 0 || len(x.e.debts) != 0 || x.e.Owed(&x.m) != 0 {
		x.t.Fatalf("%d may be evicted and %d were at the end", x.e.Len(), len(x.e.debts))
	}
	for _, l := range x.every {
		if v := l.View(); v.Requests != 0 || v.Context != 0 {
			x.t.Fatalf("%+v in flight at the end", v)
		}
	}
	x.q.Drain(x.left)
	if x.gone != x.accepted {
		x.t.Fatalf("%d of %d requests left", x.gone, x.accepted)
	}
}

// TestEvictions plays random histories against the model.
func TestEvictions(t *testing.T) {
	evicted := 0
	for seed := range uint64(400) {
		t.Run(fmt.Sprint(seed), func(t *testing.T) {
			x := newEvictModel(t, rand.New(rand.NewPCG(seed, 11)))
			for range 250 {
				x.step()
			}
			x.finish()
			evicted += x.evicted
		})
	}
	if evicted < 400 {
		t.Errorf("%d requests were evicted in all: that proves little", evicted)
	}
}

func FuzzEvictions(f *testing.F) {
	for seed := range uint64(8) {
		rng := rand.New(rand.NewPCG(seed, 13))
		data := make([]byte, 120)
		for i := range data {
			data[i] = byte(rng.Uint32())
		}
		f.Add(data)
	}
	f.Fuzz(func(t *testing.T, data []byte) {
		s := &bytesSource{data[:min(len(data), 1024)]}
		x := newEvictModel(t, s)
		for len(s.data) > 0 {
			x.step()
		}
		x.finish()
	})
}
