package scheduler

import "slices"

// Priced is the default policy: a congestion-priced choice. It picks the
// endpoint with the smallest
//
//	price × (uncached + place) + slowness × (backlog + wait + 0.1 × context × (1 + 1.5 × KV usage⁴))
//
// where backlog is the uncached prompt tokens bound there that have not produced
// a first token, uncached is this request's prompt tokens that the endpoint's
// cache does not hold, context is the prompt tokens of all requests in flight
// there (the decode load, which weighs more as the KV cache fills: a full one
// queues and preempts), slowness is the pool's mean prefill rate over the
// endpoint's own (what waits at a slow endpoint waits longer; a cached token is
// worth as much there as anywhere), and, averaged over the endpoints,
//
//	price = 1 + 2 × (requests without a first token) + 0.2 × (requests decoding).
//
// A request for a LoRA adapter besides has its place and its wait for one, see
// adapterCost; for others they are 0.
//
// An uncached token costs more than itself because it delays everyone behind it,
// slows everyone who decodes beside it, and evicts blocks; on an idle fleet it
// costs 1 and the rule is plain token load. Ties are broken at random. The
// constants are flat over wide ranges (halve or double any of them) and therefore
// not knobs.
type Priced struct {
	// Alternatives is how many endpoints to rank, the pick included, at most
	// [MaxAlternatives].
	Alternatives int
}

const (
	pricePerWaiting  = 2
	pricePerDecoding = 0.2
	contextWeight    = 0.1
	kvPressure       = 1.5
	// rateTolerance is how far a learned prefill rate must be from the pool's
	// mean before it counts: below that, a difference is noise.
	rateTolerance = 0.15
)

// Name implements Policy.
func (Priced) Name() string { return "priced" }

// Schedule implements Policy.
func (p Priced) Schedule(c *Cycle) []int32 {
	var waiting, decoding, rates float64
	known := 0
	for _, i := range c.Candidates {
		l, m := &c.Loads[i], &c.Snapshot.Metrics[i]
		waiting += float64(l.Waiting) + float64(m.OtherWaiting)
		decoding += float64(max(0, l.Requests-l.Waiting)) + float64(m.OtherRunning)
		if r := l.PrefillRate; r > 0 {
			rates += r
			known++
		}
	}
	price := 1 + (pricePerWaiting*waiting+pricePerDecoding*decoding)/float64(len(c.Candidates))
	mean := 0.0
	if known > 0 {
		mean = rates / float64(known)
	}
	cost := c.Column()
	adapter := c.Snapshot.Adapters.Number(c.Request.Model)
	mine := float64(max(c.Request.PromptTokens, 1))
	for _, i := range c.Candidates {
		l, m := &c.Loads[i], &c.Snapshot.Metrics[i]
		// What other clients sent is known in requests only; assume they are like
		// this one.
		backlog := float64(l.Backlog) + float64(m.OtherWaiting)*mine
		context := float64(l.Context) + float64(m.OtherWaiting+m.OtherRunning)*mine
		slow := 1.0
		if r := l.PrefillRate; r > 0 && (r > mean*(1+rateTolerance) || r < mean*(1-rateTolerance)) {
			slow = mean / r
		}
		kv := min(max(float64(m.KVUsage), 0), 1)
		context *= contextWeight * (1 + kvPressure*kv*kv*kv*kv)
		uncached := float64(c.Uncached(i))
		if adapter != 0 {
			place, wait := adapterCost(m, adapter)
			uncached += place
			backlog += wait
		}
		cost[i] = float32(price*uncached + slow*(backlog+context))
	}
	if c.Explain != nil {
		c.Explain.Policy = p.Name()
		p.explain(c, price, adapter, cost)
	}
	ranked := rankAscending(c, cost, max(1, p.Alternatives))
	if adapter != 0 {
		_, wait := adapterCost(&c.Snapshot.Metrics[ranked[0]], adapter)
		c.awaits = wait > 0
	}
	return ranked
}

func (p Priced) explain(c *Cycle, price float64, adapter int32, cost []float32) {
	u := c.Column()
	for _, i := range c.Candidates {
		u[i] = float32(c.Uncached(i))
	}
	c.Explain.Add("uncached-tokens", Price, float32(price), u)
	if adapter != 0 {
		wait := c.Column()
		for _, i := range c.Candidates {
			place, w := adapterCost(&c.Snapshot.Metrics[i], adapter)
			u[i], wait[i] = float32(place), float32(w)
		}
		c.Explain.Add("adapter-place", Price, float32(price), u)
		c.Explain.Add("adapter-wait", Price, 1, wait)
	}
	c.Explain.Add("price", Total, 1, cost)
}

// MaxAlternatives bounds how many endpoints are ranked.
const MaxAlternatives = 16

// rankAscending puts the k candidates of least cost to the front, best first,
// ties in random order, and returns them. It looks at each candidate once.
func rankAscending(c *Cycle, cost []float32, k int) []int32 {
	type entry struct {
		cost float32
		tie  uint64
		i    int32
	}
	var best [MaxAlternatives]entry
	cand := c.Candidates
	k = min(k, len(cand), MaxAlternatives)
	salt := c.Rand()
	n := 0
	for _, i := range cand {
		v := cost[i]
		if n == k && v > best[n-1].cost {
			continue
		}
		e := entry{v, tieBreak(salt, i), i}
		at := n
		if n < k {
			n++
		} else if at--; !(e.cost < best[at].cost || e.cost == best[at].cost && e.tie < best[at].tie) {
			continue
		}
		for at > 0 && (e.cost < best[at-1].cost || e.cost == best[at-1].cost && e.tie < best[at-1].tie) {
			best[at] = best[at-1]
			at--
		}
		best[at] = e
	}
	for j := range n {
		cand[j] = best[j].i
	}
	return slices.Clip(cand[:n])
}

// tieBreak orders endpoints of equal cost, differently for each decision.
func tieBreak(salt uint64, i int32) uint64 {
	z := (salt ^ uint64(i)) * 0xbf58476d1ce4e5b9
	return z ^ z>>31
}
