package picker

import "github.com/fairway-ai/fairway/scheduler"

// RandomType is the type name of [Random].
const RandomType = "random-picker"

// Random picks any candidate, whatever its total.
type Random struct {
	name   string
	params Parameters
}

// NewRandom returns the picker; an empty name means its type.
func NewRandom(name string, p Parameters) *Random {
	if name == "" {
		name = RandomType
	}
	return &Random{name: name, params: p}
}

// Name implements scheduler.Picker.
func (p *Random) Name() string { return p.name }

// Pick implements scheduler.Picker.
func (p *Random) Pick(c *scheduler.Cycle, _ []float32) []int32 {
	k := p.params.keep(len(c.Candidates))
	shuffle(c, c.Candidates, k)
	return c.Candidates[:k:k]
}
