package kube

import (
	"fmt"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/fields"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/types"
	clientgoscheme "k8s.io/client-go/kubernetes/scheme"
	"k8s.io/client-go/rest"
	"sigs.k8s.io/controller-runtime/pkg/cache"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/client/apiutil"
	inferencev1 "sigs.k8s.io/gateway-api-inference-extension/api/v1"
)

// Annotations of a pod that say which of the pool's target ports it serves now,
// separated by commas. Where both are there, the first one counts.
const (
	ActivePorts       = "llm-d.ai/active-ports"
	ActivePortsLegacy = "inference.networking.k8s.io/active-ports"
)

// NewCache returns a cache for a [Watcher] of this scope and nothing else. It does
// not contact the API server, so it succeeds also when that is away or knows no
// InferencePool. errors hears of failing watches; see [WatchErrors].
func NewCache(config *rest.Config, s Scope, errors *WatchErrors) (cache.Cache, error) {
	if err := s.Validate(); err != nil {
		return nil, err
	}
	scheme := runtime.NewScheme()
	if err := AddToScheme(scheme); err != nil {
		return nil, err
	}
	httpClient, err := rest.HTTPClientFor(config)
	if err != nil {
		return nil, fmt.Errorf("client for the API server: %w", err)
	}
	mapper, err := apiutil.NewDynamicRESTMapper(config, httpClient)
	if err != nil {
		return nil, fmt.Errorf("client for the API server: %w", err)
	}
	o := CacheOptions(s)
	o.HTTPClient, o.Scheme, o.Mapper = httpClient, scheme, Mapper(mapper)
	if errors != nil {
		o.DefaultWatchErrorHandler = errors.Handle
	}
	c, err := cache.New(config, o)
	if err != nil {
		return nil, fmt.Errorf("cache of pools and pods: %w", err)
	}
	return c, nil
}

// AddToScheme adds the types that a [Watcher] reads.
func AddToScheme(s *runtime.Scheme) error {
	if err := clientgoscheme.AddToScheme(s); err != nil {
		return fmt.Errorf("kubernetes types: %w", err)
	}
	if err := inferencev1.Install(s); err != nil {
		return fmt.Errorf("InferencePool types: %w", err)
	}
	return nil
}

// CacheOptions are ByObject entries that restrict a cache to what a [Watcher] of
// this scope needs, so that a Role in the pools' namespaces is enough, and that
// keep of a pod only what is looked at. A caller that shares the cache adds its
// own. A cache with them needs a [Mapper], or else the InferencePool definition
// installed before it is made.
func CacheOptions(s Scope) cache.Options {
	pods := cache.ByObject{
		Transform: StripPod,
		// Finished pods stay around until somebody deletes them, maybe for ever.
		Field: fields.AndSelectors(
			fields.OneTermNotEqualSelector("status.phase", string(corev1.PodSucceeded)),
			fields.OneTermNotEqualSelector("status.phase", string(corev1.PodFailed))),
	}
	if s.Selector != nil {
		pods.Label = s.Selector.Selector
	}
	pools := cache.ByObject{Transform: stripPool}
	if namespaces := s.namespaces(); len(namespaces) > 0 {
		pods.Namespaces = make(map[string]cache.Config, len(namespaces))
		pools.Namespaces = make(map[string]cache.Config, len(namespaces))
		for _, n := range namespaces {
			pods.Namespaces[n] = cache.Config{}
			pools.Namespaces[n] = cache.Config{FieldSelector: s.only(n)}
		}
	}
	o := cache.Options{ByObject: map[client.Object]cache.ByObject{&corev1.Pod{}: pods}}
	if s.Selector == nil {
		o.ByObject[s.poolObject()] = pools
	}
	return o
}

// only selects the one pool that is wanted of a namespace, when it is one: then
// permission for this one object is enough.
func (s *Scope) only(namespace string) fields.Selector {
	var found *types.NamespacedName
	for i := range s.Pools {
		p := &s.Pools[i]
		if p.Namespace != namespace {
			continue
		}
		if found != nil && *found != *p {
			return nil
		}
		found = p
	}
	if found == nil {
		return nil
	}
	return fields.OneTermEqualSelector("metadata.name", found.Name)
}

// StripPod is a cache's transform that drops of a pod what a [Watcher] does not
// look at.
func StripPod(obj any) (any, error) {
	p, ok := obj.(*corev1.Pod)
	if !ok {
		return obj, nil
	}
	s := &corev1.Pod{ObjectMeta: metav1.ObjectMeta{
		Name: p.Name, Namespace: p.Namespace, UID: p.UID, ResourceVersion: p.ResourceVersion,
		DeletionTimestamp: p.DeletionTimestamp, Labels: p.Labels,
	}}
	for _, key := range []string{ActivePorts, ActivePortsLegacy} {
		if v, ok := p.Annotations[key]; ok {
			if s.Annotations == nil {
				s.Annotations = map[string]string{}
			}
			s.Annotations[key] = v
		}
	}
	s.Status.Phase, s.Status.PodIP, s.Status.PodIPs = p.Status.Phase, p.Status.PodIP, p.Status.PodIPs
	for i := range p.Status.Conditions {
		if c := &p.Status.Conditions[i]; c.Type == corev1.PodReady {
			s.Status.Conditions = []corev1.PodCondition{{Type: c.Type, Status: c.Status}}
		}
	}
	return s, nil
}

// stripPool drops the record of who changed what.
func stripPool(obj any) (any, error) {
	if o, ok := obj.(metav1.Object); ok {
		o.SetManagedFields(nil)
	}
	return obj, nil
}
