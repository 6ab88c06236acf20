package kube

import (
	"context"
	"fmt"
	"log/slog"
	"sync/atomic"
	"time"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/meta"
	"k8s.io/apimachinery/pkg/types"
	toolscache "k8s.io/client-go/tools/cache"
	"sigs.k8s.io/controller-runtime/pkg/cache"
	"sigs.k8s.io/controller-runtime/pkg/client"
	inferencev1 "sigs.k8s.io/gateway-api-inference-extension/api/v1"

	"github.com/fairway-ai/fairway/pool"
)

// Pool is one state of one pool.
type Pool struct {
	// Name is the pool's.
	Name types.NamespacedName
	// Object is the InferencePool, nil for a selector pool. It must not be changed.
	// Its status may be an old one: changes of the status alone are not reported.
	Object *inferencev1.InferencePool
	// Endpoints are what can serve now, sorted by pod and target port. They must not
	// be changed.
	Endpoints []pool.Spec
	// Selected is the number of pods that the pool selects, ready or not.
	Selected int
}

// Handler is told what the pools consist of. It is called from one goroutine, by
// Run.
type Handler interface {
	// SetPool brings a pool that is new, or has changed.
	SetPool(Pool)
	// DeletePool says that a pool is gone. It may never have been set.
	DeletePool(types.NamespacedName)
}

// Options configure a [Watcher].
type Options struct {
	// Scope is which pools are followed.
	Scope Scope
	// Coalesce is how long a change waits for others to come with it; 0 means 20 ms.
	Coalesce time.Duration
	// Retry is the time between two attempts to start watching a type that the
	// cluster does not know; 0 means 2 s.
	Retry time.Duration
	// OnSynced is called once by Run, after the handler has got every pool that there
	// was at the start; it may be nil.
	OnSynced func()
	// Log gets what an operator must know; nil discards it.
	Log *slog.Logger
}

// Informers is what a [Watcher] needs of a cache. A controller-runtime cache is
// one.
type Informers interface {
	GetInformer(ctx context.Context, obj client.Object, opts ...cache.InformerGetOption) (cache.Informer, error)
}

// Watcher follows pools and pods.
type Watcher struct {
	informers Informers
	o         Options
	handler   Handler
	index     *index
	kick      chan struct{} // something changed; capacity 1
	synced    atomic.Bool
}

// New returns a watcher that uses informers of c. The caller runs c, before or
// after; both the cache and the watcher wait for what is not there yet.
func New(c Informers, o Options, h Handler) (*Watcher, error) {
	if err := o.Scope.Validate(); err != nil {
		return nil, err
	}
	if o.Coalesce <= 0 {
		o.Coalesce = 20 * time.Millisecond
	}
	if o.Retry <= 0 {
		o.Retry = 2 * time.Second
	}
	if o.Log == nil {
		o.Log = slog.New(slog.DiscardHandler)
	}
	w := &Watcher{informers: c, o: o, handler: h, kick: make(chan struct{}, 1)}
	w.index = newIndex(o.Log, w.wake)
	return w, nil
}

// Synced tells whether the handler has got every pool there was at the start. It
// stays true.
func (w *Watcher) Synced() bool { return w.synced.Load() }

func (w *Watcher) wake() {
	select {
	case w.kick <- struct{}{}:
	default: // a look is due anyway
	}
}

// Run follows the cluster until ctx ends, and then returns nil. What the handler
// was told last stays true as far as anybody knows.
func (w *Watcher) Run(ctx context.Context) error {
	var lists []toolscache.InformerSynced
	if s := w.o.Scope.Selector; s != nil {
		w.index.setSelector(s)
	} else {
		r, err := w.watch(ctx, w.o.Scope.poolObject(), w.poolEvents())
		if err != nil {
			return w.ended(ctx, err)
		}
		lists = append(lists, r.HasSynced)
		defer r.stop()
	}
	r, err := w.watch(ctx, &corev1.Pod{}, w.podEvents())
	if err != nil {
		return w.ended(ctx, err)
	}
	defer r.stop()
	// Nobody is told of half a pool: first comes everything there is.
	if !toolscache.WaitForCacheSync(ctx.Done(), append(lists, r.HasSynced)...) {
		return nil
	}
	w.flush()
	w.synced.Store(true)
	if w.o.OnSynced != nil {
		w.o.OnSynced()
	}
	w.follow(ctx)
	return nil
}

func (w *Watcher) ended(ctx context.Context, err error) error {
	if ctx.Err() != nil {
		return nil
	}
	return err
}

// follow passes changes on, those of a burst together.
func (w *Watcher) follow(ctx context.Context) {
	timer := time.NewTimer(w.o.Coalesce)
	defer timer.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case <-w.kick:
		}
		timer.Reset(w.o.Coalesce)
		select {
		case <-ctx.Done():
			return
		case <-timer.C:
		}
		w.flush()
	}
}

func (w *Watcher) flush() {
	changed, gone := w.index.take()
	for _, name := range gone {
		w.handler.DeletePool(name)
	}
	for _, p := range changed {
		w.handler.SetPool(p)
	}
}

// registration is a handler at an informer.
type registration struct {
	toolscache.ResourceEventHandlerRegistration
	stop func()
}

// watch adds h to the informer of a type, and waits for the type to exist.
func (w *Watcher) watch(ctx context.Context, o client.Object, h toolscache.ResourceEventHandler) (*registration, error) {
	said := ""
	for {
		i, err := w.informers.GetInformer(ctx, o, cache.BlockUntilSynced(false))
		if err == nil {
			r, err := i.AddEventHandler(h)
			if err != nil {
				return nil, fmt.Errorf("following %T: %w", o, err)
			}
			return &registration{r, func() { _ = i.RemoveEventHandler(r) }}, nil
		}
		if err.Error() != said {
			said = err.Error()
			advice := ""
			if meta.IsNoMatchError(err) {
				advice = adviceInstall
			}
			w.o.Log.Error("the pools cannot be followed yet", "error", err, "advice", advice)
		}
		select {
		case <-ctx.Done():
			return nil, ctx.Err()
		case <-time.After(w.o.Retry):
		}
	}
}

func (w *Watcher) podEvents() toolscache.ResourceEventHandler {
	set := func(obj any) {
		if p, ok := obj.(*corev1.Pod); ok {
			w.index.setPod(p)
		}
	}
	return toolscache.ResourceEventHandlerFuncs{
		AddFunc:    set,
		UpdateFunc: func(_, obj any) { set(obj) },
		DeleteFunc: func(obj any) { w.index.deletePod(nameOf(obj)) },
	}
}

func (w *Watcher) poolEvents() toolscache.ResourceEventHandler {
	set := func(obj any) {
		name := nameOf(obj)
		if !w.o.Scope.wants(name) {
			return
		}
		p, err := asPool(obj)
		if err != nil {
			w.o.Log.Error("an InferencePool is ignored", "pool", name.String(), "error", err)
			w.index.deletePool(name)
			return
		}
		w.index.setPool(p)
	}
	return toolscache.ResourceEventHandlerFuncs{
		AddFunc:    set,
		UpdateFunc: func(_, obj any) { set(obj) },
		DeleteFunc: func(obj any) { w.index.deletePool(nameOf(obj)) },
	}
}

// nameOf is the name of an object, which may have gone while nobody looked.
func nameOf(obj any) types.NamespacedName {
	if gone, ok := obj.(toolscache.DeletedFinalStateUnknown); ok {
		if obj = gone.Obj; obj == nil {
			namespace, name, _ := toolscache.SplitMetaNamespaceKey(gone.Key)
			return types.NamespacedName{Namespace: namespace, Name: name}
		}
	}
	o, err := meta.Accessor(obj)
	if err != nil {
		return types.NamespacedName{}
	}
	return types.NamespacedName{Namespace: o.GetNamespace(), Name: o.GetName()}
}
