package refs

import (
	"context"
	"fmt"
	"slices"

	"k8s.io/apimachinery/pkg/types"
	"sigs.k8s.io/controller-runtime/pkg/client"
	gatewayv1 "sigs.k8s.io/gateway-api/apis/v1"
	gatewayv1beta1 "sigs.k8s.io/gateway-api/apis/v1beta1"
)

// Granted is whether an HTTPRoute of fromNamespace may send to the pool: always in
// the same namespace, and otherwise when a ReferenceGrant beside the pool says so.
//
// Grants are read in version v1beta1, which every release of the Gateway API
// serves; v1 came only with 1.5.
func Granted(ctx context.Context, r client.Reader, fromNamespace string, pool types.NamespacedName) (bool, error) {
	if fromNamespace == pool.Namespace {
		return true, nil
	}
	var grants gatewayv1beta1.ReferenceGrantList
	if err := r.List(ctx, &grants, client.InNamespace(pool.Namespace)); err != nil {
		return false, fmt.Errorf("list the ReferenceGrants of namespace %s: %w", pool.Namespace, err)
	}
	return slices.ContainsFunc(grants.Items, func(g gatewayv1beta1.ReferenceGrant) bool {
		return Grants(&g, fromNamespace, pool)
	}), nil
}

// Grants is whether this grant lets an HTTPRoute of fromNamespace send to the pool.
func Grants(grant *gatewayv1beta1.ReferenceGrant, fromNamespace string, pool types.NamespacedName) bool {
	return Allows(grant,
		Object{gatewayv1.GroupName, routeKind, types.NamespacedName{Namespace: fromNamespace}},
		Object{poolGroup, poolKind, pool})
}
