package kube

import (
	"errors"
	"fmt"
	"slices"
	"strings"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/labels"
	"k8s.io/apimachinery/pkg/types"
)

// Groups of the InferencePool API.
const (
	// Group is where InferencePool is v1.
	Group = "inference.networking.k8s.io"
	// LegacyGroup is where InferencePool was before, as v1alpha2.
	LegacyGroup = "inference.networking.x-k8s.io"
)

// Groups are the API groups that InferencePools can be read of.
func Groups() []string { return []string{Group, LegacyGroup} }

// MaxPorts is how many target ports a pool may have.
const MaxPorts = 8

// Scope is which pools are followed. Its zero value means all InferencePools of
// the cluster.
type Scope struct {
	// Pools are the InferencePools to follow; empty means all those of Namespaces.
	Pools []types.NamespacedName
	// Namespaces are where InferencePools are followed; empty means everywhere. It
	// has no meaning together with Pools.
	Namespaces []string
	// Selector is a pool without an InferencePool, which then need not be
	// installed; it excludes Pools and Namespaces.
	Selector *SelectorPool
	// Group is the InferencePool's API group, Group or LegacyGroup; "" means Group.
	Group string
}

// SelectorPool is a pool that no InferencePool describes.
type SelectorPool struct {
	// Name is what the pool is called; its pods are in this namespace.
	Name types.NamespacedName
	// Selector selects the pods.
	Selector labels.Selector
	// Ports are the target ports.
	Ports []int32
}

// Validate reports what makes no sense.
func (s *Scope) Validate() error {
	if s.Group != "" && !slices.Contains(Groups(), s.Group) {
		return fmt.Errorf("API group %q: has no InferencePool known here; use %s", s.Group, strings.Join(Groups(), " or "))
	}
	for _, p := range s.Pools {
		if p.Name == "" || p.Namespace == "" {
			return fmt.Errorf("pool %q: needs a namespace and a name", p)
		}
	}
	if s.Selector == nil {
		return nil
	}
	if len(s.Pools) > 0 || len(s.Namespaces) > 0 {
		return errors.New("an endpoint selector and InferencePools exclude each other")
	}
	return s.Selector.validate()
}

func (p *SelectorPool) validate() error {
	switch {
	case p.Name.Name == "" || p.Name.Namespace == "":
		return fmt.Errorf("pool %q: needs a namespace and a name", p.Name)
	case p.Selector == nil || p.Selector.Empty():
		return errors.New("endpoint selector: is empty; name at least one label")
	case len(p.Ports) == 0 || len(p.Ports) > MaxPorts:
		return fmt.Errorf("target ports: there are %d; name 1 to %d", len(p.Ports), MaxPorts)
	}
	for i, port := range p.Ports {
		if port < 1 || port > 65535 {
			return fmt.Errorf("target port %d: must be 1 to 65535", port)
		}
		if slices.Contains(p.Ports[:i], port) {
			return fmt.Errorf("target port %d: is there twice", port)
		}
	}
	return nil
}

func (s *Scope) group() string {
	if s.Group == "" {
		return Group
	}
	return s.Group
}

// namespaces are those that pods are followed in; nil means all.
func (s *Scope) namespaces() []string {
	var all []string
	switch {
	case s.Selector != nil:
		all = []string{s.Selector.Name.Namespace}
	case len(s.Pools) > 0:
		for _, p := range s.Pools {
			all = append(all, p.Namespace)
		}
	case slices.Contains(s.Namespaces, metav1.NamespaceAll):
	default:
		all = slices.Clone(s.Namespaces)
	}
	slices.Sort(all)
	return slices.Compact(all)
}

// wants tells whether a pool is followed.
func (s *Scope) wants(name types.NamespacedName) bool {
	if len(s.Pools) > 0 {
		return slices.Contains(s.Pools, name)
	}
	return len(s.Namespaces) == 0 || slices.Contains(s.Namespaces, name.Namespace) ||
		slices.Contains(s.Namespaces, metav1.NamespaceAll)
}
