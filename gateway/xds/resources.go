package xds

import (
	"fmt"
	"slices"
	"strings"

	"github.com/envoyproxy/go-control-plane/pkg/cache/types"
	"github.com/envoyproxy/go-control-plane/pkg/resource/v3"
)

// Resources is all that Envoy is told to serve the pools, by resource type and in
// a fixed order. pools may be in any order.
func Resources(o Options, pools []Pool) (map[resource.Type][]types.Resource, error) {
	return RoutedResources(o, pools, Routing{})
}

// RoutedResources is Resources with rules, and the providers that they lead to.
func RoutedResources(o Options, pools []Pool, r Routing) (map[resource.Type][]types.Resource, error) {
	if err := o.Validate(); err != nil {
		return nil, fmt.Errorf("gateway: %w", err)
	}
	if err := ValidatePools(pools); err != nil {
		return nil, err
	}
	if err := r.validate(o, pools); err != nil {
		return nil, err
	}
	pools = slices.Clone(pools)
	slices.SortFunc(pools, func(a, b Pool) int { return strings.Compare(a.Name, b.Name) })
	clusters := []types.Resource{NoPickerCluster()}
	if !o.NoPicker {
		clusters = []types.Resource{PickerCluster(o), NoPickerCluster()}
	}
	endpoints := make([]types.Resource, 0, len(pools))
	for _, p := range pools {
		clusters = append(clusters, PoolCluster(p, o))
		endpoints = append(endpoints, Endpoints(p))
	}
	find := func(name string) Pool { // which is there: validated
		return pools[slices.IndexFunc(pools, func(p Pool) bool { return p.Name == name })]
	}
	for _, name := range r.restored() {
		p := find(name)
		clusters = append(clusters, restoredCluster(p, o))
		endpoints = append(endpoints, restoredEndpoints(p))
	}
	for _, p := range r.Providers {
		if p.Pool != "" {
			pool, name := find(p.Pool), BackendPrefix+p.Name
			clusters = append(clusters, translated(PoolCluster(pool, o), name, p.Label, o))
			endpoints = append(endpoints, triedEndpoints(pool, name))
			continue
		}
		clusters = append(clusters, ProviderCluster(p, o))
	}
	return map[resource.Type][]types.Resource{
		resource.ListenerType: {listener(o, len(r.Rules) > 0)},
		resource.RouteType:    {routes(o, pools, &r)},
		resource.ClusterType:  clusters,
		resource.EndpointType: endpoints,
	}, nil
}
