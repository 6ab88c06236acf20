package pool

import (
	"context"
	"errors"
	"log/slog"
	"math/rand/v2"
	"sync"
	"sync/atomic"
	"time"

	"github.com/fairway-ai/fairway/pool/scrape"
	"github.com/fairway-ai/fairway/scheduler"
	"github.com/fairway-ai/fairway/scheduler/prefix"
)

// Scraper reads one endpoint's metrics. [scrape.Client] is one.
type Scraper interface {
	// URL is where the page of the endpoint at address is.
	URL(address string) string
	// Fetch reads a page. It ends when ctx does.
	Fetch(ctx context.Context, url string, e *scrape.Engine) (scrape.Values, error)
	// Probe opens and closes a connection to address.
	Probe(ctx context.Context, address string) error
}

// Options are the settings of a [Pool]. The zero value is ready to use.
type Options struct {
	// Interval is the time between two scrapes of an endpoint that has requests in
	// flight. 0 means 100 ms; less than 50 ms is raised to that.
	Interval time.Duration
	// IdleInterval is the time between two scrapes of an endpoint while no request
	// passes. 0 means 8 s.
	IdleInterval time.Duration
	// IdleAfter is how long after the last request an endpoint and the pool count
	// as idle. 0 means 2 s.
	IdleAfter time.Duration
	// Timeout bounds one scrape. 0 means 1 s.
	Timeout time.Duration
	// Staleness is how long values may be older than the interval they are read
	// at before Metrics.Known is cleared. 0 means 2 s.
	Staleness time.Duration

	// Scraper reads pages. Pools may share one; nil means a [scrape.Client] of the
	// pool's own, without options.
	Scraper Scraper
	// Engines maps endpoints to metric names; nil means the built-in ones.
	Engines *scrape.Engines
	// Index are the settings of the prefix index.
	Index prefix.Options

	// Unread is called with the error of each scrape that failed; nil for none. It must
	// not block.
	Unread func(error)
	// Logger gets changes of state, not events; nil means slog.Default().
	Logger *slog.Logger
	// Now is the clock; nil means time.Now.
	Now func() time.Time
	// Rand returns a number in [0, 1) and spreads scrapes; nil means math/rand.
	// It must be safe for concurrent use.
	Rand func() float64
}

// MinInterval is the least time between two readings of an endpoint's metrics: a shorter
// Options.Interval counts as that.
const MinInterval = 50 * time.Millisecond

func (o Options) withDefaults() Options {
	set := func(d *time.Duration, def time.Duration) {
		if *d <= 0 {
			*d = def
		}
	}
	set(&o.Interval, 100*time.Millisecond)
	o.Interval = max(o.Interval, MinInterval)
	set(&o.IdleInterval, 8*time.Second)
	o.IdleInterval = max(o.IdleInterval, o.Interval)
	set(&o.IdleAfter, 2*time.Second)
	set(&o.Timeout, time.Second)
	set(&o.Staleness, 2*time.Second)
	if o.Engines == nil {
		es, err := scrape.NewEngines(scrape.EnginesOptions{})
		if err != nil { // without options there is nothing to be wrong
			panic(err)
		}
		o.Engines = es
	}
	if o.Logger == nil {
		o.Logger = slog.Default()
	}
	if o.Now == nil {
		o.Now = time.Now
	}
	if o.Rand == nil {
		o.Rand = rand.Float64
	}
	return o
}

// Pool is a set of endpoints and what is known of them. Its methods are safe for
// concurrent use. Snapshot, Index, Active and Suspect never wait for a scrape or
// for a callback.
type Pool struct {
	name  string
	o     Options
	own   *scrape.Client // when Options named none
	log   *slog.Logger
	index *prefix.Index
	snap  atomic.Pointer[scheduler.Snapshot]

	activity   atomic.Uint32 // asleep, quiet or busy
	lastActive atomic.Int64  // UnixNano of the last look that found busy

	mu          sync.Mutex
	members     []*member            // in the order of the last Set
	endpoints   []scheduler.Endpoint // of members; replaced, never changed
	slots       slots
	adapters    *scheduler.Adapters
	running     context.Context // of Run; nil when nothing is scraped
	scrapers    sync.WaitGroup
	published   time.Time
	flushArmed  bool
	pending     []*scheduler.Snapshot // announced to nobody yet
	announcing  bool
	subscribers []*subscriber
	metricsTold []*func() // of OnMetrics; replaced, never changed
	telling     bool      // tellMetrics runs
}

// New returns an empty pool. name is "namespace/name".
func New(name string, o Options) *Pool {
	p := &Pool{name: name, o: o.withDefaults()}
	if p.o.Scraper == nil {
		c, err := scrape.NewClient(scrape.ClientOptions{})
		if err != nil { // as above
			panic(err)
		}
		p.own, p.o.Scraper = c, c
	}
	p.log = p.o.Logger.With("pool", name)
	p.index = prefix.New(o.Index)
	p.snap.Store(&scheduler.Snapshot{})
	return p
}

// Name is "namespace/name".
func (p *Pool) Name() string { return p.name }

// Snapshot is what can serve now. It is never nil and costs one atomic load.
func (p *Pool) Snapshot() *scheduler.Snapshot { return p.snap.Load() }

// Index is the pool's prefix index. It knows exactly the slots of the current
// endpoints.
func (p *Pool) Index() *prefix.Index { return p.index }

// errRunning says that Run was called twice.
var errRunning = errors.New("the pool is already being scraped; call Run once")

// Run scrapes the endpoints until ctx ends, and then returns nil. The last
// snapshot stays.
func (p *Pool) Run(ctx context.Context) error {
	p.mu.Lock()
	if p.running != nil {
		p.mu.Unlock()
		return errRunning
	}
	p.running = ctx
	for _, m := range p.members {
		p.startLocked(m)
	}
	p.mu.Unlock()

	<-ctx.Done()
	// Members that Set adds from here on are not scraped.
	p.mu.Lock()
	p.running = nil
	p.mu.Unlock()
	p.scrapers.Wait()
	if p.own != nil {
		p.own.Close()
	}
	return nil
}

// startLocked starts the scraping of a member.
func (p *Pool) startLocked(m *member) {
	if p.running == nil {
		return
	}
	ctx, cancel := context.WithCancel(p.running)
	m.stop = cancel
	n := len(p.members)
	p.scrapers.Go(func() { p.watch(ctx, m, n) })
}
