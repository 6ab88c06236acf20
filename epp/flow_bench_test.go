package epp

import (
	"fmt"
	"testing"
	"time"

	"github.com/fairway-ai/fairway/epp/flowcontrol"
	"github.com/fairway-ai/fairway/scheduler"
)

// benchWaiters is how many requests wait while dispatches are measured.
const benchWaiters = 5000

// dispatcher is a full pool with requests that wait for it.
type dispatcher struct {
	b       *testing.B
	g       *gate
	es      []scheduler.Endpoint
	now     time.Time
	flights []*scheduler.Flight // in flight, in the order in which they end
	waiting []*request          // in the order in which they go
	next    int
}

func newDispatcher(b *testing.B, d flowcontrol.Detector, endpoints, each int) *dispatcher {
	c := flowcontrol.DefaultConfig()
	c.MaxRequests, c.Default.MaxRequests, c.Detector = 0, 0, d
	pool := newFakePool(endpoints)
	now := time.Now()
	metrics := make([]scheduler.Metrics, endpoints)
	for i := range metrics {
		metrics[i] = scheduler.Metrics{Known: true, UnixNano: now.UnixNano()}
	}
	pool.publish(pool.Snapshot().Endpoints, metrics)
	p, err := New(Options{Pools: onePool(pool), Flow: c, Seed: 1})
	if err != nil {
		b.Fatal(err)
	}
	x := &dispatcher{b: b, g: p.routes.Load().all[0].state.flow, es: pool.Snapshot().Endpoints, now: now}
	for i := range endpoints*each + benchWaiters {
		r := newRequest(p)
		r.begin(wish(fmt.Sprint(i)))
		r.ext = nil
		switch at := x.g.enter(r, now); {
		case at == passed:
			x.bind(r)
		case i < endpoints*each:
			b.Fatalf("request %d waits: %v", i, at)
		default:
			x.waiting = append(x.waiting, r)
		}
	}
	return x
}

// bind counts a request that was let through at an endpoint.
func (x *dispatcher) bind(r *request) {
	f := new(scheduler.Flight)
	f.Bind(x.es[len(x.flights)%len(x.es)].Load, 10, 10)
	x.flights = append(x.flights, f)
	x.g.settle(r, x.now)
}

// cycle ends a request in flight, which lets one go that waits; that one is sent in its
// place and another one comes to wait.
func (x *dispatcher) cycle() {
	f := x.flights[x.next%len(x.flights)]
	load := f.Load()
	f.End(x.now)
	x.g.release(x.now)
	r := x.waiting[x.next%benchWaiters]
	if at := <-r.told; at != passed {
		x.b.Fatal(at)
	}
	*f = scheduler.Flight{}
	f.Bind(load, 10, 10)
	x.g.settle(r, x.now)
	if at := x.g.enter(r, x.now); at != waits {
		x.b.Fatal(at)
	}
	x.next++
}

// BenchmarkFlowCycle is the whole way of a dispatch through a pool's gate, with 5,000
// requests waiting: one in flight ends, the pool's saturation is looked at, the next one
// is let through and told, and counted at its endpoint; and another one comes.
func BenchmarkFlowCycle(b *testing.B) {
	byRequests := flowcontrol.DefaultConcurrency()
	byRequests.MaxRequests = 4
	both := &flowcontrol.Concurrency{Mode: flowcontrol.ByBoth, MaxRequests: 4, MaxTokens: 1 << 30}
	utilization := flowcontrol.DefaultUtilization()
	utilization.QueueDepthThreshold, utilization.Staleness = 4, time.Hour
	for _, d := range []struct {
		name string
		flowcontrol.Detector
	}{{"requests", byRequests}, {"hybrid", both}, {"utilization", utilization}} {
		for _, endpoints := range []int{1, 10, 100, 250} {
			b.Run(fmt.Sprintf("%s/endpoints=%d", d.name, endpoints), func(b *testing.B) {
				x := newDispatcher(b, d.Detector, endpoints, 4)
				b.ReportAllocs()
				for b.Loop() {
					x.cycle()
				}
				b.ReportMetric(float64(b.N)/b.Elapsed().Seconds(), "dispatches/s")
			})
		}
	}
}

// TestFlowCycleAllocates: a dispatch allocates nothing.
func TestFlowCycleAllocates(t *testing.T) {
	if raceDetector {
		t.Skip("the race detector allocates")
	}
	r := testing.Benchmark(func(b *testing.B) {
		d := flowcontrol.DefaultConcurrency()
		d.MaxRequests = 4
		x := newDispatcher(b, d, 10, 4)
		b.ReportAllocs()
		b.ResetTimer()
		for range b.N {
			x.cycle()
		}
	})
	if n := r.AllocsPerOp(); n > 0 {
		t.Errorf("%d allocations per dispatch, want none", n)
	}
}
