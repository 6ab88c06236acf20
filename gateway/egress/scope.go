package egress

import (
	"maps"
	"strings"
	"sync"
	"sync/atomic"

	"github.com/fairway-ai/fairway/extproc"
	"github.com/fairway-ai/fairway/gateway/airoute"
	"github.com/fairway-ai/fairway/gateway/xds"
)

const (
	// maxScopes bounds the lists of AIRoutes that are remembered, and maxScopeBytes the
	// length of each. There is one for each virtual host of the gateways.
	maxScopes     = 1024
	maxScopeBytes = 64 << 10
)

// scopes remembers what lists of AIRoutes hold, so that a request costs a look-up. The
// zero value is ready to use, and safe for concurrent use.
type scopes struct {
	mu    sync.Mutex // serialises writers
	known atomic.Pointer[map[string][]string]
}

// of returns the elements of a list that is joined by commas.
func (s *scopes) of(list string) []string {
	if known := s.known.Load(); known != nil {
		if routes, ok := (*known)[list]; ok {
			return routes
		}
	}
	if len(list) > maxScopeBytes {
		return parseScope(list)
	}
	list = strings.Clone(list) // not a part of something larger
	routes := parseScope(list)
	s.mu.Lock()
	defer s.mu.Unlock()
	next := map[string][]string{}
	if known := s.known.Load(); known != nil && len(*known) < maxScopes {
		next = maps.Clone(*known)
	}
	next[list] = routes
	s.known.Store(&next)
	return routes
}

// parseScope splits a list at its commas, less the empty elements.
func parseScope(list string) []string {
	var routes []string
	for route := range strings.SplitSeq(list, ",") {
		if route != "" {
			routes = append(routes, route)
		}
	}
	return routes
}

// find returns the rule for a request, or why there is none. Without either, the
// request is for a pool alone.
func (r *Router) find(c *airoute.Config, scope string, req *extproc.Request) (*airoute.Rule, error) {
	list, ofRoutes := strings.CutPrefix(scope, xds.RoutesPrefix)
	name, ofRule := strings.CutPrefix(scope, xds.RulePrefix)
	switch {
	case !ofRoutes && !ofRule:
		if scope != "" || c == nil || len(c.Rules) == 0 {
			return nil, nil
		}
		if rule := c.Find(seen(req)); rule != nil {
			return rule, nil
		}
		return nil, unknown(req.Body.Model, c.Served())
	case c == nil:
		return nil, &extproc.Rejection{Status: 503, Code: "not_ready", Message: "the gateway does not know its routes yet, try again later"}
	case ofRule:
		if rule := c.Rule(name); rule != nil {
			return rule, nil
		}
		return nil, &extproc.Rejection{Status: 503, Code: "rule_not_found", Message: "the gateway does not know the rule of this route, or does so no longer; try again later"}
	}
	routes := r.scopes.of(list)
	if rule := c.FindIn(routes, seen(req)); rule != nil {
		return rule, nil
	}
	return nil, unknown(req.Body.Model, c.ServedIn(routes))
}

// seen is what rules look at.
func seen(req *extproc.Request) airoute.Request {
	path, _, _ := strings.Cut(req.Path, "?")
	return airoute.Request{Model: req.Body.Model, Path: path, Header: req.Header}
}
