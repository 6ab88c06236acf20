package picker

import (
	"math"

	"github.com/fairway-ai/fairway/scheduler"
)

// WeightedRandomType is the type name of [WeightedRandom].
const WeightedRandomType = "weighted-random-picker"

// WeightedRandom picks at random with probabilities in proportion to the totals,
// without replacement: algorithm A-Res of Efraimidis and Spirakis (2006), which
// ranks by U^(1/total) with U uniform in (0, 1). Endpoints with a total of zero
// or less come after all others; when there are no others the pick is uniform.
type WeightedRandom struct {
	name   string
	params Parameters
}

// NewWeightedRandom returns the picker; an empty name means its type.
func NewWeightedRandom(name string, p Parameters) *WeightedRandom {
	if name == "" {
		name = WeightedRandomType
	}
	return &WeightedRandom{name: name, params: p}
}

// Name implements scheduler.Picker.
func (p *WeightedRandom) Name() string { return p.name }

// Pick implements scheduler.Picker.
func (p *WeightedRandom) Pick(c *scheduler.Cycle, total []float32) []int32 {
	key := c.Column()
	for _, i := range c.Candidates {
		// The logarithm of the key orders alike and does not underflow for small
		// totals. 1 - [0, 1) is never zero.
		if total[i] > 0 {
			key[i] = float32(math.Log(1-c.RandFloat()) / float64(total[i]))
		} else {
			key[i] = float32(math.Inf(-1))
		}
	}
	return rank(c, key, p.params.keep(len(c.Candidates)))
}
