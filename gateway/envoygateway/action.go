package envoygateway

import (
	"net/http"

	routev3 "github.com/envoyproxy/go-control-plane/envoy/config/route/v3"
	"google.golang.org/protobuf/encoding/protowire"
	"google.golang.org/protobuf/types/known/anypb"
	"google.golang.org/protobuf/types/known/durationpb"
	"google.golang.org/protobuf/types/known/wrapperspb"
	gatewayv1 "sigs.k8s.io/gateway-api/apis/v1"

	"github.com/fairway-ai/fairway/gateway/xds"
)

// route rewrites one route of a rule that sends to pools. idle bounds silence, where
// Envoy Gateway does not.
func (t *translation) route(p *plan, at rule, r *routev3.Route, idle *durationpb.Duration) {
	action := r.GetRoute()
	if action == nil {
		if len(p.pools) == 0 || !t.replaceable(at, p, r.GetDirectResponse()) {
			return // a redirect, or an answer that somebody wants
		}
		action = &routev3.RouteAction{
			ClusterSpecifier: &routev3.RouteAction_WeightedClusters{WeightedClusters: &routev3.WeightedCluster{}},
		}
		r.Action = &routev3.Route_Route{Route: action}
	}
	others, lost := t.others(p, at, action)
	lost += p.lost
	if len(p.pools) == 0 && len(others) == 0 {
		refuse(r)
		return
	}
	t.direct(p, r, action, others, lost)
	if len(p.pools) == 0 {
		return
	}
	t.finish(r, idle)
}

// replaceable is whether Envoy Gateway's direct response stands for backends that it
// found wanting, and not for a filter that failed or was asked for, nor for a policy
// that failed: of a rule whose backends it liked it has made a cluster before.
func (t *translation) replaceable(at rule, p *plan, d *routev3.DirectResponseAction) bool {
	return d != nil && d.Body == nil && d.BodyFormat == nil && p.plain && !t.made[at] &&
		(d.Status == http.StatusInternalServerError || d.Status == http.StatusServiceUnavailable)
}

// refuse makes the route answer 500.
func refuse(r *routev3.Route) {
	r.Action = &routev3.Route_DirectResponse{DirectResponse: &routev3.DirectResponseAction{Status: http.StatusInternalServerError}}
}

// others are Envoy Gateway's own clusters of the rule with their weights, and the
// weight of those that it could not resolve, whose share gets 500.
func (t *translation) others(p *plan, at rule, a *routev3.RouteAction) (kept []*routev3.WeightedCluster_ClusterWeight, lost uint32) {
	var all uint32
	for _, w := range p.services {
		all += w
	}
	if all == 0 {
		return nil, 0
	}
	if name := a.GetCluster(); name != "" { // all of them together
		return []*routev3.WeightedCluster_ClusterWeight{{Name: name, Weight: wrapperspb.UInt32(all)}}, 0
	}
	left, named := all, map[string]bool{}
	for _, w := range a.GetWeightedClusters().GetClusters() {
		if w.Name == invalidCluster || w.Weight.GetValue() == 0 || w.Weight.GetValue() > left {
			continue
		}
		kept = append(kept, w)
		left -= w.Weight.GetValue()
		named[w.Name] = true
	}
	if left == 0 || a.ClusterNotFoundResponseCode != routev3.RouteAction_SERVICE_UNAVAILABLE {
		return kept, left
	}
	// At least one is valid and has no endpoints: that is 503, which its empty
	// cluster answers.
	for i, w := range p.services {
		if name := at.cluster(i); w > 0 && w <= left && !named[name] && t.given[name] {
			kept = append(kept, &routev3.WeightedCluster_ClusterWeight{Name: name, Weight: wrapperspb.UInt32(w)})
			left -= w
		}
	}
	return kept, left
}

// direct sends the route to the pools and to the other clusters, by weight. The lost
// share goes to a cluster that does not exist, which Envoy answers with 500.
func (t *translation) direct(p *plan, r *routev3.Route, a *routev3.RouteAction, others []*routev3.WeightedCluster_ClusterWeight, lost uint32) {
	if len(p.pools) == 1 && len(others) == 0 && lost == 0 && !p.pools[0].changes.any() {
		a.ClusterSpecifier = &routev3.RouteAction_Cluster{Cluster: xds.ClusterName(p.pools[0].name)}
		a.ClusterNotFoundResponseCode = routev3.RouteAction_SERVICE_UNAVAILABLE
		t.configure(r, p.pools[0].name)
		return
	}
	w := &routev3.WeightedCluster{}
	if len(a.HashPolicy) > 0 {
		// As Envoy Gateway does it: what is hashed is hashed to one backend.
		w.RandomValueSpecifier = &routev3.WeightedCluster_UseHashPolicy{UseHashPolicy: wrapperspb.Bool(true)}
	}
	for i := range p.pools {
		s := &p.pools[i]
		c := &routev3.WeightedCluster_ClusterWeight{
			Name:                 xds.ClusterName(s.name),
			Weight:               wrapperspb.UInt32(s.weight),
			TypedPerFilterConfig: map[string]*anypb.Any{xds.FilterName: xds.PoolConfig(s.name)},
		}
		s.changes.apply(c)
		w.Clusters = append(w.Clusters, c)
	}
	w.Clusters = append(w.Clusters, others...)
	a.ClusterNotFoundResponseCode = routev3.RouteAction_SERVICE_UNAVAILABLE
	if lost > 0 {
		w.Clusters = append(w.Clusters, &routev3.WeightedCluster_ClusterWeight{Name: invalidCluster, Weight: wrapperspb.UInt32(lost)})
		a.ClusterNotFoundResponseCode = routev3.RouteAction_INTERNAL_SERVER_ERROR
	}
	a.ClusterSpecifier = &routev3.RouteAction_WeightedClusters{WeightedClusters: w}
}

// fits is whether Envoy Gateway can have made the route from this state of the
// HTTPRoute: the rule is there, and the weights of backends that it named are the
// same. It is false only if the cache is behind.
func fits(object *gatewayv1.HTTPRoute, at rule, encoded []byte) bool {
	if at.index >= len(object.Spec.Rules) {
		return false
	}
	backends := object.Spec.Rules[at.index].BackendRefs
	fit := true
	err := eachWeight(encoded, func(name string, w uint64) {
		r, i, ok := parseCluster(name)
		if !ok || r != at || i == wholeRule {
			return
		}
		fit = fit && i < len(backends) && uint64(weight(&backends[i])) == w
	})
	return err == nil && fit
}

// eachWeight calls f with the weighted clusters of an encoded route.
func eachWeight(route []byte, f func(name string, weight uint64)) error {
	const (
		routeAction, weightedClusters, clusters protowire.Number = 2, 3, 1
		name, weight, value                     protowire.Number = 1, 3, 1
	)
	return inField(route, routeAction, func(action []byte) error {
		return inField(action, weightedClusters, func(weighted []byte) error {
			return inField(weighted, clusters, func(c []byte) error {
				n, err := stringField(c, name)
				if err != nil {
					return err
				}
				var w uint64
				err = inField(c, weight, func(wrapped []byte) error {
					return eachField(wrapped, func(f field) error {
						if f.number == value && f.kind == protowire.VarintType {
							_, _, tag := protowire.ConsumeTag(f.all)
							w, _ = protowire.ConsumeVarint(f.all[tag:])
						}
						return nil
					})
				})
				f(n, w)
				return err
			})
		})
	})
}
