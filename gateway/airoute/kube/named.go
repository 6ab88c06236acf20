package kube

import (
	"k8s.io/apimachinery/pkg/types"

	"github.com/fairway-ai/fairway/api/v1alpha1"
)

// reference is an object of the core group that an AIBackend names.
type reference struct {
	kind Kind
	name types.NamespacedName
}

// named counts who names what.
type named map[reference]int

// replace forgets what old names and adds what new names; either may be nil.
func (n named) replace(old, new *v1alpha1.AIBackend) {
	for _, r := range references(new) {
		n[r]++
	}
	for _, r := range references(old) {
		if n[r]--; n[r] <= 0 {
			delete(n, r)
		}
	}
}

// references are the Services, ConfigMaps and Secrets that b names, permitted or not.
func references(b *v1alpha1.AIBackend) []reference {
	if b == nil {
		return nil
	}
	var all []reference
	add := func(k Kind, namespace, name string) {
		if name != "" {
			all = append(all, reference{k, types.NamespacedName{Namespace: namespace, Name: name}})
		}
	}
	if s := b.Spec.Destination.Service; s != nil {
		namespace := b.Namespace
		if s.Namespace != nil && *s.Namespace != "" {
			namespace = string(*s.Namespace)
		}
		add(Service, namespace, s.Name)
		if s.EndpointPicker != nil {
			add(Service, namespace, s.EndpointPicker.Name)
		}
	}
	if t := b.Spec.TLS; t != nil {
		for _, ref := range t.CACertificateRefs {
			if k := Kind(ref.Kind); ref.Group == "" && (k == ConfigMap || k == Secret) {
				add(k, b.Namespace, string(ref.Name))
			}
		}
	}
	for _, key := range secretRefs(b.Spec.Credentials) {
		if key != nil {
			add(Secret, b.Namespace, key.Name)
		}
	}
	return all
}

func secretRefs(c *v1alpha1.Credentials) []*v1alpha1.SecretKey {
	if c == nil {
		return nil
	}
	var refs []*v1alpha1.SecretKey
	if c.APIKey != nil {
		refs = append(refs, &c.APIKey.SecretRef)
	}
	if c.AWS != nil {
		refs = append(refs, c.AWS.SecretRef, oidcSecret(c.AWS.OIDC))
	}
	if c.Azure != nil {
		refs = append(refs, c.Azure.SecretRef, oidcSecret(c.Azure.OIDC))
	}
	if c.GCP != nil {
		refs = append(refs, c.GCP.SecretRef, oidcSecret(c.GCP.OIDC))
	}
	return refs
}

func oidcSecret(o *v1alpha1.OIDC) *v1alpha1.SecretKey {
	if o == nil {
		return nil
	}
	return &o.SecretRef
}
