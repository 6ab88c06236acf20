package xds

import (
	"slices"
	"strings"

	clusterv3 "github.com/envoyproxy/go-control-plane/envoy/config/cluster/v3"
	corev3 "github.com/envoyproxy/go-control-plane/envoy/config/core/v3"
	routev3 "github.com/envoyproxy/go-control-plane/envoy/config/route/v3"
	extprocv3 "github.com/envoyproxy/go-control-plane/envoy/extensions/filters/http/ext_proc/v3"
	hcmv3 "github.com/envoyproxy/go-control-plane/envoy/extensions/filters/network/http_connection_manager/v3"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/types/known/anypb"
	"google.golang.org/protobuf/types/known/wrapperspb"
)

// LaterPrefix begins the names of pools' clusters that are tried after another pool, in
// an Envoy that another control plane configures.
const LaterPrefix = "fairway-later/"

// OptionalExtProcFilter is [ExtProcFilter] for a listener that serves others too: it
// does nothing on routes without [PoolConfig].
func OptionalExtProcFilter(o Options) *hcmv3.HttpFilter {
	o.MetadataNamespaces = append(slices.Clip(o.MetadataNamespaces), RequestNamespace, OrderNamespace, AnswerNamespace, CostNamespace)
	f := ExtProcFilter(o)
	f.Name, f.Disabled = FilterName, true
	return f
}

// PoolConfig, under [FilterName] on a route or a weighted cluster, turns the filter on
// and tells the picker the pool, or what it may choose from: see [RoutesPrefix] and
// [RulePrefix].
func PoolConfig(pool string) *anypb.Any {
	return pack(&extprocv3.ExtProcPerRoute{Override: &extprocv3.ExtProcPerRoute_Overrides{
		Overrides: &extprocv3.ExtProcOverrides{
			GrpcInitialMetadata: []*corev3.HeaderValue{{Key: PoolHeader, Value: pool}},
		},
	}})
}

// StrictPoolConfig is [PoolConfig] for a route whose requests must not pass when the
// picker is dead.
func StrictPoolConfig(pool string) *anypb.Any {
	return pack(&extprocv3.ExtProcPerRoute{Override: &extprocv3.ExtProcPerRoute_Overrides{
		Overrides: &extprocv3.ExtProcOverrides{
			GrpcInitialMetadata: []*corev3.HeaderValue{{Key: PoolHeader, Value: pool}},
			FailureModeAllow:    wrapperspb.Bool(false),
		},
	}})
}

// Managed is the rule as it is in an Envoy that another control plane configures: a
// pool that is tried after another has a cluster that does not fail closed. Nobody
// picked in it, so that it would never be reached.
func (r Rule) Managed() Rule {
	r.Groups = slices.Clone(r.Groups)
	for i := 1; i < len(r.Groups); i++ { // in the first, the picker has picked
		g := &r.Groups[i]
		g.Clusters = slices.Clone(g.Clusters)
		for k := range g.Clusters {
			if pool, ok := strings.CutPrefix(g.Clusters[k].Name, ClusterPrefix); ok {
				g.Clusters[k].Name = LaterPrefix + pool
			}
		}
	}
	return r
}

// DiscoveredPoolClusters are all clusters that a pool may need: [DiscoveredPoolCluster],
// that for tries after one at another pool, and that for tries after one at a provider,
// which undoes what that one changed. Without Fairway, the last fails anyway.
func DiscoveredPoolClusters(p Pool, d Discovery, o Options) []*clusterv3.Cluster {
	later := discovered(p, d, o)
	later.Name = LaterPrefix + p.Name
	return []*clusterv3.Cluster{
		DiscoveredPoolCluster(p, d, o), later, translated(discovered(p, d, o), RestorePrefix+p.Name, p.Name, o),
	}
}

// DiscoveredProviderCluster is [ProviderCluster] for a provider that is the pool.
// Without Fairway the try fails, so the cluster need not fail closed too.
func DiscoveredProviderCluster(v Provider, p Pool, d Discovery, o Options) *clusterv3.Cluster {
	return translated(discovered(p, d, o), BackendPrefix+v.Name, v.Label, o)
}

// Nobody is a provider of that name that cannot be reached, so that the next group is
// tried.
func Nobody(p Provider) Provider {
	return Provider{Name: p.Name, Label: p.Label, Host: nowhere.Addr().String(), Port: nowhere.Port()}
}

// ManagedRoute is the route of a rule: that which another control plane made for its
// requests, with all that it says of them but where they go. Without groups the rule
// answers 500.
func ManagedRoute(given *routev3.Route, r *Rule, o Options) *routev3.Route {
	x := proto.CloneOf(given)
	x.Name, x.Match = "rule "+r.Name, ruleMatch(r.Name)
	if len(r.Groups) == 0 {
		x.Action = &routev3.Route_DirectResponse{DirectResponse: &routev3.DirectResponseAction{Status: 500}}
		return x
	}
	FollowRule(x, r, o)
	return x
}

// Catalogue are routes that answer GET /v1/models, with at most [MaxCatalogue] bytes. In a virtual host of another
// control plane, they must come first.
func Catalogue(models []Model) []*routev3.Route {
	routes := catalogue(models)
	for _, r := range routes {
		r.TypedPerFilterConfig = nil // the filter is off unless a route says otherwise
	}
	return routes
}
