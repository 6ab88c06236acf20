package kube

import (
	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/meta"
	"k8s.io/apimachinery/pkg/runtime/schema"
)

// Mapper answers for pods and InferencePools, and asks next about everything else.
// A cache with it can be made, and started, before the InferencePool definition is
// installed and while the API server is away.
func Mapper(next meta.RESTMapper) meta.RESTMapper {
	known := meta.NewDefaultRESTMapper(nil)
	known.Add(corev1.SchemeGroupVersion.WithKind("Pod"), meta.RESTScopeNamespace)
	known.Add(schema.GroupVersionKind{Group: Group, Version: "v1", Kind: poolKind}, meta.RESTScopeNamespace)
	known.Add(schema.GroupVersionKind{Group: LegacyGroup, Version: "v1alpha2", Kind: poolKind}, meta.RESTScopeNamespace)
	return &mapper{RESTMapper: next, known: known}
}

type mapper struct {
	meta.RESTMapper
	known meta.RESTMapper
}

// RESTMapping implements meta.RESTMapper.
func (m *mapper) RESTMapping(gk schema.GroupKind, versions ...string) (*meta.RESTMapping, error) {
	if found, err := m.known.RESTMapping(gk, versions...); err == nil {
		return found, nil
	}
	return m.RESTMapper.RESTMapping(gk, versions...)
}

// RESTMappings implements meta.RESTMapper.
func (m *mapper) RESTMappings(gk schema.GroupKind, versions ...string) ([]*meta.RESTMapping, error) {
	if found, err := m.known.RESTMappings(gk, versions...); err == nil {
		return found, nil
	}
	return m.RESTMapper.RESTMappings(gk, versions...)
}
