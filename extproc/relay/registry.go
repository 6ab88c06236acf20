package relay

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"maps"
	"net"
	"sync"
	"sync/atomic"
	"time"

	"github.com/fairway-ai/fairway/extproc"
)

const (
	// DefaultMaxStreams is Options.MaxStreams when zero.
	DefaultMaxStreams = 4096
	// DefaultMaxHeldBytes is Options.MaxHeldBytes when zero.
	DefaultMaxHeldBytes = 512 << 20
	// DefaultResponseTimeout is Options.ResponseTimeout when zero.
	DefaultResponseTimeout = time.Second
	// DefaultHoldAfter is Options.HoldAfter when zero. It is less than Envoy's default
	// message_timeout, 200 ms.
	DefaultHoldAfter = 100 * time.Millisecond
)

// Options are a Registry's settings; the zero value is a good one.
type Options struct {
	// MaxBodyBytes bounds a body that is kept while a picker looks at it, and what a
	// picker makes of it, in bytes; extproc.DefaultMaxBodyBytes when zero.
	MaxBodyBytes int64
	// MaxStreams bounds the requests that one picker is consulted about at one time,
	// their responses included.
	MaxStreams int
	// MaxHeldBytes bounds the bytes kept for one picker at one time.
	MaxHeldBytes int64
	// ResponseTimeout bounds the wait for an answer to response headers and to the
	// last of the response body.
	ResponseTimeout time.Duration
	// HoldAfter is how long an answer is waited for before Envoy is told that it may
	// take longer. It must be less than Envoy's message_timeout.
	HoldAfter time.Duration
	// Now is the clock, time.Now when nil. Waits use the system's timers.
	Now func() time.Time
	// Metrics is told how consultations end; nil for nobody.
	Metrics Metrics
	// Log receives what an operator should know, slog.Default when nil.
	Log *slog.Logger

	// dial connects to what gRPC's resolvers yield; the system's network when nil.
	dial func(ctx context.Context, addr string) (net.Conn, error)
}

// Registry knows the foreign pickers by pool. It implements extproc.Foreign and is
// safe for concurrent use.
type Registry struct {
	o     Options
	pools atomic.Pointer[map[string]*pool]

	mu      sync.Mutex
	clients map[clientKey]*client
	closed  bool
}

var _ extproc.Foreign = (*Registry)(nil)

// pool is a pool with a foreign picker. It never changes.
type pool struct {
	name   string
	picker Picker
	client *client
}

// clientKey is what makes two connections the same.
type clientKey struct {
	address string
	tls     TLS
}

// New returns an empty registry.
func New(o Options) *Registry {
	if o.MaxBodyBytes <= 0 {
		o.MaxBodyBytes = extproc.DefaultMaxBodyBytes
	}
	if o.MaxStreams <= 0 {
		o.MaxStreams = DefaultMaxStreams
	}
	if o.MaxHeldBytes <= 0 {
		o.MaxHeldBytes = DefaultMaxHeldBytes
	}
	if o.ResponseTimeout <= 0 {
		o.ResponseTimeout = DefaultResponseTimeout
	}
	if o.HoldAfter <= 0 {
		o.HoldAfter = DefaultHoldAfter
	}
	if o.Now == nil {
		o.Now = time.Now
	}
	if o.Metrics == nil {
		o.Metrics = noMetrics{}
	}
	if o.Log == nil {
		o.Log = slog.Default()
	}
	if o.dial == nil {
		o.dial = systemDial
	}
	r := &Registry{o: o, clients: map[clientKey]*client{}}
	r.pools.Store(&map[string]*pool{})
	return r
}

// Set makes p answer for a pool, "namespace/name". Requests under way keep the picker
// that they have. Setting what is set keeps the connection. On error nothing changes.
func (r *Registry) Set(name string, p Picker) error {
	if err := p.validate(); err != nil {
		return fmt.Errorf("endpoint picker of pool %q: %w", name, err)
	}
	if p.Timeout == 0 {
		p.Timeout = DefaultTimeout
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.closed {
		return errors.New("the registry of foreign pickers is closed")
	}
	old := (*r.pools.Load())[name]
	if old != nil && old.picker == p {
		return nil
	}
	key := clientKey{p.Address, p.TLS}
	c := r.clients[key]
	if c == nil {
		var err error
		if c, err = newClient(p.Address, &p.TLS, &r.o); err != nil {
			return fmt.Errorf("endpoint picker of pool %q: %w", name, err)
		}
		r.clients[key] = c
	}
	c.pools++
	r.replace(name, &pool{name: name, picker: p, client: c})
	return nil
}

// Delete makes nobody answer for a pool.
func (r *Registry) Delete(name string) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.replace(name, nil)
}

// replace puts p in a pool's place, if not nil. r.mu is held.
func (r *Registry) replace(name string, p *pool) {
	pools := maps.Clone(*r.pools.Load())
	old := pools[name]
	if p != nil {
		pools[name] = p
	} else {
		delete(pools, name)
	}
	r.pools.Store(&pools)
	if old == nil {
		return
	}
	if old.client.pools--; old.client.pools == 0 {
		delete(r.clients, clientKey{old.picker.Address, old.picker.TLS})
		old.client.retire()
	}
}

// Close forgets all pools and breaks off what is under way, by its failure mode.
func (r *Registry) Close() {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.closed = true
	r.pools.Store(&map[string]*pool{})
	for key, c := range r.clients {
		c.close()
		delete(r.clients, key)
	}
}

// Consult implements extproc.Foreign.
func (r *Registry) Consult(ctx context.Context, name string) extproc.Exchange {
	p := (*r.pools.Load())[name]
	if p == nil {
		return nil
	}
	return p.consult(ctx)
}
