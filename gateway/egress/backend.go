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
	"time"

	"google.golang.org/grpc/metadata"

	"github.com/fairway-ai/fairway/aibackend"
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
	// scheme's own. It may be empty with Pool: requests keep the client's then.
	Host string
	// Pool is the InferencePool that it is, "namespace/name"; "" for a provider.
	Pool string
	// Signer signs requests; nil for a backend that asks for no credential.
	Signer Signer
	// SetHeaders replace, AddHeaders join and RemoveHeaders take out headers of
	// requests, by lower-case names, after the client's credentials were removed and
	// before the backend's are added.
	SetHeaders, AddHeaders []aibackend.Header
	RemoveHeaders          []string
	// SetBody sets and RemoveBody takes out top-level fields of what is sent, after its
	// translation and before it is signed.
	SetBody    []aibackend.Field
	RemoveBody []string
}

// Translators are the backends by name. It implements extproc.Foreign, as which it is
// asked about every try, and is safe for concurrent use.
type Translators struct {
	// Next is asked for names that do not begin with Prefix; nil knows none.
	Next extproc.Foreign
	// Observer may be nil.
	Observer Observer
	// Cooling and Tries are told what answers say of backends; they may be nil.
	Cooling *Cooling
	Tries   *Tries
	// Budget bounds what tries hold of large answers, all together; nil is no bound.
	Budget *aibackend.Budget
	// Costs says what a try costs, by name, for limits and access logs. It is asked
	// whenever the backend's count of tokens has changed, and o is how the try went so
	// far. nil costs nothing.
	Costs func(o *Outcome) map[string]uint64
	// Log gets what an operator must know; nil discards it.
	Log *slog.Logger
	// Now is the clock; nil means time.Now.
	Now func() time.Time

	mu       sync.Mutex // serialises writers
	backends atomic.Pointer[map[string]*Backend]
}

// Set adds a backend, or replaces the one of its name. Tries that were sent keep theirs.
func (t *Translators) Set(b Backend) error {
	if err := b.check(); err != nil {
		return err
	}
	b.Label = cmp.Or(b.Label, b.Name)
	t.change(func(m map[string]*Backend) { m[b.Name] = &b })
	return nil
}

func (b *Backend) check() error {
	switch {
	case b.Name == "":
		return errors.New("a backend has no name")
	case b.Host == "" && b.Pool == "":
		return fmt.Errorf("backend %q: host is missing", b.Name)
	}
	for i := range b.SetBody {
		if err := b.SetBody[i].Check(); err != nil {
			return fmt.Errorf("backend %q: %w", b.Name, err)
		}
	}
	return nil
}

// Delete removes a backend. Tries of which Envoy has asked keep it.
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

func (t *Translators) now() time.Time {
	if t.Now == nil {
		return time.Now()
	}
	return t.Now()
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
		return &restored{ctx: ctx, pool: strings.TrimPrefix(name, RestorePrefix)}
	}
	backend, ok := strings.CutPrefix(name, Prefix)
	if !ok {
		if t.Next == nil {
			return nil
		}
		return t.Next.Consult(ctx, name)
	}
	x := &try{ctx: ctx, of: t, asked: backend, name: backend, backend: t.find(backend), began: t.now()}
	if x.backend != nil {
		x.name = x.backend.Label
	}
	return x
}

// Missed implements extproc.Misser: a connection that is refused at once ends a try
// before Envoy could ask about it.
func (t *Translators) Missed(ctx context.Context, name string) {
	b := t.find(strings.TrimPrefix(name, Prefix))
	if b == nil || t.Tries == nil || !strings.HasPrefix(name, Prefix) {
		return
	}
	if v := metadata.ValueFromIncomingContext(ctx, xds.TryMetadata); len(v) == 1 && len(v[0]) > 1 { // "-" is nothing
		t.Tries.Unanswered(v[0], b.Label)
	}
}
