package scorer

import (
	"errors"
	"fmt"
	"math"

	"github.com/fairway-ai/fairway/scheduler"
)

// AttributeType is the type name of [Attribute].
const AttributeType = "endpoint-attribute-scorer"

// AttributeParameters are the parameters of [Attribute].
type AttributeParameters struct {
	// AttributeKey names a custom metric of the endpoints.
	AttributeKey string `json:"attributeKey"`
	// Algorithm turns its values into scores.
	Algorithm struct {
		// Type is linear_lower_is_better or linear_higher_is_better.
		Type string `json:"type"`
		// Normalization is one or none; none is AdaptiveRange.
		Normalization struct {
			// AdaptiveRange goes from the least to the largest of the candidates' values.
			AdaptiveRange *struct{} `json:"adaptiveRange"`
			// FixedRange goes from Min to Max, either of which is 0 when it is not there.
			FixedRange *struct {
				Min float64 `json:"min"`
				Max float64 `json:"max"`
			} `json:"fixedRange"`
		} `json:"normalization"`
	} `json:"algorithm"`
}

const (
	lowerIsBetter  = "linear_lower_is_better"
	higherIsBetter = "linear_higher_is_better"
)

// Validate reports the first parameter that makes no sense.
func (p AttributeParameters) Validate() error {
	a := &p.Algorithm
	switch n := &a.Normalization; {
	case p.AttributeKey == "":
		return errors.New("attributeKey is missing: name a custom metric")
	case a.Type != lowerIsBetter && a.Type != higherIsBetter:
		return fmt.Errorf("algorithm.type is %.60q: must be %s or %s", a.Type, lowerIsBetter, higherIsBetter)
	case n.AdaptiveRange != nil && n.FixedRange != nil:
		return errors.New("algorithm.normalization: set adaptiveRange or fixedRange, not both")
	case n.FixedRange != nil && !(n.FixedRange.Min < n.FixedRange.Max):
		return fmt.Errorf("algorithm.normalization.fixedRange is %v to %v: min must be below max; one that is left out is 0", n.FixedRange.Min, n.FixedRange.Max)
	}
	return nil
}

// Attribute scores a custom metric by its place in a range: 0 at the worse end, 1 at
// the better one, 0 for endpoints without it.
type Attribute struct {
	named
	params AttributeParameters
	at     int
}

// NewAttribute returns the scorer; at is the metric's place in
// scheduler.Metrics.Custom, and an empty name means the scorer's type.
func NewAttribute(name string, p AttributeParameters, at int) *Attribute {
	return &Attribute{nameOr(name, AttributeType), p, at}
}

// Score implements scheduler.Scorer.
func (s *Attribute) Score(c *scheduler.Cycle, out []float32) {
	lo, hi := math.Inf(1), math.Inf(-1)
	if f := s.params.Algorithm.Normalization.FixedRange; f != nil {
		lo, hi = f.Min, f.Max
	} else {
		for _, i := range c.Candidates {
			if v, ok := c.Snapshot.Metrics[i].CustomValue(s.at); ok {
				lo, hi = min(lo, v), max(hi, v)
			}
		}
	}
	for _, i := range c.Candidates {
		v, ok := c.Snapshot.Metrics[i].CustomValue(s.at)
		switch {
		case !ok:
			out[i] = 0
		case lo == hi:
			out[i] = 1
		default:
			share := min(max((v-lo)/(hi-lo), 0), 1)
			if s.params.Algorithm.Type == lowerIsBetter {
				share = 1 - share
			}
			out[i] = float32(share)
		}
	}
}
