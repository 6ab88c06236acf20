package filter

import (
	"errors"
	"fmt"
	"math"

	"github.com/fairway-ai/fairway/scheduler"
)

// PrefixAffinityType is the type name of [PrefixAffinity].
const PrefixAffinityType = "prefix-cache-affinity-filter"

// fromThroughput estimates the time to the first token from the tokens in flight.
const fromThroughput = "prefillThroughput"

// PrefixAffinityParameters are the parameters of [PrefixAffinity].
type PrefixAffinityParameters struct {
	// AffinityThreshold is the share of the prompt's blocks, 0 to 1, that an endpoint
	// has cached to be kept; 0 keeps all.
	AffinityThreshold float64 `json:"affinityThreshold"`
	// ExplorationProbability is the share of requests, 0 to 1, that are not filtered.
	ExplorationProbability float64 `json:"explorationProbability"`
	// MaxTTFTPenaltyMs is how much later, in milliseconds, the first token may come
	// than elsewhere; 0 means that the time does not matter.
	MaxTTFTPenaltyMs float64 `json:"maxTTFTPenaltyMs"`
	// TTFTSource says where that time comes from; only "prefillThroughput" is
	// supported: the uncached tokens in flight, and those of answers where they are
	// estimated, over PeakPrefillThroughput.
	TTFTSource string `json:"ttftSource"`
	// PeakPrefillThroughput is an endpoint's, in tokens per second.
	PeakPrefillThroughput float64 `json:"peakPrefillThroughput"`
	// Producers of the data. There is one prefix index and one count of what is in
	// flight here, so they change nothing.
	PrefixMatchInfoProducerName       string `json:"prefixMatchInfoProducerName"`
	InFlightLoadProducerName          string `json:"inFlightLoadProducerName"`
	LatencyPredictionInfoProducerName string `json:"latencyPredictionInfoProducerName"`
}

// DefaultPrefixAffinityParameters are llm-d's.
func DefaultPrefixAffinityParameters() PrefixAffinityParameters {
	return PrefixAffinityParameters{
		AffinityThreshold: 0.8, MaxTTFTPenaltyMs: 18_000, TTFTSource: fromThroughput, PeakPrefillThroughput: 15_928,
	}
}

// Validate reports the first parameter that makes no sense.
func (p PrefixAffinityParameters) Validate() error {
	for _, f := range [...]struct {
		name  string
		value float64
		most  float64
	}{
		{"affinityThreshold", p.AffinityThreshold, 1}, {"explorationProbability", p.ExplorationProbability, 1},
		{"maxTTFTPenaltyMs", p.MaxTTFTPenaltyMs, math.MaxFloat64}, {"peakPrefillThroughput", p.PeakPrefillThroughput, math.MaxFloat64},
	} {
		if !(f.value >= 0 && f.value <= f.most) {
			if f.most == 1 {
				return fmt.Errorf("%s is %v: must be 0 to 1", f.name, f.value)
			}
			return fmt.Errorf("%s is %v: must be 0 or more", f.name, f.value)
		}
	}
	if p.TTFTSource != fromThroughput {
		return fmt.Errorf("ttftSource is %.60q: only %s is supported, since there is no latency predictor", p.TTFTSource, fromThroughput)
	}
	if p.MaxTTFTPenaltyMs > 0 && p.PeakPrefillThroughput == 0 {
		return errors.New("peakPrefillThroughput is 0: it must be above 0 while maxTTFTPenaltyMs is")
	}
	return nil
}

// PrefixAffinity keeps the endpoints that have most of the prompt cached, unless
// there is none, or the first token would come much later there than elsewhere.
type PrefixAffinity struct {
	name   string
	params PrefixAffinityParameters
}

// NewPrefixAffinity returns the filter; an empty name means its type.
func NewPrefixAffinity(name string, p PrefixAffinityParameters) *PrefixAffinity {
	return &PrefixAffinity{nameOr(name, PrefixAffinityType), p}
}

// Name implements scheduler.Filter.
func (f *PrefixAffinity) Name() string { return f.name }

// Filter implements scheduler.Filter.
func (f *PrefixAffinity) Filter(c *scheduler.Cycle, in []int32) []int32 {
	p := &f.params
	if len(in) < 2 || p.AffinityThreshold == 0 || len(c.Request.Blocks)+len(c.Request.Keys) == 0 {
		return in
	}
	if p.ExplorationProbability > 0 && c.RandFloat() < p.ExplorationProbability {
		return in
	}
	sticks := func(i int32) bool { return c.CachedShare(i) >= p.AffinityThreshold }
	sticky, other := int64(math.MaxInt64), int64(math.MaxInt64)
	n := 0
	for _, i := range in {
		if sticks(i) {
			n++
			sticky = min(sticky, c.Loads[i].Backlog+c.Loads[i].Output)
		} else {
			other = min(other, c.Loads[i].Backlog+c.Loads[i].Output)
		}
	}
	if n == 0 || n == len(in) {
		return in
	}
	if p.MaxTTFTPenaltyMs > 0 && float64(sticky-other)/p.PeakPrefillThroughput*1000 > p.MaxTTFTPenaltyMs {
		return in
	}
	return keep(in, false, sticks)
}
