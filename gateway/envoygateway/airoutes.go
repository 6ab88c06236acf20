package envoygateway

import (
	"slices"

	routev3 "github.com/envoyproxy/go-control-plane/envoy/config/route/v3"
	"google.golang.org/protobuf/types/known/anypb"
	"google.golang.org/protobuf/types/known/durationpb"
	"google.golang.org/protobuf/types/known/wrapperspb"

	"github.com/fairway-ai/fairway/gateway/xds"
)

// aiRoute rewrites one of the routes that Envoy Gateway made for an AIRoute. It is where
// requests come from, before the picker has found their rule, and where they stay if
// there is no picker. h may be nil.
func (t *translation) aiRoute(h *aiHost, p *aiRule, r *routev3.Route, idle *durationpb.Duration) {
	action := r.GetRoute()
	switch {
	case h == nil || h.given[p.route] == nil:
		if action != nil {
			refuse(r)
		}
		return
	case action == nil:
		return // what Envoy Gateway answers is what is meant
	}
	policies := policiesOf(r)
	scope, known := h.scopes[policies]
	if !known {
		policies = policiesOf(h.given[p.route])
		scope = h.scopes[policies]
	}
	cluster := xds.NoPickerClusterName
	if h.open[policies] && !t.guard.guards() { // nobody would have looked who calls
		cluster = p.to.open
	}
	action.ClusterSpecifier = &routev3.RouteAction_Cluster{Cluster: cluster}
	action.ClusterNotFoundResponseCode = routev3.RouteAction_SERVICE_UNAVAILABLE
	t.configure(r, scope)
	t.finish(r, idle, xds.RouteHeader, clientAddress)
	t.used[cluster] = true
}

// backendRoute rewrites a route of a rule with AIBackends.
func (t *translation) backendRoute(at rule, p *plan, r *routev3.Route, idle *durationpb.Duration) {
	action := r.GetRoute()
	if action == nil {
		if !t.replaceable(at, p, r.GetDirectResponse()) {
			return
		}
		action = &routev3.RouteAction{}
		r.Action = &routev3.Route_Route{Route: action}
	}
	if p.ai.to == nil || len(p.ai.to.rules[0].Groups) == 0 {
		refuse(r)
		return
	}
	to := &p.ai.to.rules[0]
	action.ClusterNotFoundResponseCode = routev3.RouteAction_SERVICE_UNAVAILABLE
	xds.FollowRule(r, to, t.limits)
	t.configure(r, xds.RulePrefix+to.Name)
	if t.guard.guards() {
		r.TypedPerFilterConfig[xds.FilterName] = xds.StrictPoolConfig(t.guard.mark(xds.RulePrefix + to.Name))
	}
	t.finish(r, idle, xds.RouteHeader, clientAddress)
	t.referenceRule(to)
}

// configure turns the picker on for a route, and tells it what may be chosen from.
func (t *translation) configure(r *routev3.Route, scope string) {
	if r.TypedPerFilterConfig == nil {
		r.TypedPerFilterConfig = map[string]*anypb.Any{}
	}
	r.TypedPerFilterConfig[xds.FilterName] = xds.PoolConfig(t.guard.mark(scope))
}

// clientAddress is what Envoy tells about clients, and no business of providers.
const clientAddress = "x-envoy-external-address"

// finish gives a route that goes to clusters of ours what its requests need, where
// nobody said otherwise, and keeps from servers what is not for them: the private
// headers and more.
func (t *translation) finish(r *routev3.Route, idle *durationpb.Duration, more ...string) {
	action := r.GetRoute()
	if action.Timeout == nil {
		// Answers may take as long as they take, while something moves.
		action.Timeout = &durationpb.Duration{}
	}
	if action.IdleTimeout == nil {
		action.IdleTimeout = idle
	}
	if action.RetryPolicy == nil {
		action.RetryPolicy = xds.RetryPolicy(t.limits)
	}
	if r.RequestBodyBufferLimit == nil {
		r.RequestBodyBufferLimit = wrapperspb.UInt64(xds.BodyLimit(t.limits))
	}
	for _, h := range append(xds.PrivateHeaders(), more...) {
		if !slices.Contains(r.RequestHeadersToRemove, h) {
			r.RequestHeadersToRemove = append(r.RequestHeadersToRemove, h)
		}
	}
}

// referenceRule notes the clusters of a rule.
func (t *translation) referenceRule(r *xds.Rule) {
	for _, g := range r.Groups {
		for _, c := range g.Clusters {
			t.used[c.Name] = true
		}
	}
}
