package scorer

import "github.com/fairway-ai/fairway/scheduler"

// LoadAwareType is the type name of [LoadAware].
const LoadAwareType = "load-aware-scorer"

// LoadAwareParameters are the parameters of [LoadAware].
type LoadAwareParameters struct {
	// Threshold is the queue length at which the score reaches 0.
	Threshold int32 `json:"threshold"`
}

// DefaultLoadAwareParameters are llm-d's.
func DefaultLoadAwareParameters() LoadAwareParameters { return LoadAwareParameters{Threshold: 128} }

// Mend replaces a threshold that makes no sense by the default, as llm-d does, and
// returns the names of the parameters that it replaced.
func (p *LoadAwareParameters) Mend() (names []string) {
	return unless(p.Threshold > 0, names, "threshold", &p.Threshold, DefaultLoadAwareParameters().Threshold)
}

// LoadAware prefers short engine queues: 0.5 for an empty one, else
// 0.5 × (1 - min(waiting, threshold)/threshold).
type LoadAware struct {
	named
	params LoadAwareParameters
}

// NewLoadAware returns the scorer; an empty name means its type.
func NewLoadAware(name string, p LoadAwareParameters) *LoadAware {
	return &LoadAware{nameOr(name, LoadAwareType), p}
}

// Score implements scheduler.Scorer.
func (s *LoadAware) Score(c *scheduler.Cycle, out []float32) {
	t := float64(s.params.Threshold)
	for _, i := range c.Candidates {
		out[i] = float32(0.5 * (1 - min(float64(waiting(c, i)), t)/t))
	}
}
