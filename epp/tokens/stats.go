package tokens

import (
	"sync/atomic"
	"time"
)

// Stats are an Engine's counts since its start. Every call of [Engine.Tokens] whose
// request can be read counts as one of Known, Hits, Joined, Misses and Busy (which
// also counts those of Misses that found no slot in time).
type Stats struct {
	// Unusable requests are not of a kind that can be tokenized, or malformed.
	Unusable uint64
	// Known requests brought their token ids.
	Known uint64
	// Hits were answered from the cache, Misses asked an endpoint, and Joined waited
	// for the answer to an equal request.
	Hits, Misses, Joined uint64
	// Late calls had no answer at the end of their budget.
	Late uint64
	// Busy calls found too many questions on their way.
	Busy uint64
	// Errors are questions that no endpoint answered.
	Errors uint64
	// Answers are questions that were answered, refusals included, and Seconds how
	// long that took in all.
	Answers uint64
	Seconds float64
	// CacheEntries and CacheBytes are what the cache holds now.
	CacheEntries int
	CacheBytes   int64
}

// counters are Stats as they are counted.
type counters struct {
	unusable, known, hits, misses, joined, late, busy, errors, answers atomic.Uint64
	nanoseconds                                                        atomic.Int64
}

func (c *counters) asked(d time.Duration) {
	c.answers.Add(1)
	c.nanoseconds.Add(int64(d))
}

// Stats returns the counts.
func (e *Engine) Stats() Stats {
	c := &e.stats
	s := Stats{
		Unusable: c.unusable.Load(), Known: c.known.Load(), Hits: c.hits.Load(), Misses: c.misses.Load(),
		Joined: c.joined.Load(), Late: c.late.Load(), Busy: c.busy.Load(), Errors: c.errors.Load(),
		Answers: c.answers.Load(), Seconds: time.Duration(c.nanoseconds.Load()).Seconds(),
	}
	s.CacheEntries, s.CacheBytes = e.cache.used()
	return s
}
