package epp

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"maps"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/fairway-ai/fairway/epp/kvcache"
	"github.com/fairway-ai/fairway/epp/models"
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
	// KVCache follows what the endpoints' KV caches hold; nil for none. It is the
	// caller's to run.
	KVCache *kvcache.Set
	// Models reads which models the endpoints serve; nil for nobody. It is the caller's
	// to run.
	Models *models.Set
	// Log gets what an operator must know; nil discards it.
	Log *slog.Logger
}

// PoolSet keeps a picker's pools in line with a file or a cluster: pools appear,
// change and disappear while requests pass. It is safe for concurrent use.
type PoolSet struct {
	o   PoolSetOptions
	log *slog.Logger

	mu      sync.Mutex
	pools   map[string]*ownedPool
	running context.Context // of Run; nil when nothing runs
	runners sync.WaitGroup
}

// PoolConfig is a pool as a source describes it.
type PoolConfig struct {
	// Name is "namespace/name".
	Name string
	// Created is when the pool was made: of pools that name the same model, the
	// oldest has it.
	Created time.Time
	// Models are the models the pool serves, as in [Pool].
	Models []string
	// Specs are its endpoints.
	Specs []pool.Spec
}

// NewPoolSet returns a set without pools.
func NewPoolSet(o PoolSetOptions) *PoolSet {
	if o.Log == nil {
		o.Log = slog.New(slog.DiscardHandler)
	}
	if o.Pool.Unread == nil && o.Picker != nil {
		o.Pool.Unread = o.Picker.o.Metrics.Unread
	}
	return &PoolSet{o: o, log: o.Log, pools: map[string]*ownedPool{}}
}

// Apply makes the pools those of c. Pools that were there keep what they know of
// endpoints that stay. Two pools that name the same model are an error. On error
// nothing changes.
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
			o = s.newPool(name, pc.Specs)
		}
		next[name] = o
		list = append(list, o.as(name, pc.Models))
	}
	if err := s.o.Picker.SetPools(list); err != nil {
		for name, o := range next {
			if s.pools[name] == nil {
				o.forget()
			}
		}
		return fmt.Errorf("the pools do not fit together: %w", err)
	}
	for i := range c.Pools {
		pc := &c.Pools[i]
		o := next[pc.FullName()]
		o.models = pc.Models
		o.pool.Set(pc.Specs)
		s.startLocked(o)
		s.log.Info("pool", "name", pc.FullName(), "endpoints", len(pc.Specs), "models", len(pc.Models))
	}
	old := s.pools
	s.pools = next
	for name, o := range old {
		if next[name] == nil {
			s.stopLocked(name, o)
		}
	}
	return nil
}

// SetPool adds a pool or changes it. A change of the endpoints alone touches
// nothing else. It cannot fail: a model that an older pool names stays that one's,
// and is logged.
func (s *PoolSet) SetPool(c PoolConfig) { s.Update([]PoolConfig{c}, nil) }

// RemovePool removes a pool, if there is one of that name.
func (s *PoolSet) RemovePool(name string) { s.Update(nil, []string{name}) }

// Update is SetPool and RemovePool of many pools at once.
func (s *PoolSet) Update(set []PoolConfig, remove []string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	routes := false
	for i := range set {
		c := &set[i]
		o := s.pools[c.Name]
		if o == nil {
			o = s.newPool(c.Name, c.Specs)
			s.pools[c.Name] = o
			routes = true
			s.log.Info("pool", "name", c.Name, "endpoints", len(c.Specs), "models", len(c.Models))
		} else {
			o.pool.Set(c.Specs)
			s.log.Debug("pool", "name", c.Name, "endpoints", len(c.Specs), "models", len(c.Models))
		}
		if !slices.Equal(o.models, c.Models) || !o.created.Equal(c.Created) {
			o.models, o.created = slices.Clone(c.Models), c.Created
			routes = true
		}
	}
	gone := map[string]*ownedPool{}
	for _, name := range remove {
		if o := s.pools[name]; o != nil {
			delete(s.pools, name)
			gone[name] = o
			routes = true
		}
	}
	if !routes {
		return
	}
	if err := s.o.Picker.SetPools(s.listLocked()); err != nil {
		// Names are unique, and so are models: this cannot be.
		s.log.Error("the pools in use stay", "error", err)
	}
	for i := range set {
		if o := s.pools[set[i].Name]; o != nil {
			s.startLocked(o)
		}
	}
	for name, o := range gone {
		s.stopLocked(name, o)
	}
}

// SetPolicy gives every pool a policy made by f, nil meaning the default policy, and
// the pools to come as well. Requests under way keep the policy they have; what is
// known of endpoints, the prefix index and what is in flight, stays. On error nothing
// changes.
func (s *PoolSet) SetPolicy(f func() scheduler.Policy) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	before := make(map[string]scheduler.Policy, len(s.pools))
	for name, o := range s.pools {
		before[name] = o.policy
		o.policy = nil
		if f != nil {
			o.policy = f()
		}
	}
	if err := s.o.Picker.SetPools(s.listLocked()); err != nil {
		for name, o := range s.pools {
			o.policy = before[name]
		}
		return fmt.Errorf("the pools do not fit together: %w", err)
	}
	s.o.Policy = f
	return nil
}

// listLocked is the pools as the picker wants them, each model in one pool only.
func (s *PoolSet) listLocked() []Pool {
	names := slices.SortedFunc(maps.Keys(s.pools), func(a, b string) int {
		if c := s.pools[a].created.Compare(s.pools[b].created); c != 0 {
			return c
		}
		return strings.Compare(a, b)
	})
	list := make([]Pool, 0, len(names))
	owner := map[string]string{}
	for _, name := range names {
		o := s.pools[name]
		p := o.as(name, o.models)
		var disputed []string
		for _, m := range o.models {
			if _, taken := owner[m]; taken {
				disputed = append(disputed, m)
				continue
			}
			owner[m] = name
		}
		if len(disputed) > 0 {
			p.Models = slices.DeleteFunc(slices.Clone(o.models), func(m string) bool { return slices.Contains(disputed, m) })
			p.Named = true // else, without any model left, it would take what nobody names
			if !slices.Equal(disputed, o.disputed) {
				s.log.Warn("models are served by an older pool already and stay there; name each in one pool", "pool", name, "model", disputed[0], "older", owner[disputed[0]], "models", len(disputed))
			}
		}
		o.disputed = disputed
		list = append(list, p)
	}
	return list
}

// stopLocked ends a pool that is no longer in the set.
func (s *PoolSet) stopLocked(name string, o *ownedPool) {
	if o.stop != nil {
		o.stop()
	}
	o.forget()
	s.log.Info("pool is gone", "name", name)
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
