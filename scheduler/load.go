package scheduler

import (
	"sync/atomic"
	"time"
)

// Load counts what is in flight on one endpoint: what this process has, counted
// request by request, and what other replicas of it say they have, see [Share]. Its
// methods are safe for concurrent use; a reader may see counters of different
// moments, which a choice tolerates.
type Load struct {
	requests   atomic.Int64
	waiting    atomic.Int64
	dispatched atomic.Int64
	backlog    atomic.Int64
	prefilling atomic.Int64
	context    atomic.Int64
	output     atomic.Int64
	rate       rateMeter // its cached value is next to the counters a reader wants
	shared     shared
	watchers   atomic.Pointer[[]watcher] // nil for nobody
}

// LoadView is one reading of a [Load].
type LoadView struct {
	// Requests is bound here and not ended, held ones included.
	Requests int32
	// Waiting is the part of Requests without a first token yet.
	Waiting int32
	// Dispatched is the part of Requests that has left the hold queue.
	Dispatched int32
	// Backlog is the uncached prompt tokens of the Waiting requests.
	Backlog int64
	// Prefilling is the part of Backlog that has left the hold queue, without requests
	// that await their LoRA adapter.
	Prefilling int64
	// Context is the prompt tokens of all Requests: the decode load.
	Context int64
	// Output is the estimated tokens of the answers of all Requests, of those that were
	// estimated.
	Output int64
	// PrefillRate is the learned prefill speed in tokens per second; 0 until
	// enough was seen.
	PrefillRate float64
	// UnseenTokens and UnseenRequests are what other replicas may be sending, see
	// [Load.SetUnseen]. No other field has it.
	UnseenTokens   int64
	UnseenRequests float64
}

// View reads the counters. Negative values, possible for an instant between two
// atomic operations of a finishing request, read as zero.
func (l *Load) View() LoadView {
	v := LoadView{
		Requests:    clampTokens(l.requests.Load()),
		Waiting:     clampTokens(l.waiting.Load()),
		Dispatched:  clampTokens(l.dispatched.Load()),
		Backlog:     max(0, l.backlog.Load()),
		Prefilling:  max(0, l.prefilling.Load()),
		Context:     max(0, l.context.Load()),
		Output:      max(0, l.output.Load()),
		PrefillRate: l.rate.value(),
	}
	if l.shared.used.Load() {
		l.shared.addTo(&v)
	}
	return v
}

// Idle reports whether nothing is in flight.
func (l *Load) Idle() bool { return l.requests.Load() == 0 && l.shared.requests.Load() == 0 }

// Prefilling is the uncached tokens sent to the endpoint that have not produced
// a first token.
func (l *Load) Prefilling() int64 {
	return max(0, l.prefilling.Load()) + max(0, l.shared.prefilling.Load())
}

type flightPhase uint8

const (
	phaseNone flightPhase = iota
	phaseHeld
	phaseDispatched
	phaseDecoding
	phaseEnded
)

// Flight is one request's share of a [Load]. The zero Flight is not in flight.
// Its methods may be called in any order and any number of times: whatever
// happens, after End the load is what it would be had the request never been.
// A Flight is not safe for concurrent use.
type Flight struct {
	load     *Load
	uncached int64
	context  int64
	output   int64
	awaits   bool // as in Await
	phase    flightPhase
}

// Bind counts a request that has been bound to the endpoint but not yet sent.
// It does nothing on a flight that is already bound.
func (f *Flight) Bind(l *Load, uncached, context int64) {
	if f.phase != phaseNone {
		return
	}
	f.load, f.uncached, f.context, f.phase = l, max(0, uncached), max(0, context), phaseHeld
	l.requests.Add(1)
	l.waiting.Add(1)
	l.backlog.Add(f.uncached)
	l.context.Add(f.context)
	l.changed()
}

// Expect counts an answer of that many tokens as in flight, until the flight ends. It
// does nothing on a flight that is not bound.
func (f *Flight) Expect(output int64) {
	if f.phase == phaseNone || f.phase == phaseEnded {
		return
	}
	output = max(0, output)
	f.load.output.Add(output - f.output)
	f.output = output
}

// Await says whether the endpoint has no room for the request's LoRA adapter yet. Then the
// request stands in the engine's queue, where others pass it: it neither counts as
// Prefilling, which would keep those back, nor teaches how fast the endpoint is. It does
// nothing on a flight that is not bound, or has been dispatched.
func (f *Flight) Await(adapter bool) {
	if f.phase == phaseHeld {
		f.awaits = adapter
	}
}

// Dispatch counts the request as sent. uncached replaces the estimate given to
// Bind, since the cache may have moved on while the request was held.
func (f *Flight) Dispatch(now time.Time, uncached int64) {
	if f.phase != phaseHeld {
		return
	}
	uncached = max(0, uncached)
	f.load.backlog.Add(uncached - f.uncached)
	f.uncached = uncached
	f.load.dispatched.Add(1)
	if !f.awaits {
		f.load.prefilling.Add(uncached)
		f.load.rate.dispatched(now, uncached)
	}
	f.phase = phaseDispatched
}

// FirstToken counts the prompt as processed.
func (f *Flight) FirstToken(now time.Time) {
	if f.phase != phaseDispatched {
		return
	}
	f.leavePrefill(now, f.uncached, true)
	f.phase = phaseDecoding
}

// Prefilled counts the prompt as processed on somebody's estimate. It does what
// FirstToken does, but an estimate teaches nothing about the endpoint's speed.
func (f *Flight) Prefilled(now time.Time) {
	if f.phase != phaseDispatched {
		return
	}
	f.leavePrefill(now, 0, false)
	f.phase = phaseDecoding
}

// leavePrefill takes a dispatched request out of the prefill work. When served, that
// many tokens have been processed, and teach how fast the endpoint is.
func (f *Flight) leavePrefill(now time.Time, tokens int64, served bool) {
	f.load.waiting.Add(-1)
	f.load.backlog.Add(-f.uncached)
	if !f.awaits {
		f.load.prefilling.Add(-f.uncached)
		f.load.rate.finished(now, tokens, served)
	}
}

// Move transfers the flight to another endpoint's load, in the same phase:
// a retry was served elsewhere. uncached is the estimate for the new endpoint.
func (f *Flight) Move(now time.Time, to *Load, uncached int64) {
	if f.load == to || f.phase == phaseNone || f.phase == phaseEnded {
		return
	}
	phase, context, output := f.phase, f.context, f.output
	f.End(now)
	*f = Flight{}
	f.Bind(to, uncached, context)
	f.Expect(output)
	if phase >= phaseDispatched {
		f.Dispatch(now, uncached)
	}
	if phase == phaseDecoding {
		f.leavePrefill(now, 0, false)
		f.phase = phaseDecoding
	}
}

// End takes the request out of all counters, whatever phase it is in.
func (f *Flight) End(now time.Time) {
	switch f.phase {
	case phaseNone, phaseEnded:
		f.phase = phaseEnded
		return
	case phaseHeld:
		f.load.waiting.Add(-1)
		f.load.backlog.Add(-f.uncached)
	case phaseDispatched:
		f.leavePrefill(now, 0, false)
		f.load.dispatched.Add(-1)
	case phaseDecoding:
		f.load.dispatched.Add(-1)
	}
	f.load.requests.Add(-1)
	f.load.context.Add(-f.context)
	f.load.output.Add(-f.output)
	f.load.changed()
	f.phase = phaseEnded
}

// Load is the load the flight counts on, nil when it is not bound.
func (f *Flight) Load() *Load { return f.load }

// Context is the prompt tokens given to Bind.
func (f *Flight) Context() int64 { return f.context }

// Uncached is the current estimate of prompt tokens to prefill.
func (f *Flight) Uncached() int64 { return f.uncached }
