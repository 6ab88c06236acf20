package envoygateway

import (
	"context"
	"fmt"

	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/api/meta"
	"k8s.io/apimachinery/pkg/types"
	"sigs.k8s.io/controller-runtime/pkg/client"
	inferencev1 "sigs.k8s.io/gateway-api-inference-extension/api/v1"
	gatewayv1 "sigs.k8s.io/gateway-api/apis/v1"

	"github.com/fairway-ai/fairway/gateway/refs"
)

// maxLive bounds the requests to the API server of one translation. Only what the
// cache does not have costs one, so it is reached by thousands of routes to pools
// that do not exist, and then the cache is believed.
const maxLive = 64

// readings are the objects that one translation reads, each once, so that all of
// its parts see the same state.
type readings struct {
	cache, live client.Reader
	left        int // requests to the API server

	routes map[types.NamespacedName]*gatewayv1.HTTPRoute
	pools  map[types.NamespacedName]*inferencev1.InferencePool
	grants map[grantKey]bool
}

type grantKey struct {
	from string
	pool types.NamespacedName
}

func newReadings(cache, live client.Reader) *readings {
	return &readings{
		cache: cache, live: live, left: maxLive,
		routes: map[types.NamespacedName]*gatewayv1.HTTPRoute{},
		pools:  map[types.NamespacedName]*inferencev1.InferencePool{},
		grants: map[grantKey]bool{},
	}
}

// route is the HTTPRoute, or nil if there is none.
func (r *readings) route(ctx context.Context, name types.NamespacedName) (*gatewayv1.HTTPRoute, error) {
	if route, ok := r.routes[name]; ok {
		return route, nil
	}
	route := new(gatewayv1.HTTPRoute)
	found, err := r.get(ctx, name, route)
	if err != nil {
		return nil, fmt.Errorf("read HTTPRoute %s: %w", name, err)
	}
	if !found {
		route = nil
	}
	r.routes[name] = route
	return route, nil
}

// newer reads the HTTPRoute from the API server, because what was read before does
// not fit what Envoy Gateway made of it.
func (r *readings) newer(ctx context.Context, name types.NamespacedName) error {
	if r.left == 0 {
		return nil
	}
	r.left--
	route := new(gatewayv1.HTTPRoute)
	found, err := exists(r.live.Get(ctx, name, route))
	if err != nil {
		return fmt.Errorf("read HTTPRoute %s: %w", name, err)
	}
	if !found {
		route = nil
	}
	r.routes[name] = route
	return nil
}

// pool is the InferencePool, or nil if there is none.
func (r *readings) pool(ctx context.Context, name types.NamespacedName) (*inferencev1.InferencePool, error) {
	if pool, ok := r.pools[name]; ok {
		return pool, nil
	}
	pool := new(inferencev1.InferencePool)
	found, err := r.get(ctx, name, pool)
	if err != nil {
		return nil, fmt.Errorf("read InferencePool %s: %w", name, err)
	}
	if !found {
		pool = nil
	}
	r.pools[name] = pool
	return pool, nil
}

// granted is whether HTTPRoutes of a namespace may refer to the pool.
func (r *readings) granted(ctx context.Context, from string, pool types.NamespacedName) (bool, error) {
	if from == pool.Namespace {
		return true, nil
	}
	key := grantKey{from, pool}
	if ok, known := r.grants[key]; known {
		return ok, nil
	}
	ok, err := refs.Granted(ctx, r.cache, from, pool)
	if err == nil && !ok && r.left > 0 {
		r.left--
		ok, err = refs.Granted(ctx, r.live, from, pool)
	}
	if err != nil && !meta.IsNoMatchError(err) {
		return false, err
	}
	r.grants[key] = ok
	return ok, nil
}

// get reads from the cache and, what is not there, from the API server.
func (r *readings) get(ctx context.Context, name types.NamespacedName, into client.Object) (bool, error) {
	found, err := exists(r.cache.Get(ctx, name, into))
	if found || err != nil || r.left == 0 {
		return found, err
	}
	r.left--
	return exists(r.live.Get(ctx, name, into))
}

// exists tells an object that is not there, or whose kind is not installed, from one
// that could not be read.
func exists(err error) (bool, error) {
	switch {
	case err == nil:
		return true, nil
	case apierrors.IsNotFound(err) || meta.IsNoMatchError(err):
		return false, nil
	default:
		return false, err
	}
}
