package refresh

import (
	"context"
	"errors"
	"fmt"
	"math"
	"sync"
	"sync/atomic"
	"time"
)

// The errors of [Cache.Get] that do not come from the fetch.
var (
	// ErrWait: the caller's context ended before the fetch did.
	ErrWait = errors.New("gave up waiting for a token")
	// ErrExpired: the token that was fetched had already ended.
	ErrExpired = errors.New("the token that was handed out has already ended")
	// ErrClosed: the cache was closed.
	ErrClosed = errors.New("closed")
)

// Options say how tokens are fetched.
type Options[T any] struct {
	// Fetch gets a new token, and when it ends; the zero time means never. It may get
	// the same token again.
	Fetch func(context.Context) (T, time.Time, error)
	// Now is the clock. It must go as package time's does.
	Now func() time.Time
	// Rand returns a number in [0, 1).
	Rand func() float64
	// Timeout bounds one fetch.
	Timeout time.Duration
	// MinBackoff is the wait after a first failure, MaxBackoff the longest one; 0
	// means 1 second and 2 minutes.
	MinBackoff, MaxBackoff time.Duration
	// Changed, if set, is called after each fetch and each Drop.
	Changed func()
}

// Cache holds one token. Its methods are safe for concurrent use.
type Cache[T any] struct {
	o       Options[T]
	current atomic.Pointer[token[T]]
	// next is when the next fetch may begin, in Unix nanoseconds.
	next   atomic.Int64
	base   context.Context
	cancel context.CancelFunc
	wake   chan struct{}

	mu       sync.Mutex
	flight   *flight[T]
	asked    uint64 // counts Refresh and Drop: a fetch from before is of no use
	failures int
	lastErr  error
	dropped  error
}

const never = math.MaxInt64

type token[T any] struct {
	value   T
	expires time.Time // zero: never
}

func (t *token[T]) valid(now time.Time) bool {
	return t != nil && (t.expires.IsZero() || now.Before(t.expires))
}

// flight is one fetch, or several in a row where the first were overtaken by
// Refresh. value and err are set before done is closed.
type flight[T any] struct {
	done  chan struct{}
	value T
	err   error
}

// State is how a cache is doing.
type State struct {
	// Valid says that there is a token in use, and Expires when it ends; zero means
	// never.
	Valid   bool
	Expires time.Time
	// Err is what Drop was given or the last fetch's error; nil after a success and
	// before the first fetch.
	Err error
}

// New returns an empty cache. Fetches begin with Get or Run.
func New[T any](o Options[T]) *Cache[T] {
	if o.MinBackoff <= 0 {
		o.MinBackoff = time.Second
	}
	if o.MaxBackoff <= 0 {
		o.MaxBackoff = 2 * time.Minute
	}
	c := &Cache[T]{o: o, wake: make(chan struct{}, 1)}
	c.base, c.cancel = context.WithCancel(context.Background())
	return c
}

// Get returns the token. It waits only if there is none that is valid, no longer
// than ctx, and not at all while a failed fetch rests.
func (c *Cache[T]) Get(ctx context.Context) (T, error) {
	now := c.o.Now()
	if t := c.current.Load(); t.valid(now) {
		if now.UnixNano() >= c.next.Load() && c.mu.TryLock() {
			c.startLocked(now)
			c.mu.Unlock()
		}
		return t.value, nil
	}
	var none T
	c.mu.Lock()
	f := c.startLocked(now)
	if f == nil {
		defer c.mu.Unlock()
		// A fetch may have ended since current was read.
		if t := c.current.Load(); t.valid(now) {
			return t.value, nil
		}
		return none, c.errLocked()
	}
	c.mu.Unlock()
	select {
	case <-f.done:
		return f.value, f.err
	case <-ctx.Done():
		return none, fmt.Errorf("%w: %w", ErrWait, context.Cause(ctx))
	}
}

// Run fetches the first token and refreshes it until ctx is done or Close is
// called.
func (c *Cache[T]) Run(ctx context.Context) {
	for ctx.Err() == nil && c.base.Err() == nil {
		c.mu.Lock()
		now := c.o.Now()
		f := c.startLocked(now)
		next := c.next.Load()
		if c.dropped != nil {
			next = never
		}
		c.mu.Unlock()

		var done <-chan struct{}
		var timer *time.Timer
		var due <-chan time.Time
		switch {
		case f != nil:
			done = f.done
		case next != never:
			timer = time.NewTimer(time.Duration(next - now.UnixNano()))
			due = timer.C
		}
		select {
		case <-done:
		case <-due:
		case <-c.wake:
		case <-ctx.Done():
		case <-c.base.Done():
		}
		if timer != nil {
			timer.Stop()
		}
	}
}

// Refresh has a new token fetched at once, whatever failed before, because what it
// is fetched with has changed. The token in use stays until then. It does not
// wait.
func (c *Cache[T]) Refresh() {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.asked++
	c.dropped, c.failures = nil, 0
	c.next.Store(0)
	c.startLocked(c.o.Now())
	c.signal()
}

// Drop forgets the token. Until Refresh is called, Get returns err and nothing is
// fetched.
func (c *Cache[T]) Drop(err error) {
	c.mu.Lock()
	c.asked++
	c.dropped = err
	c.current.Store(nil)
	c.signal()
	c.mu.Unlock()
	c.changed()
}

// Close forgets the token and ends Run and any fetch.
func (c *Cache[T]) Close() {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.cancel()
	c.current.Store(nil)
}

// State says how the cache is doing now.
func (c *Cache[T]) State() State {
	c.mu.Lock()
	defer c.mu.Unlock()
	s := State{Err: c.errLocked()}
	if t := c.current.Load(); t.valid(c.o.Now()) {
		s.Valid, s.Expires = true, t.expires
	}
	return s
}

func (c *Cache[T]) errLocked() error {
	switch {
	case c.base.Err() != nil:
		return ErrClosed
	case c.dropped != nil:
		return c.dropped
	}
	return c.lastErr
}

// signal makes Run look again.
func (c *Cache[T]) signal() {
	select {
	case c.wake <- struct{}{}:
	default:
	}
}

func (c *Cache[T]) changed() {
	if c.o.Changed != nil {
		c.o.Changed()
	}
}

// startLocked returns the fetch under way, having begun one if one is due.
func (c *Cache[T]) startLocked(now time.Time) *flight[T] {
	if c.base.Err() != nil || c.dropped != nil {
		return nil
	}
	if c.flight == nil {
		if now.UnixNano() < c.next.Load() {
			return nil
		}
		c.flight = &flight[T]{done: make(chan struct{})}
		go c.fly(c.flight)
	}
	return c.flight
}

// fly fetches until a fetch was not overtaken, and keeps what it got.
func (c *Cache[T]) fly(f *flight[T]) {
	for again := true; again; {
		c.mu.Lock()
		asked := c.asked
		c.mu.Unlock()
		ctx, cancel := context.WithTimeout(c.base, c.o.Timeout)
		value, expires, err := c.o.Fetch(ctx)
		cancel()
		again = !c.land(f, asked, value, expires, err)
	}
	close(f.done)
	c.changed()
}

// land keeps the outcome of a fetch, unless Refresh overtook it, which it reports
// by returning false.
func (c *Cache[T]) land(f *flight[T], asked uint64, value T, expires time.Time, err error) bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	if stop := c.base.Err() != nil || c.dropped != nil; stop {
		f.err, c.flight = c.errLocked(), nil
		return true
	}
	if asked != c.asked {
		return false
	}
	c.flight = nil
	now := c.o.Now()
	t := &token[T]{value: value, expires: expires}
	if err == nil && !t.valid(now) {
		err = ErrExpired
	}
	f.err, c.lastErr = err, err
	if err != nil {
		c.failures++
		c.next.Store(now.Add(c.backoff()).UnixNano())
		return true
	}
	f.value, c.failures = value, 0
	c.current.Store(t)
	c.next.Store(c.refreshAt(now, expires))
	return true
}
