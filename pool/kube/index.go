package kube

import (
	"log/slog"
	"maps"
	"slices"
	"strings"
	"sync"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/labels"
	"k8s.io/apimachinery/pkg/types"
	inferencev1 "sigs.k8s.io/gateway-api-inference-extension/api/v1"

	"github.com/fairway-ai/fairway/pool"
)

// index knows which pods are in which pools, and which pools changed since they
// were last taken. Pools are found by one label of their selectors.
type index struct {
	log     *slog.Logger
	changed func() // something is dirty; called with mu held

	mu         sync.Mutex
	namespaces map[string]*namespace
	dirty      map[types.NamespacedName]bool
}

// namespace is what there is in one.
type namespace struct {
	pods    map[string]*pod
	pools   map[string]*entry
	byLabel map[label][]*entry
	// others are pools whose selector is more than labels.
	others []*entry
	// warned are the annotations complained about, by pod.
	warned map[string]string
}

type label struct{ key, value string }

// entry is a pool.
type entry struct {
	name     types.NamespacedName
	object   *inferencev1.InferencePool // nil for a selector pool
	want     map[string]string          // labels of members
	selector labels.Selector            // instead of want
	key      label                      // where byLabel has it
	ports    []int32
	members  []member // by name
}

// member is a pod in a pool.
type member struct {
	pod   *pod
	specs []pool.Spec
}

func newIndex(log *slog.Logger, changed func()) *index {
	return &index{log: log, changed: changed, namespaces: map[string]*namespace{}, dirty: map[types.NamespacedName]bool{}}
}

func (x *index) namespace(name string) *namespace {
	n := x.namespaces[name]
	if n == nil {
		n = &namespace{pods: map[string]*pod{}, pools: map[string]*entry{}, byLabel: map[label][]*entry{}, warned: map[string]string{}}
		x.namespaces[name] = n
	}
	return n
}

func (x *index) mark(e *entry) {
	x.dirty[e.name] = true
	x.changed()
}

// setPod takes a pod's new state.
func (x *index) setPod(o *corev1.Pod) {
	p, problem := readPod(o)
	x.mu.Lock()
	defer x.mu.Unlock()
	n := x.namespace(o.Namespace)
	old := n.pods[p.name]
	x.complain(n, o, problem)
	if old != nil && old.same(p) {
		return
	}
	n.pods[p.name] = p
	p.member = n.selecting(p)
	if old != nil {
		for _, e := range old.member {
			if !slices.Contains(p.member, e) {
				x.leave(e, p.name)
			}
		}
	}
	for _, e := range p.member {
		x.join(e, p)
	}
}

// complain logs an annotation that makes no sense, once for each value.
func (x *index) complain(n *namespace, o *corev1.Pod, problem string) {
	if n.warned[o.Name] == problem {
		return
	}
	if problem == "" {
		delete(n.warned, o.Name)
		return
	}
	n.warned[o.Name] = problem
	x.log.Warn("a pod's annotation is ignored", "pod", o.Namespace+"/"+o.Name, "problem", problem)
}

// deletePod forgets a pod.
func (x *index) deletePod(name types.NamespacedName) {
	x.mu.Lock()
	defer x.mu.Unlock()
	n := x.namespaces[name.Namespace]
	if n == nil || n.pods[name.Name] == nil {
		return
	}
	for _, e := range n.pods[name.Name].member {
		x.leave(e, name.Name)
	}
	delete(n.pods, name.Name)
	delete(n.warned, name.Name)
	x.drop(name.Namespace, n)
}

// selecting lists the pools that select a pod.
func (n *namespace) selecting(p *pod) []*entry {
	var found []*entry
	for k, v := range p.labels {
		for _, e := range n.byLabel[label{k, v}] {
			if e.selects(p.labels) {
				found = append(found, e)
			}
		}
	}
	for _, e := range n.others {
		if e.selects(p.labels) {
			found = append(found, e)
		}
	}
	return found
}

func (e *entry) selects(have map[string]string) bool {
	if e.selector != nil {
		return e.selector.Matches(labels.Set(have))
	}
	for k, v := range e.want {
		if got, ok := have[k]; !ok || got != v {
			return false
		}
	}
	return len(e.want) > 0
}

func (e *entry) find(name string) (int, bool) {
	return slices.BinarySearchFunc(e.members, name, func(m member, name string) int { return strings.Compare(m.pod.name, name) })
}

// join puts a pod's state into a pool.
func (x *index) join(e *entry, p *pod) {
	m := member{p, p.specs(e.name.Namespace, e.ports)}
	i, ok := e.find(p.name)
	if !ok {
		e.members = slices.Insert(e.members, i, m)
		x.mark(e)
		return
	}
	same := slices.EqualFunc(e.members[i].specs, m.specs, func(a, b pool.Spec) bool {
		return a.ID == b.ID && a.Address == b.Address && maps.Equal(a.Labels, b.Labels)
	})
	e.members[i] = m
	if !same {
		x.mark(e)
	}
}

func (x *index) leave(e *entry, name string) {
	if i, ok := e.find(name); ok {
		e.members = slices.Delete(e.members, i, i+1)
		x.mark(e)
	}
}

// take returns the pools that changed since the last call, by name, and those that
// are gone.
func (x *index) take() (changed []Pool, gone []types.NamespacedName) {
	x.mu.Lock()
	defer x.mu.Unlock()
	for name := range x.dirty {
		var e *entry
		if n := x.namespaces[name.Namespace]; n != nil {
			e = n.pools[name.Name]
		}
		if e == nil {
			gone = append(gone, name)
		} else {
			changed = append(changed, e.pool())
		}
	}
	clear(x.dirty)
	slices.SortFunc(changed, func(a, b Pool) int { return compareNames(a.Name, b.Name) })
	slices.SortFunc(gone, compareNames)
	return changed, gone
}

// pool is the pool as the handler gets it.
func (e *entry) pool() Pool {
	p := Pool{Name: e.name, Object: e.object, Selected: len(e.members)}
	size := 0
	for i := range e.members {
		size += len(e.members[i].specs)
	}
	p.Endpoints = make([]pool.Spec, 0, size)
	for i := range e.members {
		p.Endpoints = append(p.Endpoints, e.members[i].specs...)
	}
	return p
}

func compareNames(a, b types.NamespacedName) int {
	if c := strings.Compare(a.Namespace, b.Namespace); c != 0 {
		return c
	}
	return strings.Compare(a.Name, b.Name)
}
