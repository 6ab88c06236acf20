package envoygateway

import (
	"testing"

	routev3 "github.com/envoyproxy/go-control-plane/envoy/config/route/v3"
)

func TestMissingPool(t *testing.T) {
	_, out := feature(t, "missing")
	wantSplit(t, out, "/half", "fairway/missing/llama=50", invalidCluster+"=50")
	if c := out.route(t, "/half").GetRoute().ClusterNotFoundResponseCode; c != routev3.RouteAction_INTERNAL_SERVER_ERROR {
		t.Errorf("the lost share answers %v", c)
	}
	wantSplit(t, out, "/all", "direct 500")
	wantSplit(t, out, "/nothing", "direct 500")
}
