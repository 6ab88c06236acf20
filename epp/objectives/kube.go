package objectives

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"maps"
	"slices"
	"sync"
	"time"

	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/api/meta"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/client-go/rest"
	toolscache "k8s.io/client-go/tools/cache"
	"sigs.k8s.io/controller-runtime/pkg/cache"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/client/apiutil"
)

// KubeOptions configure [FromKube].
type KubeOptions struct {
	// Namespaces are followed; all when empty.
	Namespaces []string
	// Retry is the time between two looks for definitions that are not installed; 0
	// means 30 s.
	Retry time.Duration
	// Coalesce is how long a change waits for others to come with it; 0 means 20 ms.
	Coalesce time.Duration
	// Log gets what an operator must know; nil discards it.
	Log *slog.Logger
}

// FromKube fills a store with what a cluster has.
type FromKube struct {
	store *Store
	cache cache.Cache
	o     KubeOptions
	kick  chan struct{} // something changed; capacity 1

	mu         sync.Mutex
	objectives map[key]Objective
	rewrites   map[key]Rewrite
	left       map[string]bool   // kinds that the earlier group has no say in
	wrong      map[key]string    // what is wrong with an object, as logged
	failing    map[string]string // why a kind cannot be followed, as logged
}

// key names an object.
type key struct {
	group, kind string
	name        types.NamespacedName
}

// NewFromKube returns what fills the store while it runs. It does not contact the API
// server.
func NewFromKube(config *rest.Config, store *Store, o KubeOptions) (*FromKube, error) {
	if o.Retry <= 0 {
		o.Retry = 30 * time.Second
	}
	if o.Coalesce <= 0 {
		o.Coalesce = 20 * time.Millisecond
	}
	if o.Log == nil {
		o.Log = slog.New(slog.DiscardHandler)
	}
	f := &FromKube{
		store: store, o: o, kick: make(chan struct{}, 1),
		objectives: map[key]Objective{}, rewrites: map[key]Rewrite{}, left: map[string]bool{},
		wrong: map[key]string{}, failing: map[string]string{},
	}
	httpClient, err := rest.HTTPClientFor(config)
	if err != nil {
		return nil, fmt.Errorf("client for the API server: %w", err)
	}
	mapper, err := apiutil.NewDynamicRESTMapper(config, httpClient)
	if err != nil {
		return nil, fmt.Errorf("client for the API server: %w", err)
	}
	co := cache.Options{
		HTTPClient: httpClient, Mapper: mapper, Scheme: runtime.NewScheme(),
		DefaultTransform: cache.TransformStripManagedFields(), DefaultWatchErrorHandler: f.watchFailed,
	}
	for _, n := range o.Namespaces {
		if co.DefaultNamespaces == nil {
			co.DefaultNamespaces = map[string]cache.Config{}
		}
		co.DefaultNamespaces[n] = cache.Config{}
	}
	if f.cache, err = cache.New(config, co); err != nil {
		return nil, fmt.Errorf("cache of objectives: %w", err)
	}
	return f, nil
}

// Run follows the cluster until ctx ends, and then returns nil. What the store was told
// last stays.
func (f *FromKube) Run(ctx context.Context) error {
	var running sync.WaitGroup
	ctx, stop := context.WithCancel(ctx)
	defer running.Wait()
	defer stop()
	for _, kind := range []string{KindObjective, KindRewrite} {
		running.Go(func() { f.find(ctx, kind) })
	}
	running.Go(func() { f.follow(ctx) })
	return f.cache.Start(ctx)
}

// find follows a kind in the group that is installed, until ctx ends: the earlier one as
// long as the later one is not there.
func (f *FromKube) find(ctx context.Context, kind string) {
	legacy := false
	for {
		err := f.watch(ctx, Group, kind)
		if err == nil {
			if legacy {
				f.leave(ctx, kind)
			}
			f.o.Log.Info("objects are followed", "kind", kind, "group", Group)
			return
		}
		if meta.IsNoMatchError(err) && !legacy {
			if err = f.watch(ctx, LegacyGroup, kind); err == nil {
				legacy = true
				f.o.Log.Info("objects are followed", "kind", kind, "group", LegacyGroup)
			}
		}
		if err != nil && !meta.IsNoMatchError(err) {
			f.say(kind, "cannot be looked for, and are none", err)
		}
		select {
		case <-ctx.Done():
			return
		case <-time.After(f.o.Retry):
		}
	}
}

func object(group, kind string) *unstructured.Unstructured {
	u := &unstructured.Unstructured{}
	u.SetGroupVersionKind(schema.GroupVersionKind{Group: group, Version: Version, Kind: kind})
	return u
}

// watch begins to follow a kind of a group; the error is that of a missing definition,
// or of an API server that does not answer.
func (f *FromKube) watch(ctx context.Context, group, kind string) error {
	i, err := f.cache.GetInformer(ctx, object(group, kind), cache.BlockUntilSynced(false))
	if err != nil {
		return err
	}
	_, err = i.AddEventHandler(toolscache.ResourceEventHandlerFuncs{
		AddFunc:    func(obj any) { f.set(group, kind, obj) },
		UpdateFunc: func(_, obj any) { f.set(group, kind, obj) },
		DeleteFunc: func(obj any) { f.delete(group, kind, obj) },
	})
	return err
}

// leave forgets what the earlier group said.
func (f *FromKube) leave(ctx context.Context, kind string) {
	if err := f.cache.RemoveInformer(ctx, object(LegacyGroup, kind)); err != nil {
		f.o.Log.Warn("objects of an earlier group are still followed", "kind", kind, "error", err)
	}
	f.mu.Lock()
	defer f.mu.Unlock()
	f.left[kind] = true // an event may still be on its way
	earlier := func(k key) bool { return k.group == LegacyGroup && k.kind == kind }
	maps.DeleteFunc(f.objectives, func(k key, _ Objective) bool { return earlier(k) })
	maps.DeleteFunc(f.rewrites, func(k key, _ Rewrite) bool { return earlier(k) })
	f.changed()
}

// set takes over an object. One that makes no sense counts as none.
func (f *FromKube) set(group, kind string, obj any) {
	u, ok := obj.(*unstructured.Unstructured)
	if !ok {
		return
	}
	k := key{group, kind, client.ObjectKeyFromObject(u)}
	f.mu.Lock()
	defer f.mu.Unlock()
	if group == LegacyGroup && f.left[kind] {
		return
	}
	f.forget(k)
	said := f.wrong[k]
	if err := f.read(k, u); err == nil {
		delete(f.wrong, k)
	} else if err.Error() != said {
		f.wrong[k] = err.Error()
		f.o.Log.Error("an object is wrong and counts as none", "kind", kind, "name", k.name.String(), "error", err)
	}
	f.changed()
}

func (f *FromKube) read(k key, u *unstructured.Unstructured) error {
	raw, err := u.MarshalJSON()
	if err != nil {
		return err
	}
	if k.kind == KindObjective {
		var o objective
		if err := json.Unmarshal(raw, &o); err != nil {
			return err
		}
		read, err := o.read()
		if err == nil {
			f.objectives[k] = read
		}
		return err
	}
	var m modelRewrite
	if err := json.Unmarshal(raw, &m); err != nil {
		return err
	}
	read, err := m.read()
	if err == nil {
		f.rewrites[k] = read
	}
	return err
}

func (f *FromKube) forget(k key) {
	delete(f.objectives, k)
	delete(f.rewrites, k)
}

func (f *FromKube) delete(group, kind string, obj any) {
	if gone, ok := obj.(toolscache.DeletedFinalStateUnknown); ok {
		obj = gone.Obj
	}
	u, ok := obj.(*unstructured.Unstructured)
	if !ok {
		return
	}
	k := key{group, kind, client.ObjectKeyFromObject(u)}
	f.mu.Lock()
	defer f.mu.Unlock()
	f.forget(k)
	delete(f.wrong, k)
	f.changed()
}

// changed has the store told soon.
func (f *FromKube) changed() {
	select {
	case f.kick <- struct{}{}:
	default: // it will be anyway
	}
}

// follow tells the store of changes, those of a burst together.
func (f *FromKube) follow(ctx context.Context) {
	for {
		select {
		case <-ctx.Done():
			return
		case <-f.kick:
		}
		select {
		case <-ctx.Done():
			return
		case <-time.After(f.o.Coalesce):
		}
		f.mu.Lock()
		objectives, rewrites := slices.Collect(maps.Values(f.objectives)), slices.Collect(maps.Values(f.rewrites))
		f.mu.Unlock()
		f.store.Set(objectives, rewrites)
		f.o.Log.Debug("objectives and rewrites have changed", "objectives", len(objectives), "rewrites", len(rewrites))
	}
}

// watchFailed is told that a list or a watch failed. It will be tried again.
func (f *FromKube) watchFailed(_ context.Context, r *toolscache.Reflector, err error) {
	if apierrors.IsResourceExpired(err) || apierrors.IsGone(err) || errors.Is(err, io.EOF) {
		return // part of an ordinary life
	}
	f.say(r.TypeDescription(), "cannot be followed; what was known stays", err)
}

// say logs why a kind cannot be followed, when that changes.
func (f *FromKube) say(what, text string, err error) {
	advice := ""
	if apierrors.IsForbidden(err) || apierrors.IsUnauthorized(err) {
		advice = "let this service account get, list and watch inferenceobjectives and inferencemodelrewrites of " + Group + " and " + LegacyGroup
	}
	reason := string(apierrors.ReasonForError(err))
	f.mu.Lock()
	said, known := f.failing[what]
	f.failing[what] = reason
	f.mu.Unlock()
	if !known || said != reason {
		f.o.Log.Warn("objects "+text, "of", what, "error", err, "advice", advice)
	}
}
