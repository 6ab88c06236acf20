package kvcache

import (
	"context"
	"fmt"
	"log/slog"
	"net"
	"strings"
	"sync"
	"time"

	"github.com/fairway-ai/fairway/epp/tokens"
	"github.com/fairway-ai/fairway/pool/kvevents"
	"github.com/fairway-ai/fairway/pool/kvevents/index"
	"github.com/fairway-ai/fairway/scheduler"
	"github.com/fairway-ai/fairway/scheduler/prefix"
)

// Endpoints is what a [Set] needs of a pool. *pool.Pool is one.
type Endpoints interface {
	// Snapshot is what can serve now; never nil.
	Snapshot() *scheduler.Snapshot
	// OnChange calls f after every change of the endpoints, until cancel.
	OnChange(f func(*scheduler.Snapshot)) (cancel func())
	// Suspect says that the endpoint with this ID may be gone, so that its state is
	// looked at soon.
	Suspect(id string)
}

// Set follows the KV caches of several pools. It is safe for concurrent use.
type Set struct {
	o      Options
	events *kvevents.Subscriber
	hub    hub
	// shared answers for all pools when a URL is configured; else it is nil.
	shared *tokens.Engine
	// sharedAt is its address.
	sharedAt string

	mu     sync.Mutex
	caches map[*Cache]struct{}
	closed bool
	past   past // of pools that are gone
}

// New returns a Set that Run brings to life. An error names the option that is wrong.
func New(o Options) (*Set, error) {
	o, err := o.normalise()
	if err != nil {
		return nil, err
	}
	s := &Set{o: o, caches: map[*Cache]struct{}{}}
	o.Events.Sink = &s.hub
	if s.events, err = kvevents.New(o.Events); err != nil {
		return nil, err
	}
	s.hub.init(s.events)
	if t := &o.Tokens; t.Engines && t.URL != "" {
		base := strings.TrimSuffix(t.URL, "/")
		s.sharedAt = addressOf(base)
		if s.shared, err = tokens.NewEngine(o.engine(func() []string { return []string{base} })); err != nil {
			return nil, err
		}
	}
	return s, nil
}

// Open follows a pool until its Cache is closed. name is "namespace/name".
func (s *Set) Open(name string, pool Endpoints) *Cache {
	c := &Cache{set: s, name: name, pool: pool, engine: s.shared}
	c.own = tokens.Local{Tokenizer: s.o.Tokens.Local, Clock: s.o.Clock}
	if c.own.Tokenizer == nil {
		c.own.Tokenizer = noTokenizer
	}
	c.matches.New = func() any { return new(index.Matches) }
	o := s.o.Index
	o.Prefix = prefix.New(prefix.Options{})
	c.prefix = o.Prefix
	var err error
	if c.index, err = index.New(o); err == nil && s.o.Tokens.Engines && c.engine == nil {
		c.engine, err = tokens.NewEngine(s.o.engine(c.reachable))
	}
	if err != nil {
		panic(err) // New has tried the same options
	}
	c.cancel = pool.OnChange(func(*scheduler.Snapshot) { s.hub.follow(c) })
	s.mu.Lock()
	closed := s.closed
	if !closed {
		s.caches[c] = struct{}{}
	}
	s.mu.Unlock()
	if closed {
		c.Close()
	}
	s.hub.follow(c)
	return c
}

// lookEvery is the time between two looks at what has become overdue, and at what is to
// be logged.
const lookEvery = time.Second

// Run follows events until ctx ends, closes all pools' Caches, and returns nil. An error
// means that engines cannot be listened for.
func (s *Set) Run(ctx context.Context) error {
	ctx, stop := context.WithCancel(ctx)
	defer stop()
	done := make(chan error, 1)
	go func() { done <- s.events.Run(ctx) }()
	defer s.close()
	for {
		select {
		case err := <-done:
			if err != nil {
				return fmt.Errorf("KV cache: %w", err)
			}
			return nil
		case <-s.o.Events.After(lookEvery):
			for _, c := range s.all() {
				c.index.Expire()
			}
			s.report(s.o.Log, s.o.Clock.Now())
		}
	}
}

// report logs what an operator must know.
func (s *Set) report(log *slog.Logger, now time.Time) {
	s.hub.report(log, now)
	for _, c := range s.all() {
		c.models.report(log, c.name, now)
	}
}

// BoundAddr is where engines that dial are listened for, nil when they are not.
func (s *Set) BoundAddr() net.Addr { return s.events.BoundAddr() }

func (s *Set) all() []*Cache {
	s.mu.Lock()
	defer s.mu.Unlock()
	list := make([]*Cache, 0, len(s.caches))
	for c := range s.caches {
		list = append(list, c)
	}
	return list
}

// close ends what Open began.
func (s *Set) close() {
	s.mu.Lock()
	s.closed = true
	s.mu.Unlock()
	for _, c := range s.all() {
		c.Close()
	}
	if s.shared != nil {
		s.shared.Close()
	}
}
