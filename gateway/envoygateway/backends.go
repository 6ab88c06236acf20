package envoygateway

import (
	"context"

	"k8s.io/apimachinery/pkg/types"
	inferencev1 "sigs.k8s.io/gateway-api-inference-extension/api/v1"
	gatewayv1 "sigs.k8s.io/gateway-api/apis/v1"

	"github.com/fairway-ai/fairway/gateway/refs"
	"github.com/fairway-ai/fairway/gateway/xds"
)

// plan is where the requests of a rule go, as its HTTPRoute says.
type plan struct {
	// pools are the backendRefs that can be served.
	pools []poolShare
	// services are the weights of the backendRefs that are not pools, by their
	// index, zero for pools and for backendRefs that get nothing.
	services []uint32
	// lost is the weight of pools that cannot be served. Their share gets 500.
	lost uint32
	// plain is a rule of nothing but matches and backendRefs.
	plain bool
	// ai is set, and all else but plain is not, for a rule that sends to an AIRoute or to
	// AIBackends.
	ai *aiRule
}

// poolShare is one backendRef to a pool.
type poolShare struct {
	name    string // "namespace/name"
	weight  uint32
	changes changes
}

// Reasons why a backendRef cannot be served, and values of a metric's label.
const (
	reasonMissing    = "pool_not_found"
	reasonNotGranted = "ref_not_permitted"
	reasonInvalid    = "ref_not_valid"
	reasonFilter     = "filter_not_supported"
	reasonFailed     = "internal_error"
)

// hasPools is whether a rule sends anything to a pool.
func hasPools(namespace string, r *gatewayv1.HTTPRouteRule) bool {
	for i := range r.BackendRefs {
		b := &r.BackendRefs[i]
		if _, ok := refs.PoolRef(namespace, b.BackendObjectReference); ok && weight(b) > 0 {
			return true
		}
	}
	return false
}

func weight(b *gatewayv1.HTTPBackendRef) uint32 {
	if b.Weight == nil {
		return 1
	}
	return uint32(max(*b.Weight, 0))
}

// plan resolves the backendRefs of a rule. An error is one of reading; whatever is
// wrong with a reference costs that reference its share only.
func (t *translation) plan(ctx context.Context, at rule, r *gatewayv1.HTTPRouteRule) (*plan, error) {
	p := &plan{
		services: make([]uint32, len(r.BackendRefs)),
		plain:    plain(r),
	}
	for i := range r.BackendRefs {
		b := &r.BackendRefs[i]
		w := weight(b)
		if w == 0 {
			continue
		}
		name, ok := refs.PoolRef(at.route.Namespace, b.BackendObjectReference)
		if !ok {
			p.services[i] = w
			continue
		}
		share, reason, err := t.poolShare(ctx, at, b, name)
		switch {
		case err != nil:
			return nil, err
		case reason != "":
			t.problem(at, reason, name.String())
			p.lost += w
		default:
			share.weight = w
			p.pools = append(p.pools, share)
		}
	}
	return p, nil
}

// poolShare is a backendRef to a pool, or the reason why there is none.
func (t *translation) poolShare(ctx context.Context, at rule, b *gatewayv1.HTTPBackendRef, name types.NamespacedName) (poolShare, string, error) {
	granted, err := t.read.granted(ctx, at.route.Namespace, name)
	if err != nil {
		return poolShare{}, "", err
	}
	if !granted {
		return poolShare{}, reasonNotGranted, nil
	}
	pool, err := t.read.pool(ctx, name)
	if err != nil {
		return poolShare{}, "", err
	}
	if pool == nil {
		return poolShare{}, reasonMissing, nil
	}
	p := envoyPool(pool)
	if p.Validate() != nil {
		return poolShare{}, reasonInvalid, nil
	}
	c, ok := filterChanges(b.Filters)
	if !ok {
		return poolShare{}, reasonFilter, nil
	}
	t.pools[p.Name] = p
	return poolShare{name: p.Name, changes: c}, "", nil
}

// envoyPool is a pool as far as Envoy must know it.
func envoyPool(p *inferencev1.InferencePool) xds.Pool {
	return xds.Pool{
		Name:     p.Namespace + "/" + p.Name,
		FailOpen: refs.FailOpen(p),
		HTTP2:    p.Spec.AppProtocol == inferencev1.AppProtocolH2C,
	}
}
