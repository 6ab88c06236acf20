package envoygateway

import (
	"slices"
	"strconv"
	"testing"

	clusterv3 "github.com/envoyproxy/go-control-plane/envoy/config/cluster/v3"
	listenerv3 "github.com/envoyproxy/go-control-plane/envoy/config/listener/v3"
	routev3 "github.com/envoyproxy/go-control-plane/envoy/config/route/v3"
	extprocv3 "github.com/envoyproxy/go-control-plane/envoy/extensions/filters/http/ext_proc/v3"
	hcmv3 "github.com/envoyproxy/go-control-plane/envoy/extensions/filters/network/http_connection_manager/v3"
	"google.golang.org/protobuf/types/known/anypb"

	"github.com/fairway-ai/fairway/gateway/xds"
)

// routes are all routes by their path, "/" for those without.
func (e envoy) routes() map[string]*routev3.Route {
	all := map[string]*routev3.Route{}
	for _, c := range e.Routes {
		for _, h := range c.VirtualHosts {
			for _, r := range h.Routes {
				m := r.Match
				path := m.GetPathSeparatedPrefix() + m.GetPrefix() + m.GetPath() + m.GetSafeRegex().GetRegex()
				if path == "/" {
					path = c.Name
				}
				all[path] = r
			}
		}
	}
	return all
}

// route is the route of a path.
func (e envoy) route(t *testing.T, path string) *routev3.Route {
	t.Helper()
	r := e.routes()[path]
	if r == nil {
		t.Fatalf("no route has path %s", path)
	}
	return r
}

// split is where a route goes: "CLUSTER", or "CLUSTER=WEIGHT" for each, or
// "direct STATUS".
func split(r *routev3.Route) (to []string) {
	switch {
	case r.GetDirectResponse() != nil:
		return []string{"direct " + itoa(r.GetDirectResponse().Status)}
	case r.GetRedirect() != nil:
		return []string{"redirect"}
	case r.GetRoute().GetCluster() != "":
		return []string{r.GetRoute().GetCluster()}
	}
	for _, w := range r.GetRoute().GetWeightedClusters().GetClusters() {
		to = append(to, w.Name+"="+itoa(w.Weight.GetValue()))
	}
	return to
}

func wantSplit(t *testing.T, e envoy, path string, want ...string) {
	t.Helper()
	if got := split(e.route(t, path)); !slices.Equal(got, want) {
		t.Errorf("%s goes to %v, want %v", path, got, want)
	}
}

// poolOf is the pool that a filter configuration tells the picker.
func poolOf(t *testing.T, configs map[string]*anypb.Any) string {
	t.Helper()
	c := configs[xds.FilterName]
	if c == nil {
		return ""
	}
	m := new(extprocv3.ExtProcPerRoute)
	if err := c.UnmarshalTo(m); err != nil {
		t.Fatal(err)
	}
	h := m.GetOverrides().GetGrpcInitialMetadata()
	if len(h) != 1 || h[0].Key != "x-fairway-pool" {
		t.Fatalf("initial metadata %v", h)
	}
	return h[0].Value
}

func (e envoy) cluster(name string) *clusterv3.Cluster {
	for _, c := range e.Clusters {
		if c.Name == name {
			return c
		}
	}
	return nil
}

// managers are the connection managers by listener and route configuration.
func (e envoy) managers(t *testing.T) map[string]*hcmv3.HttpConnectionManager {
	t.Helper()
	all := map[string]*hcmv3.HttpConnectionManager{}
	for _, l := range e.Listeners {
		for _, chain := range append(slices.Clone(l.FilterChains), l.DefaultFilterChain) {
			for _, f := range chain.GetFilters() {
				m := new(hcmv3.HttpConnectionManager)
				if f.GetTypedConfig().UnmarshalTo(m) == nil && m.GetRds() != nil {
					all[l.Name+" "+m.GetRds().RouteConfigName] = m
				}
			}
		}
	}
	return all
}

func filterNames(m *hcmv3.HttpConnectionManager) (names []string) {
	for _, f := range m.HttpFilters {
		names = append(names, f.Name)
	}
	return names
}

func (e envoy) listener(name string) *listenerv3.Listener {
	for _, l := range e.Listeners {
		if l.Name == name {
			return l
		}
	}
	return nil
}

func itoa(n uint32) string { return strconv.FormatUint(uint64(n), 10) }
