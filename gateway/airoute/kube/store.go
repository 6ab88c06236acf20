package kube

import (
	"slices"
	"strings"
	"sync"

	"k8s.io/apimachinery/pkg/types"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/fairway-ai/fairway/api/v1alpha1"
)

// phase is how far the following of a kind has come.
type phase int

const (
	unknown phase = iota // not asked for yet, or nobody answered
	absent               // not installed, or not permitted
	filling              // the informer is being filled
	filled
)

// store has the newest state of every object, by kind. The objects are the
// informers' own and must not be changed. It is safe for concurrent use.
type store struct {
	mu      sync.Mutex
	objects map[Kind]map[types.NamespacedName]client.Object
	phases  map[Kind]phase
	named   named
	// secrets are those that changed since take and are named by an AIBackend.
	secrets map[types.NamespacedName]bool
}

func newStore() *store {
	return &store{
		objects: map[Kind]map[types.NamespacedName]client.Object{}, phases: map[Kind]phase{},
		named: named{}, secrets: map[types.NamespacedName]bool{},
	}
}

// put replaces an object, by nil when it is gone. compile says that the change can
// matter to what is compiled, tell that somebody must be told of a Secret.
func (s *store) put(k *kind, name types.NamespacedName, o client.Object) (compile, tell bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	all := s.objects[k.name]
	if all == nil {
		all = map[types.NamespacedName]client.Object{}
		s.objects[k.name] = all
	}
	old := all[name]
	if o == nil {
		delete(all, name)
	} else {
		all[name] = o
	}
	if old == nil && o == nil {
		return false, false
	}
	if k.name == AIBackend {
		before, _ := old.(*v1alpha1.AIBackend)
		after, _ := o.(*v1alpha1.AIBackend)
		s.named.replace(before, after)
	}
	if k.name.onlyIfNamed() && s.named[reference{k.name, name}] == 0 {
		return false, false
	}
	if k.name == Secret && valuesChanged(old, o) {
		s.secrets[name] = true
		tell = true
	}
	return k.matters(old, o), tell
}

func (s *store) setPhase(k Kind, p phase) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.phases[k] = p
}

func (s *store) phase(k Kind) phase {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.phases[k]
}

// settled is whether everything is known that there is.
func (s *store) settled() bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	return !slices.ContainsFunc(kinds(), func(k kind) bool {
		p := s.phases[k.name]
		return p == unknown || p == filling
	})
}

// takeSecrets returns the Secrets that changed since the last call.
func (s *store) takeSecrets() []types.NamespacedName {
	s.mu.Lock()
	defer s.mu.Unlock()
	var names []types.NamespacedName
	for n := range s.secrets {
		names = append(names, n)
	}
	clear(s.secrets)
	slices.SortFunc(names, compareNames)
	return names
}

// find returns an object, nil when there is none or its kind is not known as a whole.
func find[T client.Object](s *store, k Kind, name types.NamespacedName) (o T, ok bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.phases[k] != filled {
		return o, false
	}
	o, ok = s.objects[k][name].(T)
	return o, ok
}

// list returns the objects of a kind that are wanted, by namespace and name; none
// when the kind is not known as a whole.
func list[T client.Object](s *store, k Kind, want func(T) bool) []T {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.phases[k] != filled {
		return nil
	}
	all := make([]T, 0, len(s.objects[k]))
	for _, o := range s.objects[k] {
		if t, ok := o.(T); ok && want(t) {
			all = append(all, t)
		}
	}
	slices.SortFunc(all, func(a, b T) int { return compareNames(client.ObjectKeyFromObject(a), client.ObjectKeyFromObject(b)) })
	return all
}

func compareNames(a, b types.NamespacedName) int {
	if c := strings.Compare(a.Namespace, b.Namespace); c != 0 {
		return c
	}
	return strings.Compare(a.Name, b.Name)
}
