package kube

import (
	"errors"
	"maps"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/types"

	"github.com/fairway-ai/fairway/aibackend/credentials"
)

var _ credentials.SecretReader = (*Source)(nil)

// ReadSecret returns the entries of a Secret, whose values must not be changed, and
// nil when there is no such Secret. It is an error that Secrets are not known: at the
// start, and without the permission to list them. It does not wait.
func (s *Source) ReadSecret(namespace, name string) (map[string][]byte, error) {
	switch s.store.phase(Secret) {
	case filled:
	case absent:
		return nil, errors.New("no Secret can be read: let the gateway's service account get, list and watch them")
	default:
		return nil, errors.New("the cluster's Secrets are not known yet")
	}
	o, ok := find[*corev1.Secret](s.store, Secret, types.NamespacedName{Namespace: namespace, Name: name})
	if !ok {
		return nil, nil
	}
	if o.Data == nil {
		return map[string][]byte{}, nil
	}
	return maps.Clone(o.Data), nil
}
