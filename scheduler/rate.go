package scheduler

import (
	"sync"
	"time"
)

// rateMeter learns an endpoint's prefill speed: uncached tokens that produced a
// first token, over the time in which any were outstanding. Both sums decay, so
// that the estimate follows the last rateWindow tokens or so.
type rateMeter struct {
	cached  atomicFloat
	mu      sync.Mutex
	pending int       // requests between dispatch and first token, of all replicas
	since   time.Time // start of the busy span not yet added to seconds
	tokens  float64
	seconds float64

	// What this process alone contributes, for the other replicas.
	own      int
	ownSince time.Time
	sent     int64         // tokens, ever
	prompts  int64         // requests, ever
	done     int64         // of those, with a first token
	busy     time.Duration // ever, until ownSince
}

const (
	rateWindow     = 400_000 // tokens
	rateMinTokens  = 32_768  // before the estimate is used
	rateMinSeconds = 0.5
)

func (r *rateMeter) dispatched(now time.Time, tokens int64) {
	r.mu.Lock()
	r.sent += tokens
	r.prompts++
	if r.pending == 0 {
		r.since = now
	}
	r.pending++
	if r.own == 0 {
		r.ownSince = now
	}
	r.own++
	r.mu.Unlock()
}

func (r *rateMeter) finished(now time.Time, tokens int64, served bool) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.own == 0 {
		return
	}
	r.own--
	if served {
		r.done += tokens
		r.busy += max(0, now.Sub(r.ownSince))
		r.ownSince = now
	}
	r.pending--
	if !served {
		return
	}
	if d := now.Sub(r.since); d > 0 {
		r.seconds += d.Seconds()
		r.since = now
	}
	r.learn(tokens)
}

// others takes in what another replica has done since it was heard of last: pending
// more requests await their first token, and prompts of that many tokens have been
// processed, which kept the endpoint busy for a time.
func (r *rateMeter) others(now time.Time, pending int, tokens int64, busy time.Duration) {
	r.mu.Lock()
	defer r.mu.Unlock()
	was := r.pending
	r.pending = max(r.own, r.pending+pending)
	if tokens > 0 {
		d := now.Sub(r.since)
		if was == 0 { // it began and ended between two messages
			d = busy
		}
		d = max(0, d)
		r.seconds += d.Seconds()
		r.since = now
		r.learn(tokens)
	}
	if was == 0 {
		r.since = now
	}
}

// learn counts tokens, whose time has been counted.
func (r *rateMeter) learn(tokens int64) {
	r.tokens += float64(tokens)
	if r.tokens > rateWindow {
		k := rateWindow / r.tokens
		r.tokens *= k
		r.seconds *= k
	}
	if r.tokens >= rateMinTokens && r.seconds >= rateMinSeconds {
		r.cached.store(r.tokens / r.seconds)
	}
}

// told is what this process has done, for the other replicas.
func (r *rateMeter) told() (sent, prompts, done int64, busy time.Duration) {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.sent, r.prompts, r.done, r.busy
}

func (r *rateMeter) value() float64 { return r.cached.load() }
