package scheduler

import (
	"errors"
	"sync"

	"github.com/fairway-ai/fairway/scheduler/prefix"
)

// Errors of Schedule. The caller maps them to the protocol: 503 for the first
// two, 429 for the third.
var (
	// ErrNoEndpoints means the pool is empty.
	ErrNoEndpoints = errors.New("no endpoint is ready")
	// ErrSubset means that no ready endpoint is in the requested subset.
	ErrSubset = errors.New("no ready endpoint is in the requested subset")
	// ErrFiltered means that filters rejected every candidate.
	ErrFiltered = errors.New("every ready endpoint was filtered out")
	// ErrProfile means that the request names a profile that there is not: 400.
	ErrProfile = errors.New("the request names a scheduling profile that does not exist")
)

// Decision is the outcome of one scheduling cycle.
type Decision struct {
	// Ranked holds snapshot indices, best first: the pick and its alternatives.
	Ranked []int32
	// Cached is the prompt tokens the picked endpoint is expected to have cached,
	// Uncached the rest of the prompt.
	Cached, Uncached int64
	// Prefill are the endpoints, best first, of which the first processes the prompt
	// for the picked one, and PrefillUncached is the prompt tokens that it has not
	// cached. Empty when the picked endpoint processes the prompt itself.
	Prefill         []int32
	PrefillUncached int64
	// Encode are the endpoints that encode the prompt's images for the others.
	Encode []int32
	// Staged is true when the policy picks for each stage of a request, whichever it
	// picked for here.
	Staged bool
	// Port, when not 0, is the port at which the gateway reaches the picked endpoint,
	// whose own port is then that of one rank behind it.
	Port int
	// Output is the estimated length of the answer in tokens, where the policy counts
	// answers as in flight; else 0.
	Output int64
	// AwaitsAdapter is true when the policy knows that the picked endpoint has no room for
	// the request's LoRA adapter yet: [Flight.Await] is to be told.
	AwaitsAdapter bool
}

// Scheduler runs a policy over snapshots. It is safe for concurrent use.
type Scheduler struct {
	policy   Policy
	index    *prefix.Index
	holdings Holdings
	timing   *timing
	screen   Filter // nil for none
	cycles   sync.Pool
}

// New returns a scheduler. index may be nil, then every prompt is uncached.
func New(policy Policy, index *prefix.Index, options ...Option) *Scheduler {
	s := &Scheduler{policy: policy, index: index}
	for _, set := range options {
		set(s)
	}
	s.cycles.New = func() any { return &Cycle{holdings: s.holdings, timing: s.timing} }
	return s
}

// Policy returns the policy the scheduler runs.
func (s *Scheduler) Policy() Policy { return s.policy }

// Schedule decides where a request goes. dec.Ranked's memory is reused. ex, when
// not nil, is filled with what was found, also when an error is returned.
func (s *Scheduler) Schedule(req *Request, snap *Snapshot, dec *Decision, ex *Explanation) error {
	dec.Ranked = dec.Ranked[:0]
	dec.Cached, dec.Uncached = 0, req.PromptTokens
	dec.Prefill, dec.Encode, dec.PrefillUncached, dec.Port, dec.Output, dec.Staged = dec.Prefill[:0], dec.Encode[:0], 0, 0, 0, false
	dec.AwaitsAdapter = false
	if snap.Len() == 0 {
		if ex != nil {
			ex.Reset()
		}
		return ErrNoEndpoints
	}
	c := s.cycles.Get().(*Cycle)
	defer s.release(c)
	c.begin(req, snap, s.index, ex)
	if len(c.Candidates) == 0 {
		return ErrSubset
	}
	if s.screen != nil && !c.passes(s.screen) {
		return ErrFiltered
	}
	ranked := c.decide(s.policy)
	if c.refused != nil {
		return c.refused
	}
	if len(ranked) == 0 {
		return ErrFiltered
	}
	dec.Ranked = append(dec.Ranked, ranked...)
	dec.Cached = min(int64(c.Cached[ranked[0]]), req.PromptTokens)
	dec.Uncached = req.PromptTokens - dec.Cached
	dec.Encode = append(dec.Encode, c.Encode...)
	dec.Port, dec.Output, dec.Staged, dec.AwaitsAdapter = c.Port, c.Output, len(c.eligible) > 0, c.awaits
	if len(c.Prefill) > 0 {
		dec.Prefill = append(dec.Prefill, c.Prefill...)
		dec.PrefillUncached = c.Uncached(c.Prefill[0])
	}
	if ex != nil {
		ex.end(dec)
	}
	return nil
}

// release gives a cycle back without what it refers to: an idle one must not
// keep a request's prompt or an old snapshot alive.
func (s *Scheduler) release(c *Cycle) {
	c.Request, c.Snapshot, c.Explain = nil, nil, nil
	s.cycles.Put(c)
}

// Uncached returns how many of the request's prompt tokens the endpoint in slot
// would have to prefill now.
func (s *Scheduler) Uncached(req *Request, slot int32) int64 {
	if s.holdings != nil && req.KeysKnown {
		if tokens, ok := s.holdings.MatchOne(req.Keys, slot); ok {
			return max(0, req.PromptTokens-tokens)
		}
	}
	if s.index == nil || len(req.Blocks) == 0 {
		return req.PromptTokens
	}
	return max(0, req.PromptTokens-s.index.MatchOne(req.Blocks, slot))
}
