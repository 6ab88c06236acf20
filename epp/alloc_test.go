package epp

import (
	"context"
	"testing"
	"time"

	"github.com/fairway-ai/fairway/epp/explain"
	"github.com/fairway-ai/fairway/extproc"
	"github.com/fairway-ai/fairway/scheduler/prefix"
)

// TestPickAllocations: what a pick allocates grows neither with the prompt nor with
// the pool.
func TestPickAllocations(t *testing.T) {
	if raceDetector {
		t.Skip("pools are unpredictable under the race detector")
	}
	measure := func(endpoints, blocks int) float64 {
		p := newPicker(t, Options{Pools: onePool(benchPool(endpoints)), Hold: true, Explain: explain.NewRing(8)})
		req := prompt("r", "m", int64(50*blocks))
		for i := range blocks {
			req.Body.Blocks = append(req.Body.Blocks, prefix.Block{Hash: uint64(i+1) * 0x9e3779b97f4a7c15, Tokens: 50})
		}
		ctx, now := context.Background(), time.Now()
		one := func() {
			pick, err := p.Pick(ctx, req)
			if err != nil {
				t.Fatal(err)
			}
			pick.Observer.ResponseHeaders(now, 200, "")
			pick.Observer.FirstToken(now)
			pick.Observer.End(now, extproc.Outcome{Status: 200, Complete: true})
		}
		for range 4 * endpoints { // every endpoint has the prefix, every slot of the ring its memory
			one()
		}
		return testing.AllocsPerRun(200, one)
	}
	few := measure(8, 8)
	if few > 4 {
		t.Errorf("%.0f allocations for a short prompt, want at most 4", few)
	}
	for _, c := range []struct{ endpoints, blocks int }{{8, 1100}, {250, 8}, {250, 1100}} {
		// The pools lose a buffer now and then, hence the 1.
		if n := measure(c.endpoints, c.blocks); n > few+1 {
			t.Errorf("%d endpoints, %d blocks: %.0f allocations, want %.0f as for 8 and 8", c.endpoints, c.blocks, n, few)
		}
	}
}
