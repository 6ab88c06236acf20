package epp

import (
	"context"
	"testing"
	"time"

	"github.com/fairway-ai/fairway/extproc"
	"github.com/fairway-ai/fairway/scheduler"
)

// TestWhoAwaitsAnAdapterHoldsNobodyBack: a long prompt that stands in the engine's queue,
// since its adapter has no place, is not prefill work that others are held for.
func TestWhoAwaitsAnAdapterHoldsNobodyBack(t *testing.T) {
	pool := newFakePool(1)
	s := *pool.Snapshot()
	s.Adapters = s.Adapters.With([]string{"a", "b", "m"})
	s.Metrics = []scheduler.Metrics{{Known: true, MaxLoRA: 2, Adapters: s.Adapters.Use([]string{"a", "b"}, nil)}}
	pool.snap.Store(&s)
	p := newPicker(t, Options{Pools: onePool(pool), Hold: true})
	load := s.Endpoints[0].Load
	for _, tc := range []struct {
		model string
		holds bool
	}{{"m", false}, {"a", true}, {"base", true}} {
		pick, err := p.Pick(context.Background(), prompt("r", tc.model, 4*scheduler.HoldTokens))
		if err != nil {
			t.Fatal(err)
		}
		if v := load.View(); v.Requests != 1 || v.Backlog == 0 || load.Admits() == tc.holds {
			t.Errorf("%s: %+v, admits others %v", tc.model, v, load.Admits())
		}
		pick.Observer.End(time.Now(), extproc.Outcome{Status: 200, Complete: true})
		drained(t, s.Endpoints)
	}
}
