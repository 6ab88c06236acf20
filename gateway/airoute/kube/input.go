package kube

import (
	"slices"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/types"
	"sigs.k8s.io/controller-runtime/pkg/client"
	inferencev1 "sigs.k8s.io/gateway-api-inference-extension/api/v1"
	gatewayv1 "sigs.k8s.io/gateway-api/apis/v1"
	gatewayv1beta1 "sigs.k8s.io/gateway-api/apis/v1beta1"

	"github.com/fairway-ai/fairway/api/v1alpha1"
	"github.com/fairway-ai/fairway/gateway/airoute"
	"github.com/fairway-ai/fairway/gateway/refs"
)

// input is what the store has, for one compilation. Routes that are about to be
// deleted serve nobody any more; backends stay until they are gone.
func (s *Source) input() *airoute.Input {
	staying := func(o client.Object) bool { return o.GetDeletionTimestamp().IsZero() }
	grants := map[string][]*gatewayv1beta1.ReferenceGrant{}
	for _, g := range list(s.store, ReferenceGrant, func(*gatewayv1beta1.ReferenceGrant) bool { return true }) {
		grants[g.Namespace] = append(grants[g.Namespace], g)
	}
	return &airoute.Input{
		Routes:     list(s.store, AIRoute, func(r *v1alpha1.AIRoute) bool { return staying(r) }),
		Policies:   list(s.store, AIAccessPolicy, func(*v1alpha1.AIAccessPolicy) bool { return true }),
		Backends:   list(s.store, AIBackend, func(*v1alpha1.AIBackend) bool { return true }),
		HTTPRoutes: list(s.store, HTTPRoute, func(r *gatewayv1.HTTPRoute) bool { return staying(r) && sendsToBackends(r) }),
		Pool: func(n types.NamespacedName) *inferencev1.InferencePool {
			o, _ := find[*inferencev1.InferencePool](s.store, InferencePool, n)
			return o
		},
		Service: func(n types.NamespacedName) *corev1.Service {
			o, _ := find[*corev1.Service](s.store, Service, n)
			return o
		},
		ConfigMap: func(n types.NamespacedName) *corev1.ConfigMap {
			o, _ := find[*corev1.ConfigMap](s.store, ConfigMap, n)
			return o
		},
		SecretKeys: func(n types.NamespacedName) ([]string, bool) {
			o, ok := find[*corev1.Secret](s.store, Secret, n)
			if !ok {
				return nil, false
			}
			return secretKeys(o), true
		},
		Certificate: func(n types.NamespacedName) []byte {
			o, ok := find[*corev1.Secret](s.store, Secret, n)
			if !ok {
				return nil
			}
			return o.Data[certificateKey]
		},
		Granted: func(from, to airoute.Reference) bool {
			return from.Namespace == to.Namespace ||
				slices.ContainsFunc(grants[to.Namespace], func(g *gatewayv1beta1.ReferenceGrant) bool {
					return refs.Allows(g, refs.Object(from), refs.Object(to))
				})
		},
		OwnIdentity:   s.o.OwnIdentity,
		ClusterDomain: s.o.ClusterDomain,
	}
}
