package epp

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"sync"

	"github.com/fairway-ai/fairway/pool"
	"github.com/fairway-ai/fairway/pool/file"
	"github.com/fairway-ai/fairway/scheduler"
)

// PoolSetOptions configure a [PoolSet].
type PoolSetOptions struct {
	// Picker picks from the pools.
	Picker *Picker
	// Pool are the settings of every pool.
	Pool pool.Options
	// Policy makes a pool's scheduling policy, once for each pool, since policies
	// may remember; nil means the default policy.
	Policy func() scheduler.Policy
	// Log gets what an operator must know; nil discards it.
	Log *slog.Logger
}

// PoolSet keeps a picker's pools in line with a file: pools appear, change and
// disappear while requests pass. It is safe for concurrent use.
type PoolSet struct {
	o   PoolSetOptions
	log *slog.Logger

	mu      sync.Mutex
	pools   map[string]*ownedPool
	running context.Context // of Run; nil when nothing runs
	runners sync.WaitGroup
}

// ownedPool is a pool and what stops it.
type ownedPool struct {
	pool   *pool.Pool
	policy scheduler.Policy
	stop   context.CancelFunc // nil while it does not run
}

// NewPoolSet returns a set without pools.
func NewPoolSet(o PoolSetOptions) *PoolSet {
	if o.Log == nil {
		o.Log = slog.New(slog.DiscardHandler)
	}
	return &PoolSet{o: o, log: o.Log, pools: map[string]*ownedPool{}}
}

// Apply makes the pools those of c. Pools that were there keep what they know of
// endpoints that stay. On error nothing changes.
func (s *PoolSet) Apply(c *file.Config) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	next := make(map[string]*ownedPool, len(c.Pools))
	list := make([]Pool, 0, len(c.Pools))
	for i := range c.Pools {
		pc := &c.Pools[i]
		name := pc.FullName()
		o := s.pools[name]
		if o == nil {
			o = &ownedPool{pool: pool.New(name, s.o.Pool)}
			if s.o.Policy != nil {
				o.policy = s.o.Policy()
			}
			// Filled before requests can see it.
			o.pool.Set(pc.Specs)
		}
		next[name] = o
		list = append(list, Pool{Name: name, Endpoints: o.pool, Models: pc.Models, Policy: o.policy})
	}
	if err := s.o.Picker.SetPools(list); err != nil {
		return fmt.Errorf("the pools do not fit together: %w", err)
	}
	for i := range c.Pools {
		pc := &c.Pools[i]
		o := next[pc.FullName()]
		o.pool.Set(pc.Specs)
		s.startLocked(o)
		s.log.Info("pool", "name", pc.FullName(), "endpoints", len(pc.Specs), "models", len(pc.Models))
	}
	for name, o := range s.pools {
		if next[name] == nil {
			if o.stop != nil {
				o.stop()
			}
			s.log.Info("pool is gone", "name", name)
		}
	}
	s.pools = next
	return nil
}

// Pool returns the pool of that name, nil when there is none.
func (s *PoolSet) Pool(name string) *pool.Pool {
	s.mu.Lock()
	defer s.mu.Unlock()
	if o := s.pools[name]; o != nil {
		return o.pool
	}
	return nil
}

// Run keeps the pools' metrics up to date until ctx ends, and then returns nil.
func (s *PoolSet) Run(ctx context.Context) error {
	s.mu.Lock()
	if s.running != nil {
		s.mu.Unlock()
		return errors.New("the pools are running already; call Run once")
	}
	s.running = ctx
	for _, o := range s.pools {
		s.startLocked(o)
	}
	s.mu.Unlock()
	<-ctx.Done()
	s.mu.Lock()
	s.running = nil
	s.mu.Unlock()
	s.runners.Wait()
	return nil
}

func (s *PoolSet) startLocked(o *ownedPool) {
	if s.running == nil || o.stop != nil {
		return
	}
	ctx, stop := context.WithCancel(s.running)
	o.stop = stop
	s.runners.Go(func() {
		if err := o.pool.Run(ctx); err != nil {
			s.log.Error("a pool's metrics are not read", "pool", o.pool.Name(), "error", err)
		}
	})
}
