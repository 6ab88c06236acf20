package epp

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/fairway-ai/fairway/epp/flowcontrol"
	"github.com/fairway-ai/fairway/epp/metrics"
	"github.com/fairway-ai/fairway/extproc"
	"github.com/fairway-ai/fairway/scheduler"
)

// announcing is a pool that says when its metrics change.
type announcing struct {
	*fakePool
	mu   sync.Mutex
	subs []func()
}

func (p *announcing) OnMetrics(f func()) (cancel func()) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.subs = append(p.subs, f)
	return func() {}
}

// metricsAre publishes every endpoint's metrics and announces them.
func (p *announcing) metricsAre(m scheduler.Metrics) {
	es := p.Snapshot().Endpoints
	all := make([]scheduler.Metrics, len(es))
	for i := range all {
		all[i] = m
		all[i].UnixNano = time.Now().UnixNano()
	}
	s := *p.Snapshot()
	s.Metrics = all
	p.snap.Store(&s)
	p.mu.Lock()
	subs := p.subs
	p.mu.Unlock()
	for _, f := range subs {
		f()
	}
}

// concurrent is flow control by the number of requests in flight.
func concurrent(perEndpoint int64) *flowcontrol.Config {
	c := flowcontrol.DefaultConfig()
	d := flowcontrol.DefaultConcurrency()
	d.MaxRequests = perEndpoint
	c.Detector = d
	return c
}

// priorities makes objectives of numbers.
func priorities(_, objective string) (int, bool) {
	var p int
	_, err := fmt.Sscan(objective, &p)
	return p, err == nil
}

// wish is a prompt with headers.
func wish(id string, headers ...extproc.Header) *extproc.Request {
	body := prompt(id, "m", 10)
	r := extproc.NewRequest(headers, nil)
	r.ID, r.Body, r.BodyBytes = id, body.Body, 100
	return r
}

func withPriority(id string, p int) *extproc.Request {
	return wish(id, extproc.Header{Name: headerObjective, Value: fmt.Sprint(p)})
}

func end(a *asked) { a.pick.Observer.End(time.Now(), extproc.Outcome{Status: 200, Complete: true}) }

// refusedAs checks what a client is told.
func refusedAs(t *testing.T, err error, status int, reason string) {
	t.Helper()
	var rej *extproc.Rejection
	if !errors.As(err, &rej) || rej.Status != status {
		t.Fatalf("error %v, want status %d", err, status)
	}
	if want := []extproc.Header{{Name: HeaderDropped, Value: reason}}; !slices.Equal(rej.Headers, want) {
		t.Errorf("headers %v, want %v", rej.Headers, want)
	}
}

func TestFlowOrder(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		pool := newFakePool(1)
		m := metrics.New(metrics.Options{})
		p := newPicker(t, Options{Pools: onePool(pool), Flow: concurrent(1), Priority: priorities, Metrics: m})
		first := ask(p, wish("first"))
		<-first.done
		var low, high, mid []*asked
		for i := range 3 {
			low = append(low, ask(p, withPriority(fmt.Sprint("low", i), -1)))
			synctest.Wait()
			mid = append(mid, ask(p, wish(fmt.Sprint("mid", i))))
			synctest.Wait()
			high = append(high, ask(p, wish(fmt.Sprint("high", i), extproc.Header{Name: headerObjectiveLegacy, Value: "5"})))
			synctest.Wait()
		}
		last := first
		for i, a := range slices.Concat(high, mid, low) {
			time.Sleep(time.Second)
			end(last)
			synctest.Wait()
			if !a.over() || a.err != nil {
				t.Fatalf("request %d is not served in its turn (error %v)", i, a.err)
			}
			last = a
		}
		end(last)
		p.Close()
		drained(t, pool.Snapshot().Endpoints)
		for _, line := range []string{
			`llm_d_epp_flow_control_requests_total{inference_pool="ns/pool",outcome="Dispatched",priority="5"} 3`,
			`llm_d_epp_flow_control_request_queue_duration_seconds_count{fairness_id="default-flow",inference_pool="ns/pool",model_name="m",outcome="Dispatched",priority="-1",target_model_name="m"} 3`,
		} {
			if !slices.Contains(scrapeLines(m), line) {
				t.Errorf("no line %s in\n%s", line, scrape(m))
			}
		}
	})
}

func TestFlowRefusals(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		pool := newFakePool(1)
		c := concurrent(1)
		c.TTL, c.NoEndpointTTL = 5*time.Second, time.Minute
		c.MaxRequests, c.Evict = 2, true
		p := newPicker(t, Options{Pools: onePool(pool), Flow: c, Priority: priorities})
		first := ask(p, wish("first"))
		<-first.done
		lowest, low := ask(p, withPriority("lowest", -2)), ask(p, withPriority("low", -1))
		synctest.Wait()
		// Full: nobody makes room for an equal, the lowest does for a higher one.
		equal := ask(p, withPriority("equal", -2))
		<-equal.done
		refusedAs(t, equal.err, 429, "rejected-saturated")
		normal := ask(p, wish("normal"))
		<-lowest.done
		refusedAs(t, lowest.err, 429, "evicted-queue-pressure")
		time.Sleep(5 * time.Second)
		<-low.done
		refusedAs(t, low.err, 429, "rejected-ttl-expired")
		<-normal.done
		refusedAs(t, normal.err, 429, "rejected-ttl-expired")

		// Without endpoints requests wait for one, and differently long.
		pool.set(nil)
		patient := ask(p, wish("patient"))
		time.Sleep(30 * time.Second)
		synctest.Wait()
		if patient.over() {
			t.Fatalf("gave up early: %v", patient.err)
		}
		again := endpoint(1)
		pool.set([]scheduler.Endpoint{again})
		<-patient.done
		if patient.err != nil || patient.took != 30*time.Second {
			t.Fatalf("served after %v (error %v), want at once when there is an endpoint", patient.took, patient.err)
		}
		end(patient)
		end(first)
		pool.set(nil)
		hopeless := ask(p, wish("hopeless"))
		<-hopeless.done
		refusedAs(t, hopeless.err, 503, "rejected-no-endpoints")
		if hopeless.took != time.Minute {
			t.Errorf("waited %v for an endpoint, want a minute", hopeless.took)
		}
		left := ask(p, wish("left"))
		synctest.Wait()
		left.cancel()
		<-left.done
		if !errors.Is(left.err, context.Canceled) || left.took != 0 {
			t.Errorf("after %v error %v, want at once that the client left", left.took, left.err)
		}
		shut := ask(p, wish("shut"))
		synctest.Wait()
		p.Close()
		<-shut.done
		refusedAs(t, shut.err, 503, "rejected-shutting-down")
		drained(t, []scheduler.Endpoint{again})
	})
}

// TestFlowShorterWait: a bound that becomes shorter while requests wait counts from
// then on.
func TestFlowShorterWait(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		pool := &announcing{fakePool: newFakePool(1)} // else somebody would look all the time
		es := pool.Snapshot().Endpoints
		c := concurrent(1)
		c.NoEndpointTTL = time.Second
		p := newPicker(t, Options{Pools: onePool(pool), Flow: c})
		first := ask(p, wish("first"))
		<-first.done
		a := ask(p, wish("a"))
		time.Sleep(5 * time.Second)
		pool.set(nil)
		<-a.done
		refusedAs(t, a.err, 503, "rejected-no-endpoints")
		if a.took != 6*time.Second {
			t.Errorf("waited %v, want a second after the endpoint went", a.took)
		}
		end(first)
		drained(t, es)
	})
}

// TestFlowDismissed: when the process ends those who wait are sent elsewhere, and those
// who need not are served.
func TestFlowDismissed(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		pool := newFakePool(1)
		p := newPicker(t, Options{Pools: onePool(pool), Flow: concurrent(1)})
		first := ask(p, wish("first"))
		<-first.done
		a := ask(p, wish("a"))
		synctest.Wait()
		p.Dismiss()
		<-a.done
		refusedAs(t, a.err, 503, "rejected-shutting-down")
		late := ask(p, wish("late"))
		<-late.done
		refusedAs(t, late.err, 503, "rejected-shutting-down")
		end(first)
		free := ask(p, wish("free"))
		<-free.done
		if free.err != nil {
			t.Errorf("refused although there is room: %v", free.err)
		}
		end(free)
		drained(t, pool.Snapshot().Endpoints)
	})
}

// picky is a filter that keeps nothing for one request.
type picky struct{ rejectAll }

func (picky) Filter(c *scheduler.Cycle, in []int32) []int32 {
	if c.Request.ID == "odd" {
		return nil
	}
	return in
}

func (picky) Pick(c *scheduler.Cycle, _ []float32) []int32 { return c.Candidates }

// TestFlowUnscheduled: the room of a request that no endpoint takes is another's.
func TestFlowUnscheduled(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		pool := newFakePool(1)
		policy := scheduler.NewProfile("p", []scheduler.Filter{picky{}}, nil, picky{})
		p := newPicker(t, Options{Pools: []Pool{{Name: "p", Endpoints: pool, Policy: policy}}, Flow: concurrent(1)})
		first := ask(p, wish("first"))
		<-first.done
		odd := ask(p, wish("odd"))
		synctest.Wait()
		next := ask(p, wish("next"))
		synctest.Wait()
		end(first)
		<-odd.done
		refusedAs(t, odd.err, 429, "rejected-saturated")
		<-next.done
		if next.err != nil || next.took != 0 {
			t.Errorf("served after %v (error %v), want at once", next.took, next.err)
		}
		end(next)
		drained(t, pool.Snapshot().Endpoints)
	})
}

// TestFlowByMetrics: a pool that is saturated by others opens with its metrics, and
// not sooner.
func TestFlowByMetrics(t *testing.T) {
	for _, tt := range []struct {
		announces bool
		after     time.Duration
	}{{true, 0}, {false, recheck}} {
		synctest.Test(t, func(t *testing.T) {
			pool := &announcing{fakePool: newFakePool(2)}
			var e Endpoints = pool
			if !tt.announces {
				e = pool.fakePool
			}
			pool.metricsAre(scheduler.Metrics{Known: true, Waiting: 9, OtherWaiting: 9})
			p := newPicker(t, Options{Pools: onePool(e), Flow: flowcontrol.DefaultConfig()})
			var all []*asked
			for i := range 12 {
				all = append(all, ask(p, wish(fmt.Sprint(i))))
			}
			time.Sleep(10 * time.Second)
			pool.metricsAre(scheduler.Metrics{Known: true})
			time.Sleep(tt.after)
			synctest.Wait()
			// Two endpoints with a queue of 5 each: what was sent counts before the next
			// reading.
			served := 0
			for _, a := range all {
				if a.over() {
					served++
				}
			}
			if served != 10 {
				t.Errorf("announcing %t: %d served, want 10", tt.announces, served)
			}
			p.Close()
			for _, a := range all {
				if <-a.done; a.err == nil {
					end(a)
				}
			}
			drained(t, pool.Snapshot().Endpoints)
		})
	}
}

// askOnly asks p for a request of a priority that may go to one endpoint only.
func askOnly(p *Picker, id string, e scheduler.Endpoint, priority int) *asked {
	r := withPriority(id, priority)
	r.HasSubset, r.Subset = true, []string{e.Address}
	return ask(p, r)
}

// TestFlowSubsets: who waits for a busy endpoint does not hold up who waits for an
// idle one.
func TestFlowSubsets(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		pool := newFakePool(2)
		es := pool.Snapshot().Endpoints
		p := newPicker(t, Options{Pools: onePool(pool), Flow: concurrent(1), Priority: priorities})
		busy := askOnly(p, "busy", es[0], 0)
		<-busy.done
		behind := askOnly(p, "behind", es[0], 9)
		synctest.Wait()
		free := askOnly(p, "free", es[1], -5)
		<-free.done
		if free.err != nil || free.took != 0 {
			t.Fatalf("took %v (error %v) although its endpoint is idle", free.took, free.err)
		}
		end(busy)
		<-behind.done
		end(behind)
		end(free)
		drained(t, es)
	})
}

// TestFlowNoRoomToWait: where nobody more may wait, who need not wait is served all the
// same, and nobody is turned out for it.
func TestFlowNoRoomToWait(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		pool := newFakePool(2)
		es := pool.Snapshot().Endpoints
		c := concurrent(2)
		c.MaxRequests, c.Evict = 2, true
		c.Limit = flowcontrol.UsageLimit{Type: flowcontrol.HoldbackLimit, Holdback: flowcontrol.Holdback{
			Domain: flowcontrol.DomainExplicit, Ceilings: map[int]float64{9: 1, 0: 0.5, -1: 0.5},
		}}
		p := newPicker(t, Options{Pools: onePool(pool), Flow: c, Priority: priorities})
		defer p.Close()
		busy := askOnly(p, "busy", es[0], 0)
		<-busy.done
		behind, low := askOnly(p, "behind", es[0], 0), askOnly(p, "low", es[0], -1)
		synctest.Wait()
		var served []*asked
		// One after the other: until one has got its endpoint, it counts for every endpoint.
		for _, who := range []func() *asked{
			func() *asked { return askOnly(p, "free", es[1], 0) },
			func() *asked { return askOnly(p, "first", es[0], 9) },
		} {
			a := who()
			<-a.done
			if a.err != nil || a.took != 0 {
				t.Fatalf("error %v after %v, want to be served at once", a.err, a.took)
			}
			served = append(served, a)
		}
		if behind.over() || low.over() {
			t.Fatal("a request that waits was turned out or served")
		}
		equal := askOnly(p, "equal", es[0], -1)
		<-equal.done
		refusedAs(t, equal.err, 429, "rejected-saturated")
		last := askOnly(p, "last", es[0], 9) // must wait, and so takes low's place
		<-low.done
		refusedAs(t, low.err, 429, "evicted-queue-pressure")
		for _, a := range append(served, busy) {
			end(a)
		}
		<-last.done
		end(last)
		<-behind.done
		end(behind)
		drained(t, es)
	})
}

func TestShedding(t *testing.T) {
	pool := newFakePool(1)
	shed := &flowcontrol.Shedder{Detector: flowcontrol.DefaultUtilization()}
	p := newPicker(t, Options{Pools: onePool(pool), Shed: shed, Priority: priorities})
	for _, tt := range []struct {
		metrics  scheduler.Metrics
		priority int
		served   bool
	}{
		{scheduler.Metrics{}, -1, false}, // nothing is known
		{scheduler.Metrics{}, 0, true},
		{scheduler.Metrics{Known: true}, -1, true},
		{scheduler.Metrics{Known: true, KVUsage: 0.9}, -1, false},
		{scheduler.Metrics{Known: true, KVUsage: 0.9}, 1, true},
	} {
		pool.publish(pool.Snapshot().Endpoints, []scheduler.Metrics{tt.metrics})
		pick, err := p.Pick(context.Background(), withPriority("r", tt.priority))
		if (err == nil) != tt.served {
			t.Errorf("priority %d, %+v: error %v", tt.priority, tt.metrics, err)
		}
		if err != nil {
			refusedAs(t, err, 429, "rejected-saturated")
			continue
		}
		pick.Observer.End(time.Now(), extproc.Outcome{})
	}
	pool.set(nil)
	_, err := p.Pick(context.Background(), withPriority("r", -1))
	refusedAs(t, err, 503, "rejected-no-endpoints")
}

// TestFlowHistories plays random histories, with the default policy behind the queue,
// and checks after every step that the pool is neither overfull nor idle while
// somebody waits.
func TestFlowHistories(t *testing.T) {
	queued := 0
	for seed := range uint64(20) {
		t.Run(fmt.Sprint(seed), func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				if flowHistory(t, rand.New(rand.NewPCG(seed, 3))) {
					queued++
				}
			})
		})
	}
	if queued < 10 {
		t.Errorf("requests waited in %d histories: they prove little", queued)
	}
}

func flowHistory(t *testing.T, rng *rand.Rand) (queued bool) {
	const each = 3
	pool := newFakePool(1 + rng.IntN(3))
	every := slices.Clone(pool.Snapshot().Endpoints)
	c := concurrent(each)
	c.TTL, c.NoEndpointTTL, c.Evict = 20*time.Second, 20*time.Second, rng.IntN(2) == 0
	p := newPicker(t, Options{Pools: onePool(pool), Flow: c, Hold: rng.IntN(2) == 0, Priority: priorities})
	var waiting, flying []*asked
	ended := map[*asked]*atomic.Int32{} // how often a request was evicted
	over := func(a *asked) {
		if n := ended[a]; n != nil && n.Load() > 0 {
			cut(a)
			return
		}
		end(a)
	}
	g := p.routes.Load().all[0].state.flow
	for step := range 200 {
		switch k := rng.IntN(20); {
		case k < 9:
			req := withPriority(fmt.Sprint(step), rng.IntN(3)-1)
			req.Body.PromptBytes = int64(rng.IntN(40_000))
			waiting = append(waiting, ask(p, req))
		case k < 14 && len(flying) > 0:
			i := rng.IntN(len(flying))
			over(flying[i])
			flying = slices.Delete(flying, i, i+1)
		case k < 15 && len(waiting) > 0:
			waiting[rng.IntN(len(waiting))].cancel()
		case k < 16:
			es := slices.Clone(pool.Snapshot().Endpoints)
			if rng.IntN(2) == 0 && len(es) > 0 {
				es = es[1:]
			} else {
				e := endpoint(len(every))
				every = append(every, e)
				es = append(es, e)
			}
			pool.set(es)
		default:
			time.Sleep(time.Duration(rng.IntN(1000)) * time.Millisecond)
		}
		synctest.Wait()
		inFlight, es := 0, pool.Snapshot().Endpoints
		for _, e := range es {
			inFlight += int(e.Load.View().Requests)
		}
		g.mu.Lock()
		if n := g.queue.Len(); n > 0 {
			queued = true
			if inFlight < each*len(es) {
				t.Errorf("step %d: %d wait with %d of %d in flight", step, n, inFlight, each*len(es))
			}
		}
		if g.pool.pending != (flowcontrol.Pending{}) {
			t.Errorf("step %d: %+v between gate and endpoint", step, g.pool.pending)
		}
		g.mu.Unlock()
		waiting = slices.DeleteFunc(waiting, func(a *asked) bool {
			if !a.over() {
				return false
			}
			var rej *extproc.Rejection
			switch {
			case a.err == nil:
				flying = append(flying, a)
				if i := a.pick.Interrupt; i != nil && rng.IntN(5) > 0 { // else its response came first
					n := new(atomic.Int32)
					ended[a] = n
					i.Bind(func(*extproc.Rejection) bool { n.Add(1); return true })
				}
			case errors.Is(a.err, context.Canceled), errors.As(a.err, &rej):
			default:
				t.Errorf("Pick: %v", a.err)
			}
			return true
		})
	}
	p.Close()
	synctest.Wait()
	time.Sleep(time.Minute)
	for _, a := range slices.Concat(waiting, flying) {
		if <-a.done; a.err == nil {
			over(a)
		}
		if n := ended[a]; n != nil && n.Load() > 1 {
			t.Error("a request was evicted twice")
		}
	}
	drained(t, every)
	if e := g.pool.evictor; e != nil && e.Len() > 0 {
		t.Errorf("%d ended requests may still be evicted", e.Len())
	}
	if g.callers.Load() != 0 || g.pool.pending != (flowcontrol.Pending{}) || g.held() != 0 {
		t.Errorf("%d callers, %+v, %d wait at the end", g.callers.Load(), g.pool.pending, g.held())
	}
	return queued
}

// TestFlowStress lets many clients at a small pool at once, for the race detector and
// for wakeups that only real concurrency loses; the pool must never be overfull.
func TestFlowStress(t *testing.T) {
	const each = 4
	pool := newFakePool(2)
	es := pool.Snapshot().Endpoints
	c := concurrent(each)
	c.TTL, c.NoEndpointTTL = time.Hour, time.Hour
	c.Default.Fairness = flowcontrol.Fairness{Type: flowcontrol.ProgramAware, Programs: flowcontrol.DefaultPrograms()}
	c.Evict = true
	p := newPicker(t, Options{Pools: onePool(pool), Flow: c, Priority: priorities, Hold: true})
	var wg sync.WaitGroup
	for k := range 32 {
		wg.Go(func() {
			rng := rand.New(rand.NewPCG(uint64(k), 2))
			for i := range 100 {
				ctx, cancel := context.WithCancel(context.Background())
				if rng.IntN(5) == 0 {
					go cancel()
				}
				req := withPriority(fmt.Sprint(k, "-", i), rng.IntN(3)-1)
				pick, err := p.Pick(ctx, req)
				if err == nil {
					if n := es[0].Load.View().Requests + es[1].Load.View().Requests; n > 2*each {
						t.Errorf("%d in flight, at most %d may be", n, 2*each)
					}
					if i := pick.Interrupt; i != nil {
						hit := make(chan struct{}, 1)
						i.Bind(func(*extproc.Rejection) bool { hit <- struct{}{}; return true })
						select {
						case <-hit:
						case <-time.After(time.Duration(rng.IntN(200)) * time.Microsecond):
						}
						i.Bind(nil)
					}
					pick.Observer.End(time.Now(), extproc.Outcome{Chunks: 7, Streamed: true})
				} else if !errors.Is(err, context.Canceled) {
					t.Errorf("Pick: %v", err)
				}
				cancel()
			}
		})
	}
	wg.Wait()
	drained(t, es)
	g := p.routes.Load().all[0].state.flow
	if g.callers.Load() != 0 || g.held() != 0 {
		t.Errorf("%d callers and %d waiting at the end", g.callers.Load(), g.held())
	}
}

func scrapeLines(m *metrics.Metrics) []string { return strings.Split(scrape(m), "\n") }

// TestFlowSettleWakes: a request counts twice for a moment, as let through and at its
// endpoint. What ends in that moment makes room that nobody saw.
func TestFlowSettleWakes(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		pool := newFakePool(1)
		p := newPicker(t, Options{Pools: onePool(pool), Flow: concurrent(2)})
		g, load, now := p.routes.Load().all[0].state.flow, pool.Snapshot().Endpoints[0].Load, time.Now()
		var flights [2]scheduler.Flight
		var all []*request
		for i := range 3 {
			r := newRequest(p)
			r.begin(wish(fmt.Sprint(i)))
			if at := g.enter(r, now); (at == waits) != (i == 2) {
				t.Fatalf("request %d: %v", i, at)
			}
			all = append(all, r)
		}
		flights[0].Bind(load, 0, 10)
		g.settle(all[0], now)
		flights[1].Bind(load, 0, 10)
		flights[0].End(now)
		g.release(now)
		if len(all[2].told) > 0 {
			t.Fatal("let through while two are counted")
		}
		g.settle(all[1], now)
		if len(all[2].told) == 0 {
			t.Error("there is room, and nobody is told")
		}
	})
}
