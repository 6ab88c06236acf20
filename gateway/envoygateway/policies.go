package envoygateway

import (
	"bytes"

	routev3 "github.com/envoyproxy/go-control-plane/envoy/config/route/v3"
	"google.golang.org/protobuf/encoding/protowire"
	"google.golang.org/protobuf/proto"
)

// policiesOf is what is done with a route's requests before the picker sees them.
// AIRoutes share requests only where it is the same: what the picker finds must not be
// a way around another AIRoute's policy.
func policiesOf(r *routev3.Route) string {
	b := encode(&routev3.Route{
		TypedPerFilterConfig: r.TypedPerFilterConfig,
		Action: &routev3.Route_Route{Route: &routev3.RouteAction{
			RateLimits: r.GetRoute().GetRateLimits(),
		}},
	})
	return string(anonymous(b, []byte(r.Name), 16))
}

// anonymous is an encoded message without the route's own name, wherever Envoy Gateway
// has put it.
func anonymous(message, name []byte, depth int) []byte {
	if !bytes.Contains(message, name) {
		return message
	}
	var out []byte
	err := eachField(message, func(f field) error {
		if f.kind == protowire.BytesType && depth > 0 {
			out = appendMessage(out, f.number, anonymous(f.value, name, depth-1))
		} else {
			out = append(out, f.all...)
		}
		return nil
	})
	if err != nil { // a string
		return bytes.ReplaceAll(message, name, nil)
	}
	return out
}

// matchesPath is whether an encoded route is for that path above all.
func matchesPath(route []byte, path string) bool {
	const match = 1
	is := false
	err := inField(route, match, func(b []byte) error {
		m := new(routev3.RouteMatch)
		err := proto.Unmarshal(b, m)
		is = err == nil && (m.GetPath() == path || m.GetPathSeparatedPrefix() == path)
		return err
	})
	return err == nil && is
}
