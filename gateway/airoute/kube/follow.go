package kube

import (
	"context"
	"fmt"
	"time"

	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	toolscache "k8s.io/client-go/tools/cache"
	"sigs.k8s.io/controller-runtime/pkg/cache"
	"sigs.k8s.io/controller-runtime/pkg/client"
)

// askTimeout bounds one question whether a kind can be listed.
const askTimeout = 10 * time.Second

// follow fills the store with a kind until ctx ends, and waits for the kind to exist.
func (s *Source) follow(ctx context.Context, k *kind) {
	said := ""
	for {
		stop, err := s.watch(ctx, k)
		if err == nil {
			<-ctx.Done()
			stop()
			return
		}
		if ctx.Err() != nil {
			return
		}
		advice, missing := advise(k, err)
		if missing {
			s.store.setPhase(k.name, absent)
			s.wake()
		}
		if advice != said {
			said = advice
			s.o.Log.Warn("a kind of object cannot be followed yet", "kind", k.name, "error", err, "advice", advice)
		}
		select {
		case <-ctx.Done():
			return
		case <-s.o.Clock.After(s.o.Retry):
		}
	}
}

// advise says what to do about an error, and whether it means that the kind is not
// there for us.
func advise(k *kind, err error) (advice string, missing bool) {
	switch {
	case meta.IsNoMatchError(err), apierrors.IsNotFound(err):
		return fmt.Sprintf("install the definition of %s of group %q in version %s; until then there are none", k.name, k.of.Group, k.of.Version), true
	case apierrors.IsForbidden(err) && k.name == AIAccessPolicy:
		return "let the service account get, list and watch AIAccessPolicies of group " + k.of.Group + "; until then nothing changes, because they may forbid it", false
	case apierrors.IsForbidden(err):
		return fmt.Sprintf("let the service account get, list and watch %s of group %q in all namespaces; until then there are none", k.name, k.of.Group), true
	}
	return "until the API server answers, what was known last stays in use", false
}

// watch adds handlers to the informer of a kind, and returns once it is filled.
func (s *Source) watch(ctx context.Context, k *kind) (stop func(), err error) {
	if err := s.ask(ctx, k); err != nil {
		return nil, err
	}
	i, err := s.informers.GetInformer(ctx, k.object(), cache.BlockUntilSynced(false))
	if err != nil {
		return nil, fmt.Errorf("follow %s: %w", k.name, err)
	}
	s.store.setPhase(k.name, filling)
	r, err := i.AddEventHandler(toolscache.ResourceEventHandlerFuncs{
		AddFunc:    func(obj any) { s.put(k, obj) },
		UpdateFunc: func(_, obj any) { s.put(k, obj) },
		DeleteFunc: func(obj any) { s.apply(k, nameOf(obj), nil) },
	})
	if err != nil {
		return nil, fmt.Errorf("follow %s: %w", k.name, err)
	}
	if toolscache.WaitForCacheSync(ctx.Done(), r.HasSynced) {
		s.store.setPhase(k.name, filled)
		s.dirty.Store(true)
		s.wake()
	}
	return func() { _ = i.RemoveEventHandler(r) }, nil
}

// ask asks the API server for one object of the kind.
func (s *Source) ask(ctx context.Context, k *kind) error {
	if s.o.Live == nil {
		return nil
	}
	ctx, cancel := context.WithTimeout(ctx, askTimeout)
	defer cancel()
	namespaces := []string{metav1.NamespaceAll}
	if k.name.onlyInSome() && len(s.o.SecretNamespaces) > 0 {
		namespaces = s.o.SecretNamespaces
	}
	for _, n := range namespaces {
		var found metav1.PartialObjectMetadataList
		found.SetGroupVersionKind(k.of.WithKind(string(k.name) + "List"))
		if err := s.o.Live.List(ctx, &found, client.Limit(1), client.InNamespace(n)); err != nil {
			return fmt.Errorf("list %s: %w", k.name, err)
		}
	}
	return nil
}

func (s *Source) put(k *kind, obj any) {
	if o, ok := obj.(client.Object); ok {
		s.apply(k, client.ObjectKeyFromObject(o), o)
	}
}

// apply keeps a change and has what follows from it done. Before the informer is
// filled, the change is a part of the filling.
func (s *Source) apply(k *kind, name types.NamespacedName, o client.Object) {
	compile, tell := s.store.put(k, name, o)
	if s.store.phase(k.name) == filled {
		if compile {
			s.dirty.Store(true)
		}
		if compile || tell {
			s.wake()
		}
	}
	if k.name == AIRoute || k.name == AIBackend || k.name == AIAccessPolicy || k.name == HTTPRoute {
		for _, f := range s.objects {
			f(k.name, name)
		}
	}
}

// nameOf is the name of an object, which may have gone while nobody looked.
func nameOf(obj any) types.NamespacedName {
	if gone, ok := obj.(toolscache.DeletedFinalStateUnknown); ok {
		namespace, name, _ := toolscache.SplitMetaNamespaceKey(gone.Key)
		return types.NamespacedName{Namespace: namespace, Name: name}
	}
	o, err := meta.Accessor(obj)
	if err != nil {
		return types.NamespacedName{}
	}
	return types.NamespacedName{Namespace: o.GetNamespace(), Name: o.GetName()}
}
