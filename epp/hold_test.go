package epp

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"slices"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/fairway-ai/fairway/epp/metrics"
	"github.com/fairway-ai/fairway/extproc"
	"github.com/fairway-ai/fairway/scheduler"
)

// asked is a Pick under way in a goroutine of its own.
type asked struct {
	cancel context.CancelFunc
	done   chan struct{}
	pick   extproc.Pick
	err    error
	first  bool // its first token was reported
	took   time.Duration
}

func (a *asked) over() bool {
	select {
	case <-a.done:
		return true
	default:
		return false
	}
}

func ask(p *Picker, req *extproc.Request) *asked {
	ctx, cancel := context.WithCancel(context.Background())
	a := &asked{cancel: cancel, done: make(chan struct{})}
	start := time.Now()
	go func() {
		a.pick, a.err = p.Pick(ctx, req)
		a.took = time.Since(start)
		close(a.done)
	}()
	return a
}

// nobodyWaits checks the property: no request is held for an endpoint that would
// take it.
func nobodyWaits(t *testing.T, p *Picker) {
	t.Helper()
	for _, r := range p.routes.Load().all {
		for _, g := range *r.state.gates.Load() {
			g.mu.Lock()
			if g.queue.Len() > 0 && scheduler.Admits(g.load.Prefilling()) {
				t.Errorf("%s: %d requests wait although only %d tokens are outstanding", g.id, g.queue.Len(), g.load.Prefilling())
			}
			if g.closed {
				t.Errorf("%s: a closed gate is in use", g.id)
			}
			g.mu.Unlock()
		}
	}
}

// TestHoldHistories plays random histories and looks after every step whether
// somebody waits who need not, and at the end whether anything is left.
func TestHoldHistories(t *testing.T) {
	for seed := range uint64(30) {
		t.Run(fmt.Sprint(seed), func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) { holdHistory(t, rand.New(rand.NewPCG(seed, 1))) })
		})
	}
}

func holdHistory(t *testing.T, rng *rand.Rand) {
	pool := newFakePool(1 + rng.IntN(4))
	every := slices.Clone(pool.Snapshot().Endpoints)
	p := newPicker(t, Options{Pools: onePool(pool), Hold: true, Seed: rng.Uint64()})
	var held, flying []*asked
	heldOnce, holds := false, true
	for step := range 300 {
		switch k := rng.IntN(20); {
		case k < 8:
			req := prompt(fmt.Sprint(step), "m", int64(rng.IntN(20_000)))
			req.Body.Stream = rng.IntN(4) > 0
			held = append(held, ask(p, req))
		case k < 11 && len(flying) > 0:
			if a := flying[rng.IntN(len(flying))]; !a.first {
				a.first = true
				es := pool.Snapshot().Endpoints
				served := ""
				if rng.IntN(4) == 0 && len(es) > 0 {
					served = es[rng.IntN(len(es))].Address
				}
				a.pick.Observer.ResponseHeaders(time.Now(), []int{200, 200, 500}[rng.IntN(3)], served)
				a.pick.Observer.FirstToken(time.Now())
			}
		case k < 14 && len(flying) > 0:
			i := rng.IntN(len(flying))
			flying[i].pick.Observer.End(time.Now(), extproc.Outcome{Status: 200, Complete: rng.IntN(2) == 0})
			flying = slices.Delete(flying, i, i+1)
		case k < 15 && len(held) > 0:
			held[rng.IntN(len(held))].cancel()
		case k < 16:
			es := slices.Clone(pool.Snapshot().Endpoints)
			if len(es) > 1 || len(es) == 1 && rng.IntN(4) == 0 {
				es = slices.Delete(es, 0, 1)
			}
			pool.set(es)
		case k < 17:
			e := endpoint(len(every))
			every = append(every, e)
			pool.set(append(slices.Clone(pool.Snapshot().Endpoints), e))
		case k < 18 && rng.IntN(4) == 0: // to a policy that holds nobody, or back
			pools := onePool(pool)
			if holds = !holds; !holds {
				pools[0].Policy = scheduler.Priced{}
			}
			if err := p.SetPools(pools); err != nil {
				t.Fatal(err)
			}
		default:
			time.Sleep(time.Duration(rng.IntN(2000)) * time.Millisecond)
		}
		synctest.Wait()
		nobodyWaits(t, p)
		heldOnce = heldOnce || p.routes.Load().all[0].state.held() > 0
		held = slices.DeleteFunc(held, func(a *asked) bool {
			if !a.over() {
				return false
			}
			var rej *extproc.Rejection
			switch {
			case a.err == nil:
				flying = append(flying, a)
			case errors.Is(a.err, context.Canceled):
			case errors.As(a.err, &rej) && rej.Status == 503 && pool.Snapshot().Len() == 0:
			default:
				t.Errorf("Pick: %v", a.err)
			}
			return true
		})
		if n := p.routes.Load().all[0].state.held(); n != len(held) {
			t.Errorf("step %d: %d requests are in queues, %d wait", step, n, len(held))
		}
	}
	// At the latest after the longest hold everything has gone through.
	time.Sleep(DefaultMaxHold)
	synctest.Wait()
	for _, a := range held {
		if !a.over() {
			t.Fatal("a request is held for longer than the bound")
		}
		if a.err == nil {
			flying = append(flying, a)
		}
	}
	for _, a := range flying {
		a.pick.Observer.End(time.Now(), extproc.Outcome{})
	}
	p.Close()
	drained(t, every)
	if !heldOnce {
		t.Error("nothing was ever held: the history proves little")
	}
}

// TestHoldStress lets many clients at few endpoints at once, for the race
// detector and for wakeups that only real concurrency loses.
func TestHoldStress(t *testing.T) {
	pool := newFakePool(3)
	every := slices.Clone(pool.Snapshot().Endpoints)
	p := newPicker(t, Options{Pools: onePool(pool), Hold: true, MaxHold: time.Hour})
	var wg sync.WaitGroup
	for c := range 16 {
		wg.Go(func() {
			rng := rand.New(rand.NewPCG(uint64(c), 2))
			for i := range 150 {
				ctx, cancel := context.WithCancel(context.Background())
				if rng.IntN(5) == 0 {
					go cancel()
				}
				req := prompt(fmt.Sprint(c, "-", i), "m", 4000+int64(rng.IntN(9000)))
				req.Body.Stream = rng.IntN(2) == 0
				pick, err := p.Pick(ctx, req)
				if err == nil {
					if rng.IntN(2) == 0 {
						pick.Observer.ResponseHeaders(time.Now(), 200, every[rng.IntN(3)].Address)
						pick.Observer.FirstToken(time.Now())
					}
					pick.Observer.End(time.Now(), extproc.Outcome{})
				} else if !errors.Is(err, context.Canceled) {
					t.Errorf("Pick: %v", err)
				}
				cancel()
			}
		})
	}
	wg.Go(func() {
		for i := range 200 {
			pool.set(slices.Clone(every[:2+i%2]))
		}
		pool.set(every)
	})
	wg.Wait()
	nobodyWaits(t, p)
	drained(t, every)
}

// busy fills the endpoint of a one-endpoint pool and returns what does it.
func busy(t *testing.T, p *Picker) extproc.Observer {
	t.Helper()
	return mustPick(t, p, prompt("busy", "m", scheduler.HoldTokens)).Observer
}

func TestShortestUncachedFirst(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		p := newPicker(t, Options{Pools: onePool(newFakePool(1)), Hold: true})
		first := busy(t, p)
		long := ask(p, prompt("long", "m", 40_000))
		synctest.Wait()
		short := ask(p, prompt("short", "m", scheduler.HoldTokens))
		synctest.Wait()
		if long.over() || short.over() {
			t.Fatal("a busy endpoint was sent more")
		}
		first.FirstToken(time.Now())
		synctest.Wait()
		if !short.over() || long.over() {
			t.Fatalf("sent: short %v, long %v, want the short one alone", short.over(), long.over())
		}
		short.pick.Observer.End(time.Now(), extproc.Outcome{})
		synctest.Wait()
		if !long.over() {
			t.Fatal("the long request still waits for an idle endpoint")
		}
		long.pick.Observer.End(time.Now(), extproc.Outcome{})
		first.End(time.Now(), extproc.Outcome{})
	})
}

func TestHeldNoLongerThanTheBound(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		m := metrics.New(metrics.Options{})
		p := newPicker(t, Options{Pools: onePool(newFakePool(1)), Hold: true, MaxHold: 5 * time.Second, Metrics: m})
		first := busy(t, p)
		a := ask(p, prompt("r", "m", 10))
		<-a.done
		if a.err != nil || a.took != holdTime(5*time.Second) {
			t.Errorf("held for %v (error %v), want %v", a.took, a.err, holdTime(5*time.Second))
		}
		a.pick.Observer.End(time.Now(), extproc.Outcome{})
		first.End(time.Now(), extproc.Outcome{})
	})
}

func TestHeldClientGone(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		pool := newFakePool(1)
		p := newPicker(t, Options{Pools: onePool(pool), Hold: true})
		first := busy(t, p)
		a := ask(p, prompt("r", "m", 10))
		synctest.Wait()
		a.cancel()
		<-a.done
		if !errors.Is(a.err, context.Canceled) {
			t.Errorf("error %v, want context.Canceled", a.err)
		}
		if v := pool.Snapshot().Endpoints[0].Load.View(); v.Requests != 1 || v.Backlog != scheduler.HoldTokens {
			t.Errorf("load %+v, want the busy request alone", v)
		}
		first.End(time.Now(), extproc.Outcome{})
		drained(t, pool.Snapshot().Endpoints)
	})
}

func TestHeldEndpointGone(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		pool := newFakePool(1)
		old := pool.Snapshot().Endpoints
		p := newPicker(t, Options{Pools: onePool(pool), Hold: true})
		first := busy(t, p)
		a := ask(p, prompt("r", "m", 10))
		synctest.Wait()
		fresh := endpoint(7)
		pool.set([]scheduler.Endpoint{fresh})
		<-a.done
		if a.err != nil || a.pick.Destinations != fresh.Address {
			t.Fatalf("picked %q (error %v), want %s", a.pick.Destinations, a.err, fresh.Address)
		}
		if a.took != 0 {
			t.Errorf("the request waited %v after its endpoint had gone", a.took)
		}
		a.pick.Observer.End(time.Now(), extproc.Outcome{})
		first.End(time.Now(), extproc.Outcome{})
		drained(t, append(old, fresh))
	})
}

func TestHeldEndpointRefusesConnections(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		pool := newFakePool(2)
		es := pool.Snapshot().Endpoints
		p := newPicker(t, Options{Pools: onePool(pool), Hold: true})
		pool.refuse(1, 2) // so that both requests go to the first
		first := busy(t, p)
		a := ask(p, prompt("r", "m", 10))
		synctest.Wait()
		pool.refuse(0, 2)
		synctest.Wait()
		if a.over() {
			t.Fatal("a request left its endpoint although no other is reachable")
		}
		pool.refuse(0, 1)
		<-a.done
		if a.err != nil || !strings.HasPrefix(a.pick.Destinations, es[1].Address) {
			t.Fatalf("picked %q (error %v), want %s", a.pick.Destinations, a.err, es[1].Address)
		}
		if a.took != 0 {
			t.Errorf("the request waited %v for an endpoint that refuses connections", a.took)
		}
		a.pick.Observer.End(time.Now(), extproc.Outcome{})
		first.End(time.Now(), extproc.Outcome{})
		drained(t, es)
	})
}

func TestHeldPoolGone(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		pool := newFakePool(1)
		p := newPicker(t, Options{Pools: onePool(pool), Hold: true})
		first := busy(t, p)
		a := ask(p, prompt("r", "m", 10))
		synctest.Wait()
		p.Close()
		<-a.done
		if a.err != nil {
			t.Fatalf("the held request was lost: %v", a.err)
		}
		a.pick.Observer.End(time.Now(), extproc.Outcome{})
		first.End(time.Now(), extproc.Outcome{})
		drained(t, pool.Snapshot().Endpoints)
	})
}

func TestConfiguredPolicyNeverHolds(t *testing.T) {
	pool := newFakePool(1)
	p := newPicker(t, Options{Pools: []Pool{{Name: "p", Endpoints: pool, Policy: scheduler.Priced{}}}, Hold: true})
	for range 5 {
		busy(t, p)
	}
	if v := pool.Snapshot().Endpoints[0].Load.View(); v.Dispatched != 5 {
		t.Errorf("dispatched %d, want all 5", v.Dispatched)
	}
}

// TestWholeAnswersLeavePrefillByEstimate: the answer of a request that is not
// streamed comes after its decode, and must not keep the endpoint busy until then.
func TestWholeAnswersLeavePrefillByEstimate(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		pool := newFakePool(1)
		p := newPicker(t, Options{Pools: onePool(pool), Hold: true})
		req := prompt("whole", "m", 2*scheduler.DefaultPrefillRate)
		req.Body.Stream = false
		whole := mustPick(t, p, req)
		a := ask(p, prompt("next", "m", 10))
		<-a.done
		if a.took != 3*time.Second {
			t.Errorf("the next request was sent after %v, want the estimate of 2 s and its margin", a.took)
		}
		if rate := pool.Snapshot().Endpoints[0].Load.View().PrefillRate; rate != 0 {
			t.Errorf("an estimate taught a prefill rate of %v", rate)
		}
		whole.Observer.End(time.Now(), extproc.Outcome{})
		a.pick.Observer.End(time.Now(), extproc.Outcome{})
		drained(t, pool.Snapshot().Endpoints)
	})
}

// TestGivenUpAsItIsSent: the client goes away in the moment its request is let
// through. Nothing of that may reach the next request in the same memory.
func TestGivenUpAsItIsSent(t *testing.T) {
	pool := newFakePool(1)
	p := newPicker(t, Options{Pools: onePool(pool), Hold: true})
	first := busy(t, p)
	r := newRequest(p)
	req := prompt("r", "m", 10)
	r.begin(req)
	r.route = p.routes.Load().all[0]
	if err := r.schedule(); err != nil {
		t.Fatal(err)
	}
	g := r.route.state.gateOf(pool.Snapshot().Endpoints[0].Load)
	r.mu.Lock()
	r.endpoint, r.gate = pool.Snapshot().Endpoints[0], g
	r.flight.Bind(g.load, 10, 10)
	r.mu.Unlock()
	if at := g.enter(r, time.Now()); at != waits {
		t.Fatalf("a busy endpoint let a request through: %v", at)
	}
	first.FirstToken(time.Now()) // sends it
	if _, err := r.giveUp(g, context.Canceled); !errors.Is(err, context.Canceled) {
		t.Errorf("error %v, want context.Canceled", err)
	}
	if len(r.told) != 0 {
		t.Error("a message is left for the next request")
	}
	r.reject(context.Canceled)
	first.End(time.Now(), extproc.Outcome{})
	drained(t, pool.Snapshot().Endpoints)
}

// TestHeldAcrossPolicies: a pool's policy changes between one that holds and one that does
// not, while requests run and others wait. Whoever makes room lets those who wait go,
// whichever policy sent it.
func TestHeldAcrossPolicies(t *testing.T) {
	configured := func(e Endpoints) []Pool {
		return []Pool{{Name: "ns/pool", Endpoints: e, Policy: scheduler.Priced{}}}
	}
	ways := map[string]func(s *announcedEnd){
		"first token": func(s *announcedEnd) { s.o.FirstToken(time.Now()) },
		"end":         func(s *announcedEnd) { s.end() },
		"elsewhere":   func(s *announcedEnd) { s.o.ResponseHeaders(time.Now(), 200, endpoint(1).Address) },
	}
	for name, way := range ways {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				pool := newFakePool(2)
				p := newPicker(t, Options{Pools: configured(pool), Hold: true})
				defer p.Close()
				only := func(r *extproc.Request) *extproc.Request {
					r.Subset, r.HasSubset = []string{endpoint(0).Address}, true
					return r
				}
				run := &announcedEnd{o: mustPick(t, p, only(prompt("long", "m", 2*scheduler.HoldTokens))).Observer}
				if err := p.SetPools(onePool(pool)); err != nil {
					t.Fatal(err)
				}
				a := ask(p, only(prompt("held", "m", 10)))
				synctest.Wait()
				if a.over() {
					t.Fatal("the endpoint was not busy")
				}
				if err := p.SetPools(configured(pool)); err != nil {
					t.Fatal(err)
				}
				time.Sleep(time.Second)
				way(run)
				<-a.done
				if a.err != nil || a.took != time.Second {
					t.Errorf("sent after %v (error %v), want when there was room", a.took, a.err)
				}
				run.end()
				a.pick.Observer.End(time.Now(), extproc.Outcome{})
				drained(t, pool.Snapshot().Endpoints)
			})
		})
	}
}

// announcedEnd is an observer that is told of its end once.
type announcedEnd struct {
	o    extproc.Observer
	over bool
}

func (s *announcedEnd) end() {
	if !s.over {
		s.over = true
		s.o.End(time.Now(), extproc.Outcome{})
	}
}
