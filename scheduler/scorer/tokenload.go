package scorer

import (
	"fmt"

	"github.com/fairway-ai/fairway/scheduler"
)

// TokenLoadType is the type name of [TokenLoad].
const TokenLoadType = "token-load-scorer"

// TokenLoadParameters are the parameters of [TokenLoad].
type TokenLoadParameters struct {
	// QueueThresholdTokens is the tokens in flight at which the score reaches 0; 0 means
	// the default.
	QueueThresholdTokens int64 `json:"queueThresholdTokens"`
	// NonTextTokenWeight is how much an image, audio or video token counts. Such
	// tokens are not told apart here, so only 1, also written as 0, is supported.
	NonTextTokenWeight float64 `json:"nonTextTokenWeight"`
	// InFlightLoadProducerName names the data producer to read. Tokens are counted once
	// here, so it changes nothing.
	InFlightLoadProducerName string `json:"inFlightLoadProducerName"`
}

// defaultQueueThresholdTokens is 128 requests of 32 Ki tokens.
const defaultQueueThresholdTokens = 4_194_304

// DefaultTokenLoadParameters are llm-d's.
func DefaultTokenLoadParameters() TokenLoadParameters {
	return TokenLoadParameters{QueueThresholdTokens: defaultQueueThresholdTokens, NonTextTokenWeight: 1}
}

// Mend replaces a threshold that makes no sense by the default, as llm-d does, and
// returns the names of the parameters that it replaced.
func (p *TokenLoadParameters) Mend() (names []string) {
	return unless(p.QueueThresholdTokens >= 0, names, "queueThresholdTokens", &p.QueueThresholdTokens, defaultQueueThresholdTokens)
}

// Validate reports the first parameter that makes no sense.
func (p TokenLoadParameters) Validate() error {
	if p.NonTextTokenWeight != 0 && p.NonTextTokenWeight != 1 {
		return fmt.Errorf("nonTextTokenWeight is %v: only 1 is supported", p.NonTextTokenWeight)
	}
	return nil
}

// TokenLoad prefers endpoints with few uncached prompt tokens outstanding, this
// request's included: 1 - min(tokens, threshold)/threshold. A prompt counts from
// when it is bound until its first token, and an answer, where answers are estimated,
// until it ends.
type TokenLoad struct {
	named
	params TokenLoadParameters
}

// NewTokenLoad returns the scorer; an empty name means its type.
func NewTokenLoad(name string, p TokenLoadParameters) *TokenLoad {
	if p.QueueThresholdTokens <= 0 {
		p.QueueThresholdTokens = defaultQueueThresholdTokens
	}
	return &TokenLoad{nameOr(name, TokenLoadType), p}
}

// Score implements scheduler.Scorer.
func (s *TokenLoad) Score(c *scheduler.Cycle, out []float32) {
	t := s.params.QueueThresholdTokens
	for _, i := range c.Candidates {
		tokens := c.Loads[i].Backlog + c.Loads[i].Output + c.Uncached(i)
		if tokens <= 0 {
			out[i] = 1
			continue
		}
		out[i] = float32(1 - float64(min(tokens, t))/float64(t))
	}
}
