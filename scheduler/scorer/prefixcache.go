package scorer

import (
	"fmt"

	"github.com/fairway-ai/fairway/scheduler"
)

// PrefixCacheType is the type name of [PrefixCache].
const PrefixCacheType = "prefix-cache-scorer"

const defaultMatchLengthScaleTokens = 8192

// PrefixCacheParameters are the parameters of [PrefixCache].
type PrefixCacheParameters struct {
	// PrefixMatchInfoProducerName names the data producer to read. There is one
	// prefix index here, so it changes nothing.
	PrefixMatchInfoProducerName string `json:"prefixMatchInfoProducerName"`
	// MatchLengthWeight is the weight, 0 to 1, of the length of the match against
	// its share of the prompt.
	MatchLengthWeight float64 `json:"matchLengthWeight"`
	// MatchLengthScaleTokens is the match that counts as long, in tokens; 0 means
	// 8192.
	MatchLengthScaleTokens int64 `json:"matchLengthScaleTokens"`
}

// DefaultPrefixCacheParameters are llm-d's.
func DefaultPrefixCacheParameters() PrefixCacheParameters {
	return PrefixCacheParameters{MatchLengthScaleTokens: defaultMatchLengthScaleTokens}
}

// Validate reports the first parameter that makes no sense.
func (p PrefixCacheParameters) Validate() error {
	if !(p.MatchLengthWeight >= 0 && p.MatchLengthWeight <= 1) {
		return fmt.Errorf("matchLengthWeight is %v: must be 0 to 1", p.MatchLengthWeight)
	}
	if p.MatchLengthScaleTokens < 1 {
		return fmt.Errorf("matchLengthScaleTokens is %d: must be 1 or more", p.MatchLengthScaleTokens)
	}
	return nil
}

// PrefixCache prefers endpoints whose KV cache holds the start of the prompt:
//
//	w × min(1, matched tokens / scale)² + (1-w) × matched blocks / all blocks
//
// and 0 where nothing matches.
type PrefixCache struct {
	named
	params PrefixCacheParameters
}

// NewPrefixCache returns the scorer; an empty name means its type.
func NewPrefixCache(name string, p PrefixCacheParameters) *PrefixCache {
	if p.MatchLengthScaleTokens <= 0 {
		p.MatchLengthScaleTokens = defaultMatchLengthScaleTokens
	}
	return &PrefixCache{nameOr(name, PrefixCacheType), p}
}

// Score implements scheduler.Scorer.
func (s *PrefixCache) Score(c *scheduler.Cycle, out []float32) {
	w, scale := s.params.MatchLengthWeight, float64(s.params.MatchLengthScaleTokens)
	for _, i := range c.Candidates {
		out[i] = 0
		if c.CachedBlocks[i] == 0 {
			continue
		}
		long := min(1, float64(c.Cached[i])/scale)
		out[i] = float32(w*long*long + (1-w)*c.CachedShare(i))
	}
}
