package replicas

import (
	"math/rand/v2"
	"slices"
	"testing"
	"time"

	"github.com/fairway-ai/fairway/scheduler"
)

// TestDecisionsAreShared follows one request through all it can be, as another replica
// sees it.
func TestDecisionsAreShared(t *testing.T) {
	nodes := cluster(t, 2, 3)
	a, b := nodes[0], nodes[1]
	la, lb := a.picker.load(1), b.picker.load(1)
	var f scheduler.Flight
	sees := func(what string, want scheduler.LoadView) {
		t.Helper()
		eventually(t, what, func() bool { return inFlight(lb) == want })
		if own := lb.Own(); own.InFlight() != (scheduler.Work{}) {
			t.Errorf("%s: b counts it as its own: %+v", what, own)
		}
	}
	f.Bind(la, 700, 1000)
	sees("held", scheduler.LoadView{Requests: 1, Waiting: 1, Backlog: 700, Context: 1000})
	f.Dispatch(time.Now(), 600)
	blocks := chain(20, 1)
	a.Sent(la, blocks)
	sees("sent", scheduler.LoadView{Requests: 1, Waiting: 1, Dispatched: 1, Backlog: 600, Prefilling: 600, Context: 1000})
	eventually(t, "b's index has the prompt", func() bool { return b.picker.index.MatchOne(blocks, 1) == 20*64 })
	if keys := b.picker.assumedAt(lb); len(keys) != 0 {
		t.Errorf("%d blocks are taken to be exact keys", len(keys))
	}
	keys := chain(30, 2)
	a.SentKeys(la, keys)
	eventually(t, "b assumes the prompt's keys", func() bool { return slices.Equal(b.picker.assumedAt(lb), keys) })
	if n := b.picker.index.MatchOne(keys, 1); n != 0 {
		t.Errorf("%d tokens of exact keys are in the prefix index", n)
	}
	if n := b.picker.loweredAt(lb); n != 0 {
		t.Errorf("b was told %d times that there is less work", n)
	}
	f.FirstToken(time.Now())
	sees("decoding", scheduler.LoadView{Requests: 1, Dispatched: 1, Context: 1000})
	eventually(t, "b's gates hear of it", func() bool { return b.picker.loweredAt(lb) > 0 })
	f.End(time.Now())
	sees("ended", scheduler.LoadView{})
	for _, n := range nodes {
		if v := gauge(t, n.reg, "fairway_replica_peers", ""); v != 1 {
			t.Errorf("%s: %v peers", n.o.ID, v)
		}
	}
	if gauge(t, a.reg, "fairway_replica_events_total", "sent") < 4 || gauge(t, b.reg, "fairway_replica_events_total", "received") < 4 {
		t.Error("events were not counted")
	}
}

// TestReplicasAgree runs random requests on four replicas: when all is still, each
// knows exactly what the others have, and in the end nothing.
func TestReplicasAgree(t *testing.T) {
	const endpoints = 5
	nodes := cluster(t, 4, endpoints)
	r := rand.New(rand.NewPCG(3, 4))
	type flight struct {
		scheduler.Flight
		by int
	}
	var flights []*flight
	for range 600 {
		by, at := r.IntN(len(nodes)), r.IntN(endpoints)
		n := nodes[by]
		f := &flight{by: by}
		f.Bind(n.picker.load(at), int64(r.IntN(5000)), 5000)
		if r.IntN(4) > 0 {
			f.Dispatch(time.Now(), int64(r.IntN(5000)))
			n.Sent(n.picker.load(at), chain(1+r.IntN(30), r.Uint64()))
		}
		if r.IntN(2) == 0 {
			f.FirstToken(time.Now())
		}
		if r.IntN(3) == 0 {
			f.Move(time.Now(), n.picker.load(r.IntN(endpoints)), int64(r.IntN(5000)))
		}
		flights = append(flights, f)
		for len(flights) > 60 {
			i := r.IntN(len(flights))
			flights[i].End(time.Now())
			flights[i] = flights[len(flights)-1]
			flights = flights[:len(flights)-1]
		}
	}
	agree := func() bool {
		for at := range endpoints {
			var want scheduler.LoadView
			for _, n := range nodes {
				w := n.picker.load(at).Own()
				want.Requests += w.Requests
				want.Waiting += w.Waiting
				want.Dispatched += w.Dispatched
				want.Backlog += w.Backlog
				want.Prefilling += w.Prefilling
				want.Context += w.Context
			}
			for _, n := range nodes {
				if inFlight(n.picker.load(at)) != want {
					return false
				}
			}
		}
		return true
	}
	eventually(t, "all agree on 60 requests", agree)
	for _, f := range flights {
		f.End(time.Now())
	}
	eventually(t, "all agree on none", func() bool {
		for _, n := range nodes {
			for at := range endpoints {
				if inFlight(n.picker.load(at)) != (scheduler.LoadView{}) {
					return false
				}
			}
		}
		return true
	})
}

// TestReplicaDies: what it had in flight no longer counts, and counts again when it has
// come back under its name.
func TestReplicaDies(t *testing.T) {
	m := newMembers()
	a, b := start(t, "a", 1, m, 2), start(t, "b", 1, m, 2)
	m.set(a.address(), b.address())
	var f scheduler.Flight
	f.Bind(a.picker.load(0), 900, 900)
	f.Dispatch(time.Now(), 900)
	at := b.picker.load(0)
	eventually(t, "b knows", func() bool { return inFlight(at).Requests == 1 })
	lowered := b.picker.loweredAt(at)
	a.stop()
	eventually(t, "b forgets", func() bool { return inFlight(at) == (scheduler.LoadView{}) && b.known() == 0 })
	eventually(t, "b's gates hear of it", func() bool { return b.picker.loweredAt(at) > lowered })

	again := start(t, "a", 2, m, 2)
	m.set(again.address(), b.address())
	f = scheduler.Flight{}
	f.Bind(again.picker.load(1), 50, 50)
	eventually(t, "b knows of its next life", func() bool {
		return inFlight(b.picker.load(1)).Requests == 1 && inFlight(at).Requests == 0
	})
}

// TestIncarnations: a later life replaces an earlier one that seems to go on, and not
// the other way round.
func TestIncarnations(t *testing.T) {
	m := newMembers()
	b := start(t, "b", 1, newMembers(), 2)
	m.set(b.address())
	old := start(t, "a", 5, m, 2)
	var f, g scheduler.Flight
	f.Bind(old.picker.load(0), 1, 1)
	eventually(t, "b knows", func() bool { return inFlight(b.picker.load(0)).Requests == 1 })
	next := start(t, "a", 6, m, 2)
	g.Bind(next.picker.load(1), 1, 1)
	settled := func() bool {
		return inFlight(b.picker.load(0)).Requests == 0 && inFlight(b.picker.load(1)).Requests == 1 && b.known() == 1
	}
	eventually(t, "only the later life counts", settled)
	// The earlier one connects again and again, and is refused.
	refused := gauge(t, b.reg, "fairway_replica_events_total", "received")
	var h scheduler.Flight
	h.Bind(next.picker.load(1), 1, 1)
	h.End(time.Now())
	eventually(t, "frames go on", func() bool {
		return gauge(t, b.reg, "fairway_replica_events_total", "received") > refused
	})
	if !settled() {
		t.Error("the earlier life counts again")
	}
}

// TestPartition: a replica that cannot be heard is forgotten when it has been silent,
// and known again when it can be.
func TestPartition(t *testing.T) {
	w := newWire(t)
	m := newMembers()
	a, b := start(t, "a", 1, m, 2), start(t, "b", 1, newMembers(), 2)
	w.target(b.address())
	m.set(w.on.Addr().String())
	var f scheduler.Flight
	f.Bind(a.picker.load(0), 900, 900)
	eventually(t, "b knows", func() bool { return inFlight(b.picker.load(0)).Requests == 1 })
	release := w.hold()
	b.clock.advance(time.Minute)
	eventually(t, "b forgets", func() bool { return inFlight(b.picker.load(0)).Requests == 0 && b.known() == 0 })
	f.End(time.Now())
	var g scheduler.Flight
	g.Bind(a.picker.load(1), 70, 70)
	release()
	eventually(t, "b knows again", func() bool {
		return inFlight(b.picker.load(0)).Requests == 0 && inFlight(b.picker.load(1)).Requests == 1
	})
	// A connection that breaks is made again.
	w.cut()
	g.End(time.Now())
	eventually(t, "b knows what happened meanwhile", func() bool { return inFlight(b.picker.load(1)).Requests == 0 && b.known() == 1 })
}

// TestSlowReplica: frames for a replica that does not read are dropped, oldest first,
// and when it reads again it knows the newest totals.
func TestSlowReplica(t *testing.T) {
	w := newWire(t)
	m := newMembers()
	a, b := start(t, "a", 1, m, 2), start(t, "b", 1, newMembers(), 2, func(o *Options) { o.Silence = time.Hour })
	w.target(b.address())
	m.set(w.on.Addr().String())
	var f scheduler.Flight
	f.Bind(a.picker.load(0), 10, 10)
	f.Dispatch(time.Now(), 10)
	eventually(t, "b knows a", func() bool { return inFlight(b.picker.load(0)).Dispatched == 1 })
	release := w.hold()
	for i := uint64(0); gauge(t, a.reg, "fairway_replica_dropped_total", "queue") == 0; i++ {
		a.Sent(a.picker.load(0), chain(maxBlocks, i))
		time.Sleep(100 * time.Microsecond)
		if i > 20_000 {
			t.Fatal("nothing was dropped")
		}
	}
	if lag := gauge(t, a.reg, "fairway_replica_lag_seconds", ""); lag <= 0 {
		t.Errorf("lag %v of a replica that does not read", lag)
	}
	f.FirstToken(time.Now())
	release()
	want := scheduler.LoadView{Requests: 1, Dispatched: 1, Context: 10}
	eventually(t, "b knows the newest", func() bool { return inFlight(b.picker.load(0)) == want })
}

// TestEndpointsComeAndGo: totals of endpoints that are not known yet count once they
// are, and nothing is left on one that goes.
func TestEndpointsComeAndGo(t *testing.T) {
	nodes := cluster(t, 2, 1)
	a, b := nodes[0], nodes[1]
	a.picker.set("ns/pod-0", "ns/new")
	var f, g scheduler.Flight
	f.Bind(a.picker.load(1), 5, 5)
	g.Bind(a.picker.load(0), 5, 5)
	eventually(t, "b got something it does not know", func() bool {
		return gauge(t, b.reg, "fairway_replica_dropped_total", "unknown") > 0
	})
	b.picker.set("ns/pod-0", "ns/new")
	eventually(t, "b knows the new one", func() bool { return inFlight(b.picker.load(1)).Requests == 1 })
	gone := b.picker.load(0)
	eventually(t, "b knows the old one", func() bool { return !gone.Idle() })
	b.picker.set("ns/new")
	eventually(t, "nothing is left on the one that went", gone.Idle)
	if inFlight(b.picker.load(0)).Requests != 1 {
		t.Error("the one that stays lost its request")
	}
}

// TestAlone: a replica that only finds itself works, and so does one that finds nobody.
func TestAlone(t *testing.T) {
	m := newMembers()
	a := start(t, "a", 1, m, 1)
	m.set(a.address())
	eventually(t, "a finds itself", func() bool {
		a.mu.Lock()
		defer a.mu.Unlock()
		for _, l := range a.links {
			select {
			case <-l.done:
				return true
			default:
			}
		}
		return false
	})
	if a.known() != 0 {
		t.Error("a counts itself among the others")
	}
	a.Sent(a.picker.load(0), chain(3, 1))
}
