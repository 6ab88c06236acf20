package fire

import (
	"context"
	"fmt"
	"log/slog"
	"net"
	"runtime"
	"strconv"
	"sync"
	"testing"
	"time"

	"github.com/fairway-ai/fairway/pool/kvevents"
	"github.com/fairway-ai/fairway/pool/kvevents/index"
	"github.com/fairway-ai/fairway/scheduler/prefix"
)

// Bounds of the rigs of KV cache events, small so that attacks reach them soon.
const (
	kvMaxMessage = 1 << 20
	kvQueueBytes = 1 << 20
	kvMaxBlocks  = 1 << 14
	kvMaxConns   = 64
	// kvHeap is what an attack may make the process hold, in bytes, whatever was sent.
	kvHeap = 96 << 20
	// kvSteps is how often the honest endpoint's events are followed, at least.
	kvSteps = 10
	// kvHaste is by how much waits of the subscriber are shorter than they are.
	kvHaste = 20
)

// Slots of the rig's endpoints: one that is honest, one of which nothing is ever heard,
// and liars from kvLiars on.
const (
	kvHonestSlot = iota
	kvAbsentSlot
	kvLiars
)

// kvAttack is what the endpoints of a hostile publisher do.
type kvAttack struct {
	name string
	// liars is the number of hostile endpoints; 0 means one.
	liars int
	// model is the liars' model by the pool's account; "" leaves it to topics.
	model string
	// conn is one connection's life, and replay that of one for replays; nil is nobody
	// listening. Whoever calls them closes it, at the rig's end at the latest.
	conn, replay func(l *kvLiar, nc net.Conn)
	// parallel is the connections that a liar holds at once where engines dial; 0 means
	// one.
	parallel int
	// enough is what kvLiar.did of the first liar has to reach.
	enough int64
	// own is what must hold of the first liar itself in the end, while its connection
	// lasts.
	own func(r *kvRig) error
}

// kvRig is a subscriber and an index that follow an honest endpoint and hostile ones.
type kvRig struct {
	t      *testing.T
	bind   bool
	prefix *prefix.Index
	index  *index.Index
	sub    *kvevents.Subscriber
	// ports are where all endpoints publish and replay, each at its own address.
	port, replayPort int
	bound            net.Addr // where the subscriber listens, if engines dial
	honest           *kvHonest
	liars            []*kvLiar
	stop             func() // ends all of it, once
}

const kvHonestAddress, kvAbsentAddress = "127.0.0.2", "127.0.0.3"

func kvLiarAddress(i int) string { return fmt.Sprintf("127.0.1.%d", 1+i) }

// kvPort is one on which all these addresses can be listened on.
func kvPort(t *testing.T, addresses ...string) (int, map[string]net.Listener) {
	t.Helper()
	for range 20 {
		port := freePort(t)
		all := map[string]net.Listener{}
		for _, a := range addresses {
			if l, err := net.Listen("tcp", net.JoinHostPort(a, port)); err == nil {
				all[a] = l
			}
		}
		if len(all) == len(addresses) {
			n, _ := strconv.Atoi(port)
			return n, all
		}
		for _, l := range all {
			_ = l.Close()
		}
	}
	t.Fatal("no port is free at all addresses")
	return 0, nil
}

func newKVRig(t *testing.T, bind bool, a *kvAttack) *kvRig {
	t.Helper()
	r := &kvRig{t: t, bind: bind, prefix: prefix.New(prefix.Options{})}
	var err error
	if r.index, err = index.New(index.Options{Prefix: r.prefix, MaxBlocks: kvMaxBlocks}); err != nil {
		t.Fatal(err)
	}
	addresses := []string{kvHonestAddress}
	endpoints := []kvevents.Endpoint{
		{Name: "honest", Address: kvHonestAddress, Port: 8000, Model: kvModel},
		{Name: "absent", Address: kvAbsentAddress, Port: 8000, Model: kvModel},
	}
	for i := range max(1, a.liars) {
		addresses = append(addresses, kvLiarAddress(i))
		endpoints = append(endpoints, kvevents.Endpoint{Name: fmt.Sprint("liar", i), Address: kvLiarAddress(i), Port: 8000, Model: a.model})
	}
	for slot, e := range endpoints {
		r.prefix.AddEndpoint(int32(slot), 1<<20)
		r.index.Attach(e.Name, int32(slot))
	}
	o := kvevents.Options{
		Sink: r.index, Workers: 2, QueueBytes: kvQueueBytes, MaxMessage: kvMaxMessage, MaxConnections: kvMaxConns,
		Logger: slog.New(slog.DiscardHandler),
		After:  func(d time.Duration) <-chan time.Time { return time.After(d / kvHaste) },
	}
	listeners, replays := map[string]net.Listener{}, map[string]net.Listener{}
	if bind {
		o.Bind = "tcp://127.0.0.1:0"
	} else {
		r.port, listeners = kvPort(t, addresses...)
		r.replayPort, replays = kvPort(t, addresses...)
		o.SocketPort, o.ReplayPort = r.port, r.replayPort
	}
	if r.sub, err = kvevents.New(o); err != nil {
		t.Fatal(err)
	}
	r.sub.SetEndpoints(endpoints)
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan error, 1)
	go func() { done <- r.sub.Run(ctx) }()
	if bind {
		eventually(t, "the subscriber listens", func() error {
			if r.bound = r.sub.BoundAddr(); r.bound == nil {
				return fmt.Errorf("it does not")
			}
			return nil
		})
	}
	r.honest = newKVHonest(r, listeners[kvHonestAddress], replays[kvHonestAddress])
	for i := range max(1, a.liars) {
		at := kvLiarAddress(i)
		r.liars = append(r.liars, newKVLiar(r, a, i, listeners[at], replays[at]))
	}
	r.stop = sync.OnceFunc(func() {
		for _, l := range r.liars {
			l.end()
		}
		cancel()
		select {
		case err := <-done:
			if err != nil {
				t.Error(err)
			}
		case <-time.After(patience):
			t.Error("Run does not return")
		}
		r.honest.end()
	})
	t.Cleanup(r.stop)
	return r
}

// matched is how many of a prompt's tokens a slot holds.
func (r *kvRig) matched(slot int, model string, prompt []uint32) int {
	var m index.Matches
	r.index.Match(r.index.Keys(nil, model, prompt, nil), kvLiars+len(r.liars), &m)
	return int(m.Tokens(int32(slot)))
}

// awaits waits until a slot holds exactly this much of a prompt.
func (r *kvRig) awaits(what string, slot int, prompt []uint32, want int) {
	r.t.Helper()
	eventually(r.t, what, func() error {
		if got := r.matched(slot, kvModel, prompt); got != want {
			return fmt.Errorf("%d tokens match, want %d; %+v %+v", got, want, r.sub.Stats(), r.index.Stats())
		}
		return nil
	})
}

// unharmed is an error when anything is told of the others than what is so: the honest
// endpoint is followed and holds its lasting prompt, nobody holds what only the liars
// speak of but they, and of the absent endpoint nothing is known.
func (r *kvRig) unharmed() error {
	if !r.index.Exact(kvHonestSlot) {
		return fmt.Errorf("the honest endpoint is not followed any more")
	}
	if n := r.matched(kvHonestSlot, kvModel, kvLasting); n != len(kvLasting) {
		return fmt.Errorf("%d of %d tokens of the honest endpoint's lasting prompt match", n, len(kvLasting))
	}
	if r.index.Exact(kvAbsentSlot) {
		return fmt.Errorf("the absent endpoint is followed")
	}
	for slot := range kvLiars {
		for _, model := range []string{kvModel, kvOther} {
			if n := r.matched(slot, model, kvLie); n != 0 {
				return fmt.Errorf("%d tokens of the liar's prompt match at slot %d", n, slot)
			}
		}
	}
	if n := r.matched(kvAbsentSlot, kvModel, kvLasting); n != 0 {
		return fmt.Errorf("%d tokens match at the absent endpoint", n)
	}
	return nil
}

// watch checks all the time that nobody is harmed, until the function it returns is
// called, which reports the first harm.
func (r *kvRig) watch() func() error {
	end, found := make(chan struct{}), make(chan error, 1)
	go func() {
		for {
			if err := r.unharmed(); err != nil {
				found <- err
				return
			}
			select {
			case <-end:
				found <- nil
				return
			case <-time.After(time.Millisecond):
			}
		}
	}()
	return func() error { close(end); return <-found }
}

// kvTopologies are both ways of who connects to whom.
var kvTopologies = map[string]bool{"engines are dialled": false, "engines dial": true}

// runKVAttack is the table's one test: what the attack does harms nobody else, is
// bounded in memory and goroutines, and leaves nothing.
func runKVAttack(t *testing.T, bind bool, a kvAttack) {
	goroutines := runtime.NumGoroutine()
	kvPayloads() // made before the heap is measured
	before := kvHeapNow()
	r := newKVRig(t, bind, &a)
	r.honest.begin()
	for _, l := range r.liars {
		l.begin()
	}
	harmless := r.watch()
	for n := 0; n < kvSteps || r.liars[0].did.Load() < a.enough; n++ {
		r.honest.step()
		if n >= kvSteps {
			time.Sleep(2 * time.Millisecond) // leave the attack some room
		}
	}
	grown := int64(kvHeapNow()) - int64(before)
	// What the attack makes and drops while the collector runs counts, too: on a busy
	// machine that is much, but not each time.
	for range 9 {
		grown = min(grown, int64(kvHeapNow())-int64(before))
	}
	if grown > kvHeap {
		t.Errorf("the heap has grown by %d MiB, want at most %d; %+v %+v", grown>>20, kvHeap>>20, r.sub.Stats(), r.index.Stats())
	}
	r.honest.step()
	if a.own != nil {
		eventually(t, "the liar's own state", func() error { return a.own(r) })
	}
	if err := harmless(); err != nil {
		t.Errorf("%v; %+v %+v", err, r.sub.Stats(), r.index.Stats())
	}
	if n := r.honest.connections(); n != 1 {
		t.Errorf("the honest endpoint was connected %d times", n)
	}
	// A liar that leaves takes with it what it said.
	for i, l := range r.liars {
		l.end()
		eventually(t, "the liar's end", func() error {
			if slot := kvLiars + i; r.index.Exact(int32(slot)) || r.matched(slot, kvModel, kvLie)+r.matched(slot, kvOther, kvLie) > 0 {
				return fmt.Errorf("its state is still there")
			}
			return nil
		})
	}
	r.honest.step()
	r.stop()
	eventually(t, "all goroutines end", func() error {
		if n := runtime.NumGoroutine(); n > goroutines {
			return fmt.Errorf("%d are left, of %d before", n, goroutines)
		}
		return nil
	})
}

// runKVAttacks runs attacks in both topologies.
func runKVAttacks(t *testing.T, list []kvAttack) {
	for topology, bind := range kvTopologies {
		t.Run(topology, func(t *testing.T) {
			for _, a := range list {
				t.Run(a.name, func(t *testing.T) { runKVAttack(t, bind, a) })
			}
		})
	}
}

func kvHeapNow() uint64 {
	runtime.GC()
	var m runtime.MemStats
	runtime.ReadMemStats(&m)
	return m.HeapAlloc
}
