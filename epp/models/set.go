package models

import (
	"context"
	"errors"
	"log/slog"
	"math/rand/v2"
	"sync"
	"time"

	"github.com/fairway-ai/fairway/pool/scrape"
	"github.com/fairway-ai/fairway/scheduler"
)

const (
	// DefaultInterval is the time between two readings of an endpoint's list, and
	// MinInterval the least: lists change when somebody loads an adapter.
	DefaultInterval = 10 * time.Second
	MinInterval     = time.Second
	// timeout bounds one reading.
	timeout = 5 * time.Second
	// firstRetry is the wait after a first failure; it doubles with each, up to the
	// interval.
	firstRetry = 500 * time.Millisecond
	// spread separates the first readings of endpoints that come together.
	spread = 2 * time.Millisecond
)

// Reader reads an endpoint's list.
type Reader interface {
	// Read asks the endpoint at address, "ip:port". It ends when ctx does.
	Read(ctx context.Context, address string) ([]Model, error)
}

// Endpoints is what a [Set] needs of a pool. *pool.Pool is one.
type Endpoints interface {
	// Snapshot is what can serve now; never nil.
	Snapshot() *scheduler.Snapshot
	// OnChange calls f after every change of the endpoints, until cancel.
	OnChange(f func(*scheduler.Snapshot)) (cancel func())
}

// Options configure a [Set].
type Options struct {
	// Reader reads lists; see [NewReader].
	Reader Reader
	// Interval is the time between two readings of an endpoint's list; 0 means
	// DefaultInterval, and less than MinInterval counts as that.
	Interval time.Duration
	// Log gets changes of state, not events; nil discards it.
	Log *slog.Logger
	// After is the clock's; nil means time.After.
	After func(time.Duration) <-chan time.Time
	// Rand returns a number in [0, 1) and spreads readings; nil means math/rand. It must
	// be safe for concurrent use.
	Rand func() float64
}

// Set reads the lists of several pools. It is safe for concurrent use.
type Set struct {
	o Options

	mu      sync.Mutex
	lists   map[*Lists]struct{}
	running context.Context // of Run; nil before
	ended   bool            // and it is over
	readers sync.WaitGroup
}

// New returns a Set that Run brings to life.
func New(o Options) *Set {
	if o.Interval == 0 {
		o.Interval = DefaultInterval
	}
	o.Interval = max(o.Interval, MinInterval)
	if o.Log == nil {
		o.Log = slog.New(slog.DiscardHandler)
	}
	if o.After == nil {
		o.After = time.After
	}
	if o.Rand == nil {
		o.Rand = rand.Float64
	}
	return &Set{o: o, lists: map[*Lists]struct{}{}}
}

// Open follows a pool until its Lists are closed. name is "namespace/name".
func (s *Set) Open(name string, pool Endpoints) *Lists {
	l := &Lists{set: s, pool: pool, log: s.o.Log.With("pool", name), members: map[*scheduler.Load]*member{}}
	l.view.Store(&view{})
	s.mu.Lock()
	s.lists[l] = struct{}{}
	s.mu.Unlock()
	l.cancel = pool.OnChange(func(*scheduler.Snapshot) { l.follow() })
	l.follow()
	return l
}

// Run reads lists until ctx ends, and then returns nil. What is known stays.
func (s *Set) Run(ctx context.Context) error {
	s.mu.Lock()
	if s.running != nil {
		s.mu.Unlock()
		return errors.New("the lists of models are being read already; call Run once")
	}
	s.running = ctx
	all := make([]*Lists, 0, len(s.lists))
	for l := range s.lists {
		all = append(all, l)
	}
	s.mu.Unlock()
	for _, l := range all {
		l.follow()
	}
	<-ctx.Done()
	s.mu.Lock()
	s.ended = true
	s.mu.Unlock()
	s.readers.Wait()
	return nil
}

// start runs f, until its context ends, if the Set runs.
func (s *Set) start(f func(ctx context.Context)) (stop context.CancelFunc) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.running == nil || s.ended {
		return nil
	}
	ctx, stop := context.WithCancel(s.running)
	s.readers.Go(func() { f(ctx) })
	return stop
}

// client reads lists over HTTP.
type client struct{ c *scrape.Client }

// NewReader returns a Reader over HTTP; o.Path "" means /v1/models. An error names the
// option that is wrong.
func NewReader(o scrape.ClientOptions) (Reader, error) {
	if o.Path == "" {
		o.Path = Path
	}
	o.MaxPage = maxPage
	c, err := scrape.NewClient(o)
	if err != nil {
		return nil, err
	}
	return client{c}, nil
}

// Read implements Reader.
func (r client) Read(ctx context.Context, address string) ([]Model, error) {
	page, err := r.c.Get(ctx, r.c.URL(address))
	if err != nil {
		return nil, err
	}
	return Parse(page)
}
