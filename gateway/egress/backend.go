package egress

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"maps"
	"strings"
	"sync"
	"sync/atomic"

	"github.com/fairway-ai/fairway/aibackend"
	"github.com/fairway-ai/fairway/aibackend/chat"
	"github.com/fairway-ai/fairway/aibackend/credentials"
	"github.com/fairway-ai/fairway/extproc"
	"github.com/fairway-ai/fairway/gateway/xds"
)

// Prefix begins the names under which Envoy asks for a backend's translation, so that
// they cannot be taken for a pool's.
const Prefix = xds.BackendPrefix

// RestorePrefix begins the names under which Envoy asks for what a try at a provider
// changed to be undone, for a pool that is tried after it.
const RestorePrefix = xds.RestorePrefix

// Signer puts a backend's credential on a request. A credentials.Credential is one.
type Signer interface {
	Sign(ctx context.Context, r *credentials.Request) error
}

// Backend is a provider as far as its requests are concerned.
type Backend struct {
	// Name is what Envoy asks for it under, without Prefix.
	Name string
	// Label is what clients, logs and metrics call it; "" means Name.
	Label string
	// Provider says how to speak to it.
	Provider aibackend.Backend
	// Host is what requests name as their host, with a port unless that is the
	// scheme's own.
	Host string
	// Signer signs requests; nil for a backend that asks for no credential.
	Signer Signer
	// SetHeaders replace, AddHeaders join and RemoveHeaders take out headers of
	// requests, by lower-case names, after the client's credentials were removed and
	// before the backend's are added.
	SetHeaders, AddHeaders []aibackend.Header
	RemoveHeaders          []string
}

// Observer is told how a try went. Its methods are called concurrently.
type Observer interface {
	// Answered reports the end of a try: the status that the provider gave, 0 for
	// none, and the tokens that it counted.
	Answered(backend string, status int, usage chat.Usage, complete bool)
	// Refused reports a request that was answered here instead.
	Refused(backend string, status int)
}

// Translators are the backends by name. It implements extproc.Foreign, as which it is
// asked about every try, and is safe for concurrent use.
type Translators struct {
	// Next is asked for names that do not begin with Prefix; nil knows none.
	Next extproc.Foreign
	// Observer may be nil.
	Observer Observer
	// Log gets what an operator must know; nil discards it.
	Log *slog.Logger

	mu       sync.Mutex // serialises writers
	backends atomic.Pointer[map[string]*Backend]
}

// Set adds a backend, or replaces the one of its name. Tries under way keep theirs.
func (t *Translators) Set(b Backend) error {
	switch {
	case b.Name == "":
		return errors.New("a backend has no name")
	case b.Host == "":
		return fmt.Errorf("backend %q: host is missing", b.Name)
	}
	b.Label = cmp.Or(b.Label, b.Name)
	t.change(func(m map[string]*Backend) { m[b.Name] = &b })
	return nil
}

// Delete removes a backend. Tries under way keep it.
func (t *Translators) Delete(name string) {
	t.change(func(m map[string]*Backend) { delete(m, name) })
}

func (t *Translators) change(f func(map[string]*Backend)) {
	t.mu.Lock()
	defer t.mu.Unlock()
	next := map[string]*Backend{}
	if old := t.backends.Load(); old != nil {
		next = maps.Clone(*old)
	}
	f(next)
	t.backends.Store(&next)
}

func (t *Translators) find(name string) *Backend {
	if m := t.backends.Load(); m != nil {
		return (*m)[name]
	}
	return nil
}

func (t *Translators) log() *slog.Logger {
	if t.Log == nil {
		return slog.New(slog.DiscardHandler)
	}
	return t.Log
}

// Consult implements extproc.Foreign. A backend that is not known is one of which
// Envoy has heard before this process, or no longer should have: its requests are
// refused.
func (t *Translators) Consult(ctx context.Context, name string) extproc.Exchange {
	if strings.HasPrefix(name, RestorePrefix) {
		return &restored{ctx: ctx}
	}
	backend, ok := strings.CutPrefix(name, Prefix)
	if !ok {
		if t.Next == nil {
			return nil
		}
		return t.Next.Consult(ctx, name)
	}
	b := t.find(backend)
	if b != nil {
		backend = b.Label
	}
	return &try{ctx: ctx, of: t, name: backend, backend: b}
}
