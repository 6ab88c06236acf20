package workload

import (
	"fmt"
	"math"
	"math/rand/v2"
	"slices"
	"strings"
	"time"
)

// generator makes a workload of about n requests from a random source.
type generator struct {
	name, what string
	make       func(n int, rng *rand.Rand) *Workload
}

func generators() []generator {
	return []generator{
		{"agents", "agent sessions: a growing context, tool results, think time between turns", agents},
		{"retrieval", "questions over popular documents, a few of which are asked about most", retrieval},
		{"unique", "no shared prefix at all", unique},
		{"bursts", "chat with a shared system prompt, arriving in bursts", bursts},
		{"adapters", "chat with thirty LoRA adapters of unequal popularity, and their base model", adapters},
	}
}

// Names lists the generated workloads.
func Names() []string {
	var out []string
	for _, g := range generators() {
		out = append(out, g.name)
	}
	return out
}

// Describe lists the generated workloads with a line about each.
func Describe() string {
	var b strings.Builder
	for _, g := range generators() {
		fmt.Fprintf(&b, "  %-10s %s\n", g.name, g.what)
	}
	return b.String()
}

// Generate makes a named workload of about n requests. At speed 1 it loads eight
// endpoints of the default model to about half.
func Generate(name string, n int, rng *rand.Rand) (*Workload, error) {
	for _, g := range generators() {
		if g.name == name {
			w := g.make(n, rng)
			w.Name = name
			w.sortByArrival()
			return w, nil
		}
	}
	return nil, fmt.Errorf("workload %q: must be one of %s", name, strings.Join(Names(), ", "))
}

// chain extends a prompt's block hashes by whole blocks of fresh text.
type chain struct {
	rng    *rand.Rand
	hashes []uint64
	tokens int
}

func (c *chain) grow(tokens int) {
	c.tokens += tokens
	for len(c.hashes) < (c.tokens+mooncakeBlock-1)/mooncakeBlock {
		c.hashes = append(c.hashes, c.rng.Uint64())
	}
}

// freshTail replaces a last partial block's hash, whose content has changed now
// that text was added to it.
func (c *chain) freshTail() {
	if c.tokens%mooncakeBlock != 0 {
		c.hashes = append(slices.Clone(c.hashes[:len(c.hashes)-1]), c.rng.Uint64())
	}
}

func exponential(rng *rand.Rand, mean time.Duration) time.Duration {
	return time.Duration(rng.ExpFloat64() * float64(mean))
}

// lognormal draws a length with the given median and spread, within bounds.
func lognormal(rng *rand.Rand, median float64, sigma float64, lo, hi int) int {
	return min(max(int(median*math.Exp(sigma*rng.NormFloat64())), lo), hi)
}

// agents: a few system prompts with tools, each session 4 to 40 turns; a turn
// adds the last answer and a tool result, and follows the answer after a pause
// that is mostly short (a tool ran) and sometimes long (a person read).
func agents(n int, rng *rand.Rand) *Workload {
	w := &Workload{BlockTokens: mooncakeBlock, ByThinkTime: true}
	systems := make([]chain, 3)
	for i := range systems {
		systems[i] = chain{rng: rng}
		systems[i].grow(mooncakeBlock * (6 + rng.IntN(10)))
	}
	var at time.Duration
	for len(w.Requests) < n {
		at += exponential(rng, 2070*time.Millisecond)
		s := systems[rng.IntN(len(systems))]
		c := chain{rng: rng, hashes: slices.Clone(s.hashes), tokens: s.tokens}
		turns, parent, when := 4+rng.IntN(37), -1, at
		for t := 0; t < turns && c.tokens < 120_000; t++ {
			c.freshTail()
			c.grow(lognormal(rng, 1100, 0.9, 50, 16_000))
			out := lognormal(rng, 160, 0.8, 8, 2_000)
			think := exponential(rng, 2*time.Second)
			if rng.IntN(8) == 0 {
				think = exponential(rng, 25*time.Second)
			}
			w.Requests = append(w.Requests, Request{
				At: when, Input: c.tokens, Output: out, Hashes: slices.Clone(c.hashes), Parent: parent, Think: think,
			})
			parent = len(w.Requests) - 1
			when += think + time.Duration(out)*thinkTokenTime
			c.grow(out)
		}
	}
	return w
}

// retrieval: every prompt is a shared instruction, one to three documents whose
// popularity follows a power law, and a short question.
func retrieval(n int, rng *rand.Rand) *Workload {
	w := &Workload{BlockTokens: mooncakeBlock}
	system := chain{rng: rng}
	system.grow(2 * mooncakeBlock)
	const documents = 2000
	popular := rand.NewZipf(rng, 1.15, 4, documents-1)
	type doc struct{ seed, tokens int }
	docs := make([]doc, documents)
	for i := range docs {
		docs[i] = doc{rng.Int(), lognormal(rng, 3500, 0.7, 512, 24_000)}
	}
	var at time.Duration
	for len(w.Requests) < n {
		at += exponential(rng, 85*time.Millisecond)
		c := chain{rng: rng, hashes: slices.Clone(system.hashes), tokens: system.tokens}
		prev := c.hashes[len(c.hashes)-1]
		for range 1 + rng.IntN(3) {
			d := docs[popular.Uint64()]
			blocks := max(1, d.tokens/mooncakeBlock)
			for b := range blocks {
				prev = mix(prev ^ mix(uint64(d.seed)+uint64(b)))
				c.hashes = append(c.hashes, prev)
			}
			c.tokens += blocks * mooncakeBlock
		}
		c.grow(30 + rng.IntN(400))
		w.Requests = append(w.Requests, Request{
			At: at, Input: c.tokens, Output: lognormal(rng, 150, 0.7, 8, 1_500), Hashes: c.hashes, Parent: -1,
		})
	}
	return w
}

// unique: prompts of every length that share nothing.
func unique(n int, rng *rand.Rand) *Workload {
	w := &Workload{BlockTokens: mooncakeBlock}
	var at time.Duration
	for len(w.Requests) < n {
		at += exponential(rng, 85*time.Millisecond)
		c := chain{rng: rng}
		c.grow(lognormal(rng, 4000, 1.1, 32, 100_000))
		w.Requests = append(w.Requests, Request{
			At: at, Input: c.tokens, Output: lognormal(rng, 200, 0.8, 8, 2_000), Hashes: c.hashes, Parent: -1,
		})
	}
	return w
}

// bursts: chat under a handful of system prompts; quiet spells alternate with
// bursts of five times the rate.
func bursts(n int, rng *rand.Rand) *Workload {
	w := &Workload{BlockTokens: mooncakeBlock}
	systems := make([]chain, 6)
	for i := range systems {
		systems[i] = chain{rng: rng}
		systems[i].grow(mooncakeBlock * (2 + rng.IntN(8)))
	}
	var at, turn time.Duration
	burst := false
	for len(w.Requests) < n {
		gap := 170 * time.Millisecond
		if burst {
			gap = 34 * time.Millisecond
		}
		at += exponential(rng, gap)
		if at > turn {
			burst = !burst
			turn = at + exponential(rng, map[bool]time.Duration{true: 6 * time.Second, false: 18 * time.Second}[burst])
		}
		s := systems[rng.IntN(len(systems))]
		c := chain{rng: rng, hashes: slices.Clone(s.hashes), tokens: s.tokens}
		c.grow(lognormal(rng, 2500, 1.0, 20, 60_000))
		w.Requests = append(w.Requests, Request{
			At: at, Input: c.tokens, Output: lognormal(rng, 200, 0.8, 8, 2_000), Hashes: c.hashes, Parent: -1,
		})
	}
	return w
}
