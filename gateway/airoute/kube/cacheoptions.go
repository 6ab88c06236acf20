package kube

import (
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/fields"
	"sigs.k8s.io/controller-runtime/pkg/cache"
	"sigs.k8s.io/controller-runtime/pkg/client"
)

// CacheOptions are ByObject entries that keep of Secrets and ConfigMaps only what is
// looked at. Secrets of types that hold no provider's key are not there at all:
// releases of Helm, which are large, tokens of service accounts and nodes, and
// passwords of registries. There are none for AIRoutes and AIBackends: a cache with an
// entry for a kind cannot be made before the kind is installed. With namespaces, only
// those are followed.
func CacheOptions(namespaces ...string) map[client.Object]cache.ByObject {
	var types []fields.Selector
	for _, t := range []corev1.SecretType{
		"helm.sh/release.v1", corev1.SecretTypeServiceAccountToken, corev1.SecretTypeBootstrapToken,
		corev1.SecretTypeDockercfg, corev1.SecretTypeDockerConfigJson,
	} {
		types = append(types, fields.OneTermNotEqualSelector("type", string(t)))
	}
	var in map[string]cache.Config
	for _, n := range namespaces {
		if in == nil {
			in = map[string]cache.Config{}
		}
		in[n] = cache.Config{}
	}
	return map[client.Object]cache.ByObject{
		&corev1.Secret{}:    {Namespaces: in, Transform: stripSecret, Field: fields.AndSelectors(types...)},
		&corev1.ConfigMap{}: {Namespaces: in, Transform: stripConfigMap},
	}
}

// identity is what every object keeps.
func identity(o metav1.Object) metav1.ObjectMeta {
	return metav1.ObjectMeta{Name: o.GetName(), Namespace: o.GetNamespace(), UID: o.GetUID(), ResourceVersion: o.GetResourceVersion()}
}

// stripSecret keeps the entries. What kubectl applied last is in an annotation, and
// has them once more.
func stripSecret(obj any) (any, error) {
	s, ok := obj.(*corev1.Secret)
	if !ok {
		return obj, nil
	}
	return &corev1.Secret{ObjectMeta: identity(s), Type: s.Type, Data: s.Data}, nil
}

// stripConfigMap keeps certificates.
func stripConfigMap(obj any) (any, error) {
	c, ok := obj.(*corev1.ConfigMap)
	if !ok {
		return obj, nil
	}
	kept := &corev1.ConfigMap{ObjectMeta: identity(c)}
	if v, ok := c.Data[certificateKey]; ok {
		kept.Data = map[string]string{certificateKey: v}
	}
	return kept, nil
}
