package inferencepool

import (
	"cmp"
	"context"
	"fmt"
	"slices"

	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/api/meta"
	"k8s.io/apimachinery/pkg/types"
	"sigs.k8s.io/controller-runtime/pkg/client"
	inferencev1 "sigs.k8s.io/gateway-api-inference-extension/api/v1"
	gatewayv1 "sigs.k8s.io/gateway-api/apis/v1"

	"github.com/fairway-ai/fairway/gateway/refs"
)

// verdict is what a Gateway's controller says of one route.
type verdict int

const (
	undecided    verdict = iota // nothing yet
	rejected                    // the route is not accepted
	unsupported                 // the route is accepted, but pools are no backends
	acceptedAsIs                // the route is accepted
)

// attachment is a Gateway and what it says of the routes from it to a pool.
type attachment struct {
	gateway types.NamespacedName
	// routes are the names of the routes with each verdict, sorted.
	routes map[verdict][]string
}

// parents derives all that the status should say of Fairway's Gateways, sorted by
// namespace and name.
func (c *Controller) parents(ctx context.Context, pool *inferencev1.InferencePool) ([]parent, error) {
	attachments, err := c.attachments(ctx, client.ObjectKeyFromObject(pool))
	if err != nil || len(attachments) == 0 {
		return nil, err
	}
	service, err := c.pickerService(ctx, pool)
	if err != nil {
		return nil, err
	}
	parents := make([]parent, len(attachments))
	for i, a := range attachments {
		parents[i] = parent{gateway: a.gateway, conditions: conditions(&facts{pool: pool, attachment: a, service: service})}
	}
	return parents, nil
}

// attachments finds the Gateways from which a route leads to the pool.
func (c *Controller) attachments(ctx context.Context, pool types.NamespacedName) ([]attachment, error) {
	routes, err := refs.RoutesOfPool(ctx, c.client, pool)
	if err != nil {
		return nil, err
	}
	slices.SortFunc(routes, func(a, b gatewayv1.HTTPRoute) int {
		return cmp.Or(cmp.Compare(a.Namespace, b.Namespace), cmp.Compare(a.Name, b.Name))
	})
	granted := make(map[string]bool) // by namespace of the route
	ours := make(map[types.NamespacedName]bool)
	found := make(map[types.NamespacedName]attachment)
	for i := range routes {
		route := &routes[i]
		if !route.DeletionTimestamp.IsZero() {
			continue
		}
		allowed, known := granted[route.Namespace]
		if !known {
			if allowed, err = refs.Granted(ctx, c.client, route.Namespace, pool); err != nil {
				return nil, err
			}
			granted[route.Namespace] = allowed
		}
		if !allowed {
			continue
		}
		for _, gateway := range refs.Parents(route) {
			mine, known := ours[gateway]
			if !known {
				if mine, err = c.isOurs(ctx, gateway); err != nil {
					return nil, err
				}
				ours[gateway] = mine
			}
			if !mine {
				continue
			}
			a, ok := found[gateway]
			if !ok {
				a = attachment{gateway: gateway, routes: make(map[verdict][]string)}
				found[gateway] = a
			}
			v := c.verdict(route, gateway)
			a.routes[v] = append(a.routes[v], route.Namespace+"/"+route.Name)
		}
	}
	attachments := make([]attachment, 0, len(found))
	for _, a := range found {
		attachments = append(attachments, a)
	}
	slices.SortFunc(attachments, func(a, b attachment) int {
		return cmp.Or(cmp.Compare(a.gateway.Namespace, b.gateway.Namespace), cmp.Compare(a.gateway.Name, b.gateway.Name))
	})
	return attachments, nil
}

// isOurs is whether the Gateway exists and its class is of the right controller.
func (c *Controller) isOurs(ctx context.Context, name types.NamespacedName) (bool, error) {
	var gateway gatewayv1.Gateway
	if err := c.client.Get(ctx, name, &gateway); err != nil {
		if apierrors.IsNotFound(err) {
			return false, nil
		}
		return false, fmt.Errorf("read Gateway %s: %w", name, err)
	}
	var class gatewayv1.GatewayClass
	if err := c.client.Get(ctx, types.NamespacedName{Name: string(gateway.Spec.GatewayClassName)}, &class); err != nil {
		if apierrors.IsNotFound(err) {
			return false, nil
		}
		return false, fmt.Errorf("read GatewayClass %s: %w", gateway.Spec.GatewayClassName, err)
	}
	return class.Spec.ControllerName == c.class, nil
}

// verdict is the best that the Gateway's controller says of any of the route's
// parentRefs to the Gateway. A verdict on an older generation of the route counts:
// otherwise each edit would have the pool's conditions come and go.
func (c *Controller) verdict(route *gatewayv1.HTTPRoute, gateway types.NamespacedName) verdict {
	best := undecided
	for _, ref := range refs.Attached(route, gateway) {
		for _, status := range route.Status.Parents {
			if status.ControllerName != c.class || !refs.SameParent(route.Namespace, status.ParentRef, ref) {
				continue
			}
			best = max(best, judge(route, status))
		}
	}
	return best
}

func judge(route *gatewayv1.HTTPRoute, status gatewayv1.RouteParentStatus) verdict {
	accepted := meta.FindStatusCondition(status.Conditions, string(gatewayv1.RouteConditionAccepted))
	if accepted == nil {
		return undecided
	}
	if !meta.IsStatusConditionTrue(status.Conditions, accepted.Type) {
		return rejected
	}
	resolved := meta.FindStatusCondition(status.Conditions, string(gatewayv1.RouteConditionResolvedRefs))
	if resolved != nil && resolved.Reason == string(gatewayv1.RouteReasonInvalidKind) && onlyPoolsAreForeign(route) {
		return unsupported
	}
	return acceptedAsIs
}

// onlyPoolsAreForeign is whether "invalid kind" can only mean InferencePool: the
// route sends to nothing else but Services.
func onlyPoolsAreForeign(route *gatewayv1.HTTPRoute) bool {
	for _, rule := range route.Spec.Rules {
		for _, b := range rule.BackendRefs {
			if _, pool := refs.PoolRef(route.Namespace, b.BackendObjectReference); pool {
				continue
			}
			if (b.Group != nil && *b.Group != "") || (b.Kind != nil && *b.Kind != "Service") {
				return false
			}
		}
	}
	return true
}

// pickerService reads the Service that the pool's endpointPickerRef names: nil when
// it names none, or one that does not exist.
func (c *Controller) pickerService(ctx context.Context, pool *inferencev1.InferencePool) (*corev1.Service, error) {
	name, ok := refs.PickerService(pool)
	if !ok {
		return nil, nil
	}
	var service corev1.Service
	if err := c.client.Get(ctx, name, &service); err != nil {
		if apierrors.IsNotFound(err) {
			return nil, nil
		}
		return nil, fmt.Errorf("read Service %s: %w", name, err)
	}
	return &service, nil
}
