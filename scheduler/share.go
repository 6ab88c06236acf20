package scheduler

import (
	"sync/atomic"
	"time"
)

// Work is what a replica has in flight on an endpoint, and has done there.
type Work struct {
	// Requests to Output are as in [LoadView], of that replica alone.
	Requests, Waiting, Dispatched        int32
	Backlog, Prefilling, Context, Output int64
	// Sent is the uncached prompt tokens sent there since the replica started,
	// Prefilled those of them that were seen to produce a first token, and Busy the
	// time in which any were outstanding.
	Sent, Prefilled int64
	Busy            time.Duration
}

// InFlight is w without what has been done.
func (w Work) InFlight() Work {
	w.Sent, w.Prefilled, w.Busy = 0, 0, 0
	return w
}

// pending is the number of requests between dispatch and first token.
func (w *Work) pending() int {
	decoding := w.Requests - w.Waiting
	return int(max(0, w.Dispatched-max(0, decoding)))
}

// maxWork bounds a sum of tokens, so that no sum of replicas' overflows whatever one
// says.
const maxWork = 1 << 48

// clamp makes w something that can have been counted.
func (w *Work) clamp() {
	tokens := func(n int64) int64 { return max(0, min(n, maxWork)) }
	w.Requests, w.Waiting, w.Dispatched = max(0, w.Requests), max(0, w.Waiting), max(0, w.Dispatched)
	w.Backlog, w.Prefilling = tokens(w.Backlog), tokens(w.Prefilling)
	w.Context, w.Output = tokens(w.Context), tokens(w.Output)
	if w.Requests == 0 {
		*w = Work{Sent: w.Sent, Prefilled: w.Prefilled, Busy: w.Busy}
	}
}

// Own is what this process has in flight on the endpoint, and has done there: what
// it tells other replicas.
func (l *Load) Own() Work {
	w := Work{
		Requests:   clampTokens(l.requests.Load()),
		Waiting:    clampTokens(l.waiting.Load()),
		Dispatched: clampTokens(l.dispatched.Load()),
		Backlog:    max(0, l.backlog.Load()),
		Prefilling: max(0, l.prefilling.Load()),
		Context:    max(0, l.context.Load()),
		Output:     max(0, l.output.Load()),
	}
	w.Sent, w.Prefilled, w.Busy = l.rate.told()
	return w
}

// shared sums up what other replicas have in flight on an endpoint.
type shared struct {
	used                          atomic.Bool // anything was ever set
	requests, waiting, dispatched atomic.Int64
	backlog, prefilling           atomic.Int64
	context, output               atomic.Int64
	unseen                        atomic.Int64
}

// addTo adds the sums to a reading of the process's own counters.
func (s *shared) addTo(v *LoadView) {
	v.Requests = clampTokens(int64(v.Requests) + s.requests.Load())
	v.Waiting = clampTokens(int64(v.Waiting) + s.waiting.Load())
	v.Dispatched = clampTokens(int64(v.Dispatched) + s.dispatched.Load())
	v.Backlog += max(0, s.backlog.Load()) + s.unseen.Load()
	v.Prefilling += max(0, s.prefilling.Load())
	v.Context += max(0, s.context.Load())
	v.Output += max(0, s.output.Load())
}

// SetUnseen sets the uncached prompt tokens that other replicas may have sent to the
// endpoint without this one knowing yet. They count as Backlog.
func (l *Load) SetUnseen(tokens int64) {
	l.shared.unseen.Store(max(0, min(tokens, maxWork)))
	l.shared.used.Store(true)
}

// Saturation is how far the endpoint is from taking another request of this process
// now; below 1 it does. Requests that other replicas hold for the endpoint have their
// part of what may be outstanding there: without, whose request finishes would send
// its own next for as long as it holds any.
func (l *Load) Saturation() float64 {
	others := l.shared.requests.Load() - l.shared.dispatched.Load()
	if others <= 0 {
		return float64(l.Prefilling()) / HoldTokens
	}
	held := max(1, l.requests.Load()-l.dispatched.Load())
	return float64(max(0, l.prefilling.Load())) * float64(held+others) / float64(held) / HoldTokens
}

// Admits reports whether the endpoint takes another request of this process now. An
// idle endpoint always does.
func (l *Load) Admits() bool { return l.Saturation() < 1 }

// Share is what one other replica has in flight on a [Load], as it said last. The
// zero Share is nothing. It is not safe for concurrent use, but several Shares of one
// Load may be set at once.
type Share struct {
	load *Load
	is   Work
}

// Set replaces what the share was by w, on l. It reports whether that leaves less
// prefill work on l, which may let a held request go. What the replica has done since
// the Set before teaches how fast the endpoint is. Counts below zero read as zero.
func (s *Share) Set(now time.Time, l *Load, w Work) (less bool) {
	first := s.load != l
	if first {
		s.End(now)
		s.load = l
	}
	w.clamp()
	is := &s.is
	l.shared.used.Store(true)
	l.shared.waiting.Add(int64(w.Waiting - is.Waiting))
	l.shared.dispatched.Add(int64(w.Dispatched - is.Dispatched))
	l.shared.backlog.Add(w.Backlog - is.Backlog)
	l.shared.prefilling.Add(w.Prefilling - is.Prefilling)
	l.shared.context.Add(w.Context - is.Context)
	l.shared.output.Add(w.Output - is.Output)
	l.shared.requests.Add(int64(w.Requests - is.Requests))
	if w.Requests != is.Requests || w.Context != is.Context {
		l.changed()
	}
	var done int64
	var busy time.Duration
	if !first && w.Prefilled > is.Prefilled {
		done = min(w.Prefilled-is.Prefilled, maxWork)
		busy = min(w.Busy-is.Busy, time.Minute)
	}
	if pending := w.pending() - is.pending(); pending != 0 || done != 0 {
		l.rate.others(now, pending, done, busy)
	}
	less = w.Prefilling < is.Prefilling
	s.is = w
	return less
}

// End takes the share off its load: the replica is gone, or the endpoint. It reports
// what Set does.
func (s *Share) End(now time.Time) (less bool) {
	if s.load == nil {
		return false
	}
	less = s.Set(now, s.load, Work{})
	*s = Share{}
	return less
}

// Load is the load that the share is on, nil when it is on none.
func (s *Share) Load() *Load { return s.load }

// Work is what the share counts for.
func (s *Share) Work() Work { return s.is }
