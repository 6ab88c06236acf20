package kube

import (
	"slices"
	"strings"

	"k8s.io/apimachinery/pkg/types"
	inferencev1 "sigs.k8s.io/gateway-api-inference-extension/api/v1"
)

// setPool takes an InferencePool's new state.
func (x *index) setPool(o *inferencev1.InferencePool) {
	name := types.NamespacedName{Namespace: o.Namespace, Name: o.Name}
	x.mu.Lock()
	defer x.mu.Unlock()
	n := x.namespace(o.Namespace)
	old := n.pools[o.Name]
	if old != nil && samePool(old.object, o) {
		return
	}
	e := &entry{name: name, object: o, want: matchLabels(o), ports: targetPorts(o)}
	if old != nil {
		n.remove(old)
	}
	n.add(e)
	x.fill(n, e)
}

// setSelector adds a pool without an object.
func (x *index) setSelector(s *SelectorPool) {
	x.mu.Lock()
	defer x.mu.Unlock()
	n := x.namespace(s.Name.Namespace)
	e := &entry{name: s.Name, selector: s.Selector, ports: slices.Clone(s.Ports)}
	n.add(e)
	x.fill(n, e)
}

// fill makes a new pool's members out of all pods of the namespace: pools change
// rarely.
func (x *index) fill(n *namespace, e *entry) {
	for _, p := range n.pods {
		if e.selects(p.labels) {
			p.member = append(p.member, e)
			e.members = append(e.members, member{p, p.specs(e.name.Namespace, e.ports)})
		}
	}
	slices.SortFunc(e.members, func(a, b member) int { return strings.Compare(a.pod.name, b.pod.name) })
	x.mark(e)
}

// add makes a pool findable by the label of its selector that fewest others have.
func (n *namespace) add(e *entry) {
	n.pools[e.name.Name] = e
	if e.selector != nil {
		n.others = append(n.others, e)
		return
	}
	for k, v := range e.want {
		l := label{k, v}
		if e.key == (label{}) || len(n.byLabel[l]) < len(n.byLabel[e.key]) {
			e.key = l
		}
	}
	n.byLabel[e.key] = append(n.byLabel[e.key], e)
}

// remove takes a pool out, and out of its pods.
func (n *namespace) remove(e *entry) {
	delete(n.pools, e.name.Name)
	other := func(o *entry) bool { return o == e }
	if n.byLabel[e.key] = slices.DeleteFunc(n.byLabel[e.key], other); len(n.byLabel[e.key]) == 0 {
		delete(n.byLabel, e.key)
	}
	for _, m := range e.members {
		m.pod.member = slices.DeleteFunc(m.pod.member, other)
	}
}

// deletePool forgets an InferencePool.
func (x *index) deletePool(name types.NamespacedName) {
	x.mu.Lock()
	defer x.mu.Unlock()
	n := x.namespaces[name.Namespace]
	if n == nil || n.pools[name.Name] == nil {
		return
	}
	e := n.pools[name.Name]
	n.remove(e)
	x.mark(e)
	x.drop(name.Namespace, n)
}

// drop forgets a namespace that is empty.
func (x *index) drop(name string, n *namespace) {
	if len(n.pods) == 0 && len(n.pools) == 0 {
		delete(x.namespaces, name)
	}
}
