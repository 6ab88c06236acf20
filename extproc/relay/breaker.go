package relay

import (
	"context"
	"sync"
	"sync/atomic"
	"time"
)

const (
	// tripAfter is how many failures in a row, with no answer among them, open the
	// breaker.
	tripAfter = 3
	// coolDown is how long it stays open before one request tries again.
	coolDown = time.Second
)

// breaker keeps requests from a picker that cannot be reached, so that each of them
// costs microseconds instead of the timeout.
type breaker struct {
	now func() time.Time

	// open mirrors until != zero: the way of a healthy picker's requests.
	open atomic.Bool

	mu       sync.Mutex
	failures int
	until    time.Time
	probing  bool
	// closed ends when the breaker opens.
	closed context.Context
	trip   context.CancelFunc
}

func newBreaker(now func() time.Time) *breaker {
	b := &breaker{now: now}
	b.closed, b.trip = context.WithCancel(context.Background())
	return b
}

// tripped returns a context that ends when the breaker opens, or has while it is open.
func (b *breaker) tripped() context.Context {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.closed
}

// allow reports whether a request may be sent. The one that tries again after a
// while is the probe: it alone goes, and must end in success, failure or abandon.
func (b *breaker) allow() (probe, ok bool) {
	if !b.open.Load() {
		return false, true
	}
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.until.IsZero() {
		return false, true
	}
	if b.probing || b.now().Before(b.until) {
		return false, false
	}
	b.probing = true
	return true, true
}

// success says that the picker answered something.
func (b *breaker) success() {
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.failures >= tripAfter {
		b.closed, b.trip = context.WithCancel(context.Background())
	}
	b.failures, b.until, b.probing = 0, time.Time{}, false
	b.open.Store(false)
}

// failure says that the picker could not be reached, or said nothing at all.
func (b *breaker) failure() {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.failures++
	if b.failures >= tripAfter {
		b.until = b.now().Add(coolDown)
		b.open.Store(true)
		b.trip()
	}
	b.probing = false
}

// abandon says that the probe ended before anything was learned.
func (b *breaker) abandon() {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.probing = false
}

// silentAfter is how many requests in a row must go without any answer to their
// bodies before it is no longer waited for.
const silentAfter = 3

// habit is whether a picker answers request bodies at all. It is learned, since the
// headers' answer does not say.
type habit struct {
	silent atomic.Int32
}

// answers says that there was an answer to a body; ignores, that there was none.
func (h *habit) answers() {
	if h.silent.Load() != 0 {
		h.silent.Store(0)
	}
}
func (h *habit) ignores() {
	if h.silent.Load() < silentAfter {
		h.silent.Add(1)
	}
}

// expects reports whether an answer to a body is to be expected.
func (h *habit) expects() bool { return h.silent.Load() < silentAfter }
