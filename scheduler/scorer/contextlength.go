package scorer

import (
	"errors"
	"strconv"
	"strings"

	"github.com/fairway-ai/fairway/scheduler"
)

// ContextLengthType is the type name of [ContextLength].
const ContextLengthType = "context-length-aware"

// ContextLengthParameters are the parameters of [ContextLength].
type ContextLengthParameters struct {
	// Label is the label with the range of prompt lengths, in tokens, that an endpoint
	// is for: "min-max".
	Label string `json:"label"`
	// EnableFiltering also removes the endpoints whose range is another.
	EnableFiltering bool `json:"enableFiltering"`
}

// DefaultContextLengthParameters are llm-d's.
func DefaultContextLengthParameters() ContextLengthParameters {
	return ContextLengthParameters{Label: "llm-d.ai/context-length-range"}
}

// Validate reports the first parameter that makes no sense.
func (p ContextLengthParameters) Validate() error {
	if p.Label == "" {
		return errors.New("label is empty: leave it out for the default")
	}
	return nil
}

// ContextLength prefers endpoints that are for prompts of the request's length. With
// w the width of an endpoint's range:
//
//	inside   0.3 + 0.7 × (0.7/(1 + w/10000) + 0.3 × (max - tokens)/w), or 1 if w is 0
//	outside  0.3/(1 + d/1000), d the distance in tokens
//	no label 0.5
//
// and 0 for a label that is no range.
type ContextLength struct {
	named
	label string
}

// ContextLengthFilter is a ContextLength that is a filter, too.
type ContextLengthFilter struct{ *ContextLength }

// NewContextLength returns the scorer, a [ContextLengthFilter] with EnableFiltering;
// an empty name means its type.
func NewContextLength(name string, p ContextLengthParameters) scheduler.Scorer {
	s := &ContextLength{nameOr(name, ContextLengthType), p.Label}
	if p.EnableFiltering {
		return ContextLengthFilter{s}
	}
	return s
}

// Score implements scheduler.Scorer.
func (s *ContextLength) Score(c *scheduler.Cycle, out []float32) {
	for _, i := range c.Candidates {
		lo, hi, ok, labelled := s.span(c, i)
		switch {
		case !labelled:
			out[i] = 0.5
		case !ok:
			out[i] = 0
		default:
			out[i] = float32(fit(float64(c.Request.PromptTokens), lo, hi))
		}
	}
}

// Filter implements scheduler.Filter.
func (s ContextLengthFilter) Filter(c *scheduler.Cycle, in []int32) []int32 {
	out := in[:0]
	for _, i := range in {
		lo, hi, ok, labelled := s.span(c, i)
		if n := float64(c.Request.PromptTokens); !labelled || ok && n >= lo && n <= hi {
			out = append(out, i)
		}
	}
	return out
}

// span is the range of endpoint i.
func (s *ContextLength) span(c *scheduler.Cycle, i int32) (lo, hi float64, ok, labelled bool) {
	text, labelled := c.Snapshot.Endpoints[i].Labels[s.label]
	if !labelled {
		return 0, 0, false, false
	}
	from, to, found := strings.Cut(text, "-")
	a, errA := strconv.ParseUint(strings.TrimSpace(from), 10, 32)
	b, errB := strconv.ParseUint(strings.TrimSpace(to), 10, 32)
	return float64(a), float64(b), found && errA == nil && errB == nil && a <= b, true
}

func fit(tokens, lo, hi float64) float64 {
	const outside = 0.3
	switch w := hi - lo; {
	case tokens > hi:
		return outside / (1 + (tokens-hi)/1000)
	case tokens < lo:
		return outside / (1 + (lo-tokens)/1000)
	case w == 0:
		return 1
	default:
		return outside + (1-outside)*(0.7/(1+w/10_000)+0.3*(hi-tokens)/w)
	}
}
