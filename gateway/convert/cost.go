package convert

import (
	"regexp"
	"strings"

	"github.com/fairway-ai/fairway/api/v1alpha1"
)

const (
	maxCosts = 36
	maxCEL   = 1024
)

var (
	costName = regexp.MustCompile(`^[A-Za-z_][-A-Za-z0-9_.]*$`)
	// literal is a string in a CEL expression, in either kind of quotes.
	literal     = regexp.MustCompile(`'[^'\\\n]*'|"[^"\\\n]*"`)
	backendWord = regexp.MustCompile(`\bbackend\b`)
	routeWord   = regexp.MustCompile(`\broute_name\b`)
	costTypes   = map[string]v1alpha1.CostType{
		"InputToken": v1alpha1.CostInputToken, "CachedInputToken": v1alpha1.CostCachedInputToken,
		"CacheCreationInputToken": v1alpha1.CostCacheCreationInputToken, "OutputToken": v1alpha1.CostOutputToken,
		"ReasoningToken": v1alpha1.CostReasoningToken, "TotalToken": v1alpha1.CostTotalToken, "CEL": v1alpha1.CostCEL,
	}
)

// costs converts what a route counts, which is counted by each of its rules.
func (c *converter) costs(x *object) []v1alpha1.Cost {
	var out []v1alpha1.Cost
	seen := map[string]bool{}
	for _, n := range x.root.list("llmRequestCosts") {
		name, kind, cel := n.str("metadataKey"), n.str("type"), n.str("cel")
		t, known := costTypes[kind]
		switch {
		case !costName.MatchString(name) || len(name) > 64:
			c.lost(x, n.at("metadataKey"), "%q cannot be a cost's name, which has up to 64 letters, digits, _, - and dots; give it another, also where it is used", shorten(name))
			continue
		case seen[name]:
			c.lost(x, n.at("metadataKey"), "%q is there twice; the first one was taken", name)
			continue
		case !known:
			c.lost(x, n.at("type"), "%q is not a type of cost", shorten(kind))
			continue
		case t == v1alpha1.CostCEL && (cel == "" || len(cel) > maxCEL):
			c.lost(x, n.at("cel"), "must have 1 to %d characters", maxCEL)
			continue
		case len(out) == maxCosts:
			c.lost(x, n.path, "a rule has at most %d costs", maxCosts)
			continue
		}
		cost := v1alpha1.Cost{Name: name, Type: t}
		if t == v1alpha1.CostCEL {
			cost.CEL = c.expression(x, n.at("cel"), cel)
		}
		seen[name] = true
		out = append(out, cost)
	}
	if len(out) > 0 {
		c.check(x, "spec.llmRequestCosts", "costs are in dynamic metadata dev.fairway.costs, not io.envoy.ai_gateway: change rate limits and access logs that read them")
	}
	return out
}

// expression rewrites the names of backends in a CEL expression.
func (c *converter) expression(x *object, path, cel string) string {
	if routeWord.MatchString(cel) {
		c.check(x, path, "route_name is namespace/name of the AIRoute")
	}
	if !backendWord.MatchString(literal.ReplaceAllString(cel, "")) {
		return cel
	}
	missed := false
	out := literal.ReplaceAllStringFunc(cel, func(s string) string {
		// NAME.NAMESPACE, where names may have dots and namespaces may not.
		inner := s[1 : len(s)-1]
		i := strings.LastIndexByte(inner, '.')
		if i < 0 {
			missed = missed || inner != ""
			return s
		}
		name, namespace := inner[:i], inner[i+1:]
		if c.byName[key{kindServiceBackend, namespace, name}] == nil && c.byName[key{kindServiceBackend, "", name}] == nil {
			missed = true
			return s
		}
		return s[:1] + namespace + "/" + name + s[:1]
	})
	if missed {
		c.check(x, path, "backend is namespace/name of the AIBackend, not name.namespace: some strings in it are no backend of the input, and were left alone")
	}
	if len(out) > maxCEL {
		return cel
	}
	return out
}
