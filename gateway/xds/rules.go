package xds

import (
	"encoding/json"
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
	extprocv3 "github.com/envoyproxy/go-control-plane/envoy/extensions/filters/http/ext_proc/v3"
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

// Model is a model of the catalogue.
type Model struct {
	Name, OwnedBy string
	// Created is in seconds since 1970.
	Created int64
}

func (r *Routing) validate(o Options, pools []Pool) error {
	var errs []error
	known := map[string]bool{}
	for i := range pools {
		known[pools[i].Name], known[RestorePrefix+pools[i].Name] = true, true
	}
	for i := range r.Providers {
		p := &r.Providers[i]
		if err := p.validate(o); err != nil {
			errs = append(errs, err)
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
	c := PoolCluster(p, o)
	c.Name, c.AltStatName = RestorePrefix+p.Name, p.Name
	h := &httpv3.HttpProtocolOptions{}
	if err := c.TypedExtensionProtocolOptions[httpOptions].UnmarshalTo(h); err != nil {
		panic(fmt.Sprintf("xds: %v", err)) // PoolCluster has packed it
	}
	h.HttpFilters = tryFilters(c.Name, o.withDefaults())
	c.TypedExtensionProtocolOptions = map[string]*anypb.Any{httpOptions: pack(h)}
	return c
}

// restoredEndpoints are the pool's. An empty pool would end the request; with an
// endpoint where nobody answers, the next group is tried.
func restoredEndpoints(p Pool) *endpointv3.ClusterLoadAssignment {
	e := Endpoints(p)
	e.ClusterName = RestorePrefix + p.Name
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
	first := r.Groups[0].Clusters
	x := route(o, "rule "+r.Name, first[0].Name, []*routev3.HeaderMatcher{{
		Name:                 RouteHeader,
		HeaderMatchSpecifier: &routev3.HeaderMatcher_StringMatch{StringMatch: exact(r.Name)},
	}})
	x.ResponseHeadersToAdd = []*corev3.HeaderValueOption{{
		Header:       &corev3.HeaderValue{Key: BackendHeader, Value: "%UPSTREAM_CLUSTER%"},
		AppendAction: corev3.HeaderValueOption_OVERWRITE_IF_EXISTS_OR_ADD, // a server cannot pose as another
	}}
	a := x.GetRoute()
	a.Timeout = seconds(r.Timeout)
	alone := len(r.Groups) == 1 && len(first) == 1
	if !alone {
		a.ClusterSpecifier = &routev3.RouteAction_InlineClusterSpecifierPlugin{InlineClusterSpecifierPlugin: &routev3.ClusterSpecifierPlugin{
			Extension: extension("envoy.router.cluster_specifier_plugin.priority_group", groups(r)),
		}}
	}
	if !alone || strings.HasPrefix(first[0].Name, BackendPrefix) {
		a.RetryPolicy = ruleRetries(r)
	}
	if r.FirstByteTimeout > 0 {
		a.RetryPolicy.PerTryTimeout = seconds(r.FirstByteTimeout)
	}
	return x
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

// catalogue answers GET /v1/models, in the shape of the API that the client speaks.
func catalogue(models []Model) []*routev3.Route {
	type openAI struct {
		ID      string `json:"id"`
		Object  string `json:"object"`
		Created int64  `json:"created"`
		OwnedBy string `json:"owned_by"`
	}
	type anthropic struct {
		Type        string `json:"type"`
		ID          string `json:"id"`
		DisplayName string `json:"display_name"`
		CreatedAt   string `json:"created_at"`
	}
	forOpenAI, forAnthropic := []openAI{}, []anthropic{}
	for _, m := range models {
		forOpenAI = append(forOpenAI, openAI{m.Name, "model", m.Created, m.OwnedBy})
		forAnthropic = append(forAnthropic, anthropic{"model", m.Name, m.Name, time.Unix(m.Created, 0).UTC().Format(time.RFC3339)})
	}
	list := map[string]any{"data": forAnthropic, "has_more": false, "first_id": nil, "last_id": nil}
	if n := len(models); n > 0 {
		list["first_id"], list["last_id"] = models[0].Name, models[n-1].Name
	}
	return []*routev3.Route{
		answer("models for Anthropic clients", list, &routev3.HeaderMatcher{
			Name: "anthropic-version", HeaderMatchSpecifier: &routev3.HeaderMatcher_PresentMatch{PresentMatch: true},
		}),
		answer("models", map[string]any{"object": "list", "data": forOpenAI}),
	}
}

// answer is a route that Envoy answers itself.
func answer(name string, body any, match ...*routev3.HeaderMatcher) *routev3.Route {
	text, err := json.Marshal(body)
	if err != nil {
		panic(fmt.Sprintf("xds: %v", err)) // strings and numbers
	}
	return &routev3.Route{
		Name: name,
		Match: &routev3.RouteMatch{
			PathSpecifier: &routev3.RouteMatch_Path{Path: "/v1/models"},
			Headers: append(match, &routev3.HeaderMatcher{
				Name: ":method", HeaderMatchSpecifier: &routev3.HeaderMatcher_StringMatch{StringMatch: exact("GET")},
			}),
		},
		Action: &routev3.Route_DirectResponse{DirectResponse: &routev3.DirectResponseAction{
			Status: 200, Body: &corev3.DataSource{Specifier: &corev3.DataSource_InlineBytes{InlineBytes: text}},
		}},
		ResponseHeadersToAdd: []*corev3.HeaderValueOption{{
			Header:       &corev3.HeaderValue{Key: "content-type", Value: "application/json"},
			AppendAction: corev3.HeaderValueOption_OVERWRITE_IF_EXISTS_OR_ADD,
		}},
		// The picker has no say in it.
		TypedPerFilterConfig: map[string]*anypb.Any{
			"envoy.filters.http.ext_proc": pack(&extprocv3.ExtProcPerRoute{Override: &extprocv3.ExtProcPerRoute_Disabled{Disabled: true}}),
		},
	}
}

// maxCatalogue is how long the answer to GET /v1/models may get, in bytes.
const maxCatalogue = 4 << 20

// everything lets a translator write path, host and method.
func everything() *mutationv3.HeaderMutationRules {
	return &mutationv3.HeaderMutationRules{AllowAllRouting: wrapperspb.Bool(true), AllowEnvoy: wrapperspb.Bool(true)}
}
