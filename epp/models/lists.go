package models

import (
	"context"
	"log/slog"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"github.com/fairway-ai/fairway/scheduler"
)

// Path is where OpenAI's API lists models.
const Path = "/v1/models"

// Name is what [Lists.Filter] is called in explanations.
const Name = "models-responder"

// Lists are what the endpoints of a pool say they serve. It is safe for concurrent use.
type Lists struct {
	set    *Set
	pool   Endpoints
	log    *slog.Logger
	cancel func()
	view   atomic.Pointer[view]

	mu      sync.Mutex
	members map[*scheduler.Load]*member // by the endpoint's life
	closed  bool
}

var _ scheduler.Filter = (*Lists)(nil)

// member is an endpoint that is asked. The mutex of Lists guards it.
type member struct {
	stop   context.CancelFunc // nil while it is not asked
	models []Model
	known  bool
}

// Close ends what Open began.
func (l *Lists) Close() {
	l.cancel()
	l.set.mu.Lock()
	delete(l.set.lists, l)
	l.set.mu.Unlock()
	l.mu.Lock()
	defer l.mu.Unlock()
	l.closed = true
	for _, m := range l.members {
		if m.stop != nil {
			m.stop()
		}
	}
}

// Name implements scheduler.Filter.
func (l *Lists) Name() string { return Name }

// Filter implements scheduler.Filter. It keeps the endpoints that list the request's
// model and, unless one lists it as an adapter, those that have not said what they
// serve. Where none is left it keeps all.
func (l *Lists) Filter(c *scheduler.Cycle, in []int32) []int32 {
	return l.view.Load().keep(c.Request.Model, c.Snapshot.Endpoints, in)
}

// Answer is an OpenAI list of the models that the endpoints of these pools serve, one
// entry for each, by ID; ok is false while no endpoint has said.
func Answer(all []*Lists) (body []byte, ok bool) {
	views := make([]*view, len(all))
	for i, l := range all {
		views[i] = l.view.Load()
	}
	models, known := merge(views)
	return encode(models, maxAnswer), known > 0
}

// follow brings the members in line with the pool's endpoints.
func (l *Lists) follow() {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.closed {
		return
	}
	endpoints := l.pool.Snapshot().Endpoints
	there := make(map[*scheduler.Load]bool, len(endpoints))
	changed := false
	for i := range endpoints {
		e := &endpoints[i]
		there[e.Load] = true
		m := l.members[e.Load]
		if m == nil {
			m = &member{}
			l.members[e.Load] = m
		}
		if m.stop == nil {
			id, address, n := e.ID, e.Address, len(endpoints)
			m.stop = l.set.start(func(ctx context.Context) { l.watch(ctx, m, id, address, n) })
		}
	}
	for load, m := range l.members {
		if !there[load] {
			if m.stop != nil {
				m.stop()
			}
			delete(l.members, load)
			changed = changed || m.known
		}
	}
	if changed {
		l.publishLocked()
	}
}

// publishLocked makes a view of what is known.
func (l *Lists) publishLocked() {
	l.view.Store(newView(l.pool.Snapshot().Endpoints, func(e *scheduler.Endpoint) ([]Model, bool) {
		m := l.members[e.Load]
		if m == nil {
			return nil, false
		}
		return m.models, m.known
	}))
}

// watch asks an endpoint until ctx ends. n is the number of endpoints that may be new at
// the same time.
func (l *Lists) watch(ctx context.Context, m *member, id, address string, n int) {
	o := &l.set.o
	log := l.log.With("endpoint", id, "address", address)
	wait := time.Duration(o.Rand() * float64(min(o.Interval, time.Duration(n)*spread)))
	for failures := 0; ; {
		select {
		case <-ctx.Done():
			return
		case <-o.After(wait):
		}
		limited, cancel := context.WithTimeout(ctx, timeout)
		models, err := o.Reader.Read(limited, address)
		cancel()
		if ctx.Err() != nil {
			return
		}
		wait = o.Interval
		switch {
		case err == nil:
			if failures > 0 {
				log.Info("endpoint's list of models can be read again")
			}
			failures = 0
			l.took(m, models)
		default:
			if failures == 0 {
				log.Warn("endpoint's list of models cannot be read", "error", err)
			}
			wait = min(wait, firstRetry<<min(failures, 16))
			failures++
		}
		wait = time.Duration(float64(wait) * (0.9 + 0.2*o.Rand()))
	}
}

// took takes in a list.
func (l *Lists) took(m *member, models []Model) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if m.known && slices.Equal(m.models, models) {
		return
	}
	m.models, m.known = models, true
	l.publishLocked()
}
