package envoygateway

import (
	"strings"

	corev3 "github.com/envoyproxy/go-control-plane/envoy/config/core/v3"
	routev3 "github.com/envoyproxy/go-control-plane/envoy/config/route/v3"
	gatewayv1 "sigs.k8s.io/gateway-api/apis/v1"
)

// changes are what the filters of one backendRef do to its requests and responses.
// Envoy Gateway ignores them on pools.
type changes struct {
	addRequest, addResponse       []*corev3.HeaderValueOption
	removeRequest, removeResponse []string
	host                          string
}

func (c *changes) any() bool {
	return len(c.addRequest)+len(c.addResponse)+len(c.removeRequest)+len(c.removeResponse) > 0 || c.host != ""
}

// apply puts the changes on a weighted cluster.
func (c *changes) apply(w *routev3.WeightedCluster_ClusterWeight) {
	w.RequestHeadersToAdd, w.RequestHeadersToRemove = c.addRequest, c.removeRequest
	w.ResponseHeadersToAdd, w.ResponseHeadersToRemove = c.addResponse, c.removeResponse
	if c.host != "" {
		w.HostRewriteSpecifier = &routev3.WeightedCluster_ClusterWeight_HostRewriteLiteral{HostRewriteLiteral: c.host}
	}
}

// filterChanges translates the filters of a backendRef. It is false for a filter
// that a weighted cluster of Envoy cannot be made to obey: the Gateway API wants
// such requests to fail, not to pass unfiltered.
func filterChanges(filters []gatewayv1.HTTPRouteFilter) (changes, bool) {
	var c changes
	for i := range filters {
		f := &filters[i]
		switch {
		case f.Type == gatewayv1.HTTPRouteFilterRequestHeaderModifier && f.RequestHeaderModifier != nil:
			add, remove, ok := headerChanges(f.RequestHeaderModifier)
			if !ok {
				return changes{}, false
			}
			c.addRequest, c.removeRequest = append(c.addRequest, add...), append(c.removeRequest, remove...)
		case f.Type == gatewayv1.HTTPRouteFilterResponseHeaderModifier && f.ResponseHeaderModifier != nil:
			add, remove, ok := headerChanges(f.ResponseHeaderModifier)
			if !ok {
				return changes{}, false
			}
			c.addResponse, c.removeResponse = append(c.addResponse, add...), append(c.removeResponse, remove...)
		case f.Type == gatewayv1.HTTPRouteFilterURLRewrite && f.URLRewrite != nil &&
			f.URLRewrite.Path == nil && f.URLRewrite.Hostname != nil:
			c.host = string(*f.URLRewrite.Hostname)
		default:
			return changes{}, false
		}
	}
	return c, true
}

func headerChanges(f *gatewayv1.HTTPHeaderFilter) (add []*corev3.HeaderValueOption, remove []string, ok bool) {
	option := func(h gatewayv1.HTTPHeader, action corev3.HeaderValueOption_HeaderAppendAction) {
		add = append(add, &corev3.HeaderValueOption{
			// Envoy would substitute what looks like one of its variables.
			Header:         &corev3.HeaderValue{Key: string(h.Name), Value: strings.ReplaceAll(h.Value, "%", "%%")},
			AppendAction:   action,
			KeepEmptyValue: h.Value == "",
		})
	}
	for _, h := range f.Set {
		option(h, corev3.HeaderValueOption_OVERWRITE_IF_EXISTS_OR_ADD)
	}
	for _, h := range f.Add {
		option(h, corev3.HeaderValueOption_APPEND_IF_EXISTS_OR_ADD)
	}
	for _, h := range add {
		if !mayChange(h.Header.Key) {
			return nil, nil, false
		}
	}
	for _, name := range f.Remove {
		if !mayChange(name) {
			return nil, nil, false
		}
		remove = append(remove, name)
	}
	return add, remove, true
}

// mayChange is whether Envoy lets a route change the header. It refuses the whole
// configuration, everybody's, over one that it does not.
func mayChange(name string) bool {
	return name != "" && name[0] != ':' && !strings.EqualFold(name, "host")
}
