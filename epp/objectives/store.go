package objectives

import (
	"cmp"
	"math/rand/v2"
	"slices"
	"strings"
	"sync/atomic"
	"time"
)

// Objective is what an InferenceObjective says.
type Objective struct {
	Namespace, Name string
	// Pool is the name of the pool, which is in the same namespace.
	Pool string
	// Priority is that of requests that name the objective; higher is more important.
	Priority int
}

// Rewrite is what an InferenceModelRewrite says.
type Rewrite struct {
	Namespace, Name string
	// Pool is the name of the pool, which is in the same namespace.
	Pool string
	// Created orders rewrites of one pool: the oldest counts.
	Created time.Time
	// Rules are in order; the first one that matches counts.
	Rules []Rule
}

// Rule says what becomes of models.
type Rule struct {
	// Models are the models it is for, and All says that it is for all.
	Models []string
	All    bool
	// Targets are the models instead, by weight. Without any, the model stays.
	Targets []Target
}

// Target is a model that requests are sent to.
type Target struct {
	Model string
	// Weight is its share. Where all of a rule are 0, they are all the same.
	Weight uint32
}

// Store answers what objects say of requests. It is safe for concurrent use; the zero
// value knows nothing.
type Store struct {
	// Random returns a number in [0, n), for the weights; nil means a random one. It is
	// set before the first use.
	Random func(n uint64) uint64

	view atomic.Pointer[view]
}

// view is one immutable state.
type view struct {
	priorities map[poolKey]int   // by pool and objective
	pools      map[string]*rules // by "namespace/name"
}

type poolKey struct{ pool, name string }

// rules are those of a pool.
type rules struct {
	exact map[string]*rule
	all   *rule // for every other model; nil when there is none
}

type rule struct {
	rewrite string // the object's name
	targets []Target
	total   uint64
}

// Set replaces everything that is known.
func (s *Store) Set(objectives []Objective, rewrites []Rewrite) {
	v := &view{priorities: make(map[poolKey]int, len(objectives)), pools: map[string]*rules{}}
	for _, o := range objectives {
		v.priorities[poolKey{o.Namespace + "/" + o.Pool, o.Name}] = o.Priority
	}
	ordered := slices.Clone(rewrites)
	slices.SortStableFunc(ordered, func(a, b Rewrite) int {
		return cmp.Or(a.Created.Compare(b.Created), strings.Compare(a.Namespace, b.Namespace), strings.Compare(a.Name, b.Name))
	})
	for i := range ordered {
		v.add(&ordered[i])
	}
	s.view.Store(v)
}

// add adds the rules of a rewrite behind those of older ones. A rule for a model counts
// before one for all, whichever comes first.
func (v *view) add(r *Rewrite) {
	pool := r.Namespace + "/" + r.Pool
	rs := v.pools[pool]
	if rs == nil {
		rs = &rules{exact: map[string]*rule{}}
		v.pools[pool] = rs
	}
	for i := range r.Rules {
		made := &rule{rewrite: r.Name, targets: weighted(r.Rules[i].Targets)}
		for _, t := range made.targets {
			made.total += uint64(t.Weight)
		}
		if r.Rules[i].All && rs.all == nil {
			rs.all = made
		}
		for _, m := range r.Rules[i].Models {
			if rs.exact[m] == nil {
				rs.exact[m] = made
			}
		}
	}
}

// weighted gives targets without any weight the same one.
func weighted(targets []Target) []Target {
	if slices.ContainsFunc(targets, func(t Target) bool { return t.Weight > 0 }) {
		return targets
	}
	out := slices.Clone(targets)
	for i := range out {
		out[i].Weight = 1
	}
	return out
}

// Priority is the priority of requests to a pool, "namespace/name", that name an
// objective. ok is false, and the priority 0, when the pool has no such objective.
func (s *Store) Priority(pool, objective string) (priority int, ok bool) {
	v := s.view.Load()
	if v == nil {
		return 0, false
	}
	priority, ok = v.priorities[poolKey{pool, objective}]
	return priority, ok
}

// Rewrite is the model that a request to a pool for model is sent to, and the name of
// the InferenceModelRewrite that says so. ok is false when none does: the model stays.
func (s *Store) Rewrite(pool, model string) (target, by string, ok bool) {
	v := s.view.Load()
	if v == nil {
		return "", "", false
	}
	rs := v.pools[pool]
	if rs == nil {
		return "", "", false
	}
	r := rs.exact[model]
	if r == nil {
		r = rs.all
	}
	if r == nil || len(r.targets) == 0 {
		return "", "", false
	}
	return r.choose(s.Random), r.rewrite, true
}

func (r *rule) choose(random func(uint64) uint64) string {
	last := len(r.targets) - 1
	if last == 0 {
		return r.targets[0].Model
	}
	if random == nil {
		random = rand.Uint64N
	}
	n := random(r.total)
	for _, t := range r.targets[:last] {
		if n < uint64(t.Weight) {
			return t.Model
		}
		n -= uint64(t.Weight)
	}
	return r.targets[last].Model
}
