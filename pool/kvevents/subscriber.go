package kvevents

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"math/rand/v2"
	"net"
	"net/netip"
	"runtime"
	"sync"
	"sync/atomic"
	"time"
)

// Options are the settings of a [Subscriber].
type Options struct {
	// Sink is told the events. Required.
	Sink Sink
	// Bind is the address to listen on, for engines that dial ("tcp://*:5557",
	// "tcp://10.0.0.1:5557" or "host:port"); "" means that every endpoint is dialled.
	Bind string
	// AnySource lets a connection to Bind speak for endpoints of other addresses
	// than its own, as it must where a proxy is between.
	AnySource bool
	// SocketPort is where the endpoint of rank 0 publishes, when endpoints are
	// dialled; the others do so at SocketPort+rank. 0 means 5557.
	SocketPort int
	// ReplayPort is where the endpoint of rank 0 replays events; 0 means that none
	// does.
	ReplayPort int
	// TopicFilter is the prefix of the topics to ask for. "" means all of them when
	// endpoints are dialled, and "kv@" when they dial.
	TopicFilter string

	// Workers is how many endpoints' events are decoded at once; 0 means as many as
	// there are processors, and 4 at most.
	Workers int
	// QueueMessages and QueueBytes bound what one endpoint has sent and nobody has
	// decoded; 0 means 1024 and 8 MiB.
	QueueMessages, QueueBytes int
	// MaxMessage bounds one message in bytes; 0 means 8 MiB.
	MaxMessage int
	// MaxConnections bounds the connections to Bind; 0 means 4096. Unless AnySource is
	// set, an address may have 4 for each of its endpoints.
	MaxConnections int

	// Logger gets changes of state, not events; nil means slog.Default().
	Logger *slog.Logger
	// Now is the clock; nil means time.Now.
	Now func() time.Time
	// After is a timer; nil means time.After.
	After func(time.Duration) <-chan time.Time
	// Rand returns a number in [0, 1) and spreads reconnections; nil means
	// math/rand. It must be safe for concurrent use.
	Rand func() float64
}

// Defaults of [Options].
const (
	DefaultSocketPort    = 5557
	DefaultQueueMessages = 1024
	DefaultQueueBytes    = 8 << 20
	DefaultMaxMessage    = 8 << 20
	DefaultMaxConns      = 4096
	maxDefaultWorkers    = 4
)

func (o Options) withDefaults() Options {
	set := func(n *int, def int) {
		if *n <= 0 {
			*n = def
		}
	}
	set(&o.SocketPort, DefaultSocketPort)
	set(&o.Workers, min(maxDefaultWorkers, runtime.GOMAXPROCS(0)))
	set(&o.QueueMessages, DefaultQueueMessages)
	set(&o.QueueBytes, DefaultQueueBytes)
	set(&o.MaxMessage, DefaultMaxMessage)
	set(&o.MaxConnections, DefaultMaxConns)
	if o.TopicFilter == "" && o.Bind != "" {
		o.TopicFilter = topicPrefix
	}
	if o.Logger == nil {
		o.Logger = slog.Default()
	}
	if o.Now == nil {
		o.Now = time.Now
	}
	if o.After == nil {
		o.After = time.After
	}
	if o.Rand == nil {
		o.Rand = rand.Float64
	}
	return o
}

// Endpoint is an engine whose events are wanted.
type Endpoint struct {
	// Name identifies it to the sink, and in topics without an address.
	Name string
	// Address is its IP, Port where it serves requests: topics name both.
	Address string
	Port    int
	// Rank is its data parallel rank, which is added to the ports.
	Rank int
	// Model is the model that its blocks are of, as requests name it. "" takes what
	// topics say; then what was before the first message can be replayed only with
	// that message, since replayed ones have no topic.
	Model string
}

// Subscriber follows engines' KV cache events. Its methods are safe for concurrent
// use.
type Subscriber struct {
	o   Options
	log *slog.Logger

	ready   readyList
	replays chan struct{} // a token for each replay in progress
	conns   atomic.Uint64 // the last connection's number
	stats   counters

	mu      sync.Mutex
	sources map[string]*source
	byTopic map[string]*source    // by "ip:port" and by name
	hosts   map[netip.Addr]int    // of sources, and their number
	running context.Context       // of Run
	stopped bool                  // Run is about to return
	wg      sync.WaitGroup        // dials, replays, connections
	open    map[net.Conn]struct{} // to Bind
	peers   map[netip.Addr]int    // of open, and their number
	bound   net.Addr              // of Bind
}

// New returns a subscriber that has nothing to follow yet.
func New(o Options) (*Subscriber, error) {
	if o.Sink == nil {
		return nil, errors.New("KV cache events: no sink")
	}
	for _, p := range []struct {
		what string
		port int
	}{{"socket", o.SocketPort}, {"replay", o.ReplayPort}} {
		if p.port < 0 || p.port > 65535 {
			return nil, fmt.Errorf("KV cache events: %s port %d: must be 0 to 65535", p.what, p.port)
		}
	}
	if o.Bind != "" {
		if _, err := ParseAddress(o.Bind); err != nil {
			return nil, fmt.Errorf("KV cache events: %w", err)
		}
	}
	s := &Subscriber{
		o: o.withDefaults(), replays: make(chan struct{}, maxReplays),
		sources: make(map[string]*source), byTopic: make(map[string]*source), open: make(map[net.Conn]struct{}), peers: make(map[netip.Addr]int),
	}
	s.log = s.o.Logger
	s.ready.init()
	return s, nil
}

// SetEndpoints says which endpoints to follow. Those that are followed already are
// left alone; those that are not in the list are left and told as lost. Of several
// with one name, the last counts.
func (s *Subscriber) SetEndpoints(list []Endpoint) {
	s.mu.Lock()
	defer s.mu.Unlock()
	wanted := make(map[string]Endpoint, len(list))
	for _, e := range list {
		wanted[e.Name] = e
	}
	for name, src := range s.sources {
		if _, ok := wanted[name]; !ok {
			src.leave()
		}
	}
	clear(s.byTopic)
	s.hosts = make(map[netip.Addr]int, len(wanted))
	for name, e := range wanted {
		src := s.sources[name]
		if src == nil {
			src = newSource(s, e)
			s.sources[name] = src
		}
		if src.aim(e) && s.running != nil {
			s.follow(src)
		}
		s.byTopic[name] = src
		s.byTopic[net.JoinHostPort(e.Address, fmt.Sprint(e.Port))] = src
		if a, err := netip.ParseAddr(e.Address); err == nil {
			s.hosts[a.Unmap()]++
		}
	}
}

// follow starts what an endpoint needs besides workers. The caller holds s.mu.
func (s *Subscriber) follow(src *source) {
	if s.o.Bind != "" || s.stopped {
		return
	}
	ctx, target := src.start(s.running)
	s.wg.Go(func() { s.dial(ctx, src, target) })
}

// find returns the source that a topic names.
func (s *Subscriber) find(id []byte) *source {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.byTopic[string(id)]
}

// forget drops a source that has told its loss, unless it is wanted again.
func (s *Subscriber) forget(src *source) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if src.isLeaving() {
		delete(s.sources, src.name)
	}
}

// errRunning says that Run was called twice.
var errRunning = errors.New("KV cache events: Run may be called once")

// Run follows the endpoints until ctx ends. It returns an error when it cannot
// listen on Options.Bind, and nil after ctx has ended; the sink is not called any
// more then.
func (s *Subscriber) Run(ctx context.Context) error {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	var l net.Listener
	if s.o.Bind != "" {
		addr, err := ParseAddress(s.o.Bind)
		if err != nil {
			return fmt.Errorf("KV cache events: %w", err)
		}
		var lc net.ListenConfig
		if l, err = lc.Listen(ctx, "tcp", addr.Listen()); err != nil {
			return fmt.Errorf("KV cache events: %w", err)
		}
	}
	s.mu.Lock()
	if s.running != nil {
		s.mu.Unlock()
		if l != nil {
			_ = l.Close() // nothing was accepted
		}
		return errRunning
	}
	s.running = ctx
	if l != nil {
		s.bound = l.Addr()
		s.wg.Go(func() { s.accept(ctx, l) })
	}
	for _, src := range s.sources {
		s.follow(src)
	}
	s.mu.Unlock()

	var workers sync.WaitGroup
	for range s.o.Workers {
		workers.Go(s.work)
	}
	<-ctx.Done()
	if l != nil {
		_ = l.Close()
	}
	s.mu.Lock()
	s.stopped = true
	for c := range s.open {
		_ = c.Close()
	}
	s.mu.Unlock()
	s.ready.close()
	workers.Wait() // before what they may begin
	s.wg.Wait()
	return nil
}

// BoundAddr is where Run listens, nil when it does not.
func (s *Subscriber) BoundAddr() net.Addr {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.bound
}

// work decodes endpoints' messages, a few of one endpoint at a time.
func (s *Subscriber) work() {
	var d decoder
	for {
		src, ok := s.ready.next()
		if !ok {
			return
		}
		src.process(&d)
	}
}
