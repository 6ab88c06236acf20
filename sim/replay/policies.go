package replay

import (
	"fmt"
	"strings"

	"github.com/fairway-ai/fairway/scheduler"
	"github.com/fairway-ai/fairway/scheduler/picker"
	"github.com/fairway-ai/fairway/scheduler/scorer"
)

// Policy is a rule to compare.
type Policy struct {
	// Name is used on the command line and in reports.
	Name string
	// What describes the rule in a line.
	What string
	// Holds is true when requests wait in the hold queue of their endpoint.
	Holds bool
	// New returns a fresh instance for one replay.
	New func(endpoints []scheduler.Endpoint) scheduler.Policy
}

// Policies are the default policy and the peers', the default first.
func Policies() []Policy {
	peer := func(p scheduler.Policy) func([]scheduler.Endpoint) scheduler.Policy {
		return func([]scheduler.Endpoint) scheduler.Policy { return p }
	}
	return []Policy{
		{"default", "Fairway's default: congestion-priced choice, held at the endpoint", true, peer(scheduler.Priced{Alternatives: 1})},
		{"priced", "the default's choice without its hold queue", false, peer(scheduler.Priced{Alternatives: 1})},
		{"llmd-blend", "llm-d's weighted blend: prefix 3, queue 2, KV cache 2", false, func([]scheduler.Endpoint) scheduler.Policy { return newBlend() }},
		{"sticky", "llm-d's sticky until saturated: affinity 0.8, 286,720 tokens", false, peer(sticky{})},
		{"token-load", "least uncached tokens in flight plus this request's own", false, peer(tokenLoad{})},
		{"lmetric", "(queued uncached + own uncached) × batch size", false, peer(lmetric{})},
		{"sglang", "SGLang's cache-aware rule", false, peer(sglang{})},
		{"least-request", "fewest requests in flight", false, peer(leastRequest{})},
		{"random", "any endpoint", false, peer(random{})},
		{"round-robin", "each endpoint in turn", false, func([]scheduler.Endpoint) scheduler.Policy { return new(roundRobin) }},
	}
}

// All is what Find calls all policies.
const All = "all"

// Names are what Find can be asked for, All and the policies' names.
func Names() []string {
	names := []string{All}
	for _, p := range Policies() {
		names = append(names, p.Name)
	}
	return names
}

// Find returns the named policies, all of them for All or "".
func Find(names string) ([]Policy, error) {
	all := Policies()
	if names == "" || names == All {
		return all, nil
	}
	var out []Policy
next:
	for _, name := range strings.Split(names, ",") {
		for _, p := range all {
			if p.Name == strings.TrimSpace(name) {
				out = append(out, p)
				continue next
			}
		}
		return nil, fmt.Errorf("policy %q: must be one of %s", name, strings.Join(Names(), ", "))
	}
	return out, nil
}

// newBlend is what llm-d runs when it is given no configuration.
func newBlend() scheduler.Policy {
	return scheduler.NewProfile("llmd-blend", nil, []scheduler.Weighted{
		{Scorer: scorer.NewQueue(""), Weight: 2},
		{Scorer: scorer.NewKVCacheUtilization(""), Weight: 2},
		{Scorer: scorer.NewPrefixCache("", scorer.PrefixCacheParameters{}), Weight: 3},
	}, picker.NewMaxScore("", picker.Parameters{MaxNumOfEndpoints: 1}))
}

// least ranks the candidate with the smallest cost first, ties at random.
func least(c *scheduler.Cycle, cost func(i int32) float64) []int32 {
	best, ties := 0, uint64(1)
	for k := 1; k < len(c.Candidates); k++ {
		switch a, b := cost(c.Candidates[k]), cost(c.Candidates[best]); {
		case a < b:
			best, ties = k, 1
		case a == b:
			ties++
			if c.Rand()%ties == 0 {
				best = k
			}
		}
	}
	c.Candidates[0] = c.Candidates[best]
	return c.Candidates[:1]
}

type roundRobin struct{ next uint64 }

func (*roundRobin) Name() string { return "round-robin" }
func (p *roundRobin) Schedule(c *scheduler.Cycle) []int32 {
	k := p.next % uint64(len(c.Candidates))
	p.next++
	return c.Candidates[k : k+1]
}

type random struct{}

func (random) Name() string { return "random" }
func (random) Schedule(c *scheduler.Cycle) []int32 {
	k := c.Rand() % uint64(len(c.Candidates))
	return c.Candidates[k : k+1]
}

type leastRequest struct{}

func (leastRequest) Name() string { return "least-request" }
func (leastRequest) Schedule(c *scheduler.Cycle) []int32 {
	return least(c, func(i int32) float64 { return float64(c.Loads[i].Requests) })
}

type tokenLoad struct{}

func (tokenLoad) Name() string { return "token-load" }
func (tokenLoad) Schedule(c *scheduler.Cycle) []int32 {
	return least(c, func(i int32) float64 { return float64(c.Loads[i].Backlog + c.Uncached(i)) })
}

// lmetric is arXiv 2603.15202's score.
type lmetric struct{}

func (lmetric) Name() string { return "lmetric" }
func (lmetric) Schedule(c *scheduler.Cycle) []int32 {
	return least(c, func(i int32) float64 {
		return float64(c.Loads[i].Backlog+c.Uncached(i)) * float64(c.Loads[i].Requests+1)
	})
}

// sticky keeps a request with the endpoints that hold most of its prompt until
// they are that many tokens behind the least loaded one.
type sticky struct{}

const (
	stickyAffinity  = 0.8
	stickySaturated = 286_720 // tokens
)

func (sticky) Name() string { return "sticky" }
func (sticky) Schedule(c *scheduler.Cycle) []int32 {
	load := func(i int32) float64 { return float64(c.Loads[i].Backlog + c.Uncached(i)) }
	lowest, lowestWarm := load(c.Candidates[0]), -1.0
	var warm []int32
	for _, i := range c.Candidates {
		l := load(i)
		lowest = min(lowest, l)
		if float64(c.Cached[i]) >= stickyAffinity*float64(c.Request.PromptTokens) {
			warm = append(warm, i)
			if lowestWarm < 0 || l < lowestWarm {
				lowestWarm = l
			}
		}
	}
	if len(warm) > 0 && lowestWarm-lowest <= stickySaturated {
		c.Candidates = append(c.Candidates[:0], warm...)
	}
	return least(c, load)
}

// sglang is the cache-aware rule of SGLang's router with its published
// thresholds: balance when the loads are far apart, else follow the cache when
// it holds enough, else the least loaded.
type sglang struct{}

const (
	sglangAbsolute = 64  // requests
	sglangRelative = 1.5 // of the smallest load
	sglangMatch    = 0.3 // of the prompt
)

func (sglang) Name() string { return "sglang" }
func (sglang) Schedule(c *scheduler.Cycle) []int32 {
	lo, hi := c.Loads[c.Candidates[0]].Requests, int32(0)
	var cached int32
	for _, i := range c.Candidates {
		lo, hi = min(lo, c.Loads[i].Requests), max(hi, c.Loads[i].Requests)
		cached = max(cached, c.Cached[i])
	}
	imbalanced := hi-lo > sglangAbsolute && float64(hi) > sglangRelative*float64(lo)
	if !imbalanced && float64(cached) > sglangMatch*float64(c.Request.PromptTokens) {
		return least(c, func(i int32) float64 { return -float64(c.Cached[i]) })
	}
	return least(c, func(i int32) float64 { return float64(c.Loads[i].Requests) })
}
