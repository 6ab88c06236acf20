package convert

import (
	"cmp"
	"fmt"
	"regexp"
	"slices"
	"strings"
	"time"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	gatewayv1 "sigs.k8s.io/gateway-api/apis/v1"

	"github.com/fairway-ai/fairway/api/v1alpha1"
)

const (
	modelHeader = "x-ai-eg-model"
	// usualTimeout is how long a request may take where a rule does not say.
	usualTimeout = "60s"
)

var duration = regexp.MustCompile(`^([0-9]{1,5}(h|m|s|ms)){1,4}$`)

// rules converts the rules of a route, the most specific ones first.
func (c *converter) rules(x *object, costs []v1alpha1.Cost) []v1alpha1.AIRouteRule {
	var out []v1alpha1.AIRouteRule
	named := map[string]bool{}
	for i, n := range x.root.list("rules") {
		r := v1alpha1.AIRouteRule{Costs: costs, ModelsOwnedBy: n.str("modelsOwnedBy")}
		if s := n.str("name"); s != "" && !named[s] && len(s) <= 253 {
			named[s] = true
			name := gatewayv1.SectionName(s)
			r.Name = &name
		}
		if len(r.ModelsOwnedBy) > 256 {
			c.lost(x, n.at("modelsOwnedBy"), "is longer than 256 characters")
			r.ModelsOwnedBy = ""
		}
		if s := n.str("modelsCreatedAt"); s != "" {
			at, err := time.Parse(time.RFC3339, s)
			if err != nil {
				c.lost(x, n.at("modelsCreatedAt"), "is not a time as in 2024-05-21T10:00:00Z")
			} else {
				t := metav1.NewTime(at.UTC())
				r.ModelsCreatedAt = &t
			}
		}
		matches := n.list("matches")
		if r.Matches = c.matches(x, matches); len(r.Matches) == 0 && len(matches) > 0 {
			c.lost(x, n.path, "nothing is left of its matches; the rule was left out")
			n.ignore()
			continue
		}
		r.BackendRefs = c.backendRefs(x, n, i)
		c.timeouts(x, n, &r)
		if len(r.BackendRefs) == 0 {
			c.lost(x, n.at("backendRefs"), "there is no backend left; the rule was left out")
			continue
		}
		out = append(out, r)
	}
	return c.bySpecificity(x, out)
}

// bySpecificity orders rules as their HTTPRoute was matched: those with more headers go
// first, else the order is that of the route.
func (c *converter) bySpecificity(x *object, rules []v1alpha1.AIRouteRule) []v1alpha1.AIRouteRule {
	most := func(r *v1alpha1.AIRouteRule) (n int) {
		for _, m := range r.Matches {
			n = max(n, conditions(m))
		}
		return n
	}
	sorted := slices.Clone(rules)
	slices.SortStableFunc(sorted, func(a, b v1alpha1.AIRouteRule) int { return cmp.Compare(most(&b), most(&a)) })
	for i := range sorted {
		if most(&sorted[i]) != most(&rules[i]) {
			c.check(x, "spec.rules", "rules are tried in order, not by how specific they are: those that match more headers were moved to the front")
			break
		}
	}
	for i := range sorted {
		for _, m := range sorted[i].Matches {
			if later := i + 1; later < len(sorted) && conditions(m) < most(&sorted[later]) {
				c.check(x, "spec.rules", "a rule has matches of different numbers of headers; where others compete with the less specific ones, make two rules of it")
				return sorted
			}
		}
	}
	return sorted
}

func conditions(m v1alpha1.AIRouteMatch) int {
	n := len(m.Headers)
	if m.Model != nil {
		n++
	}
	return n
}

func (c *converter) matches(x *object, all []*node) []v1alpha1.AIRouteMatch {
	var out []v1alpha1.AIRouteMatch
	for _, n := range all {
		if len(out) == maxMatches {
			c.lost(x, n.path, "a rule has at most %d matches; make another rule for the rest", maxMatches)
			n.ignore()
			continue
		}
		if m, ok := c.match(x, n); ok {
			out = append(out, m)
		}
	}
	return out
}

// match converts the headers of a match, of which one may be the model. When one of them
// cannot be converted, the match is left out: with fewer conditions it would take more.
func (c *converter) match(x *object, n *node) (m v1alpha1.AIRouteMatch, ok bool) {
	for _, h := range n.list("headers") {
		name, value, kind := h.str("name"), h.str("value"), h.str("type")
		kind = cmp.Or(kind, "Exact")
		lower := strings.ToLower(name)
		bad := ""
		switch {
		case kind != "Exact" && kind != "RegularExpression":
			bad = "must be Exact or RegularExpression"
		case kind == "RegularExpression" && !compiles(value):
			bad = "is not a regular expression"
		case lower == modelHeader && (value == "" || len(value) > 256):
			bad = "a model's name has 1 to 256 characters"
		case lower == modelHeader && m.Model != nil:
			bad = "a match has one model"
		case value == "" || len(value) > 4096 || !headerName.MatchString(name) || strings.HasPrefix(lower, "x-fairway-"):
			bad = "cannot be matched"
		case len(m.Headers) == maxHeaders:
			bad = fmt.Sprintf("a match has at most %d headers", maxHeaders)
		}
		if bad != "" {
			c.lost(x, h.path, "%s; the match was left out", bad)
			return m, false
		}
		if lower == modelHeader {
			m.Model = &v1alpha1.ModelMatch{Type: v1alpha1.ModelMatchType(kind), Value: value}
			continue
		}
		if strings.HasPrefix(lower, "x-ai-eg-") {
			c.check(x, h.at("name"), "%s is set by Envoy AI Gateway; clients must send it now", lower)
		}
		t := gatewayv1.HeaderMatchType(kind)
		if slices.ContainsFunc(m.Headers, func(o gatewayv1.HTTPHeaderMatch) bool { return strings.EqualFold(string(o.Name), name) }) {
			c.check(x, h.path, "the header is there twice; the first one counted, and was taken")
			continue
		}
		m.Headers = append(m.Headers, gatewayv1.HTTPHeaderMatch{Type: &t, Name: gatewayv1.HTTPHeaderName(name), Value: value})
	}
	return m, true
}

func compiles(s string) bool {
	_, err := regexp.Compile(s)
	return err == nil
}

func (c *converter) backendRefs(x *object, n *node, rule int) []v1alpha1.AIBackendRef {
	var out []v1alpha1.AIBackendRef
	for i, ref := range n.list("backendRefs") {
		if len(out) == maxRefs {
			c.lost(x, ref.path, "a rule has at most %d backends", maxRefs)
			ref.ignore()
			continue
		}
		if r, ok := c.backendRef(x, ref, rule, i); ok {
			out = append(out, r)
		}
	}
	// Only the order of priorities counts, and there are few of them.
	if slices.ContainsFunc(out, func(r v1alpha1.AIBackendRef) bool { return r.Priority > maxPriority }) {
		var all []int32
		for _, r := range out {
			all = append(all, r.Priority)
		}
		slices.Sort(all)
		all = slices.Compact(all)
		for i := range out {
			out[i].Priority = int32(slices.Index(all, out[i].Priority))
		}
	}
	return out
}

// timeouts converts how long a request may take: as the rule says or, in version 0.2, as
// all of its backends say.
func (c *converter) timeouts(x *object, n *node, r *v1alpha1.AIRouteRule) {
	t := n.child("timeouts")
	if t == nil {
		t = c.backendTimeouts(x, n)
	}
	read := func(n *node, field string) *gatewayv1.Duration {
		s := n.str(field)
		if s != "" && !duration.MatchString(s) {
			c.lost(n.x, n.at(field), "is not a duration as in 30s")
			s = ""
		}
		if s == "" {
			return nil
		}
		d := gatewayv1.Duration(s)
		return &d
	}
	out := &gatewayv1.HTTPRouteTimeouts{Request: read(t, "request"), BackendRequest: read(t, "backendRequest")}
	if out.Request == nil {
		d := gatewayv1.Duration(usualTimeout)
		out.Request = &d
	}
	if b := out.BackendRequest; b != nil && longer(*b, *out.Request) {
		c.lost(t.x, t.at("backendRequest"), "is longer than the request's, and was left out")
		out.BackendRequest = nil
	}
	r.Timeouts = out
	idle := read(n, "streamIdleTimeout")
	switch {
	case out.BackendRequest != nil && idle != nil:
		c.lost(t.x, t.at("backendRequest"), "is left out, since streamIdleTimeout bounds the wait for one backend's answer already; keep the one that matters more")
		out.BackendRequest = nil
	case out.BackendRequest != nil:
		c.check(t.x, t.at("backendRequest"), "bounds the wait for the first byte of one backend's answer; an answer that has begun is bounded by request alone")
	}
	if idle != nil {
		r.Fallback = &v1alpha1.Fallback{FirstByteTimeout: idle}
		c.check(x, n.at("streamIdleTimeout"), "bounds the wait for the first byte, as fallback.firstByteTimeout; between later ones there is no bound but the request's timeout")
	}
}

// longer compares durations, of which 0 is no bound.
func longer(a, b gatewayv1.Duration) bool {
	x, _ := time.ParseDuration(string(a))
	y, _ := time.ParseDuration(string(b))
	return y != 0 && (x > y)
}

// backendTimeouts are those of the rule's AIServiceBackends, where they all say the same.
func (c *converter) backendTimeouts(x *object, n *node) *node {
	var first *node
	refs := n.list("backendRefs")
	for i, ref := range refs {
		namespace := cmp.Or(ref.str("namespace"), x.namespace)
		b := c.byName[key{kindServiceBackend, namespace, ref.str("name")}]
		if b == nil || !b.root.has("timeouts") {
			continue
		}
		t := b.root.child("timeouts")
		if first == nil && i == 0 {
			first = t
		}
		if first == nil || t.str("request") != first.str("request") || t.str("backendRequest") != first.str("backendRequest") {
			c.lost(b, "spec.timeouts", "timeouts belong to the rules of AIRoutes; the backends of a rule of %s have different ones", x.title())
		}
	}
	return first
}
