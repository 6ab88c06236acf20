package kube

import (
	"bytes"
	"maps"
	"slices"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/equality"
	"sigs.k8s.io/controller-runtime/pkg/client"
	gatewayv1 "sigs.k8s.io/gateway-api/apis/v1"

	"github.com/fairway-ai/fairway/api/v1alpha1"
)

// certificateKey is the entry of ConfigMaps and Secrets with certificates.
const certificateKey = "ca.crt"

// specChanged is for kinds whose generation counts changes of their spec. Beginning
// to be deleted counts as one.
func specChanged(old, new client.Object) bool {
	return old == nil || new == nil ||
		old.GetUID() != new.GetUID() || old.GetGeneration() != new.GetGeneration() ||
		old.GetDeletionTimestamp().IsZero() != new.GetDeletionTimestamp().IsZero()
}

// directChanged is whether a route sends to AIBackends now or did before, and
// something of its spec changed.
func directChanged(old, new client.Object) bool {
	return (sendsToBackends(old) || sendsToBackends(new)) && specChanged(old, new)
}

// sendsToBackends is whether o is an HTTPRoute with an AIBackend in its backendRefs.
func sendsToBackends(o client.Object) bool {
	route, ok := o.(*gatewayv1.HTTPRoute)
	if !ok {
		return false
	}
	for i := range route.Spec.Rules {
		for _, b := range route.Spec.Rules[i].BackendRefs {
			if b.Group != nil && *b.Group == v1alpha1.GroupName && b.Kind != nil && Kind(*b.Kind) == AIBackend {
				return true
			}
		}
	}
	return false
}

func serviceChanged(old, new client.Object) bool {
	a, ok := old.(*corev1.Service)
	b, still := new.(*corev1.Service)
	return !ok || !still || !equality.Semantic.DeepEqual(a.Spec, b.Spec)
}

func configMapChanged(old, new client.Object) bool {
	a, ok := old.(*corev1.ConfigMap)
	b, still := new.(*corev1.ConfigMap)
	return !ok || !still || a.Data[certificateKey] != b.Data[certificateKey]
}

// secretChanged is whether the keys changed, or what is no secret.
func secretChanged(old, new client.Object) bool {
	a, ok := old.(*corev1.Secret)
	b, still := new.(*corev1.Secret)
	return !ok || !still || !bytes.Equal(a.Data[certificateKey], b.Data[certificateKey]) ||
		!slices.Equal(secretKeys(a), secretKeys(b))
}

// valuesChanged is whether any entry of a Secret changed.
func valuesChanged(old, new client.Object) bool {
	a, ok := old.(*corev1.Secret)
	b, still := new.(*corev1.Secret)
	return !ok || !still || !maps.EqualFunc(a.Data, b.Data, bytes.Equal)
}

func secretKeys(s *corev1.Secret) []string { return slices.Sorted(maps.Keys(s.Data)) }
