package relay

import (
	"sync"
	"time"
)

// Outcome is how a consultation about a request ended.
type Outcome string

const (
	// Picked means that the picker named endpoints.
	Picked Outcome = "picked"
	// Immediate means that the picker answered the client itself.
	Immediate Outcome = "immediate"
	// FailedOpen means that there was no usable answer and the request went on.
	FailedOpen Outcome = "fail_open"
	// FailedClosed means that there was none and the client got 503.
	FailedClosed Outcome = "fail_closed"
	// Canceled means that the client or Envoy gave up.
	Canceled Outcome = "canceled"
)

// Reason is why there was no usable answer, "" where there was one.
type Reason string

const (
	// ReasonUnavailable is a connection or stream that failed.
	ReasonUnavailable Reason = "unavailable"
	// ReasonTimeout is an answer that did not come, or not whole, in time.
	ReasonTimeout Reason = "timeout"
	// ReasonBroken is a circuit breaker that is open after failures in a row.
	ReasonBroken Reason = "circuit_open"
	// ReasonOverload is too many requests or bytes at one time.
	ReasonOverload Reason = "overload"
	// ReasonClosed is a stream that the picker ended before it had answered.
	ReasonClosed Reason = "closed"
	// ReasonNoPick is an answer without an endpoint.
	ReasonNoPick Reason = "no_pick"
	// ReasonInvalid is an answer that cannot be used.
	ReasonInvalid Reason = "invalid"
)

// Metrics is told about consultations. Its methods are called concurrently and must
// not block.
type Metrics interface {
	// Consulted reports how a consultation about a request of a pool ended, and how
	// long the picker at address took from the request's last byte.
	Consulted(pool, address string, o Outcome, r Reason, d time.Duration)
	// ResponseLeft reports that the picker was left behind in the response phase.
	ResponseLeft(pool, address string, r Reason)
}

type noMetrics struct{}

func (noMetrics) Consulted(string, string, Outcome, Reason, time.Duration) {}
func (noMetrics) ResponseLeft(string, string, Reason)                      {}

// logEvery is the shortest time between two log lines on one subject.
const logEvery = 10 * time.Second

// limiter thins out log lines.
type limiter struct {
	now func() time.Time

	mu   sync.Mutex
	seen map[string]*subject
}

type subject struct {
	last    time.Time
	skipped int
}

// allow reports whether to log on a subject now, and how many lines were left out
// since the last one. Subjects are few: a pool and a reason.
func (l *limiter) allow(name string) (skipped int, ok bool) {
	l.mu.Lock()
	defer l.mu.Unlock()
	s := l.seen[name]
	if s == nil {
		if l.seen == nil {
			l.seen = map[string]*subject{}
		}
		l.seen[name] = &subject{last: l.now()}
		return 0, true
	}
	if now := l.now(); now.Sub(s.last) >= logEvery {
		skipped, s.skipped, s.last = s.skipped, 0, now
		return skipped, true
	}
	s.skipped++
	return 0, false
}
