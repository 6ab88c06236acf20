package kube

import (
	"context"
	"errors"
	"log/slog"
	"sync"
	"sync/atomic"
	"time"

	"k8s.io/apimachinery/pkg/types"
	"k8s.io/utils/clock"
	"sigs.k8s.io/controller-runtime/pkg/cache"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/fairway-ai/fairway/gateway/airoute"
)

// Defaults of [Options].
const (
	DefaultDebounce      = 50 * time.Millisecond
	DefaultRetry         = 2 * time.Second
	DefaultClusterDomain = "cluster.local"

	// maxDebounces bounds how long changes without end are collected.
	maxDebounces = 10
)

// Options configure a [Source]. The zero value of a field means its default.
type Options struct {
	// Live reads from the API server. With it, a kind is watched only once it can be
	// listed; without, only once the cache knows of it, and a missing permission keeps
	// the source from being synced. Default: none.
	Live client.Reader
	// SecretNamespaces are those whose Secrets and ConfigMaps are followed, as in
	// [CacheOptions]. Default: all.
	SecretNamespaces []string
	// Debounce is how long nothing must change before a compilation, which waits for at
	// most ten times that. Default [DefaultDebounce].
	Debounce time.Duration
	// Retry is the time between two looks for a kind that is not there. Default
	// [DefaultRetry].
	Retry time.Duration
	// ClusterDomain and OwnIdentity are those of [airoute.Input]. By default the domain
	// is [DefaultClusterDomain], and nobody may use the gateway's own identity.
	ClusterDomain string
	OwnIdentity   func(namespace string) bool
	// Compile makes the results. Default [airoute.Compile].
	Compile func(*airoute.Input) *airoute.Result
	// OnSynced is called once by Run, after the subscribers got the first result, which
	// is of everything there was at the start. Default: nothing.
	OnSynced func()
	// Log gets what an operator must know. Default: nowhere.
	Log *slog.Logger
	// Clock is the time. Default the system's.
	Clock clock.Clock
}

// Informers is what a [Source] needs of a cache. A controller-runtime cache is one.
type Informers interface {
	GetInformer(ctx context.Context, obj client.Object, opts ...cache.InformerGetOption) (cache.Informer, error)
}

// Source follows the cluster. Make it with [New]; its methods are safe for concurrent
// use.
type Source struct {
	informers Informers
	o         Options
	store     *store
	kick      chan struct{} // something changed; capacity 1
	dirty     atomic.Bool   // a compilation is due

	results []func(*airoute.Result)
	secrets []func(namespace, name string)
	objects []func(Kind, types.NamespacedName)
	running atomic.Bool

	newest atomic.Pointer[airoute.Result]

	mu   sync.Mutex
	told *airoute.Result // the newest that all subscribers have got
	more chan struct{}   // closed when told changes
}

// New returns a source that uses informers of c. The caller runs c, before or after.
func New(c Informers, o Options) (*Source, error) {
	if c == nil {
		return nil, errors.New("a source of AIRoutes needs a cache")
	}
	if o.Debounce <= 0 {
		o.Debounce = DefaultDebounce
	}
	if o.Retry <= 0 {
		o.Retry = DefaultRetry
	}
	if o.ClusterDomain == "" {
		o.ClusterDomain = DefaultClusterDomain
	}
	if o.OwnIdentity == nil {
		o.OwnIdentity = func(string) bool { return false }
	}
	if o.Compile == nil {
		o.Compile = airoute.Compile
	}
	if o.Log == nil {
		o.Log = slog.New(slog.DiscardHandler)
	}
	if o.Clock == nil {
		o.Clock = clock.RealClock{}
	}
	s := &Source{informers: c, o: o, store: newStore(), kick: make(chan struct{}, 1), more: make(chan struct{})}
	s.told = &airoute.Result{
		Config:   &airoute.Config{},
		Routes:   map[types.NamespacedName]*airoute.RouteResult{},
		Backends: map[types.NamespacedName]*airoute.BackendResult{},
		Direct:   map[types.NamespacedName]*airoute.DirectResult{},
	}
	s.newest.Store(s.told)
	return s, nil
}

// Subscribe has f called with every result, in order and from one goroutine, that of
// Run, which waits for f. It must be called before Run.
func (s *Source) Subscribe(f func(*airoute.Result)) {
	s.subscribing()
	s.results = append(s.results, f)
}

// SubscribeSecrets has f called when entries of a Secret that an AIBackend names
// changed, when it came and when it went. Otherwise it is as [Source.Subscribe]; a
// result that the change led to comes first.
func (s *Source) SubscribeSecrets(f func(namespace, name string)) {
	s.subscribing()
	s.secrets = append(s.secrets, f)
}

// SubscribeObjects has f called at every change of an AIRoute, AIBackend, AIAccessPolicy or HTTPRoute,
// of its status too, from the informers' goroutines and before the change is compiled.
// f must not block. It must be called before Run.
func (s *Source) SubscribeObjects(f func(Kind, types.NamespacedName)) {
	s.subscribing()
	s.objects = append(s.objects, f)
}

func (s *Source) subscribing() {
	if s.running.Load() {
		panic("a source of AIRoutes got a subscriber while it runs")
	}
}

// Result is the newest result, of nothing before the first one. It is never nil, and
// must not be changed.
func (s *Source) Result() *airoute.Result { return s.newest.Load() }

// Run follows the cluster until ctx ends, and then returns nil. What was told last
// stays true as far as anybody knows.
func (s *Source) Run(ctx context.Context) error {
	s.running.Store(true)
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	var followers sync.WaitGroup
	defer followers.Wait()
	defer cancel() // before the wait
	for _, k := range kinds() {
		followers.Go(func() { s.follow(ctx, &k) })
	}
	for synced := false; s.changed(ctx); {
		if !synced {
			if !s.store.settled() {
				continue
			}
			s.dirty.Store(true)
		}
		s.flush()
		if !synced {
			synced = true
			if s.o.OnSynced != nil {
				s.o.OnSynced()
			}
		}
	}
	return nil
}

// changed waits for a change and for those that come with it. It is false when ctx
// ended.
func (s *Source) changed(ctx context.Context) bool {
	select {
	case <-ctx.Done():
		return false
	case <-s.kick:
	}
	latest := s.o.Clock.Now().Add(maxDebounces * s.o.Debounce)
	for {
		wait := min(s.o.Debounce, latest.Sub(s.o.Clock.Now()))
		if wait <= 0 {
			return true
		}
		timer := s.o.Clock.NewTimer(wait)
		select {
		case <-ctx.Done():
			timer.Stop()
			return false
		case <-timer.C():
			return true
		case <-s.kick:
			timer.Stop()
		}
	}
}

func (s *Source) wake() {
	select {
	case s.kick <- struct{}{}:
	default: // a look is due anyway
	}
}

// flush compiles if that is due, and tells the subscribers.
func (s *Source) flush() {
	secrets := s.store.takeSecrets()
	if s.dirty.Swap(false) {
		r := s.o.Compile(s.input())
		s.newest.Store(r)
		for _, f := range s.results {
			f(r)
		}
		s.mu.Lock()
		s.told = r
		close(s.more)
		s.more = make(chan struct{})
		s.mu.Unlock()
	}
	for _, name := range secrets {
		for _, f := range s.secrets {
			f(name.Namespace, name.Name)
		}
	}
}

// WaitFor waits until all subscribers have a result in which the AIRoute of that name,
// or the HTTPRoute with AIBackends, has the hash; with hash "", until it is there. It
// is false when ctx ended before.
func (s *Source) WaitFor(ctx context.Context, route types.NamespacedName, hash string) bool {
	for {
		s.mu.Lock()
		r, more := s.told, s.more
		s.mu.Unlock()
		if a := r.Routes[route]; a != nil && (hash == "" || a.Hash == hash) {
			return true
		}
		if d := r.Direct[route]; d != nil && (hash == "" || d.Hash == hash) {
			return true
		}
		select {
		case <-ctx.Done():
			return false
		case <-more:
		}
	}
}
