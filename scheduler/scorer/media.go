package scorer

import (
	"fmt"
	"sync"

	lru "github.com/hashicorp/golang-lru/v2/simplelru"

	"github.com/fairway-ai/fairway/scheduler"
)

// MediaCacheType is the type name of [MediaCache], MediaMemoryType that of what it
// reads.
const (
	MediaCacheType  = "mm-embeddings-cache-scorer"
	MediaMemoryType = "mm-embeddings-cache-producer"
)

const (
	defaultMediaMiB = 4096
	maxMediaMiB     = 1 << 17
	// mibPerItem is what one image is taken to fill of an endpoint's cache.
	mibPerItem = 2
	// maxMediaEndpoints bounds the endpoints that are remembered.
	maxMediaEndpoints = 4096
)

// MediaMemoryParameters are the parameters of [MediaMemory].
type MediaMemoryParameters struct {
	// CacheSizeInMBPerServer is an endpoint's cache of encoded images in MiB; each is
	// taken to fill 2 MiB of it. 0 means 4096.
	CacheSizeInMBPerServer int `json:"cacheSizeInMBPerServer"`
}

// DefaultMediaMemoryParameters are llm-d's.
func DefaultMediaMemoryParameters() MediaMemoryParameters {
	return MediaMemoryParameters{CacheSizeInMBPerServer: defaultMediaMiB}
}

// Validate reports the first parameter that makes no sense.
func (p MediaMemoryParameters) Validate() error {
	if p.CacheSizeInMBPerServer < 0 || p.CacheSizeInMBPerServer > maxMediaMiB {
		return fmt.Errorf("cacheSizeInMBPerServer is %d: must be 1 to %d, or 0 for the default", p.CacheSizeInMBPerServer, maxMediaMiB)
	}
	return nil
}

// MediaMemory remembers which endpoint was sent which images, audio and documents: of
// each the latest ones. It is safe for concurrent use, and only requests that have such
// parts take its lock.
type MediaMemory struct {
	items int // of an endpoint

	mu        sync.Mutex
	endpoints *lru.LRU[string, *lru.LRU[uint64, struct{}]] // by endpoint ID
}

// NewMediaMemory returns a memory that is empty.
func NewMediaMemory(p MediaMemoryParameters) *MediaMemory {
	size := p.CacheSizeInMBPerServer
	if size <= 0 || size > maxMediaMiB {
		size = defaultMediaMiB
	}
	return &MediaMemory{items: max(1, size/mibPerItem), endpoints: newLRU[string, *lru.LRU[uint64, struct{}]](maxMediaEndpoints)}
}

func newLRU[K comparable, V any](size int) *lru.LRU[K, V] {
	l, err := lru.NewLRU[K, V](size, nil)
	if err != nil { // only for a size below 1
		panic(err)
	}
	return l
}

// sent notes that an endpoint gets parts.
func (m *MediaMemory) sent(endpoint string, media []uint64) {
	m.mu.Lock()
	defer m.mu.Unlock()
	items, ok := m.endpoints.Get(endpoint)
	if !ok {
		items = newLRU[uint64, struct{}](m.items)
		m.endpoints.Add(endpoint, items)
	}
	for _, id := range media {
		items.Add(id, struct{}{})
	}
}

// MediaCache prefers endpoints that have encoded the request's images before: the share
// of them that was sent there, 0 for a request without any.
type MediaCache struct {
	named
	memory *MediaMemory
}

// NewMediaCache returns the scorer; an empty name means its type. Scorers may share a
// memory.
func NewMediaCache(name string, m *MediaMemory) *MediaCache {
	return &MediaCache{nameOr(name, MediaCacheType), m}
}

// Score implements scheduler.Scorer.
func (s *MediaCache) Score(c *scheduler.Cycle, out []float32) {
	for _, i := range c.Candidates {
		out[i] = 0
	}
	media := c.Request.Media
	if len(media) == 0 {
		return
	}
	m := s.memory
	m.mu.Lock()
	defer m.mu.Unlock()
	for _, i := range c.Candidates {
		items, ok := m.endpoints.Peek(c.Snapshot.Endpoints[i].ID)
		if !ok {
			continue
		}
		n := 0
		for _, id := range media {
			if items.Contains(id) {
				n++
			}
		}
		out[i] = float32(n) / float32(len(media))
	}
}

// Picked implements scheduler.Observer.
func (s *MediaCache) Picked(c *scheduler.Cycle, ranked []int32) {
	if len(ranked) > 0 && len(c.Request.Media) > 0 {
		s.memory.sent(c.Snapshot.Endpoints[ranked[0]].ID, c.Request.Media)
	}
}
