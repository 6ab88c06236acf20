package airoute

import (
	"cmp"
	"fmt"
	"slices"
	"strings"
	"time"

	gatewayv1 "sigs.k8s.io/gateway-api/apis/v1"

	"github.com/fairway-ai/fairway/api/v1alpha1"
	"github.com/fairway-ai/fairway/gateway/costs"
)

const (
	maxRules    = 256
	maxPriority = 31
	maxWeight   = 1_000_000
	maxAttempts = 32
	maxDuration = 24 * time.Hour
)

// route makes rules of an AIRoute.
func (b *builder) route(x *v1alpha1.AIRoute) *RouteResult {
	out := &RouteResult{Name: nameOf(x).String(), Generation: x.Generation, Hostnames: slices.Clone(x.Spec.Hostnames)}
	r := &routeBuilder{builder: b, from: Reference{fairwayGroup, kindRoute, nameOf(x)}}
	if b.local && len(x.Spec.Hostnames) > 0 {
		r.add(ReasonUnsupported, "spec.hostnames", "is not supported outside of a cluster yet; remove it, or match the header host")
	}
	if n := len(x.Spec.Rules); n == 0 || n > maxRules {
		r.invalid("spec.rules", "must have 1 to %d rules", maxRules)
	}
	names := map[string]bool{}
	for i := range x.Spec.Rules[:min(len(x.Spec.Rules), maxRules)] {
		r.rule(i, &x.Spec.Rules[i], names)
	}
	out.Problems = r.all
	if r.rejected() {
		return out
	}
	out.Matches = routeMatches(x.Spec.Rules)
	out.Rules = r.commit()
	return out
}

// routeBuilder makes the rules of one object.
type routeBuilder struct {
	*builder
	problems
	from  Reference
	rules []Rule
	uses  []use
}

// commit puts the rules among those that are served, and returns their names.
func (r *routeBuilder) commit() []string {
	for _, u := range r.uses {
		r.use(u)
	}
	var names []string
	for i := range r.rules {
		names = append(names, r.rules[i].Name)
	}
	r.c.Rules = append(r.c.Rules, r.rules...)
	return names
}

func (r *routeBuilder) rule(i int, in *v1alpha1.AIRouteRule, names map[string]bool) {
	at := fmt.Sprintf("spec.rules[%d]", i)
	name := fmt.Sprint(i)
	if in.Name != nil {
		name = string(*in.Name)
	}
	if names[name] || name == "" || len(name) > 253 || strings.ContainsFunc(name, func(c rune) bool { return c <= ' ' || c > '~' }) {
		r.invalid(at+".name", "must be unique, of letters, digits and dashes; a rule without a name has its number, from 0")
		return
	}
	names[name] = true
	r.costs(at, in.Costs)
	out := Rule{
		Name: r.from.String() + "/" + name, Route: r.from.String(), Managed: !r.local,
		OwnedBy: cmp.Or(in.ModelsOwnedBy, "fairway"), On: AllTriggers(), Costs: slices.Clone(in.Costs),
	}
	if in.ModelsCreatedAt != nil {
		out.Created = in.ModelsCreatedAt.Unix()
	}
	for k := range in.Matches {
		out.Matches = append(out.Matches, r.match(fmt.Sprintf("%s.matches[%d]", at, k), &in.Matches[k]))
	}
	out.Limits = r.limits(at, in.Limits, hasCost(in.Costs))
	out.Groups = r.groups(at, in.BackendRefs, out.Matches)
	r.timeouts(&out, at+".timeouts", in.Timeouts)
	out.Attempts = max(1, len(out.Groups))
	if f := in.Fallback; f != nil {
		r.fallback(&out, at+".fallback", f, in.Timeouts)
	}
	r.rules = append(r.rules, out)
}

// costs checks what answers cost. A line of the error is one mistake, field: message.
func (r *routeBuilder) costs(at string, list []v1alpha1.Cost) {
	if _, err := costs.Compile(list); err != nil {
		for line := range strings.Lines(err.Error()) {
			field, message, _ := strings.Cut(strings.TrimSuffix(line, "\n"), ": ")
			r.invalid(at+"."+field, "%s", message)
		}
	}
}

// timeouts reads the bounds of a request and of a try. Envoy's bound of a try ends with
// the answer's begin: an answer that has begun cannot be taken back.
func (r *routeBuilder) timeouts(out *Rule, at string, t *gatewayv1.HTTPRouteTimeouts) {
	if t == nil {
		return
	}
	out.Timeout = r.duration(at+".request", t.Request)
	out.FirstByteTimeout = r.duration(at+".backendRequest", t.BackendRequest)
	if out.Timeout > 0 && out.FirstByteTimeout > out.Timeout {
		r.invalid(at+".backendRequest", "must not be longer than timeouts.request")
	}
}

func (r *routeBuilder) fallback(out *Rule, at string, f *v1alpha1.Fallback, t *gatewayv1.HTTPRouteTimeouts) {
	out.On = r.triggers(at+".when", f.When)
	if f.Attempts < 0 || f.Attempts > maxAttempts {
		r.invalid(at+".attempts", "must be 0 to %d", maxAttempts)
	} else if f.Attempts > 0 {
		out.Attempts = min(out.Attempts, int(f.Attempts))
	}
	if f.FirstByteTimeout == nil {
		return
	}
	if t != nil && t.BackendRequest != nil {
		r.invalid(at+".firstByteTimeout", "means the same as timeouts.backendRequest; remove one of them")
	}
	out.FirstByteTimeout = r.duration(at+".firstByteTimeout", f.FirstByteTimeout)
}

func (p *problems) duration(field string, d *gatewayv1.Duration) time.Duration {
	if d == nil {
		return 0
	}
	v, err := time.ParseDuration(string(*d))
	if err != nil || v < 0 || v > maxDuration {
		p.invalid(field, "must be a duration of at most a day, as in 30s")
		return 0
	}
	return v
}

func (p *problems) triggers(field string, on []v1alpha1.FallbackTrigger) Triggers {
	if len(on) == 0 {
		return AllTriggers()
	}
	var t Triggers
	for i, name := range on {
		flag, ok := map[v1alpha1.FallbackTrigger]*bool{
			v1alpha1.FallbackConnectFailure: &t.ConnectFailure, v1alpha1.Fallback5xx: &t.ServerError,
			v1alpha1.Fallback429: &t.TooManyRequests, v1alpha1.FallbackNoEndpoints: &t.NoEndpoints,
			v1alpha1.FallbackSaturated: &t.Saturated, v1alpha1.FallbackPickerUnavailable: &t.PickerUnavailable,
		}[name]
		if !ok {
			p.invalid(fmt.Sprintf("%s[%d]", field, i), "must be ConnectFailure, 5xx, 429, NoEndpoints, Saturated or PickerUnavailable")
			continue
		}
		*flag = true
	}
	return t
}
