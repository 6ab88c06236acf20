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
func Routes(o Options, pools []Pool) *routev3.RouteConfiguration { return routes(o, pools, &Routing{}) }

// routes is Routes with rules, each of which has a route instead of the pools. A
// request that the picker did not see may be one for a provider, unless all rules
// begin with pools, and is answered 503.
func routes(o Options, pools []Pool, r *Routing) *routev3.RouteConfiguration {
	o = o.withDefaults()
	pools = slices.Clone(pools)
	slices.SortFunc(pools, func(a, b Pool) int { return strings.Compare(a.Name, b.Name) })
	host := &routev3.VirtualHost{
		Name: RouteName, Domains: []string{"*"},
		// For the picker's eyes alone, and what Envoy adds about the client.
		RequestHeadersToRemove: append(PrivateHeaders(), "x-envoy-external-address"),
	}
	open := NoPickerClusterName
	if !slices.ContainsFunc(pools, func(p Pool) bool { return !p.FailOpen }) && len(pools) > 0 {
		open = pools[0].Name
	}
	out := &routev3.RouteConfiguration{Name: RouteName, VirtualHosts: []*routev3.VirtualHost{host}}
	if len(r.Rules) > 0 {
		host.RequestHeadersToRemove = append(host.RequestHeadersToRemove, RouteHeader)
		host.Routes = ruleRoutes(o, r)
		out.MaxDirectResponseBodySizeBytes = u32(MaxCatalogue)
		if !r.beginsWithPools() {
			open = NoPickerClusterName
		}
		host.Routes = append(host.Routes, route(o, "unpicked", open, nil))
		return out
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
	return out
}

func route(o Options, name, cluster string, match []*routev3.HeaderMatcher) *routev3.Route {
	return &routev3.Route{
		Name: name,
		Match: &routev3.RouteMatch{
			PathSpecifier: &routev3.RouteMatch_Prefix{Prefix: "/"},
			Headers:       match,
		},
		// The limit of the route before the pick counts, so all have the same.
		RequestBodyBufferLimit: wrapperspb.UInt64(BodyLimit(o)),
		Action: &routev3.Route_Route{Route: &routev3.RouteAction{
			ClusterSpecifier: &routev3.RouteAction_Cluster{Cluster: cluster},
			// Answers may take as long as they take, while something moves.
			Timeout:     seconds(0),
			RetryPolicy: RetryPolicy(o),
		}},
	}
}

// RetryPolicy goes on to the next endpoint when one could not be reached, broke off
// before its answer began, or said that it is too busy.
func RetryPolicy(o Options) *routev3.RetryPolicy {
	o = o.withDefaults()
	return &routev3.RetryPolicy{
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
		HostSelectionRetryMaxAttempts: selections,
	}
}

// selections is how often a host is selected for a further try before one that was tried
// is taken again. A host that refuses is never busy, so the less busy of two random ones
// is one of those nearly always: with two of three that refuse, the third is found by
// one selection of nine.
const selections = 100

// BodyLimit is how long a request body may get in Envoy, in bytes: a little more
// than the picker accepts, so that the picker answers.
func BodyLimit(o Options) uint64 { return uint64(o.withDefaults().MaxBodyBytes) + bodySlack }

// IdleTimeout ends a request on which nothing moves.
func IdleTimeout(o Options) time.Duration { return o.withDefaults().StreamIdleTimeout }

// PrivateHeaders are for the picker's and Envoy's eyes alone; no model server gets
// them.
func PrivateHeaders() []string {
	return []string{DestinationHeader, SubsetHeader, PoolHeader, explainHeader}
}
