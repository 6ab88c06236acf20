package epp

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/fairway-ai/fairway/epp/flowcontrol"
	"github.com/fairway-ai/fairway/epp/metrics"
	"github.com/fairway-ai/fairway/extproc"
	"github.com/fairway-ai/fairway/scheduler"
)

// victims stand for the proxy's streams: they note who is ended, and do not end it yet.
type victims struct {
	t     *testing.T
	mu    sync.Mutex
	names []string
	told  map[string]*extproc.Rejection
}

func (v *victims) watch(name string, a *asked) {
	v.t.Helper()
	<-a.done
	if a.err != nil || a.pick.Interrupt == nil {
		v.t.Fatalf("%s: error %v, interrupt %v", name, a.err, a.pick.Interrupt)
	}
	a.pick.Interrupt.Bind(func(r *extproc.Rejection) bool {
		v.mu.Lock()
		defer v.mu.Unlock()
		v.names = append(v.names, name)
		if v.told == nil {
			v.told = map[string]*extproc.Rejection{}
		}
		v.told[name] = r
		return true
	})
}

func (v *victims) want(names ...string) {
	v.t.Helper()
	synctest.Wait()
	v.mu.Lock()
	defer v.mu.Unlock()
	if !slices.Equal(v.names, names) {
		v.t.Fatalf("evicted %q, want %q", v.names, names)
	}
}

// cut ends an evicted request's stream.
func cut(a *asked) {
	a.pick.Observer.End(time.Now(), extproc.Outcome{Status: 429, Interrupted: true})
}

// evicting is flow control that ends running requests.
func evicting(perEndpoint int64) *flowcontrol.Config {
	c := concurrent(perEndpoint)
	c.Evict = true
	return c
}

func TestEvict(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		pool := newFakePool(1)
		m := metrics.New(metrics.Options{})
		p := newPicker(t, Options{Pools: onePool(pool), Flow: evicting(5), Priority: priorities, Metrics: m})
		v := &victims{t: t}
		send := func(name string, priority int) *asked {
			a := ask(p, withPriority(name, priority))
			v.watch(name, a)
			time.Sleep(time.Second)
			return a
		}
		old, low, late := send("old", -1), send("low", -3), send("late", -1)
		answered := send("answered", -5)
		answered.pick.Observer.ResponseHeaders(time.Now(), 200, "")
		normal := ask(p, wish("normal"))
		<-normal.done
		if normal.pick.Interrupt != nil {
			t.Error("a request of priority 0 may be ended")
		}

		// One that is sheddable itself may only end lower ones.
		same := ask(p, withPriority("same", -3))
		v.want()
		next := ask(p, withPriority("next", -1))
		v.want("low")
		if next.over() || same.over() {
			t.Fatal("served before there is room")
		}
		refusedAs(t, v.told["low"], 429, "evicted")
		// Only as many as are needed, and nobody twice.
		high := ask(p, withPriority("high", 2))
		time.Sleep(time.Second)
		v.want("low")
		cut(low)
		<-high.done // it has the room that next was to get
		v.want("low")
		if next.over() {
			t.Fatal("two requests got the room of one")
		}
		time.Sleep(time.Second)
		v.want("low")
		more := ask(p, wish("more"))
		v.want("low", "late")
		cut(late)
		<-more.done
		another := ask(p, wish("another"))
		v.want("low", "late", "old")
		cut(old)
		<-another.done
		last := ask(p, wish("last"))
		v.want("low", "late", "old") // answered has its answer, the others are no victims
		end(answered)
		<-last.done
		for _, a := range []*asked{high, more, another, last} {
			if a.err != nil {
				t.Fatal(a.err)
			}
			end(a)
		}
		end(normal)
		<-next.done
		<-same.done
		end(next)
		end(same)
		p.Close()
		drained(t, pool.Snapshot().Endpoints)
		for _, line := range []string{
			`llm_d_epp_flow_control_revocations_issued_total{inference_pool="ns/pool",priority="0"} 2`,
			`llm_d_epp_flow_control_revocations_issued_total{inference_pool="ns/pool",priority="-1"} 1`,
			`llm_d_epp_flow_control_revocations_total{inference_pool="ns/pool",outcome="confirmed"} 3`,
			`llm_d_epp_flow_control_revocation_confirmation_seconds_count{inference_pool="ns/pool"} 3`,
			`llm_d_epp_request_error_total{error_code="ResourceExhausted",fairness_id="default-flow",model_name="m",priority="-1",target_model_name="m"} 2`,
			`llm_d_epp_request_running{fairness_id="default-flow",model_name="m",priority="-1",target_model_name="m"} 0`,
			`llm_d_epp_flow_control_request_enqueue_duration_seconds_count{fairness_id="default-flow",outcome="NotYetFinalized",priority="2"} 1`,
			`llm_d_epp_flow_control_request_enqueue_duration_seconds_count{fairness_id="default-flow",outcome="Dispatched",priority="-3"} 1`,
		} {
			if !slices.Contains(scrapeLines(m), line) {
				t.Errorf("no line %s in\n%s", line, scrape(m))
			}
		}
	})
}

// TestEvictFails: a request whose response came first is left alone, and another one has
// to make room; one whose stream does not end is not counted on for ever.
func TestEvictFails(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		pool := &announcing{fakePool: newFakePool(1)}
		m := metrics.New(metrics.Options{})
		p := newPicker(t, Options{Pools: onePool(pool), Flow: evicting(3), Priority: priorities, Metrics: m})
		v := &victims{t: t}
		var all []*asked
		for i := range 3 {
			a := ask(p, withPriority(fmt.Sprint(i), -1))
			v.watch(fmt.Sprint(i), a)
			all = append(all, a)
		}
		all[2].pick.Interrupt.Bind(func(*extproc.Rejection) bool { return false })
		high := ask(p, wish("high"))
		v.want("1")
		time.Sleep(flowcontrol.EvictTimeout)
		v.want("1", "0") // nobody needs to say anything
		cut(all[0])
		<-high.done
		cut(all[1])
		if want := `llm_d_epp_flow_control_revocations_total{inference_pool="ns/pool",outcome="timed_out"} 1`; !slices.Contains(scrapeLines(m), want) {
			t.Errorf("no line %s in\n%s", want, scrape(m))
		}
		end(all[2])
		end(high)
		drained(t, pool.Snapshot().Endpoints)
	})
}

// TestEvictByMetrics: where the saturation is known by metrics alone, nobody is evicted
// for what these do not show yet.
func TestEvictByMetrics(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		pool := &announcing{fakePool: newFakePool(1)}
		c := flowcontrol.DefaultConfig()
		c.Evict = true
		pool.metricsAre(scheduler.Metrics{Known: true})
		p := newPicker(t, Options{Pools: onePool(pool), Flow: c, Priority: priorities})
		v := &victims{t: t}
		var all []*asked
		for i := range 5 {
			a := ask(p, withPriority(fmt.Sprint(i), -1))
			v.watch(fmt.Sprint(i), a)
			all = append(all, a)
		}
		busy := scheduler.Metrics{Known: true, Waiting: 1, Running: 4, KVUsage: 0.95}
		pool.metricsAre(busy)
		high := ask(p, wish("high"))
		v.want("4") // of five, one holds enough of the cache
		cut(all[4])
		pool.metricsAre(busy) // read before the engine noticed
		v.want("4")
		if high.over() {
			t.Fatal("served although metrics say that the pool is saturated")
		}
		time.Sleep(100 * time.Millisecond)
		pool.metricsAre(busy)
		v.want("4")
		// It did not help: half a second later the next one has to go.
		// Until its metrics come, they are too old for anybody to be chosen by.
		time.Sleep(400 * time.Millisecond)
		pool.metricsAre(busy)
		time.Sleep(10 * time.Millisecond)
		v.want("4", "3")
		cut(all[3])
		pool.metricsAre(scheduler.Metrics{Known: true, Running: 3, KVUsage: 0.6})
		<-high.done
		v.want("4", "3")
		for _, a := range append(all[:3], high) {
			end(a)
		}
		drained(t, pool.Snapshot().Endpoints)
	})
}

// TestEvictWhoIsJustSent: a request that was held for its endpoint while another one began
// to wait for the pool can be ended as soon as the proxy has its pick, and not before.
func TestEvictWhoIsJustSent(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		pool := &announcing{fakePool: newFakePool(1)}
		p := newPicker(t, Options{Pools: onePool(pool), Hold: true, Flow: evicting(2), Priority: priorities})
		defer p.Close()
		v := &victims{t: t}
		long := prompt("long", "m", 2*scheduler.HoldTokens)
		first := ask(p, long)
		<-first.done
		low := ask(p, withPriority("low", -1))
		synctest.Wait()
		high := ask(p, withPriority("high", 1))
		synctest.Wait()
		if low.over() || high.over() {
			t.Fatal("the endpoint and the pool were not busy")
		}
		first.pick.Observer.FirstToken(time.Now())
		<-low.done
		synctest.Wait() // who looks for somebody to end may find low, whose pick is not sent yet
		v.watch("low", low)
		v.want("low")
		cut(low)
		<-high.done
		if high.err != nil {
			t.Fatal(high.err)
		}
		end(first)
		high.pick.Observer.FirstToken(time.Now())
		end(high)
		drained(t, pool.Snapshot().Endpoints)
	})
}

// TestNobodyMakesRoomForNothing: a request that would rather go elsewhere than wait turns
// nobody out, ends nobody, and leaves at once; where it need not wait it is served.
func TestNobodyMakesRoomForNothing(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		pool := newFakePool(2)
		es := pool.Snapshot().Endpoints
		c := evicting(2)
		c.MaxRequests = 1
		p := newPicker(t, Options{Pools: onePool(pool), Hold: true, Flow: c, Priority: priorities})
		defer p.Close()
		v := &victims{t: t}
		only := func(r *extproc.Request, e scheduler.Endpoint) *extproc.Request {
			r.HasSubset, r.Subset = true, []string{e.Address}
			return r
		}
		elsewhere := errors.New("goes elsewhere")
		spills := func(name string, e scheduler.Endpoint) error {
			pick, err := p.Pick(context.Background(), only(withPriority(name, 5), e).WithoutHold(elsewhere))
			if err == nil {
				pick.Observer.End(time.Now(), extproc.Outcome{Status: 200, Complete: true})
			}
			return err
		}
		var all []*asked
		for i := range 2 {
			a := ask(p, only(withPriority(fmt.Sprint(i), -1), es[0]))
			v.watch(fmt.Sprint(i), a)
			all = append(all, a)
		}
		waits := ask(p, only(withPriority("waits", -1), es[0]))
		synctest.Wait()
		if err := spills("saturated", es[0]); !errors.Is(err, elsewhere) {
			t.Errorf("at a saturated pool: %v", err)
		}
		v.want()
		if waits.over() {
			t.Errorf("a request was turned out (%v) for one that does not wait", waits.err)
		}
		if err := spills("free", es[1]); err != nil {
			t.Errorf("at an endpoint that is free: %v", err)
		}
		for _, a := range all {
			end(a)
		}
		<-waits.done
		end(waits)
		// The same for one that its endpoint would hold.
		busy := ask(p, only(prompt("busy", "m", 2*scheduler.HoldTokens), es[0]))
		<-busy.done
		if err := spills("busy endpoint", es[0]); !errors.Is(err, elsewhere) {
			t.Errorf("at a busy endpoint: %v", err)
		}
		end(busy)
		drained(t, es)
	})
}
