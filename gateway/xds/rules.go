package xds

import (
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	clusterv3 "github.com/envoyproxy/go-control-plane/envoy/config/cluster/v3"
	mutationv3 "github.com/envoyproxy/go-control-plane/envoy/config/common/mutation_rules/v3"
	corev3 "github.com/envoyproxy/go-control-plane/envoy/config/core/v3"
	endpointv3 "github.com/envoyproxy/go-control-plane/envoy/config/endpoint/v3"
	routev3 "github.com/envoyproxy/go-control-plane/envoy/config/route/v3"
	groupv3 "github.com/envoyproxy/go-control-plane/envoy/extensions/router/cluster_specifiers/priority_group/v3"
	httpv3 "github.com/envoyproxy/go-control-plane/envoy/extensions/upstreams/http/v3"
	"google.golang.org/protobuf/types/known/anypb"
	"google.golang.org/protobuf/types/known/wrapperspb"
)

const (
	// RouteHeader is the rule that the picker found.
	RouteHeader = "x-fairway-route"
	// OrderNamespace is that of the dynamic metadata in which the picker tells the
	// order of groups where it is not the rule's.
	OrderNamespace = "dev.fairway.order"
)

// Routing is rules, and the providers that they lead to. Without rules, the picker
// chooses among pools.
type Routing struct {
	Rules     []Rule
	Providers []Provider
	// Models are what GET /v1/models answers.
	Models []Model
}

// Rule is a rule's route. The picker finds the rule, [RouteHeader] says which.
type Rule struct {
	Name string
	// Groups are tried in order. Clusters are names of pools, or of providers after
	// BackendPrefix, or of pools that come after a provider after RestorePrefix.
	Groups []Group
	// Attempts is how many groups are tried.
	Attempts int
	// OnConnect, OnServerError and OnTooMany say what leads to the next group.
	OnConnect, OnServerError, OnTooMany bool
	// FirstByteTimeout bounds a try up to its answer's begin, Timeout a request; 0
	// means no bound.
	FirstByteTimeout, Timeout time.Duration
}

// Group is clusters that share requests by weight.
type Group struct {
	Name     string
	Clusters []WeightedCluster
}

// WeightedCluster is a cluster and its share.
type WeightedCluster struct {
	Name   string
	Weight uint32
}

func (r *Routing) validate(o Options, pools []Pool) error {
	var errs []error
	known := map[string]bool{}
	for i := range pools {
		known[pools[i].Name], known[RestorePrefix+pools[i].Name] = true, true
	}
	for i := range r.Providers {
		p := &r.Providers[i]
		if err := p.Validate(o); err != nil {
			errs = append(errs, err)
		}
		if o.NoPicker {
			errs = append(errs, fmt.Errorf("backend %q: cannot be served without a picker", p.Name))
		}
		if p.Pool != "" && !known[p.Pool] {
			errs = append(errs, fmt.Errorf("backend %q: the pool %q does not exist", p.Name, p.Pool))
		}
		if known[BackendPrefix+p.Name] {
			errs = append(errs, fmt.Errorf("backend %q: is there twice", p.Name))
		}
		known[BackendPrefix+p.Name] = true
	}
	names := map[string]bool{}
	for i := range r.Rules {
		x := &r.Rules[i]
		if x.Name == "" || names[x.Name] || len(x.Groups) == 0 {
			errs = append(errs, fmt.Errorf("rule %q: names must be unique and rules have backends", x.Name))
		}
		names[x.Name] = true
		for _, g := range x.Groups {
			for _, c := range g.Clusters {
				if !known[c.Name] {
					errs = append(errs, fmt.Errorf("rule %q: %q does not exist", x.Name, c.Name))
				}
			}
		}
	}
	return errors.Join(errs...)
}

// beginsWithPools says that the first group of every rule has no provider, so that a
// request that nobody saw can only be for a pool.
func (r *Routing) beginsWithPools() bool {
	return !slices.ContainsFunc(r.Rules, func(x Rule) bool {
		return slices.ContainsFunc(x.Groups[0].Clusters, func(c WeightedCluster) bool { return strings.HasPrefix(c.Name, BackendPrefix) })
	})
}

// restored are the names of pools that may be tried after a provider, in order.
func (r *Routing) restored() []string {
	var all []string
	for i := range r.Rules {
		for _, g := range r.Rules[i].Groups {
			for _, c := range g.Clusters {
				if pool, ok := strings.CutPrefix(c.Name, RestorePrefix); ok {
					all = append(all, pool)
				}
			}
		}
	}
	slices.Sort(all)
	return slices.Compact(all)
}

// restoredCluster is a pool's cluster for tries after one at a provider: what that one
// changed is undone first.
func restoredCluster(p Pool, o Options) *clusterv3.Cluster {
	return translated(PoolCluster(p, o), RestorePrefix+p.Name, p.Name, o)
}

// translated gives a pool's cluster another name, and the translator of that name a
// say in every try.
func translated(c *clusterv3.Cluster, name, label string, o Options) *clusterv3.Cluster {
	c.Name, c.AltStatName = name, label
	h := &httpv3.HttpProtocolOptions{}
	if err := c.TypedExtensionProtocolOptions[httpOptions].UnmarshalTo(h); err != nil {
		panic(fmt.Sprintf("xds: %v", err)) // PoolCluster has packed it
	}
	h.HttpFilters = tryFilters(name, o.withDefaults())
	c.TypedExtensionProtocolOptions = map[string]*anypb.Any{httpOptions: pack(h)}
	return c
}

// restoredEndpoints are the pool's. An empty pool would end the request; with an
// endpoint where nobody answers, the next group is tried.
func restoredEndpoints(p Pool) *endpointv3.ClusterLoadAssignment {
	return triedEndpoints(p, RestorePrefix+p.Name)
}

func triedEndpoints(p Pool, cluster string) *endpointv3.ClusterLoadAssignment {
	e := Endpoints(p)
	e.ClusterName = cluster
	if len(e.Endpoints[0].LbEndpoints) == 0 {
		e.Endpoints[0].LbEndpoints = []*endpointv3.LbEndpoint{lbEndpoint(tcp(nowhere))}
	}
	return e
}

// ruleRoutes are the routes of the catalogue and of the rules.
func ruleRoutes(o Options, r *Routing) []*routev3.Route {
	routes := catalogue(r.Models)
	for i := range r.Rules {
		routes = append(routes, ruleRoute(o, &r.Rules[i]))
	}
	return routes
}

func ruleRoute(o Options, r *Rule) *routev3.Route {
	x := route(o, "rule "+r.Name, r.Groups[0].Clusters[0].Name, ruleMatch(r.Name).Headers)
	// The rule alone says what becomes of its requests.
	x.GetRoute().Timeout, x.GetRoute().RetryPolicy = nil, nil
	FollowRule(x, r, o)
	return x
}

// ruleMatch is a match of the rule's requests, once the picker has named it.
func ruleMatch(rule string) *routev3.RouteMatch {
	return &routev3.RouteMatch{
		PathSpecifier: &routev3.RouteMatch_Prefix{Prefix: "/"},
		Headers: []*routev3.HeaderMatcher{{
			Name:                 RouteHeader,
			HeaderMatchSpecifier: &routev3.HeaderMatcher_StringMatch{StringMatch: exact(rule)},
		}},
	}
}

// FollowRule makes a route, which must have an action that goes to clusters, do what
// the rule says: the groups in their order, what leads from one to the next, how long
// it may take, and a header that says who answered. A timeout that the route has
// stays where the rule has none, and its retries stay where the rule is one pool.
func FollowRule(x *routev3.Route, r *Rule, o Options) {
	x.ResponseHeadersToAdd = append(x.ResponseHeadersToAdd, &corev3.HeaderValueOption{
		Header:       &corev3.HeaderValue{Key: BackendHeader, Value: "%UPSTREAM_CLUSTER%"},
		AppendAction: corev3.HeaderValueOption_OVERWRITE_IF_EXISTS_OR_ADD, // a server cannot pose as another
	})
	a := x.GetRoute()
	if r.Timeout > 0 || a.Timeout == nil {
		a.Timeout = seconds(r.Timeout)
	}
	first := r.Groups[0].Clusters
	alone := len(r.Groups) == 1 && len(first) == 1
	if alone {
		a.ClusterSpecifier = &routev3.RouteAction_Cluster{Cluster: first[0].Name}
	} else {
		a.ClusterSpecifier = &routev3.RouteAction_InlineClusterSpecifierPlugin{InlineClusterSpecifierPlugin: &routev3.ClusterSpecifierPlugin{
			Extension: extension("envoy.router.cluster_specifier_plugin.priority_group", groups(r)),
		}}
	}
	if len(r.Groups) > 1 {
		a.Priority = corev3.RoutingPriority_HIGH // see budgeted
	}
	if !alone || strings.HasPrefix(first[0].Name, BackendPrefix) {
		a.RetryPolicy = ruleRetries(r)
	} else if a.RetryPolicy == nil {
		a.RetryPolicy = RetryPolicy(o)
	}
	if r.FirstByteTimeout > 0 {
		a.RetryPolicy.PerTryTimeout = seconds(r.FirstByteTimeout)
	}
}

func groups(r *Rule) *groupv3.PriorityGroupClusterSpecifier {
	s := &groupv3.PriorityGroupClusterSpecifier{OverrideMetadataNamespace: OrderNamespace}
	for _, g := range r.Groups {
		out := &groupv3.PriorityGroup{Name: g.Name}
		for _, c := range g.Clusters {
			out.Clusters = append(out.Clusters, &groupv3.ClusterWeight{ClusterName: c.Name, Weight: u32(c.Weight)})
		}
		s.PriorityGroups = append(s.PriorityGroups, out)
	}
	return s
}

// ruleRetries leads to the next group. The only group gets a request once more when its
// connection was lost before the request was on it.
func ruleRetries(r *Rule) *routev3.RetryPolicy {
	p := &routev3.RetryPolicy{
		RetryOn: "connect-failure,refused-stream,reset-before-request", NumRetries: u32(1),
		RetryBackOff: &routev3.RetryPolicy_RetryBackOff{
			BaseInterval: seconds(time.Millisecond), MaxInterval: seconds(10 * time.Millisecond),
		},
		RefreshClusterOnRetry: true,
	}
	if len(r.Groups) == 1 {
		return p
	}
	var on []string
	if r.OnConnect {
		on = append(on, "connect-failure", "refused-stream", "reset")
	}
	if r.OnServerError {
		on = append(on, "5xx")
	}
	if r.OnTooMany {
		on = append(on, "retriable-status-codes")
		p.RetriableStatusCodes = []uint32{429}
	}
	p.RetryOn, p.NumRetries = strings.Join(on, ","), u32(uint32(r.Attempts-1))
	return p
}

// everything lets a translator write path, host and method.
func everything() *mutationv3.HeaderMutationRules {
	return &mutationv3.HeaderMutationRules{AllowAllRouting: wrapperspb.Bool(true), AllowEnvoy: wrapperspb.Bool(true)}
}
