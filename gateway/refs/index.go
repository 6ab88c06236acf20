package refs

import (
	"context"
	"fmt"

	"k8s.io/apimachinery/pkg/types"
	"sigs.k8s.io/controller-runtime/pkg/client"
	inferencev1 "sigs.k8s.io/gateway-api-inference-extension/api/v1"
	gatewayv1 "sigs.k8s.io/gateway-api/apis/v1"
)

// Keys of the field indexes. Values are "namespace/name", of a class its name.
const (
	// IndexRoutePools finds the HTTPRoutes that send to a pool.
	IndexRoutePools = "fairway.route.pools"
	// IndexRouteGateways finds the HTTPRoutes that ask for a Gateway.
	IndexRouteGateways = "fairway.route.gateways"
	// IndexPoolService finds the InferencePools whose picker is a Service.
	IndexPoolService = "fairway.pool.service"
	// IndexGatewayClass finds the Gateways of a GatewayClass.
	IndexGatewayClass = "fairway.gateway.class"
)

// Index is one field index.
type Index struct {
	Object  client.Object
	Key     string
	Extract client.IndexerFunc
}

// Indexes are all that the lookups of this package need, for caches and for fake
// clients.
func Indexes() []Index {
	return []Index{
		{&gatewayv1.HTTPRoute{}, IndexRoutePools, func(o client.Object) []string { return keys(Pools(o.(*gatewayv1.HTTPRoute))) }},
		{&gatewayv1.HTTPRoute{}, IndexRouteGateways, func(o client.Object) []string { return keys(Parents(o.(*gatewayv1.HTTPRoute))) }},
		{&inferencev1.InferencePool{}, IndexPoolService, func(o client.Object) []string {
			if s, ok := PickerService(o.(*inferencev1.InferencePool)); ok {
				return []string{s.String()}
			}
			return nil
		}},
		{&gatewayv1.Gateway{}, IndexGatewayClass, func(o client.Object) []string {
			return []string{string(o.(*gatewayv1.Gateway).Spec.GatewayClassName)}
		}},
	}
}

// SetupIndexes adds the indexes to a cache. Call it once per manager, before the
// manager starts.
func SetupIndexes(ctx context.Context, indexer client.FieldIndexer) error {
	for _, i := range Indexes() {
		if err := indexer.IndexField(ctx, i.Object, i.Key, i.Extract); err != nil {
			return fmt.Errorf("index %s: %w", i.Key, err)
		}
	}
	return nil
}

// RoutesOfPool are the HTTPRoutes of all namespaces that send to the pool, granted
// or not. r must have the indexes.
func RoutesOfPool(ctx context.Context, r client.Reader, pool types.NamespacedName) ([]gatewayv1.HTTPRoute, error) {
	return routes(ctx, r, IndexRoutePools, pool)
}

// RoutesOfGateway are the HTTPRoutes of all namespaces that ask for the Gateway,
// accepted or not. r must have the indexes.
func RoutesOfGateway(ctx context.Context, r client.Reader, gateway types.NamespacedName) ([]gatewayv1.HTTPRoute, error) {
	return routes(ctx, r, IndexRouteGateways, gateway)
}

func routes(ctx context.Context, r client.Reader, key string, of types.NamespacedName) ([]gatewayv1.HTTPRoute, error) {
	var list gatewayv1.HTTPRouteList
	if err := r.List(ctx, &list, client.MatchingFields{key: of.String()}); err != nil {
		return nil, fmt.Errorf("list HTTPRoutes by %s %s: %w", key, of, err)
	}
	return list.Items, nil
}

// PoolsOfService are the InferencePools whose picker is the Service. r must have
// the indexes.
func PoolsOfService(ctx context.Context, r client.Reader, service types.NamespacedName) ([]inferencev1.InferencePool, error) {
	var list inferencev1.InferencePoolList
	if err := r.List(ctx, &list, client.MatchingFields{IndexPoolService: service.String()}); err != nil {
		return nil, fmt.Errorf("list InferencePools by Service %s: %w", service, err)
	}
	return list.Items, nil
}

// GatewaysOfClass are the Gateways of all namespaces of a GatewayClass. r must have
// the indexes.
func GatewaysOfClass(ctx context.Context, r client.Reader, class string) ([]gatewayv1.Gateway, error) {
	var list gatewayv1.GatewayList
	if err := r.List(ctx, &list, client.MatchingFields{IndexGatewayClass: class}); err != nil {
		return nil, fmt.Errorf("list Gateways of class %s: %w", class, err)
	}
	return list.Items, nil
}

func keys(names []types.NamespacedName) []string {
	s := make([]string, len(names))
	for i, n := range names {
		s[i] = n.String()
	}
	return s
}
