package epp

import (
	"slices"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/fairway-ai/fairway/epp/flowcontrol"
	"github.com/fairway-ai/fairway/extproc"
	"github.com/fairway-ai/fairway/scheduler"
	"github.com/fairway-ai/fairway/scheduler/filter"
)

// TestFlowRemoteEnds: a request that waits for its pool goes when one of another replica
// ends there, whatever that one was doing, although nothing else happens.
func TestFlowRemoteEnds(t *testing.T) {
	for name, then := range map[string]scheduler.Work{
		"one of two": {Requests: 1, Dispatched: 1, Context: 100},
		"all":        {},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				pool := &announcing{fakePool: newFakePool(1)} // else somebody would look all the time
				l := pool.Snapshot().Endpoints[0].Load
				p := newPicker(t, Options{Pools: onePool(pool), Flow: concurrent(2)})
				defer p.Close()
				var there scheduler.Share
				there.Set(time.Now(), l, scheduler.Work{Requests: 2, Dispatched: 2, Context: 200}) // both decoding
				a := ask(p, wish("a"))
				synctest.Wait()
				if a.over() {
					t.Fatal("did not wait for the other replica's requests")
				}
				if there.Set(time.Now(), l, then) { // as package replicas does
					p.Lowered(l)
				}
				<-a.done
				if a.err != nil || a.took != 0 {
					t.Errorf("served after %v (error %v), want at once", a.took, a.err)
					return
				}
				end(a)
				there.End(time.Now())
				drained(t, pool.Snapshot().Endpoints)
			})
		})
	}
}

// TestFlowStageEnds: the room that a request leaves at the endpoint that processed its
// prompt is another one's as soon as its first token comes.
func TestFlowStageEnds(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		pool := &announcing{fakePool: newFakePool(2)}
		es := slices.Clone(pool.Snapshot().Endpoints)
		for i, role := range []string{filter.RolePrefill, filter.RoleDecode} {
			es[i].Labels = map[string]string{filter.RoleLabel: role}
		}
		pool.set(es)
		p := newPicker(t, Options{Pools: []Pool{{Name: "ns/pool", Endpoints: pool, Policy: stagesOf(0)}}, Flow: concurrent(1)})
		defer p.Close()
		first := ask(p, prompt("first", "m", 1000))
		<-first.done
		if v := es[0].Load.View(); first.err != nil || v.Requests != 1 {
			t.Fatalf("%+v at the prefill endpoint (error %v)", v, first.err)
		}
		next := ask(p, prompt("next", "m", 1000))
		synctest.Wait()
		if next.over() {
			t.Fatal("the pool was not full")
		}
		time.Sleep(time.Second)
		first.pick.Observer.ResponseHeaders(time.Now(), 200, "")
		first.pick.Observer.FirstToken(time.Now())
		<-next.done
		if next.err != nil || next.took != time.Second {
			t.Errorf("served after %v (error %v), want when there was room", next.took, next.err)
		}
		first.pick.Observer.End(time.Now(), extproc.Outcome{Status: 200, Complete: true})
		if next.err == nil {
			end(next)
		}
		drained(t, es)
	})
}

// TestFlowPoolComesBack: when a pool goes, and another one of its name comes at once, who
// waits for the old one is refused, who runs there ends there, and the new one begins empty.
func TestFlowPoolComesBack(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		before, after := newFakePool(1), newFakePool(1)
		p := newPicker(t, Options{Pools: onePool(before), Flow: evicting(1), Priority: priorities})
		runs := ask(p, withPriority("runs", -1))
		<-runs.done
		runs.pick.Interrupt.Bind(func(*extproc.Rejection) bool { return true })
		a, b := ask(p, wish("a")), ask(p, withPriority("b", -1))
		synctest.Wait()
		old := p.routes.Load().all[0].state.flow
		if err := p.SetPools(onePool(after)); err != nil {
			t.Fatal(err)
		}
		for _, x := range []*asked{a, b} {
			<-x.done
			refusedAs(t, x.err, 503, "rejected-shutting-down")
		}
		c := ask(p, wish("c"))
		<-c.done
		if c.err != nil || c.took != 0 {
			t.Fatalf("served after %v (error %v), want at once", c.took, c.err)
		}
		d := ask(p, wish("d"))
		synctest.Wait()
		cut(runs)
		synctest.Wait()
		if d.over() {
			t.Error("the end of a request in the old pool made room in the new one")
		}
		end(c)
		<-d.done
		end(d)
		now := p.routes.Load().all[0].state.flow
		for _, g := range []*gate{old, now} {
			if n := g.callers.Load(); n != 0 || g.held() != 0 || g.pool.pending != (flowcontrol.Pending{}) || g.pool.evictor.Len() != 0 {
				t.Errorf("%d callers, %d held, %+v on their way, %d to evict", n, g.held(), g.pool.pending, g.pool.evictor.Len())
			}
		}
		drained(t, slices.Concat(before.Snapshot().Endpoints, after.Snapshot().Endpoints))
		p.Close()
		time.Sleep(2 * time.Hour) // no timer is left: the bubble would say so
	})
}

// TestFlowDismissedForGood: a pool that comes while the process ends keeps nobody waiting
// either, or the end would take as long as they may wait.
func TestFlowDismissedForGood(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		p := newPicker(t, Options{Pools: onePool(newFakePool(1)), Flow: concurrent(1)})
		defer p.Close()
		p.Dismiss()
		late := newFakePool(1)
		if err := p.SetPools(onePool(late)); err != nil {
			t.Fatal(err)
		}
		first := ask(p, wish("first"))
		<-first.done
		next := ask(p, wish("next"))
		<-next.done
		refusedAs(t, next.err, 503, "rejected-shutting-down")
		end(first)
		drained(t, late.Snapshot().Endpoints)
	})
}

// TestFirstTokenBy: what a client says of the first token is at once at the earliest, a day
// at the latest, and nothing when it is no number of milliseconds.
func TestFirstTokenBy(t *testing.T) {
	now := time.Unix(1e9, 0)
	for value, want := range map[string]time.Duration{
		"250": 250 * time.Millisecond, " 250 ": 250 * time.Millisecond, "0": 0, "86400000": maxTTFT,
		"86400001": maxTTFT, "9223372036854775807": maxTTFT, "99999999999999999999": maxTTFT,
		"": -1, "-1": -1, "-99999999999999999999": -1, "NaN": -1, "1e3": -1, "12.5": -1, "0x10": -1, "1_000": -1,
	} {
		for _, name := range []string{headerTTFT, headerTTFTLegacy} {
			got := firstTokenBy(extproc.NewRequest([]extproc.Header{{Name: name, Value: value}}, nil), now)
			if want < 0 && !got.IsZero() || want >= 0 && !got.Equal(now.Add(want)) {
				t.Errorf("%s: %q is %v", name, value, got.Sub(now))
			}
		}
	}
}

// counting is a pool that counts how often it is looked at.
type counting struct {
	*fakePool
	looks atomic.Int64
}

func (p *counting) Snapshot() *scheduler.Snapshot {
	p.looks.Add(1)
	return p.fakePool.Snapshot()
}

// TestFlowClosedIsDeaf: a pool that is gone is not looked at, nor watched, again because
// its metrics are scraped, or its last requests end.
func TestFlowClosedIsDeaf(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		pool := &counting{fakePool: newFakePool(1)}
		p := newPicker(t, Options{Pools: onePool(pool), Flow: evicting(5), Priority: priorities})
		a, b := ask(p, withPriority("a", -1)), ask(p, withPriority("b", -1))
		<-a.done
		<-b.done
		g := p.routes.Load().all[0].state.flow
		p.Close()
		before := pool.looks.Load()
		if v := g.view(p.o.Flow); v.Requests != 0 || v.MaxRequests != p.o.Flow.MaxRequests {
			t.Errorf("%+v", v)
		}
		end(a) // it could have been evicted, and so is looked after
		end(b)
		if n := pool.looks.Load() - before; n > 0 {
			t.Errorf("the pool was looked at %d times after it was gone", n)
		}
		drained(t, pool.fakePool.Snapshot().Endpoints)
	})
}
