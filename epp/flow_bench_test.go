package epp

import (
	"fmt"
	"testing"
	"time"

	"github.com/fairway-ai/fairway/epp/flowcontrol"
)

// BenchmarkFlowDispatch lets one of 5,000 waiting requests through, tells it, and has
// it wait again.
func BenchmarkFlowDispatch(b *testing.B) {
	for _, endpoints := range []int{8, 250} {
		b.Run(fmt.Sprintf("endpoints=%d", endpoints), func(b *testing.B) {
			c := concurrent(1)
			c.MaxRequests, c.Default.MaxRequests = 0, 0
			p, err := New(Options{Pools: onePool(newFakePool(endpoints)), Flow: c, Seed: 1})
			if err != nil {
				b.Fatal(err)
			}
			g, now := p.routes.Load().all[0].state.flow, time.Now()
			// The pool is full of requests that look for an endpoint.
			g.pool.pending = flowcontrol.Pending{Requests: int64(endpoints) - 1}
			var all []*request
			for i := range 5001 {
				r := newRequest(p)
				r.begin(wish(fmt.Sprint(i)))
				r.ext = nil
				if at := g.enter(r, now); at != waits && i > 0 {
					b.Fatalf("request %d: %v", i, at)
				}
				all = append(all, r)
			}
			b.ReportAllocs()
			i := 0
			for b.Loop() {
				g.settle(all[i], now, false)
				next := (i + 1) % len(all)
				if at := <-all[next].told; at != passed {
					b.Fatal(at)
				}
				if at := g.enter(all[i], now); at != waits {
					b.Fatal(at)
				}
				i = next
			}
		})
	}
}
