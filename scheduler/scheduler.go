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
)

// Decision is the outcome of one scheduling cycle.
type Decision struct {
	// Ranked holds snapshot indices, best first: the pick and its alternatives.
	Ranked []int32
	// Cached is the prompt tokens the picked endpoint is expected to have cached,
	// Uncached the rest of the prompt.
	Cached, Uncached int64
}

// Scheduler runs a policy over snapshots. It is safe for concurrent use.
type Scheduler struct {
	policy Policy
	index  *prefix.Index
	cycles sync.Pool
}

// New returns a scheduler. index may be nil, then every prompt is uncached.
func New(policy Policy, index *prefix.Index) *Scheduler {
	return &Scheduler{policy: policy, index: index, cycles: sync.Pool{New: func() any { return new(Cycle) }}}
}

// Policy returns the policy the scheduler runs.
func (s *Scheduler) Policy() Policy { return s.policy }

// Schedule decides where a request goes. dec.Ranked's memory is reused. ex, when
// not nil, is filled with what was found, also when an error is returned.
func (s *Scheduler) Schedule(req *Request, snap *Snapshot, dec *Decision, ex *Explanation) error {
	dec.Ranked = dec.Ranked[:0]
	dec.Cached, dec.Uncached = 0, req.PromptTokens
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
	ranked := s.policy.Schedule(c)
	if len(ranked) == 0 {
		return ErrFiltered
	}
	dec.Ranked = append(dec.Ranked, ranked...)
	dec.Cached = min(int64(c.Cached[ranked[0]]), req.PromptTokens)
	dec.Uncached = req.PromptTokens - dec.Cached
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
	if s.index == nil || len(req.Blocks) == 0 {
		return req.PromptTokens
	}
	return max(0, req.PromptTokens-s.index.MatchOne(req.Blocks, slot))
}
