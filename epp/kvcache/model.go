package kvcache

import (
	"log/slog"
	"maps"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/fairway-ai/fairway/pool/kvevents"
)

const (
	// maxNames bounds the models and adapters that are remembered of one pool.
	maxNames = 1024
	// unnamedAfter is how long requests must name a model that engines do not before that
	// is logged, and unnamedEvery how often it is. An adapter's first request is for one
	// that no engine has named yet.
	unnamedAfter = 30 * time.Second
	unnamedEvery = 10 * time.Minute
	// loggedName is how many bytes of a request's model are logged.
	loggedName = 64
)

// models are the models and adapters that a pool's engines name in their events. What
// engines hold says nothing of others: those may be theirs by a name that requests alone
// use.
type models struct {
	named atomic.Pointer[names] // replaced, never changed
	mu    sync.Mutex            // of who replaces it

	missing atomic.Pointer[missing]
	told    time.Time // of report
}

// names are what engines have named.
type names struct {
	all map[string]bool
	// base are the models that are no adapters, in order.
	base []string
	// full is set when there are more than are remembered: any model may be named then.
	full bool
}

// missing is a model that a request names and no engine does.
type missing struct {
	name  string
	since time.Time
	lasts atomic.Bool
}

// saw notes what an event names. A topic without a model names "", which requests without
// one match.
func (m *models) saw(e *kvevents.Stored) {
	name, base := e.LoRA, false
	if name == "" {
		if e.LoRAID != 0 || e.Model == "" && len(e.Tokens) == 0 {
			return // nobody's, or nothing
		}
		name, base = e.Model, true
	}
	if m.covers(name) {
		return
	}
	m.mu.Lock()
	defer m.mu.Unlock()
	var next names
	if n := m.named.Load(); n != nil {
		next = names{maps.Clone(n.all), slices.Clone(n.base), n.full}
	} else {
		next.all = map[string]bool{}
	}
	if len(next.all) == maxNames {
		next.full = true
	} else {
		name = strings.Clone(name)
		next.all[name] = true
		if base && name != "" && !slices.Contains(next.base, name) {
			next.base = append(next.base, name)
		}
	}
	m.named.Store(&next)
}

// covers reports whether what engines hold says something of a model.
func (m *models) covers(name string) bool {
	n := m.named.Load()
	return n != nil && (n.full || n.all[name])
}

// only is the model that engines name, if all name the same; else "". A request that
// names none is for that one.
func (m *models) only() string {
	if n := m.named.Load(); n != nil && len(n.base) == 1 {
		return n.base[0]
	}
	return ""
}

// missed notes a request for a model that is not covered.
func (m *models) missed(name string, now time.Time) {
	old := m.missing.Load()
	if old != nil {
		age := now.Sub(old.since)
		if old.name == name && age >= unnamedAfter {
			old.lasts.Store(true)
		}
		if old.name == name || age < 2*unnamedAfter || old.lasts.Load() {
			return
		}
	}
	m.missing.CompareAndSwap(old, &missing{name: strings.Clone(name), since: now})
}

// report logs a model that goes on missing. It is called by one goroutine at a time.
func (m *models) report(log *slog.Logger, pool string, now time.Time) {
	p := m.missing.Load()
	switch {
	case p == nil:
	case m.covers(p.name):
		m.missing.CompareAndSwap(p, nil)
	case p.lasts.Load() && now.Sub(m.told) >= unnamedEvery:
		m.told = now
		m.missing.CompareAndSwap(p, nil)
		log.Warn("requests name a model that no engine names in its KV cache events, so they are routed by what was sent where: let topics end in @MODEL, as requests name it",
			"pool", pool, "model", p.name[:min(len(p.name), loggedName)], "engines", m.only())
	}
}
