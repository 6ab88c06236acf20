package envoygateway

import (
	"slices"
	"testing"

	earlyv3 "github.com/envoyproxy/go-control-plane/envoy/extensions/http/early_header_mutation/header_mutation/v3"

	"github.com/fairway-ai/fairway/gateway/xds"
)

func TestListeners(t *testing.T) {
	in, out := feature(t, "listeners")
	patched := 0
	for name, m := range out.managers(t) {
		filters := filterNames(m)
		patched++ // those that serve no rule of ours, too
		if n := len(filters); n < 2 || filters[n-1] != routerFilter || filters[n-2] != xds.FilterName {
			t.Errorf("%s has filters %v", name, filters)
		}
		if f := m.HttpFilters[len(filters)-2]; !f.Disabled {
			t.Errorf("%s filters requests of routes without a pool", name)
		}
		early := m.EarlyHeaderMutationExtensions
		if want := len(in.managers(t)[name].EarlyHeaderMutationExtensions) + 1; len(early) != want {
			t.Fatalf("%s has %d early mutations, want %d", name, len(early), want)
		}
		last := new(earlyv3.HeaderMutation)
		if err := early[len(early)-1].TypedConfig.UnmarshalTo(last); err != nil {
			t.Fatal(err)
		}
		var removed []string
		for _, r := range last.Mutations {
			removed = append(removed, r.GetRemove())
		}
		if !slices.Equal(removed, []string{xds.DestinationHeader, xds.SubsetHeader, xds.PoolHeader, xds.RouteHeader}) {
			t.Errorf("%s takes %v from clients", name, removed)
		}
		if len(m.LocalReplyConfig.GetMappers()) == 0 {
			t.Errorf("%s answers without a schema", name)
		}
	}
	if patched != 5 { // http and named share one; a and b have one more for HTTP/3
		t.Errorf("%d connection managers were changed", patched)
	}
	// The listener's own limit on silence stands.
	for path, r := range out.routes() {
		if r.GetRoute().GetIdleTimeout() != nil {
			t.Errorf("%s has a limit on silence of its own", path)
		}
	}
}
