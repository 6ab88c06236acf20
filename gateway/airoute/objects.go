package airoute

import (
	"cmp"
	"errors"
	"fmt"
	"maps"
	"net/url"
	"regexp"
	"slices"
	"strings"
	"time"

	gatewayv1 "sigs.k8s.io/gateway-api/apis/v1"

	"github.com/fairway-ai/fairway/api/v1alpha1"
)

const (
	fairwayGroup = "fairway.dev"
	poolGroup    = "inference.networking.k8s.io"
	poolKind     = "InferencePool"

	maxPriority = 31
	maxWeight   = 1_000_000
)

// FromObjects makes rules and backends of objects. pools are the names of the pools
// that there are, "namespace/name". What is not served, or not yet, is an error that
// names the field.
func FromObjects(o *Objects, pools []string) (*Config, error) {
	b := &builder{objects: o, pools: pools, made: map[string]*Backend{}, named: map[string]bool{}, c: &Config{}}
	for i := range o.backends {
		b.backend(&o.backends[i])
	}
	seen := map[string]bool{}
	for i := range o.routes {
		r := &o.routes[i]
		if name := r.Namespace + "/" + r.Name; seen[name] {
			b.fail(r.source, "metadata.name", "AIRoute %s is there twice", name)
		} else {
			seen[name] = true
			b.route(r)
		}
	}
	if err := errors.Join(b.errs...); err != nil {
		return nil, err
	}
	for i := range o.backends {
		x := &o.backends[i]
		if name := x.Namespace + "/" + x.Name; !b.named[name] {
			b.c.Warnings = append(b.c.Warnings, x.errorf("metadata.name", "%s is in no AIRoute and gets no requests", name).Error())
		}
	}
	if len(b.c.Rules) > 0 {
		for _, p := range pools {
			if !b.named[p] {
				b.c.Warnings = append(b.c.Warnings, fmt.Sprintf("InferencePool %s is in no AIRoute; beside AIRoutes, it gets no requests", p))
			}
		}
	}
	return b.c, nil
}

type builder struct {
	objects *Objects
	pools   []string
	made    map[string]*Backend // by namespace/name
	named   map[string]bool     // what rules name
	c       *Config
	errs    []error
}

func (b *builder) fail(s source, field, format string, args ...any) {
	if len(b.errs) < maxProblems {
		b.errs = append(b.errs, s.errorf(field, format, args...))
	}
}

func (b *builder) route(r *routeObject) {
	if len(r.Spec.Hostnames) > 0 {
		b.fail(r.source, "spec.hostnames", "is not supported outside of a cluster yet; remove it, or match the header host")
	}
	if n := len(r.Spec.Rules); n == 0 || n > 256 {
		b.fail(r.source, "spec.rules", "must have 1 to 256 rules")
	}
	names := map[string]bool{}
	for i := range r.Spec.Rules {
		b.rule(r, i, names)
	}
}

func (b *builder) rule(r *routeObject, i int, names map[string]bool) {
	in := &r.Spec.Rules[i]
	at := fmt.Sprintf("spec.rules[%d]", i)
	name := fmt.Sprint(i)
	if in.Name != nil {
		name = string(*in.Name)
	}
	if names[name] || name == "" || len(name) > 253 || strings.ContainsFunc(name, func(c rune) bool { return c <= ' ' || c > '~' }) {
		b.fail(r.source, at+".name", "must be unique, of letters, digits and dashes")
		return
	}
	names[name] = true
	if len(in.Costs) > 0 {
		b.fail(r.source, at+".costs", "is not supported outside of a cluster yet; remove it")
	}
	out := Rule{Name: r.Namespace + "/" + r.Name + "/" + name, OwnedBy: cmp.Or(in.ModelsOwnedBy, "fairway"), On: AllTriggers()}
	if in.ModelsCreatedAt != nil {
		out.Created = in.ModelsCreatedAt.Unix()
	}
	for k := range in.Matches {
		out.Matches = append(out.Matches, b.match(r.source, fmt.Sprintf("%s.matches[%d]", at, k), &in.Matches[k]))
	}
	out.Groups = b.groups(r, at, in.BackendRefs)
	if t := in.Timeouts; t != nil {
		if t.BackendRequest != nil {
			b.fail(r.source, at+".timeouts.backendRequest", "is not supported; fallback.firstByteTimeout bounds a try")
		}
		out.Timeout = b.duration(r.source, at+".timeouts.request", t.Request)
	}
	out.Attempts = max(1, len(out.Groups))
	if f := in.Fallback; f != nil {
		out.On = b.triggers(r.source, at+".fallback.on", f.On)
		if f.Attempts < 0 || f.Attempts > 32 {
			b.fail(r.source, at+".fallback.attempts", "must be 0 to 32")
		} else if f.Attempts > 0 {
			out.Attempts = min(out.Attempts, int(f.Attempts))
		}
		out.FirstByteTimeout = b.duration(r.source, at+".fallback.firstByteTimeout", f.FirstByteTimeout)
	}
	b.c.Rules = append(b.c.Rules, out)
}

func (b *builder) duration(s source, field string, d *gatewayv1.Duration) time.Duration {
	if d == nil {
		return 0
	}
	v, err := time.ParseDuration(string(*d))
	if err != nil || v < 0 || v > 24*time.Hour {
		b.fail(s, field, "must be a duration of at most a day, as in 30s")
		return 0
	}
	return v
}

func (b *builder) triggers(s source, field string, on []v1alpha1.FallbackTrigger) Triggers {
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
			b.fail(s, fmt.Sprintf("%s[%d]", field, i), "must be ConnectFailure, 5xx, 429, NoEndpoints, Saturated or PickerUnavailable")
			continue
		}
		*flag = true
	}
	return t
}

func (b *builder) match(s source, at string, in *v1alpha1.AIRouteMatch) Match {
	var out Match
	if m := in.Model; m != nil {
		out.Model = b.compare(s, at+".model", string(m.Type), m.Value, "Prefix")
	}
	if p := in.Path; p != nil {
		value, kind := "/", gatewayv1.PathMatchPathPrefix
		if p.Value != nil {
			value = *p.Value
		}
		if p.Type != nil {
			kind = *p.Type
		}
		if kind == gatewayv1.PathMatchPathPrefix {
			out.Path = Below(value)
		} else {
			out.Path = b.compare(s, at+".path", string(kind), value, "")
		}
	}
	for i, h := range in.Headers {
		field := fmt.Sprintf("%s.headers[%d]", at, i)
		kind := "Exact"
		if h.Type != nil {
			kind = string(*h.Type)
		}
		name := strings.ToLower(string(h.Name))
		if name == "host" {
			name = ":authority"
		}
		if name == "" || strings.HasPrefix(name, "x-fairway-") {
			b.fail(s, field+".name", "must be a header that clients send")
		}
		out.Headers = append(out.Headers, HeaderMatch{name, b.compare(s, field, kind, h.Value, "")})
	}
	return out
}

// compare reads a type and a value. prefix is what the type of prefixes is called, ""
// where there is none.
func (b *builder) compare(s source, at, kind, value, prefix string) Comparison {
	switch {
	case value == "" || len(value) > 4096:
		b.fail(s, at+".value", "must have 1 to 4096 characters")
	case kind == "" || kind == "Exact":
		return Equal(value)
	case kind == "RegularExpression":
		re, err := regexp.Compile(`^(?:` + value + `)$`)
		if err != nil {
			b.fail(s, at+".value", "is not a regular expression")
			return Equal(value)
		}
		return Matching(re)
	case kind == prefix && prefix != "":
		return HasPrefix(value)
	default:
		b.fail(s, at+".type", "must be Exact, RegularExpression%s", map[bool]string{true: " or Prefix"}[prefix != ""])
	}
	return Equal(value)
}

func (b *builder) groups(r *routeObject, at string, refs []v1alpha1.AIBackendRef) [][]Target {
	if len(refs) == 0 || len(refs) > 32 {
		b.fail(r.source, at+".backendRefs", "must have 1 to 32 backends")
		return nil
	}
	byPriority := map[int32][]Target{}
	for i := range refs {
		ref, field := &refs[i], fmt.Sprintf("%s.backendRefs[%d]", at, i)
		if ref.Priority < 0 || ref.Priority > maxPriority {
			b.fail(r.source, field+".priority", "must be 0 to %d", maxPriority)
			continue
		}
		t := Target{Weight: 1}
		if w := ref.Weight; w != nil {
			if *w < 0 || *w > maxWeight {
				b.fail(r.source, field+".weight", "must be 0 to %d", maxWeight)
				continue
			}
			t.Weight = uint32(*w)
		}
		if b.target(r, field, ref, &t) && t.Weight > 0 {
			byPriority[ref.Priority] = append(byPriority[ref.Priority], t)
		}
	}
	var groups [][]Target
	for _, p := range slices.Sorted(maps.Keys(byPriority)) {
		groups = append(groups, byPriority[p])
	}
	if len(groups) == 0 && len(b.errs) == 0 {
		b.fail(r.source, at+".backendRefs", "all have weight 0, so that nobody is left")
	}
	return groups
}

// target finds what ref names.
func (b *builder) target(r *routeObject, at string, ref *v1alpha1.AIBackendRef, t *Target) bool {
	namespace := r.Namespace
	if ref.Namespace != nil {
		namespace = string(*ref.Namespace)
	}
	name := namespace + "/" + ref.Name
	switch group, kind := cmp.Or(ref.Group, fairwayGroup), cmp.Or(ref.Kind, kindBackend); {
	case group == poolGroup && kind == poolKind:
		if !slices.Contains(b.pools, name) {
			b.fail(r.source, at+".name", "there is no InferencePool %s in this file", shorten(name))
			return false
		}
		if ref.Model != "" {
			b.fail(r.source, at+".model", "the model of a request to a pool cannot be replaced yet; remove it")
			return false
		}
		t.Pool = name
	case group == fairwayGroup && kind == kindBackend:
		base := b.made[name]
		if base == nil {
			if !slices.ContainsFunc(b.objects.backends, func(x backendObject) bool { return x.Namespace+"/"+x.Name == name }) {
				b.fail(r.source, at+".name", "there is no AIBackend %s in this file", shorten(name))
			}
			return false
		}
		if len(ref.Model) > 256 {
			b.fail(r.source, at+".model", "must have at most 256 characters")
			return false
		}
		t.Backend = b.variant(base, ref.Model)
	case kind == poolKind:
		b.fail(r.source, at+".group", "must be %s for an InferencePool", poolGroup)
		return false
	default:
		b.fail(r.source, at+".kind", "must be AIBackend, or InferencePool with group: %s", poolGroup)
		return false
	}
	b.named[name] = true
	return true
}

// variant is the name of a backend that is sent another model.
func (b *builder) variant(base *Backend, model string) string {
	if model == "" {
		return base.Name
	}
	x := *base
	x.Name += "#" + url.PathEscape(model)
	if b.c.Backend(x.Name) == nil {
		x.Provider.Model = model
		b.c.Backends = append(b.c.Backends, x)
	}
	return x.Name
}
