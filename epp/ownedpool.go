package epp

import (
	"context"
	"time"

	"github.com/fairway-ai/fairway/epp/kvcache"
	"github.com/fairway-ai/fairway/epp/models"
	"github.com/fairway-ai/fairway/pool"
	"github.com/fairway-ai/fairway/scheduler"
)

// ownedPool is a pool and what stops it.
type ownedPool struct {
	pool    *pool.Pool
	cache   *kvcache.Cache // nil without PoolSetOptions.KVCache
	lists   *models.Lists  // nil without PoolSetOptions.Models
	policy  scheduler.Policy
	created time.Time
	models  []string
	// disputed are the models that older pools have, as logged last.
	disputed []string
	stop     context.CancelFunc // nil while it does not run
}

// newPool makes a pool with its endpoints: requests must not see it empty.
func (s *PoolSet) newPool(name string, specs []pool.Spec) *ownedPool {
	o := &ownedPool{pool: pool.New(name, s.o.Pool)}
	if s.o.Policy != nil {
		o.policy = s.o.Policy()
	}
	o.pool.Set(specs)
	if s.o.KVCache != nil {
		o.cache = s.o.KVCache.Open(name, o.pool)
	}
	if s.o.Models != nil {
		o.lists = s.o.Models.Open(name, o.pool)
	}
	return o
}

// as is the pool as the picker wants it.
func (o *ownedPool) as(name string, names []string) Pool {
	p := Pool{Name: name, Endpoints: o.pool, Models: names, Policy: o.policy, Lists: o.lists}
	if o.cache != nil {
		p.Cache = o.cache
	}
	return p
}

// forget ends what came with the pool.
func (o *ownedPool) forget() {
	if o.cache != nil {
		o.cache.Close()
	}
	if o.lists != nil {
		o.lists.Close()
	}
}
