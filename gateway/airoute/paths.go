package airoute

import (
	"slices"
	"strings"

	gatewayv1 "sigs.k8s.io/gateway-api/apis/v1"

	"github.com/fairway-ai/fairway/aibackend"
	"github.com/fairway-ai/fairway/api/v1alpha1"
)

// maxMatches is how many an HTTPRoute's rule may have.
const maxMatches = 64

// usualPaths are the paths of AI APIs, which requests have to AIRoutes that match none
// themselves. Those that a provider's name begins are for its own SDK.
var usualPaths = [...]struct {
	path   string
	prefix bool
}{
	{"/v1/chat/completions", false},
	{"/v1/completions", false},
	{"/v1/embeddings", false},
	{"/v1/responses", true},
	{"/v1/images", true},
	{"/v1/audio", true},
	{"/v1/moderations", false},
	{"/v1/models", false},
	{"/v1/messages", true},
	{"/v1/rerank", false},
	{"/v2/rerank", false},
	{"/tokenize", false},
	{"/detokenize", false},
	{"/anthropic/v1/messages", true},
	{"/cohere/v2/rerank", false},
}

// requestPaths are paths of AI APIs as requests have them, for the question which of
// them a rule's paths let through.
var requestPaths = [...]string{
	"/v1/chat/completions", "/v1/completions", "/v1/embeddings", "/v1/responses", "/v1/images/generations", "/v1/images/edits",
	"/v1/images/variations", "/v1/audio/speech", "/v1/audio/transcriptions", "/v1/audio/translations", "/v1/moderations",
	"/v1/messages", "/v1/messages/count_tokens", "/v1/rerank", "/v2/rerank", "/tokenize", "/detokenize",
	"/anthropic/v1/messages", "/cohere/v2/rerank",
}

// routeMatches are what Envoy's routes to the rules match: the rules' paths, and the
// usual ones when a match has none. There are never more than an HTTPRoute's rule may
// have: then every path goes to the rules.
func routeMatches(rules []v1alpha1.AIRouteRule) []gatewayv1.HTTPRouteMatch {
	type path struct {
		kind  gatewayv1.PathMatchType
		value string
	}
	var all []path
	add := func(p path) {
		if !slices.Contains(all, p) {
			all = append(all, p)
		}
	}
	usual := func() {
		for _, u := range usualPaths {
			kind := gatewayv1.PathMatchExact
			if u.prefix {
				kind = gatewayv1.PathMatchPathPrefix
			}
			add(path{kind, u.path})
		}
	}
	for i := range rules {
		if len(rules[i].Matches) == 0 {
			usual()
		}
		for k := range rules[i].Matches {
			p := rules[i].Matches[k].Path
			if p == nil {
				usual()
				continue
			}
			kind, value := pathOf(p.Type, p.Value)
			add(path{kind, value})
		}
	}
	if len(all) > maxMatches {
		all = []path{{gatewayv1.PathMatchPathPrefix, "/"}}
	}
	out := make([]gatewayv1.HTTPRouteMatch, len(all))
	for i := range all {
		out[i].Path = &gatewayv1.HTTPPathMatch{Type: &all[i].kind, Value: &all[i].value}
	}
	return out
}

// answers says whether a backend of this schema can answer any request that the
// matches let through.
func answers(s aibackend.Schema, matches []Match) bool {
	if len(matches) == 0 {
		return answersAny(s)
	}
	return slices.ContainsFunc(matches, func(m Match) bool {
		p := &m.Path
		switch {
		case !p.set:
			return answersAny(s)
		case p.Regexp == nil && !p.Element:
			return aibackend.CanTranslate(p.Exact, s)
		}
		through := 0
		for _, path := range requestPaths {
			if p.Holds(path) {
				if aibackend.CanTranslate(path, s) {
					return true
				}
				through++
			}
		}
		// Before a path of one's own, the API's path may still come after it.
		return through == 0 && !strings.HasPrefix(p.Prefix, "/v1/")
	})
}

// answersAny says whether backends of this schema have any API.
func answersAny(s aibackend.Schema) bool {
	return slices.ContainsFunc(requestPaths[:], func(path string) bool { return aibackend.CanTranslate(path, s) })
}
