package scorer

import (
	"cmp"
	"slices"
	"sync"

	lru "github.com/hashicorp/golang-lru/v2/simplelru"

	"github.com/fairway-ai/fairway/scheduler"
)

// NoHitLRUType is the type name of [NoHitLRU].
const NoHitLRUType = "no-hit-lru-scorer"

const (
	defaultLRUSize = 1024
	maxLRUSize     = 1 << 16
)

// NoHitLRUParameters are the parameters of [NoHitLRU].
type NoHitLRUParameters struct {
	// LRUSize is how many endpoints to remember; 0 means 1024.
	LRUSize int `json:"lruSize"`
	// PrefixMatchInfoProducerName names the data producer to read. There is one
	// prefix index here, so it changes nothing.
	PrefixMatchInfoProducerName string `json:"prefixMatchInfoProducerName"`
	// PrefixPluginType and PrefixPluginName are deprecated and never did anything.
	PrefixPluginType string `json:"prefixPluginType"`
	PrefixPluginName string `json:"prefixPluginName"`
}

// DefaultNoHitLRUParameters are llm-d's.
func DefaultNoHitLRUParameters() NoHitLRUParameters {
	return NoHitLRUParameters{LRUSize: defaultLRUSize}
}

// Mend replaces a size that makes no sense by the default, as llm-d does, and one that
// has no end by the largest; it returns the names of the parameters that it replaced.
func (p *NoHitLRUParameters) Mend() (names []string) {
	names = unless(p.LRUSize >= 0, names, "lruSize", &p.LRUSize, defaultLRUSize)
	return unless(p.LRUSize <= maxLRUSize, names, "lruSize", &p.LRUSize, maxLRUSize)
}

// NoHitLRU spreads prompts that no endpoint has cached, because they are the ones
// that fill caches. When any candidate holds some of the prompt all get 0.5. Else
// the n candidates are put in order, those that never got such a prompt first,
// then the least recently used, and the one at position p gets 1 - p/(n-1).
type NoHitLRU struct {
	named

	mu    sync.Mutex
	used  *lru.LRU[string, uint64] // endpoint ID → when it last got a cold prompt
	clock uint64                   // counts cold prompts
	order []position               // scratch
}

// position is a candidate and when it last got a cold prompt, 0 for never.
type position struct {
	index int32
	last  uint64
}

// NewNoHitLRU returns the scorer; an empty name means its type.
func NewNoHitLRU(name string, p NoHitLRUParameters) *NoHitLRU {
	size := p.LRUSize
	if size < 1 || size > maxLRUSize {
		size = defaultLRUSize
	}
	used, err := lru.NewLRU[string, uint64](size, nil)
	if err != nil { // only for a size below 1
		panic(err)
	}
	return &NoHitLRU{named: nameOr(name, NoHitLRUType), used: used}
}

// Score implements scheduler.Scorer.
func (s *NoHitLRU) Score(c *scheduler.Cycle, out []float32) {
	if warm(c) {
		for _, i := range c.Candidates {
			out[i] = 0.5
		}
		return
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	s.order = s.order[:0]
	for _, i := range c.Candidates {
		last, _ := s.used.Peek(c.Snapshot.Endpoints[i].ID)
		s.order = append(s.order, position{i, last})
	}
	slices.SortStableFunc(s.order, func(a, b position) int { return cmp.Compare(a.last, b.last) })
	for k, o := range s.order {
		out[o.index] = 1
		if n := len(s.order); n > 1 {
			out[o.index] = 1 - float32(k)/float32(n-1)
		}
	}
}

// Picked implements scheduler.Observer.
func (s *NoHitLRU) Picked(c *scheduler.Cycle, ranked []int32) {
	if len(ranked) == 0 || warm(c) {
		return
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	s.clock++
	s.used.Add(c.Snapshot.Endpoints[ranked[0]].ID, s.clock)
}

// warm reports whether any candidate holds some of the prompt.
func warm(c *scheduler.Cycle) bool {
	for _, i := range c.Candidates {
		if c.CachedBlocks[i] > 0 {
			return true
		}
	}
	return false
}
