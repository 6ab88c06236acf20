package scorer

import "github.com/fairway-ai/fairway/scheduler"

// RunningRequestsType is the type name of [RunningRequests].
const RunningRequestsType = "running-requests-size-scorer"

// RunningRequests prefers small engine batches: (max-running)/(max-min) over the
// candidates, 1 for all when they are equal.
type RunningRequests struct{ named }

// NewRunningRequests returns the scorer; an empty name means its type.
func NewRunningRequests(name string) *RunningRequests {
	return &RunningRequests{nameOr(name, RunningRequestsType)}
}

// Score implements scheduler.Scorer.
func (s *RunningRequests) Score(c *scheduler.Cycle, out []float32) {
	for _, i := range c.Candidates {
		out[i] = float32(running(c, i))
	}
	leastFirst(c, out)
}
