package xds

import (
	"strings"
	"testing"
	"time"

	"github.com/envoyproxy/go-control-plane/pkg/cache/types"
	"github.com/envoyproxy/go-control-plane/pkg/cache/v3"
	"github.com/envoyproxy/go-control-plane/pkg/resource/v3"
	"google.golang.org/protobuf/proto"
)

func someRouting() Routing {
	one := func(names ...string) (g Group) {
		g.Name = "0"
		for _, n := range names {
			g.Clusters = append(g.Clusters, WeightedCluster{Name: n, Weight: 1})
		}
		return g
	}
	second, third := one("backend:ns/b", "backend:ns/c"), one("restore:ns/open")
	second.Name, third.Name = "1", "2"
	return Routing{
		Rules: []Rule{
			{Name: "ns/r/chain", Groups: []Group{one("ns/open"), second, third}, Attempts: 3, OnConnect: true, OnServerError: true, OnTooMany: true, FirstByteTimeout: 5 * time.Second, Timeout: time.Minute},
			{Name: "ns/r/cloud", Groups: []Group{one("backend:ns/b")}, Attempts: 1},
			{Name: "ns/r/pool", Groups: []Group{one("ns/closed")}, Attempts: 1},
		},
		Providers: []Provider{
			{Name: "ns/b", Label: "ns/b", Host: "api.example.com", Port: 443, TLS: true},
			{Name: "ns/c", Label: "ns/c", Host: "10.9.8.7", Port: 8443, TLS: true, ServerName: "c.example.com", CA: []byte("PEM")},
			{Name: "ns/d", Label: "ns/d", Host: "d.example.com", Port: 80},
		},
		Models: []Model{{Name: "m", OwnedBy: "us", Created: 1700000000}},
	}
}

func routed() Options {
	o := options()
	o.SystemCA, o.AccessLog = "/etc/ssl/certs/ca-certificates.crt", true
	return o
}

func TestRoutedGolden(t *testing.T) {
	all, err := RoutedResources(routed(), somePools(), someRouting())
	if err != nil {
		t.Fatal(err)
	}
	var snap cache.Snapshot
	for typ, rs := range all {
		snap.Resources[cache.GetResponseType(typ)] = cache.NewResources("1", rs)
		for _, r := range rs {
			validate(t, cache.GetResourceName(r), r)
		}
	}
	if err := snap.Consistent(); err != nil {
		t.Error(err)
	}
	for name, rs := range map[string][]types.Resource{
		"routed-routes.yaml": all[resource.RouteType], "routed-listener.yaml": all[resource.ListenerType],
		"routed-clusters.yaml": all[resource.ClusterType], "routed-endpoints.yaml": all[resource.EndpointType],
	} {
		var ms []proto.Message
		for _, r := range rs {
			// Pools' own resources are those of TestGolden.
			if n := cache.GetResourceName(r); strings.HasPrefix(name, "routed-clusters") && !strings.Contains(n, ":") {
				continue
			}
			ms = append(ms, r)
		}
		golden(t, name, toYAML(t, ms...))
	}
}

// A request that nobody saw reaches a pool only where it can be for nobody else.
func TestUnpickedWithRules(t *testing.T) {
	pool := Rule{Name: "p", Attempts: 1, Groups: []Group{{Name: "0", Clusters: []WeightedCluster{{Name: "ns/open", Weight: 1}}}}}
	cloud := Rule{Name: "c", Attempts: 1, Groups: []Group{{Name: "0", Clusters: []WeightedCluster{{Name: "backend:x", Weight: 1}}}}}
	for _, tt := range []struct {
		pools []Pool
		rules []Rule
		want  string
	}{
		{somePools()[:1], []Rule{pool}, "ns/open"},
		{somePools()[:2], []Rule{pool}, NoPickerClusterName},
		{somePools()[:1], []Rule{pool, cloud}, NoPickerClusterName},
	} {
		rs := routes(options(), tt.pools, &Routing{Rules: tt.rules}).VirtualHosts[0].Routes
		if got := rs[len(rs)-1].GetRoute().GetCluster(); got != tt.want {
			t.Errorf("%d pools, %d rules: %s, want %s", len(tt.pools), len(tt.rules), got, tt.want)
		}
	}
}

func TestRoutingIsChecked(t *testing.T) {
	for want, change := range map[string]func(*Options, *Routing){
		"does not exist":            func(_ *Options, r *Routing) { r.Providers = r.Providers[1:] },
		"is there twice":            func(_ *Options, r *Routing) { r.Providers = append(r.Providers, r.Providers[0]) },
		"names must be unique":      func(_ *Options, r *Routing) { r.Rules = append(r.Rules, r.Rules[0]) },
		"certificate authorities":   func(o *Options, _ *Routing) { o.SystemCA = "" },
		"neither a name nor":        func(_ *Options, r *Routing) { r.Providers[0].Host = "a b" },
		"the port is missing":       func(_ *Options, r *Routing) { r.Providers[0].Port = 0 },
		"without a picker":          func(o *Options, _ *Routing) { o.NoPicker, o.PickerSocket = true, "" },
		"a backend has no name":     func(_ *Options, r *Routing) { r.Providers[0].Name = "" },
		"\"restore:ns/x\" does not": func(_ *Options, r *Routing) { r.Rules[0].Groups[2].Clusters[0].Name = "restore:ns/x" },
	} {
		o, r := routed(), someRouting()
		change(&o, &r)
		if _, err := RoutedResources(o, somePools(), r); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%v, want %q", err, want)
		}
	}
}
