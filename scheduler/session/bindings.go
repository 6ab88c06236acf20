package session

import (
	"strings"
	"sync"
	"time"

	lru "github.com/hashicorp/golang-lru/v2/simplelru"

	"github.com/fairway-ai/fairway/scheduler"
)

// bindings remembers which endpoint sessions are kept on, the least recently used
// first to go.
type bindings struct {
	ttl, sweep time.Duration

	mu    sync.Mutex
	byID  *lru.LRU[string, binding]
	count map[string]int // sessions by endpoint ID
	swept time.Time
}

type binding struct {
	endpoint string
	used     time.Time
}

func newBindings(size int, ttl, sweep time.Duration) *bindings {
	if size < 1 {
		size = defaultSize
	}
	b := &bindings{ttl: ttl, sweep: sweep, count: map[string]int{}}
	byID, err := lru.NewLRU(size, func(_ string, v binding) {
		if b.count[v.endpoint]--; b.count[v.endpoint] <= 0 {
			delete(b.count, v.endpoint)
		}
	})
	if err != nil { // only for a size below 1
		panic(err)
	}
	b.byID = byID
	return b
}

// find returns the endpoint a session is kept on, "" for none.
func (b *bindings) find(id string, now time.Time) string {
	b.mu.Lock()
	defer b.mu.Unlock()
	v, ok := b.byID.Peek(id)
	if !ok || b.expired(v, now) {
		return ""
	}
	return v.endpoint
}

func (b *bindings) expired(v binding, now time.Time) bool { return now.Sub(v.used) > b.ttl }

// bind keeps a session on an endpoint. present says that the endpoint it was kept on
// could have been picked: then it stays there.
func (b *bindings) bind(id, endpoint string, present bool, now time.Time) {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.expire(now)
	old, ok := b.byID.Peek(id)
	if ok && old.endpoint != endpoint {
		if present && !b.expired(old, now) {
			return
		}
		b.byID.Remove(id)
		ok = false
	}
	if !ok {
		b.count[endpoint]++
		// A part of the request's headers would keep all of them in memory.
		id = strings.Clone(id)
	}
	b.byID.Add(id, binding{endpoint, now})
}

// expire forgets old sessions, once per sweep.
func (b *bindings) expire(now time.Time) {
	if d := now.Sub(b.swept); d >= 0 && d < b.sweep {
		return
	}
	b.swept = now
	for {
		id, v, ok := b.byID.GetOldest()
		if !ok || !b.expired(v, now) {
			return
		}
		b.byID.Remove(id)
	}
}

// least returns the candidate with the fewest sessions, the first of several.
func (b *bindings) least(c *scheduler.Cycle) int32 {
	b.mu.Lock()
	defer b.mu.Unlock()
	best, fewest := int32(-1), 0
	for _, i := range c.Candidates {
		if n := b.count[c.Snapshot.Endpoints[i].ID]; best < 0 || n < fewest {
			best, fewest = i, n
		}
	}
	return best
}
