package kube

import (
	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"sigs.k8s.io/controller-runtime/pkg/client"
	inferencev1 "sigs.k8s.io/gateway-api-inference-extension/api/v1"
	gatewayv1 "sigs.k8s.io/gateway-api/apis/v1"
	gatewayv1beta1 "sigs.k8s.io/gateway-api/apis/v1beta1"

	"github.com/fairway-ai/fairway/api/v1alpha1"
)

// Kind is a kind of object that a [Source] follows.
type Kind string

// The kinds.
const (
	AIRoute        Kind = "AIRoute"
	AIBackend      Kind = "AIBackend"
	AIAccessPolicy Kind = "AIAccessPolicy"
	HTTPRoute      Kind = "HTTPRoute"
	ReferenceGrant Kind = "ReferenceGrant"
	InferencePool  Kind = "InferencePool"
	Service        Kind = "Service"
	ConfigMap      Kind = "ConfigMap"
	Secret         Kind = "Secret"
)

// kind is how a kind is followed.
type kind struct {
	name   Kind
	of     schema.GroupVersion
	object func() client.Object
	// matters says whether a change can change what is compiled. One of the two is nil
	// for an object that is new or gone. It is nil where [Source] asks further.
	matters func(old, new client.Object) bool
}

// kinds are all that are followed. ReferenceGrants are read in version v1beta1, which
// every release of the Gateway API serves.
func kinds() []kind {
	return []kind{
		{AIRoute, v1alpha1.GroupVersion, func() client.Object { return &v1alpha1.AIRoute{} }, specChanged},
		{AIBackend, v1alpha1.GroupVersion, func() client.Object { return &v1alpha1.AIBackend{} }, specChanged},
		{AIAccessPolicy, v1alpha1.GroupVersion, func() client.Object { return &v1alpha1.AIAccessPolicy{} }, specChanged},
		{HTTPRoute, schema.GroupVersion(gatewayv1.GroupVersion), func() client.Object { return &gatewayv1.HTTPRoute{} }, directChanged},
		{ReferenceGrant, schema.GroupVersion(gatewayv1beta1.GroupVersion), func() client.Object { return &gatewayv1beta1.ReferenceGrant{} }, specChanged},
		{InferencePool, schema.GroupVersion(inferencev1.GroupVersion), func() client.Object { return &inferencev1.InferencePool{} }, specChanged},
		{Service, corev1.SchemeGroupVersion, func() client.Object { return &corev1.Service{} }, serviceChanged},
		{ConfigMap, corev1.SchemeGroupVersion, func() client.Object { return &corev1.ConfigMap{} }, configMapChanged},
		{Secret, corev1.SchemeGroupVersion, func() client.Object { return &corev1.Secret{} }, secretChanged},
	}
}

// onlyIfNamed is whether objects of the kind matter only where an AIBackend names
// them.
func (k Kind) onlyIfNamed() bool { return k == Service || k == ConfigMap || k == Secret }

// onlyInSome is whether objects of the kind are followed in Options.SecretNamespaces.
func (k Kind) onlyInSome() bool { return k == ConfigMap || k == Secret }
