package xds

import (
	"slices"
	"strings"
	"time"

	routev3 "github.com/envoyproxy/go-control-plane/envoy/config/route/v3"
	previousv3 "github.com/envoyproxy/go-control-plane/envoy/extensions/retry/host/previous_hosts/v3"
	"google.golang.org/protobuf/types/known/wrapperspb"
)

// Routes leads a request to the pool that the picker named, and a request that it
// did not see to the first FailOpen pool by name. Which pool that request was for,
// nobody knows; so when any of the pools must fail closed, it gets 503. pools may be
// in any order.
func Routes(o Options, pools []Pool) *routev3.RouteConfiguration {
	o = o.withDefaults()
	pools = slices.Clone(pools)
	slices.SortFunc(pools, func(a, b Pool) int { return strings.Compare(a.Name, b.Name) })
	host := &routev3.VirtualHost{
		Name: RouteName, Domains: []string{"*"},
		// For the picker's eyes alone, and what Envoy adds about the client.
		RequestHeadersToRemove: []string{DestinationHeader, SubsetHeader, PoolHeader, explainHeader, "x-envoy-external-address"},
	}
	open := NoPickerClusterName
	if !slices.ContainsFunc(pools, func(p Pool) bool { return !p.FailOpen }) && len(pools) > 0 {
		open = pools[0].Name
	}
	for i := range pools {
		p := &pools[i]
		var match []*routev3.HeaderMatcher
		if len(pools) > 1 { // else the picker need not say which
			match = append(match, &routev3.HeaderMatcher{
				Name:                 PoolHeader,
				HeaderMatchSpecifier: &routev3.HeaderMatcher_StringMatch{StringMatch: exact(p.Name)},
			})
		}
		if !p.FailOpen {
			match = append(match, &routev3.HeaderMatcher{
				Name:                 DestinationHeader,
				HeaderMatchSpecifier: &routev3.HeaderMatcher_PresentMatch{PresentMatch: true},
			})
		}
		host.Routes = append(host.Routes, route(o, p.Name, p.Name, match))
	}
	host.Routes = append(host.Routes, route(o, "unpicked", open, nil))
	return &routev3.RouteConfiguration{Name: RouteName, VirtualHosts: []*routev3.VirtualHost{host}}
}

func route(o Options, name, cluster string, match []*routev3.HeaderMatcher) *routev3.Route {
	return &routev3.Route{
		Name: name,
		Match: &routev3.RouteMatch{
			PathSpecifier: &routev3.RouteMatch_Prefix{Prefix: "/"},
			Headers:       match,
		},
		// The limit of the route before the pick counts, so all have the same.
		RequestBodyBufferLimit: wrapperspb.UInt64(uint64(o.MaxBodyBytes) + bodySlack),
		Action: &routev3.Route_Route{Route: &routev3.RouteAction{
			ClusterSpecifier: &routev3.RouteAction_Cluster{Cluster: cluster},
			// Answers may take as long as they take, while something moves.
			Timeout: seconds(0),
			RetryPolicy: &routev3.RetryPolicy{
				RetryOn:              "connect-failure,refused-stream,reset,retriable-status-codes",
				RetriableStatusCodes: []uint32{429, 503},
				NumRetries:           u32(uint32(o.Retries)),
				RetryBackOff: &routev3.RetryPolicy_RetryBackOff{
					BaseInterval: seconds(time.Millisecond), MaxInterval: seconds(10 * time.Millisecond),
				},
				// For requests without a list of endpoints.
				RetryHostPredicate: []*routev3.RetryPolicy_RetryHostPredicate{{
					Name: "envoy.retry_host_predicates.previous_hosts",
					ConfigType: &routev3.RetryPolicy_RetryHostPredicate_TypedConfig{
						TypedConfig: pack(&previousv3.PreviousHostsPredicate{}),
					},
				}},
				HostSelectionRetryMaxAttempts: 5,
			},
		}},
	}
}
