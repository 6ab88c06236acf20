package workload

import (
	"fmt"
	"math/rand/v2"
	"slices"
	"time"
)

// adapters: chat with a base model and thirty LoRA adapters of it, whose popularity
// follows a power law. Each has a system prompt of its own; three requests of ten are
// for the base model, which has three.
func adapters(n int, rng *rand.Rand) *Workload {
	w := &Workload{BlockTokens: mooncakeBlock}
	type model struct {
		adapter string
		system  chain
	}
	of := func(adapter string) model {
		m := model{adapter, chain{rng: rng}}
		m.system.grow(mooncakeBlock * (1 + rng.IntN(6)))
		return m
	}
	var base, tuned []model
	for range 3 {
		base = append(base, of(""))
	}
	const adapters = 30
	for i := range adapters {
		tuned = append(tuned, of(fmt.Sprintf("adapter-%d", i)))
	}
	popular := rand.NewZipf(rng, 1.1, 1, adapters-1)
	var at time.Duration
	for len(w.Requests) < n {
		at += exponential(rng, 55*time.Millisecond)
		m := tuned[popular.Uint64()]
		if rng.IntN(10) < 3 {
			m = base[rng.IntN(len(base))]
		}
		c := chain{rng: rng, hashes: slices.Clone(m.system.hashes), tokens: m.system.tokens}
		c.grow(lognormal(rng, 2500, 1.0, 20, 60_000))
		w.Requests = append(w.Requests, Request{
			At: at, Input: c.tokens, Output: lognormal(rng, 200, 0.8, 8, 2_000), Hashes: c.hashes, Adapter: m.adapter, Parent: -1,
		})
	}
	return w
}
