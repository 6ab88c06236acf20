package kube

import (
	"fmt"
	"maps"
	"slices"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"sigs.k8s.io/controller-runtime/pkg/client"
	inferencev1 "sigs.k8s.io/gateway-api-inference-extension/api/v1"
)

const poolKind = "InferencePool"

// poolObject is an empty object of the scope's InferencePool type, as the cache
// wants it. The legacy type is no longer published, so it is read without one.
func (s *Scope) poolObject() client.Object {
	if s.group() == Group {
		return &inferencev1.InferencePool{}
	}
	u := &unstructured.Unstructured{}
	u.SetGroupVersionKind(schema.GroupVersionKind{Group: LegacyGroup, Version: "v1alpha2", Kind: poolKind})
	return u
}

// asPool returns an InferencePool of either group as v1.
func asPool(obj any) (*inferencev1.InferencePool, error) {
	switch o := obj.(type) {
	case *inferencev1.InferencePool:
		return o, nil
	case *unstructured.Unstructured:
		return fromLegacy(o)
	}
	return nil, fmt.Errorf("is a %T", obj)
}

// legacyPool is what is read of a v1alpha2 InferencePool.
type legacyPool struct {
	metav1.ObjectMeta `json:"metadata"`

	Spec struct {
		Selector     map[string]string `json:"selector"`
		TargetPort   int64             `json:"targetPortNumber"`
		ExtensionRef *struct {
			Group       *string `json:"group"`
			Kind        *string `json:"kind"`
			Name        string  `json:"name"`
			Port        *int64  `json:"portNumber"`
			FailureMode *string `json:"failureMode"`
		} `json:"extensionRef"`
	} `json:"spec"`
}

// fromLegacy translates a v1alpha2 InferencePool: a plain selector, one port, and
// the picker as extensionRef.
func fromLegacy(u *unstructured.Unstructured) (*inferencev1.InferencePool, error) {
	var l legacyPool
	if err := runtime.DefaultUnstructuredConverter.FromUnstructured(u.Object, &l); err != nil {
		return nil, fmt.Errorf("is no v1alpha2 InferencePool: %w", err)
	}
	if l.Spec.TargetPort < 1 || l.Spec.TargetPort > 65535 {
		return nil, fmt.Errorf("spec.targetPortNumber: %d is no port", l.Spec.TargetPort)
	}
	p := &inferencev1.InferencePool{ObjectMeta: l.ObjectMeta}
	p.APIVersion, p.Kind = u.GetAPIVersion(), poolKind
	p.Spec.Selector.MatchLabels = make(map[inferencev1.LabelKey]inferencev1.LabelValue, len(l.Spec.Selector))
	for k, v := range l.Spec.Selector {
		p.Spec.Selector.MatchLabels[inferencev1.LabelKey(k)] = inferencev1.LabelValue(v)
	}
	p.Spec.TargetPorts = []inferencev1.Port{{Number: inferencev1.PortNumber(l.Spec.TargetPort)}}
	p.Spec.AppProtocol = inferencev1.AppProtocolHTTP
	if e := l.Spec.ExtensionRef; e != nil {
		ref := &inferencev1.EndpointPickerRef{
			Name: inferencev1.ObjectName(e.Name), Kind: "Service",
			Port: &inferencev1.Port{Number: 9002}, FailureMode: inferencev1.EndpointPickerFailClose, // the API's defaults
		}
		if e.Group != nil {
			ref.Group = new(inferencev1.Group(*e.Group))
		}
		if e.Kind != nil {
			ref.Kind = inferencev1.Kind(*e.Kind)
		}
		if e.Port != nil && *e.Port >= 1 && *e.Port <= 65535 {
			ref.Port.Number = inferencev1.PortNumber(*e.Port)
		}
		if e.FailureMode != nil {
			ref.FailureMode = inferencev1.EndpointPickerFailureMode(*e.FailureMode)
		}
		p.Spec.EndpointPickerRef = ref
	}
	return p, nil
}

// matchLabels is the pool's selector as plain strings.
func matchLabels(p *inferencev1.InferencePool) map[string]string {
	m := make(map[string]string, len(p.Spec.Selector.MatchLabels))
	for k, v := range p.Spec.Selector.MatchLabels {
		m[string(k)] = string(v)
	}
	return m
}

// targetPorts are the pool's ports. The API server has checked them; more than it
// allows are cut.
func targetPorts(p *inferencev1.InferencePool) []int32 {
	var ports []int32
	for _, t := range p.Spec.TargetPorts {
		if n := int32(t.Number); n > 0 && n <= 65535 && !slices.Contains(ports, n) && len(ports) < MaxPorts {
			ports = append(ports, n)
		}
	}
	return ports
}

// samePool tells whether b says nothing that a did not say, its status aside.
func samePool(a, b *inferencev1.InferencePool) bool {
	return a.UID == b.UID && a.Generation == b.Generation && a.DeletionTimestamp.Equal(b.DeletionTimestamp) &&
		maps.Equal(a.Annotations, b.Annotations) && maps.Equal(a.Labels, b.Labels)
}
