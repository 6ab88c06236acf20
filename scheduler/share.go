package scheduler

import (
	"math"
	"sync/atomic"
	"time"
)

// Work is what a replica has in flight on an endpoint, and has done there.
type Work struct {
	// Requests to Output are as in [LoadView], of that replica alone.
	Requests, Waiting, Dispatched        int32
	Backlog, Prefilling, Context, Output int64
	// Sent is the uncached prompt tokens sent there since the replica started, Prompts
	// the requests they came with, Prefilled those of them that were seen to produce a first token, and Busy the
	// time in which any were outstanding.
	Sent, Prompts, Prefilled int64
	Busy                     time.Duration
	// Next is the request that leaves that replica's [HoldQueue] next.
	Next Next
}

// InFlight is w without what has been done.
func (w Work) InFlight() Work {
	w.Sent, w.Prompts, w.Prefilled, w.Busy = 0, 0, 0, 0
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
		*w = Work{Sent: w.Sent, Prompts: w.Prompts, Prefilled: w.Prefilled, Busy: w.Busy}
	}
	if w.Next.Uncached = tokens(w.Next.Uncached); !w.Next.Held || w.Requests <= w.Dispatched {
		w.Next = Next{}
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
	w.Sent, w.Prompts, w.Prefilled, w.Busy = l.rate.told()
	w.Next = l.shared.turns.ours()
	return w
}

// shared sums up what other replicas have in flight on an endpoint.
type shared struct {
	used                          atomic.Bool // anything was ever set
	requests, waiting, dispatched atomic.Int64
	backlog, prefilling           atomic.Int64
	context, output               atomic.Int64
	unseen                        atomic.Int64
	unseenRequests                atomicFloat
	turns                         turns
}

// addTo adds the sums to a reading of the process's own counters.
func (s *shared) addTo(v *LoadView) {
	v.Requests = clampTokens(int64(v.Requests) + s.requests.Load())
	v.Waiting = clampTokens(int64(v.Waiting) + s.waiting.Load())
	v.Dispatched = clampTokens(int64(v.Dispatched) + s.dispatched.Load())
	v.Backlog += max(0, s.backlog.Load())
	v.Prefilling += max(0, s.prefilling.Load())
	v.Context += max(0, s.context.Load())
	v.Output += max(0, s.output.Load())
	v.UnseenTokens, v.UnseenRequests = s.unseen.Load(), s.unseenRequests.load()
}

// SetUnseen sets the uncached prompt tokens that other replicas may have sent to the
// endpoint without this one knowing yet, and the requests that they may send before
// they know of this replica's next one there.
func (l *Load) SetUnseen(tokens int64, requests float64) {
	l.shared.unseen.Store(max(0, min(tokens, maxWork)))
	l.shared.unseenRequests.store(max(0, requests))
	l.shared.used.Store(true)
}

// Saturation is how far the endpoint is from taking another request of this process
// now; below 1 it does.
//
// While several replicas hold requests for the endpoint, the first in order goes: a
// replica whose own is behind another's waits, unless nothing is being prefilled, so
// that no endpoint stands idle for a replica that is slow or gone. For the same reason
// the first may go while a single prompt is being prefilled, however long: when that
// is done, only the replica that sent it knows at once.
func (l *Load) Saturation() float64 {
	prefilling := l.Prefilling()
	s := float64(prefilling) / HoldTokens
	if prefilling == 0 || !l.Shared() {
		return s
	}
	switch others, behind := l.shared.turns.look(l.rate.value()); {
	case behind:
		return max(1, s)
	case others && s >= 1 && l.pending() <= 1:
		return math.Nextafter(1, 0)
	}
	return s
}

// pending is the number of requests of all replicas between dispatch and first token.
func (l *Load) pending() int {
	v := l.View()
	w := Work{Requests: v.Requests, Waiting: v.Waiting, Dispatched: v.Dispatched}
	return w.pending()
}

// Admits reports whether the endpoint takes another request of this process now. An
// idle endpoint always does.
func (l *Load) Admits() bool { return l.Saturation() < 1 }

// Shared reports whether other replicas have, or had, a part in the load.
func (l *Load) Shared() bool { return l.shared.used.Load() }

// SetNext says which request leaves this process's [HoldQueue] for the endpoint next:
// other replicas hold back those of theirs that come later. The zero Next is none.
func (l *Load) SetNext(n Next) { l.shared.turns.setOurs(n) }

// Share is what one other replica has in flight on a [Load], as it said last. The
// zero Share is nothing. It is not safe for concurrent use, but several Shares of one
// Load may be set at once.
type Share struct {
	load *Load
	is   Work
}

// Set replaces what the share was by w, on l. It reports whether that leaves fewer
// requests, less context or less prefill work on l, or another request in front of ours:
// each may let a request go that waits for l or for its pool. What the replica has done
// since the Set before teaches how fast the endpoint is. Counts below zero read as zero.
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
	less = w.Prefilling < is.Prefilling || w.Requests < is.Requests || w.Context < is.Context
	if w.Next != is.Next {
		l.shared.turns.set(s, w.Next)
		less = less || is.Next.Held
	}
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
