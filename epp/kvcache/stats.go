package kvcache

import (
	"cmp"
	"slices"
	"sync/atomic"
	"time"

	"github.com/fairway-ai/fairway/epp/tokens"
	"github.com/fairway-ai/fairway/pool/kvevents"
	"github.com/fairway-ai/fairway/pool/kvevents/index"
)

// Stats is a reading of a [Set]'s counters, since its start where not said otherwise.
// Pools that are gone still count.
type Stats struct {
	// Events are those of engines' connections and messages.
	Events kvevents.Stats
	// Index is the sum of all pools'; Blocks is what is followed now.
	Index index.Stats
	// Lookups are those of prompts.
	Lookups Lookups
	// Tokens is the sum of all pools'. Of what is counted, Local were found by a
	// tokenizer of our own.
	Tokens tokens.Stats
	Local  uint64
	// Pools are those of now, by name.
	Pools []PoolStats
}

// PoolStats is what is known of one pool now.
type PoolStats struct {
	// Name is "namespace/name".
	Name string
	// Followed is the number of endpoints, Live that of those whose events are followed
	// and say what they hold.
	Followed, Live int
}

// bounds are the upper bounds of all buckets but the last one, which has none.
func bounds() [lookupBuckets - 1]time.Duration {
	const us = time.Microsecond
	return [...]time.Duration{us, 5 * us / 2, 5 * us, 10 * us, 25 * us, 50 * us, 100 * us, 250 * us, 500 * us, 1000 * us, 5000 * us, 25000 * us}
}

// Lookups counts lookups of prompts.
type Lookups struct {
	// Count is how many there were, Blocks how many blocks the endpoint with the most
	// held, in sum.
	Count, Blocks uint64
	// Seconds is how long they took in all, and Within how many took no longer than
	// that many seconds.
	Seconds float64
	Within  map[float64]uint64
}

const lookupBuckets = 13

// lookups are Lookups as they are counted.
type lookups struct {
	blocks  atomic.Uint64
	nanos   atomic.Int64
	buckets [lookupBuckets]atomic.Uint64
}

func (l *lookups) add(d time.Duration, blocks int32) {
	l.blocks.Add(uint64(blocks))
	l.nanos.Add(int64(d))
	l.buckets[bucket(d)].Add(1)
}

// bucket is the place of d among bounds.
func bucket(d time.Duration) int {
	for i, bound := range bounds() {
		if d <= bound {
			return i
		}
	}
	return lookupBuckets - 1
}

// past is what pools that are gone have counted.
type past struct {
	index   index.Stats
	lookups Lookups
	buckets [lookupBuckets]uint64
	tokens  tokens.Stats
	local   uint64
}

func (p *past) add(c *Cache, shared *tokens.Engine) {
	x := c.index.Stats()
	sum := &p.index
	sum.Blocks += x.Blocks
	sum.Orphans, sum.Unknown, sum.Dropped, sum.Torn = sum.Orphans+x.Orphans, sum.Unknown+x.Unknown, sum.Dropped+x.Dropped, sum.Torn+x.Torn
	sum.Speculated, sum.Expired = sum.Speculated+x.Speculated, sum.Expired+x.Expired
	l := &p.lookups
	l.Blocks += c.lookups.blocks.Load()
	l.Seconds += time.Duration(c.lookups.nanos.Load()).Seconds()
	for i := range c.lookups.buckets {
		n := c.lookups.buckets[i].Load()
		p.buckets[i] += n
		l.Count += n
	}
	if c.engine != nil && c.engine != shared {
		p.addTokens(c.engine.Stats())
	}
	p.local += c.local.found.Load()
	p.tokens.Late += c.local.late.Load()
	p.tokens.Unusable += c.local.unusable.Load()
}

func (p *past) addTokens(t tokens.Stats) {
	s := &p.tokens
	s.Unusable, s.Known, s.Hits, s.Misses, s.Joined = s.Unusable+t.Unusable, s.Known+t.Known, s.Hits+t.Hits, s.Misses+t.Misses, s.Joined+t.Joined
	s.Late, s.Busy, s.Errors, s.Answers = s.Late+t.Late, s.Busy+t.Busy, s.Errors+t.Errors, s.Answers+t.Answers
	s.Seconds += t.Seconds
	s.CacheEntries, s.CacheBytes = s.CacheEntries+t.CacheEntries, s.CacheBytes+t.CacheBytes
}

// retire keeps what a closed pool has counted.
func (s *Set) retire(c *Cache) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if _, ok := s.caches[c]; !ok {
		return
	}
	delete(s.caches, c)
	s.past.add(c, s.shared)
	s.past.index.Blocks = 0
	s.past.tokens.CacheEntries, s.past.tokens.CacheBytes = 0, 0
}

// Stats reads the counters, one after another.
func (s *Set) Stats() Stats {
	s.mu.Lock()
	sum := s.past
	var pools []PoolStats
	for c := range s.caches {
		sum.add(c, s.shared)
		pools = append(pools, PoolStats{Name: c.name, Followed: c.pool.Snapshot().Len(), Live: c.known()})
	}
	s.mu.Unlock()
	if s.shared != nil {
		sum.addTokens(s.shared.Stats())
	}
	sum.lookups.Within = map[float64]uint64{}
	within := uint64(0)
	for i, bound := range bounds() {
		within += sum.buckets[i]
		sum.lookups.Within[bound.Seconds()] = within
	}
	slices.SortFunc(pools, func(a, b PoolStats) int { return cmp.Compare(a.Name, b.Name) })
	return Stats{Events: s.events.Stats(), Index: sum.index, Lookups: sum.lookups, Tokens: sum.tokens, Local: sum.local, Pools: pools}
}
