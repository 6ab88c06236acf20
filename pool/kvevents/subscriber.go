package kvevents

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/netip"
	"sync"
	"sync/atomic"
)

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
	queued  atomic.Int64  // bytes in the queues of all sources
	stats   counters

	mu      sync.Mutex
	sources map[string]*source
	byTopic topics
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
		sources: make(map[string]*source), byTopic: make(topics), open: make(map[net.Conn]struct{}), peers: make(map[netip.Addr]int),
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
		s.byTopic.add(e, src)
		if a, err := netip.ParseAddr(e.Address); err == nil {
			s.hosts[a.Unmap()]++
		}
	}
	for name := range wanted {
		s.byTopic[name] = s.sources[name] // whatever else is called so
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

// forget drops a source that has told its loss, unless it is wanted again. One that was
// wanted and left again tells it twice, and may have a successor by then.
func (s *Subscriber) forget(src *source) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if src.isLeaving() && s.sources[src.name] == src {
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
