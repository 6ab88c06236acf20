package airoute

import (
	"cmp"
	"fmt"

	gatewayv1 "sigs.k8s.io/gateway-api/apis/v1"

	"github.com/fairway-ai/fairway/api/v1alpha1"
)

const kindHTTPRoute = "HTTPRoute"

// httpRoute makes rules of those of an HTTPRoute that send to AIBackends, nil when none
// does. Each is served as far as it can be: Envoy Gateway accepts the HTTPRoute, and a
// rule that is not there would answer everything with 500.
func (b *builder) httpRoute(x *gatewayv1.HTTPRoute) *DirectResult {
	out := &DirectResult{Rules: map[int]string{}}
	r := &routeBuilder{builder: b, from: Reference{gatewayv1.GroupName, kindHTTPRoute, nameOf(x)}}
	for i := range x.Spec.Rules {
		if in := &x.Spec.Rules[i]; sendsToBackend(in) {
			out.Rules[i] = HTTPRouteRuleName(nameOf(x), i)
			r.direct(i, in)
		}
	}
	if len(out.Rules) == 0 {
		return nil
	}
	r.commit()
	out.Problems = r.all
	return out
}

func sendsToBackend(in *gatewayv1.HTTPRouteRule) bool {
	for i := range in.BackendRefs {
		if group, kind := kindOf(&in.BackendRefs[i]); group == fairwayGroup && kind == kindBackend {
			return true
		}
	}
	return false
}

// kindOf is what a backendRef names, with its defaults filled in.
func kindOf(ref *gatewayv1.HTTPBackendRef) (group, kind string) {
	kind = kindService
	if ref.Group != nil {
		group = string(*ref.Group)
	}
	if ref.Kind != nil {
		kind = cmp.Or(string(*ref.Kind), kindService)
	}
	return group, kind
}

// share is a backendRef's weight.
func share(ref *gatewayv1.HTTPBackendRef) uint64 {
	if ref.Weight == nil {
		return 1
	}
	return uint64(max(0, *ref.Weight))
}

func (r *routeBuilder) direct(i int, in *gatewayv1.HTTPRouteRule) {
	at := fmt.Sprintf("spec.rules[%d]", i)
	out := Rule{Name: HTTPRouteRuleName(r.from.NamespacedName, i), Managed: true, OwnedBy: "fairway", On: AllTriggers(), Attempts: 1}
	var matches []Match
	for k := range in.Matches {
		if p := in.Matches[k].Path; p != nil {
			matches = append(matches, Match{Path: r.path(fmt.Sprintf("%s.matches[%d].path", at, k), p.Type, p.Value)})
		} else {
			matches = append(matches, Match{})
		}
	}
	var group []Target
	for k := range in.BackendRefs {
		ref, field := &in.BackendRefs[k], fmt.Sprintf("%s.backendRefs[%d]", at, k)
		g, kind := kindOf(ref)
		toBackend := g == fairwayGroup && kind == kindBackend
		if !toBackend && !(g == poolGroup && kind == poolKind) {
			r.add(ReasonUnsupported, field+".kind", "beside an AIBackend, a rule can send only to AIBackends and InferencePools; put %s %s in a rule of its own", shorten(kind), shorten(string(ref.Name)))
			out.Lost += share(ref)
			continue
		}
		if toBackend && len(ref.Filters) > 0 {
			r.add(ReasonUnsupported, field+".filters", "an AIBackend has no filters; set spec.headers and spec.body of the AIBackend")
		}
		t, ok := r.target(field, &v1alpha1.AIBackendRef{Group: g, Kind: kind, Name: string(ref.Name), Namespace: ref.Namespace, Weight: ref.Weight}, matches)
		if ok {
			group = append(group, t)
		} else {
			out.Lost += share(ref)
		}
	}
	if len(group) > 0 {
		out.Groups = [][]Target{group}
	}
	r.timeouts(&out, at+".timeouts", in.Timeouts)
	r.rules = append(r.rules, out)
}
