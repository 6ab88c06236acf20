package refs

import (
	"slices"

	"k8s.io/apimachinery/pkg/types"
	inferencev1 "sigs.k8s.io/gateway-api-inference-extension/api/v1"
	gatewayv1 "sigs.k8s.io/gateway-api/apis/v1"
)

const (
	poolGroup   = inferencev1.GroupName
	poolKind    = "InferencePool"
	routeKind   = "HTTPRoute"
	gatewayKind = "Gateway"
	serviceKind = "Service"
)

// PoolRef is the InferencePool that ref, in a route of routeNamespace, names. It is
// false when ref names anything else. Whether the pool exists, and whether the
// route may name it ([Granted]), is another matter.
func PoolRef(routeNamespace string, ref gatewayv1.BackendObjectReference) (types.NamespacedName, bool) {
	// Without a group and a kind, a backend is a Service.
	if ref.Group == nil || *ref.Group != poolGroup || ref.Kind == nil || *ref.Kind != poolKind || ref.Name == "" {
		return types.NamespacedName{}, false
	}
	return types.NamespacedName{Namespace: orLocal(ref.Namespace, routeNamespace), Name: string(ref.Name)}, true
}

// Pools are the InferencePools that the route's rules send to, each once, in the
// order of the rules.
func Pools(route *gatewayv1.HTTPRoute) []types.NamespacedName {
	var pools []types.NamespacedName
	for _, rule := range route.Spec.Rules {
		for _, b := range rule.BackendRefs {
			if p, ok := PoolRef(route.Namespace, b.BackendObjectReference); ok && !slices.Contains(pools, p) {
				pools = append(pools, p)
			}
		}
	}
	return pools
}

// GatewayRef is the Gateway that ref, in a route of routeNamespace, names. It is
// false when ref names anything else.
func GatewayRef(routeNamespace string, ref gatewayv1.ParentReference) (types.NamespacedName, bool) {
	if (ref.Group != nil && *ref.Group != gatewayv1.GroupName) || (ref.Kind != nil && *ref.Kind != gatewayKind) || ref.Name == "" {
		return types.NamespacedName{}, false
	}
	return types.NamespacedName{Namespace: orLocal(ref.Namespace, routeNamespace), Name: string(ref.Name)}, true
}

// Parents are the Gateways that the route asks to be attached to, each once, in the
// order of its parentRefs.
func Parents(route *gatewayv1.HTTPRoute) []types.NamespacedName {
	var gateways []types.NamespacedName
	for _, ref := range route.Spec.ParentRefs {
		if g, ok := GatewayRef(route.Namespace, ref); ok && !slices.Contains(gateways, g) {
			gateways = append(gateways, g)
		}
	}
	return gateways
}

// Attached are the route's parentRefs that name the Gateway: more than one when
// the route names several of its listeners.
func Attached(route *gatewayv1.HTTPRoute, gateway types.NamespacedName) []gatewayv1.ParentReference {
	var parents []gatewayv1.ParentReference
	for _, ref := range route.Spec.ParentRefs {
		if g, ok := GatewayRef(route.Namespace, ref); ok && g == gateway {
			parents = append(parents, ref)
		}
	}
	return parents
}

// SameParent is whether two parentRefs of routes in routeNamespace are the same
// after defaulting: it pairs an entry of a route's status with its spec.
func SameParent(routeNamespace string, a, b gatewayv1.ParentReference) bool {
	return orDefault(a.Group, gatewayv1.GroupName) == orDefault(b.Group, gatewayv1.GroupName) &&
		orDefault(a.Kind, gatewayKind) == orDefault(b.Kind, gatewayKind) &&
		orLocal(a.Namespace, routeNamespace) == orLocal(b.Namespace, routeNamespace) &&
		a.Name == b.Name &&
		orDefault(a.SectionName, "") == orDefault(b.SectionName, "") &&
		orDefault(a.Port, 0) == orDefault(b.Port, 0)
}

// PickerService is the Service that the pool's endpointPickerRef names. It is false
// without a reference and when that names another kind.
func PickerService(pool *inferencev1.InferencePool) (types.NamespacedName, bool) {
	ref := pool.Spec.EndpointPickerRef
	if ref == nil || orDefault(ref.Group, "") != "" || (ref.Kind != "" && ref.Kind != serviceKind) || ref.Name == "" {
		return types.NamespacedName{}, false
	}
	return types.NamespacedName{Namespace: pool.Namespace, Name: string(ref.Name)}, true
}

func orDefault[T comparable](v *T, def T) T {
	if v == nil {
		return def
	}
	return *v
}

func orLocal(namespace *gatewayv1.Namespace, local string) string {
	if namespace == nil || *namespace == "" {
		return local
	}
	return string(*namespace)
}

// FailOpen is whether requests to the pool go on while its picker is down. A pool
// without a reference to a picker has no failure mode of its own: what picks for it is
// a part of the gateway, whose failure should not be the pool's.
func FailOpen(pool *inferencev1.InferencePool) bool {
	ref := pool.Spec.EndpointPickerRef
	return ref == nil || ref.FailureMode == inferencev1.EndpointPickerFailOpen
}
