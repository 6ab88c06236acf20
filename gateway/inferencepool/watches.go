package inferencepool

import (
	"context"
	"fmt"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/types"
	"sigs.k8s.io/controller-runtime/pkg/builder"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/controller"
	"sigs.k8s.io/controller-runtime/pkg/handler"
	"sigs.k8s.io/controller-runtime/pkg/log"
	"sigs.k8s.io/controller-runtime/pkg/manager"
	"sigs.k8s.io/controller-runtime/pkg/predicate"
	"sigs.k8s.io/controller-runtime/pkg/reconcile"
	"sigs.k8s.io/controller-runtime/pkg/source"
	inferencev1 "sigs.k8s.io/gateway-api-inference-extension/api/v1"
	gatewayv1 "sigs.k8s.io/gateway-api/apis/v1"
	gatewayv1beta1 "sigs.k8s.io/gateway-api/apis/v1beta1"

	"github.com/fairway-ai/fairway/gateway/refs"
)

// SetupWithManager adds the controller to a manager whose cache has the indexes of
// package refs. Every change that can change a pool's status leads to that pool and
// to no other.
func (c *Controller) SetupWithManager(m manager.Manager) error {
	spec := builder.WithPredicates(predicate.GenerationChangedPredicate{})
	err := builder.ControllerManagedBy(m).
		Named("inferencepool-status").
		WithOptions(controller.Options{NeedLeaderElection: new(c.elects)}).
		For(&inferencev1.InferencePool{}). // its status too: somebody may have removed an entry
		Watches(&gatewayv1.HTTPRoute{}, pools(c.ofRoute)).
		Watches(&gatewayv1.Gateway{}, pools(c.ofGateway), spec).
		Watches(&gatewayv1.GatewayClass{}, pools(c.ofClass), spec).
		Watches(&gatewayv1beta1.ReferenceGrant{}, pools(c.ofGrant)).
		Watches(&corev1.Service{}, pools(c.ofService)).
		WatchesRawSource(source.Channel(c.elected, pools(c.all))).
		Complete(c)
	if err != nil {
		return fmt.Errorf("set up the controller of InferencePool status: %w", err)
	}
	return nil
}

// pools enqueues the pools that of finds for an object; after an update, for its old
// and its new state.
func pools(of func(context.Context, client.Object) ([]types.NamespacedName, error)) handler.EventHandler {
	return handler.EnqueueRequestsFromMapFunc(func(ctx context.Context, o client.Object) []reconcile.Request {
		names, err := of(ctx, o)
		if err != nil {
			// The cache does not fail once it is there.
			log.FromContext(ctx).Error(err, "cannot tell which InferencePools changed", "object", client.ObjectKeyFromObject(o))
		}
		requests := make([]reconcile.Request, len(names))
		for i, n := range names {
			requests[i] = reconcile.Request{NamespacedName: n}
		}
		return requests
	})
}

func (c *Controller) ofRoute(_ context.Context, o client.Object) ([]types.NamespacedName, error) {
	return refs.Pools(o.(*gatewayv1.HTTPRoute)), nil
}

func (c *Controller) ofGateway(ctx context.Context, o client.Object) ([]types.NamespacedName, error) {
	routes, err := refs.RoutesOfGateway(ctx, c.client, client.ObjectKeyFromObject(o))
	var names []types.NamespacedName
	for i := range routes {
		names = append(names, refs.Pools(&routes[i])...)
	}
	return names, err
}

func (c *Controller) ofClass(ctx context.Context, o client.Object) ([]types.NamespacedName, error) {
	gateways, err := refs.GatewaysOfClass(ctx, c.client, o.GetName())
	if err != nil {
		return nil, err
	}
	var names []types.NamespacedName
	for i := range gateways {
		found, err := c.ofGateway(ctx, &gateways[i])
		if err != nil {
			return nil, err
		}
		names = append(names, found...)
	}
	return names, nil
}

// ofGrant finds the pools beside the grant.
func (c *Controller) ofGrant(ctx context.Context, o client.Object) ([]types.NamespacedName, error) {
	return c.list(ctx, client.InNamespace(o.GetNamespace()))
}

func (c *Controller) ofService(ctx context.Context, o client.Object) ([]types.NamespacedName, error) {
	pools, err := refs.PoolsOfService(ctx, c.client, client.ObjectKeyFromObject(o))
	return keys(pools), err
}

func (c *Controller) all(ctx context.Context, _ client.Object) ([]types.NamespacedName, error) {
	return c.list(ctx)
}

func (c *Controller) list(ctx context.Context, o ...client.ListOption) ([]types.NamespacedName, error) {
	var pools inferencev1.InferencePoolList
	if err := c.client.List(ctx, &pools, o...); err != nil {
		return nil, fmt.Errorf("list InferencePools: %w", err)
	}
	return keys(pools.Items), nil
}

func keys(pools []inferencev1.InferencePool) []types.NamespacedName {
	names := make([]types.NamespacedName, len(pools))
	for i := range pools {
		names[i] = client.ObjectKeyFromObject(&pools[i])
	}
	return names
}
