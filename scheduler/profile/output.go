package profile

import (
	"math"

	"github.com/fairway-ai/fairway/scheduler"
)

// Output is a policy that also estimates how long the answer will be, so that it
// counts as in flight.
type Output struct {
	scheduler.Policy
	ratio float64
	most  int64
}

// NewOutput returns a policy that decides as p does. An answer is taken to have ratio
// tokens per token of the prompt, at most that many, and no more than the client
// allows.
func NewOutput(p scheduler.Policy, ratio float64, most int64) *Output {
	return &Output{p, ratio, most}
}

// Schedule implements scheduler.Policy.
func (o *Output) Schedule(c *scheduler.Cycle) []int32 {
	n := o.most
	if f := math.Round(float64(c.Request.PromptTokens) * o.ratio); f < float64(n) {
		n = int64(f)
	}
	if m := c.Request.MaxOutputTokens; m > 0 {
		n = min(n, m)
	}
	c.Output = max(0, n)
	return o.Policy.Schedule(c)
}

// Unwrap implements scheduler.Wrapper.
func (o *Output) Unwrap() scheduler.Policy { return o.Policy }

// Stamps implements scheduler.Stamper.
func (o *Output) Stamps() []scheduler.Stamp {
	if s, ok := o.Policy.(scheduler.Stamper); ok {
		return s.Stamps()
	}
	return nil
}
