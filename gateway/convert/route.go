package convert

import (
	"fmt"
	"regexp"
	"slices"
	"strings"

	gatewayv1 "sigs.k8s.io/gateway-api/apis/v1"

	"github.com/fairway-ai/fairway/api/v1alpha1"
)

// Limits of an AIRoute.
const (
	maxParents   = 16
	maxHostnames = 16
	maxRules     = 64
	maxMatches   = 128
	maxHeaders   = 16
	maxRefs      = 32
	maxPriority  = 31
)

var routeHost = regexp.MustCompile(`^(\*\.)?[a-z0-9]([-a-z0-9]*[a-z0-9])?(\.[a-z0-9]([-a-z0-9]*[a-z0-9])?)*$`)

// route makes an AIRoute of an AIGatewayRoute, or several of one with many rules.
func (c *converter) route(x *object) {
	x.used = true
	spec := v1alpha1.AIRouteSpec{ParentRefs: c.parents(x)}
	for _, h := range x.root.strings("hostnames") {
		if !routeHost.MatchString(h) || len(h) > 253 {
			c.lost(x, "spec.hostnames", "%q is not a host's name", shorten(h))
			continue
		}
		spec.Hostnames = append(spec.Hostnames, gatewayv1.Hostname(h))
	}
	if len(spec.Hostnames) > maxHostnames {
		c.lost(x, "spec.hostnames", "a route has at most %d; make another AIRoute for the rest", maxHostnames)
		spec.Hostnames = spec.Hostnames[:maxHostnames]
	}
	if s := x.root.child("schema"); s != nil { // up to version 0.2, and always OpenAI
		s.ignore()
	}
	if f := x.root.child("filterConfig"); f != nil {
		f.ignore()
		c.check(x, "spec.filterConfig", "there is no filter process for each Gateway; resources are those of the Helm chart's gateway.resources")
	}
	costs := c.costs(x)
	rules := c.rules(x, costs)
	if len(rules) == 0 {
		c.lost(x, "spec.rules", "there is no rule left; no AIRoute was made")
		return
	}
	if len(rules) > maxRules {
		c.check(x, "spec.rules", "a route has at most %d, so that several AIRoutes were made", maxRules)
	}
	for i := 0; len(rules) > 0; i++ {
		n := min(len(rules), maxRules)
		part, meta := spec, x.meta
		part.Rules, rules = rules[:n], rules[n:]
		if i > 0 {
			meta.Name = fmt.Sprintf("%s-%d", clip(meta.Name, 240), i+1)
		}
		c.routes = append(c.routes, output{meta, kindAIRoute, part})
	}
}

// parents reads the Gateways, which version 0.2 calls targets.
func (c *converter) parents(x *object) []gatewayv1.ParentReference {
	refs := x.root.list("parentRefs")
	refs = append(refs, x.root.list("targetRefs")...)
	var out []gatewayv1.ParentReference
	for _, n := range refs {
		group, kind := n.str("group"), n.str("kind")
		r := gatewayv1.ParentReference{Name: gatewayv1.ObjectName(n.str("name"))}
		if s := n.str("namespace"); s != "" {
			ns := gatewayv1.Namespace(s)
			r.Namespace = &ns
		}
		if s := n.str("sectionName"); s != "" {
			section := gatewayv1.SectionName(s)
			r.SectionName = &section
		}
		if p, ok := n.num("port"); ok {
			port := gatewayv1.PortNumber(p)
			r.Port = &port
		}
		switch {
		case group != "" && group != groupGateway || kind != "" && kind != "Gateway" || r.Name == "":
			c.lost(x, n.path, "is not a Gateway")
		case len(out) == maxParents:
			c.lost(x, n.path, "a route has at most %d parents; make another AIRoute for the rest", maxParents)
		case slices.ContainsFunc(out, func(o gatewayv1.ParentReference) bool { return sameParent(o, r) }):
			c.check(x, n.path, "is there twice")
		default:
			out = append(out, r)
		}
	}
	return out
}

func sameParent(a, b gatewayv1.ParentReference) bool {
	equal := func(a, b *gatewayv1.Namespace) bool { return a == b || a != nil && b != nil && *a == *b }
	if a.Name != b.Name || !equal(a.Namespace, b.Namespace) {
		return false
	}
	return a.SectionName == nil || b.SectionName == nil || *a.SectionName == *b.SectionName
}

// trafficPolicy points out what of a BackendTrafficPolicy no longer finds its numbers.
func (c *converter) trafficPolicy(x *object) {
	if names(x.raw, "io.envoy.ai_gateway") {
		c.lost(x, "spec", "reads numbers from dynamic metadata io.envoy.ai_gateway; in Fairway they are in dev.fairway.costs, under the same keys")
	}
	if names(x.raw, modelHeader) {
		c.lost(x, "spec", "selects by header %s, which Fairway does not set; select by a header that clients send, or give the rules of each model a cost of their own", modelHeader)
	}
	if x.root.has("retry") {
		c.check(x, "spec.retry", "an AIRoute falls back by itself, as its rules' fallback says; a retry here is for its HTTPRoute's own routes, and can go")
	}
}

// names says whether a value is somewhere in x.
func names(x any, value string) bool {
	switch x := x.(type) {
	case string:
		return strings.EqualFold(x, value)
	case []any:
		return slices.ContainsFunc(x, func(v any) bool { return names(v, value) })
	case map[string]any:
		for _, v := range x {
			if names(v, value) {
				return true
			}
		}
	}
	return false
}

// variantName names the AIBackend of one reference.
func variantName(backend, route string, rule, ref int) string {
	return fmt.Sprintf("%s-%s-%d-%d", clip(backend, 100), clip(route, 100), rule, ref)
}
