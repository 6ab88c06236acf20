package metrics

import (
	"maps"
	"math"
	"sync"
	"sync/atomic"
)

// table is a map that each request reads and few add to. To read it takes no lock,
// writes nothing, and allocates nothing, which a sync.Map would where keys are structs.
// The zero table is empty.
type table[K comparable, V any] struct {
	view atomic.Pointer[view[K, V]] // nil while empty
	mu   sync.Mutex                 // of who adds or drops
}

// view is a table's entries. It and its maps are never changed: who adds to a table
// copies recent, and now and then base. Clients choose some keys, and with one map the
// work of adding many would grow with the square of their number.
type view[K comparable, V any] struct{ base, recent map[K]V }

// smallBase is up to how many entries there is only one map.
const smallBase = 64

// len is the number of entries.
func (t *table[K, V]) len() int {
	v := t.view.Load()
	if v == nil {
		return 0
	}
	return len(v.base) + len(v.recent)
}

// get returns the value of k, if there is one. Inlined, it would copy the key that the
// caller has just put together, and wait for that.
//
//go:noinline
func (t *table[K, V]) get(k K) (V, bool) {
	v := t.view.Load()
	if v == nil {
		var none V
		return none, false
	}
	if x, ok := v.base[k]; ok || len(v.recent) == 0 {
		return x, ok
	}
	x, ok := v.recent[k]
	return x, ok
}

// of returns the value of k, and creates it for who asks first.
func (t *table[K, V]) of(k K, create func(K) V) V {
	return t.bounded(k, math.MaxInt, k, create)
}

// bounded does what of does, and where k is not there and most entries or more are, does
// it for other in place of k.
func (t *table[K, V]) bounded(k K, most int, other K, create func(K) V) V {
	if x, ok := t.get(k); ok {
		return x
	}
	t.mu.Lock()
	defer t.mu.Unlock()
	if x, ok := t.get(k); ok { // of who was faster
		return x
	}
	if t.len() >= most {
		k = other
		if x, ok := t.get(k); ok {
			return x
		}
	}
	x := create(k)
	t.add(k, x)
	return x
}

// add adds what is not there. The caller holds the lock.
func (t *table[K, V]) add(k K, x V) {
	next := view[K, V]{recent: map[K]V{k: x}}
	if v := t.view.Load(); v != nil {
		next.base = v.base
		maps.Copy(next.recent, v.recent)
	}
	if n := len(next.recent); len(next.base) <= smallBase || n*n >= len(next.base) {
		all := make(map[K]V, len(next.base)+n)
		maps.Copy(all, next.base)
		maps.Copy(all, next.recent)
		next = view[K, V]{base: all}
	}
	t.view.Store(&next)
}

// drop removes the entries whose keys are gone. The caller holds the lock.
func (t *table[K, V]) drop(gone func(K) bool) {
	v := t.view.Load()
	if v == nil {
		return
	}
	all := make(map[K]V, t.len())
	for _, m := range []map[K]V{v.base, v.recent} {
		for k, x := range m {
			if !gone(k) {
				all[k] = x
			}
		}
	}
	t.view.Store(&view[K, V]{base: all})
}
