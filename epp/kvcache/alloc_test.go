//go:build !race

package kvcache_test

import (
	"context"
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/fairway-ai/fairway/epp"
	"github.com/fairway-ai/fairway/epp/kvcache"
	"github.com/fairway-ai/fairway/extproc"
	"github.com/fairway-ai/fairway/pool/kvevents"
)

// exactAllocations is what a request may allocate besides when its tokens are found in
// the cache: to read its JSON.
const exactAllocations = 40

// TestAllocations: a request whose tokens are known allocates little more than one that
// is routed by bytes, and no more for a long prompt than for a short one.
func TestAllocations(t *testing.T) {
	a, b, port, _ := adjacent(t, false, "array")
	w := newWorld(t, kvcache.Options{Events: kvevents.Options{SocketPort: port}})
	w.serve(a, b)
	w.live(2)
	heard(w, a)
	measure := func(p *epp.Picker, body string) float64 {
		req := w.request(body)
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
		for range 50 {
			one()
		}
		return testing.AllocsPerRun(300, one)
	}
	plain, err := epp.New(epp.Options{Seed: 1})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(plain.Close)
	if err := plain.SetPools([]epp.Pool{{Name: poolName, Endpoints: w.pools.Pool(poolName)}}); err != nil {
		t.Fatal(err)
	}
	for _, words := range []int{10, 200, 5000} {
		body := chat(fmt.Sprint(words) + strings.Repeat(" word", words))
		before := w.caches.Stats().Tokens.Hits
		guessed, known := measure(plain, body), measure(w.picker, body)
		if w.caches.Stats().Tokens.Hits-before < 300 {
			t.Fatal("the tokens were not found in the cache")
		}
		t.Logf("%d words: %.0f allocations, %.0f by bytes", words, known, guessed)
		if known > guessed+exactAllocations {
			t.Errorf("%d words: %.0f allocations, want at most %d more than the %.0f by bytes", words, known, exactAllocations, guessed)
		}
	}
}
