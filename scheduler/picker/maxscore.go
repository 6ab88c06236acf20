package picker

import "github.com/fairway-ai/fairway/scheduler"

// MaxScoreType is the type name of [MaxScore].
const MaxScoreType = "max-score-picker"

// MaxScore picks the endpoint with the largest total, ties at random.
type MaxScore struct {
	name   string
	params Parameters
}

// NewMaxScore returns the picker; an empty name means its type.
func NewMaxScore(name string, p Parameters) *MaxScore {
	if name == "" {
		name = MaxScoreType
	}
	return &MaxScore{name: name, params: p}
}

// Name implements scheduler.Picker.
func (p *MaxScore) Name() string { return p.name }

// Pick implements scheduler.Picker.
func (p *MaxScore) Pick(c *scheduler.Cycle, total []float32) []int32 {
	return rank(c, total, p.params.keep(len(c.Candidates)))
}
