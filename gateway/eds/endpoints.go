package eds

import (
	endpointv3 "github.com/envoyproxy/go-control-plane/envoy/config/endpoint/v3"

	"github.com/fairway-ai/fairway/gateway/xds"
)

// nobody is an address at which nobody listens. Envoy answers for a cluster without
// any endpoint at once, and does not retry elsewhere; a refused connection is a
// failed try like any other, which falls back to the next group, and otherwise is a
// 503.
const nobody = "127.0.0.1:1"

// Endpoints is the assignment of a pool, which must be valid.
func Endpoints(p xds.Pool) *endpointv3.ClusterLoadAssignment {
	if len(p.Endpoints) == 0 {
		p.Endpoints = []string{nobody}
	}
	return xds.Endpoints(p)
}
