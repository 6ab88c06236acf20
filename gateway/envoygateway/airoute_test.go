package envoygateway

import (
	"slices"
	"strings"
	"testing"
	"time"

	routev3 "github.com/envoyproxy/go-control-plane/envoy/config/route/v3"
	groupv3 "github.com/envoyproxy/go-control-plane/envoy/extensions/router/cluster_specifiers/priority_group/v3"
	httpv3 "github.com/envoyproxy/go-control-plane/envoy/extensions/upstreams/http/v3"
	"github.com/google/go-cmp/cmp"
	"google.golang.org/protobuf/proto"

	"github.com/fairway-ai/fairway/gateway/xds"
)

// lines are the routes of a virtual host, in order: "NAME > SCOPE > WHERE".
func (e envoy) lines(t *testing.T, host string) (all []string) {
	t.Helper()
	for _, c := range e.Routes {
		for _, h := range c.VirtualHosts {
			if h.Name != host {
				continue
			}
			for _, r := range h.Routes {
				to := split(r)
				if p := r.GetRoute().GetInlineClusterSpecifierPlugin(); p != nil {
					to = groupsOf(t, r)
				}
				all = append(all, strings.ReplaceAll(r.Name+" > "+poolOf(t, r.TypedPerFilterConfig)+" > "+strings.Join(to, " "), "  ", " "))
			}
		}
	}
	return all
}

// groupsOf are the groups of clusters that a route tries in order.
func groupsOf(t *testing.T, r *routev3.Route) (all []string) {
	t.Helper()
	s := new(groupv3.PriorityGroupClusterSpecifier)
	if err := r.GetRoute().GetInlineClusterSpecifierPlugin().Extension.TypedConfig.UnmarshalTo(s); err != nil {
		t.Fatal(err)
	}
	for _, g := range s.PriorityGroups {
		var names []string
		for _, c := range g.Clusters {
			names = append(names, c.ClusterName+"="+itoa(c.Weight.GetValue()))
		}
		all = append(all, strings.Join(names, "+"))
	}
	return all
}

func (e envoy) named(t *testing.T, name string) *routev3.Route {
	t.Helper()
	for _, c := range e.Routes {
		for _, h := range c.VirtualHosts {
			for _, r := range h.Routes {
				if r.Name == name {
					return r
				}
			}
		}
	}
	t.Fatalf("no route is called %s", name)
	return nil
}

func wantLines(t *testing.T, e envoy, host string, want ...string) {
	t.Helper()
	if diff := cmp.Diff(want, e.lines(t, host)); diff != "" {
		t.Errorf("%s (-want +got):\n%s", host, diff)
	}
}

func TestAIRoute(t *testing.T) {
	in, out := feature(t, "airoute")
	const scope = " > routes:airoute/chat > "
	wantLines(t, out, "airoute/gw/http/*",
		"models for Anthropic clients > > direct 200",
		"models > > direct 200",
		"rule airoute/chat/llama"+scope+"fairway/airoute/llama",
		"rule airoute/chat/gpt"+scope+"backend:airoute/openai",
		"rule airoute/chat/any"+scope+"fairway/airoute/llama=3+backend:airoute/openai=1",
		"httproute/airoute/chat/rule/0/match/0/*"+scope+"fairway-no-picker",
		"httproute/airoute/chat/rule/0/match/1/*"+scope+"fairway-no-picker",
		"httproute/airoute/pool/rule/0/match/0/* > airoute/llama > fairway/airoute/llama",
	)
	// What policies say stays, and the rule's own word counts more.
	given := in.named(t, "httproute/airoute/chat/rule/0/match/0/*")
	for name, timeout := range map[string]time.Duration{
		"rule airoute/chat/llama": 45 * time.Second, "rule airoute/chat/gpt": 90 * time.Second,
		"httproute/airoute/chat/rule/0/match/0/*": 45 * time.Second,
	} {
		r := out.named(t, name)
		a := r.GetRoute()
		if got := a.Timeout.AsDuration(); got != timeout {
			t.Errorf("%s may take %v, want %v", name, got, timeout)
		}
		if !proto.Equal(a.IdleTimeout, given.GetRoute().IdleTimeout) || !proto.Equal(r.Metadata, given.Metadata) {
			t.Errorf("%s lost something", name)
		}
		for filter, c := range given.TypedPerFilterConfig {
			if !proto.Equal(c, r.TypedPerFilterConfig[filter]) {
				t.Errorf("%s lost the configuration of %s", name, filter)
			}
		}
		if r.RequestBodyBufferLimit.GetValue() != 17<<20 {
			t.Errorf("%s takes %v bytes", name, r.RequestBodyBufferLimit)
		}
		for _, h := range append(xds.PrivateHeaders(), xds.RouteHeader, "x-envoy-external-address") {
			if !slices.Contains(r.RequestHeadersToRemove, h) {
				t.Errorf("%s shows servers %s", name, h)
			}
		}
	}
	if p := out.named(t, "rule airoute/chat/llama").GetRoute().RetryPolicy; p.NumRetries.GetValue() != 7 {
		t.Errorf("a pool alone is retried %v", p)
	}
	if p := out.named(t, "rule airoute/chat/gpt").GetRoute().RetryPolicy; p.PerTryTimeout.AsDuration() != 20*time.Second || !p.RefreshClusterOnRetry {
		t.Errorf("a provider is tried %v", p)
	}
	r := out.named(t, "rule airoute/chat/gpt")
	if m := r.Match; m.GetPrefix() != "/" || len(m.Headers) != 1 || m.Headers[0].Name != xds.RouteHeader || m.Headers[0].GetStringMatch().GetExact() != "airoute/chat/gpt" {
		t.Errorf("matches %v", m)
	}
	if h := r.ResponseHeadersToAdd; len(h) != 1 || h[0].Header.Key != xds.BackendHeader {
		t.Errorf("answers get %v", h)
	}
	if c := out.cluster("fairway/airoute/llama"); c.AltStatName != "airoute/llama" {
		t.Errorf("clients are told of %q", c.AltStatName)
	}
	if n := out.Routes[0].MaxDirectResponseBodySizeBytes.GetValue(); n != xds.MaxCatalogue {
		t.Errorf("the catalogue may have %d bytes", n)
	}
	body := string(out.named(t, "models").GetDirectResponse().Body.GetInlineBytes())
	for _, m := range []string{`"llama-3"`, `"gpt-5"`, `"gpt-5-mini"`} {
		if !strings.Contains(body, m) {
			t.Errorf("the catalogue lacks %s: %s", m, body)
		}
	}
}

func TestAIRouteFallback(t *testing.T) {
	_, out := feature(t, "airoute-fallback")
	const scope, ns = " > routes:airoute-fallback/chat > ", "airoute-fallback/"
	first := "fairway/" + ns + "llama"
	wantLines(t, out, "airoute-fallback/gw/http/*",
		"models for Anthropic clients > > direct 200",
		"models > > direct 200",
		"rule airoute-fallback/chat/chain"+scope+first+"=1 backend:"+ns+"anthropic#claude-fast=1 restore:"+ns+"qwen=1",
		"rule airoute-fallback/chat/pools"+scope+first+"=1 fairway-later/"+ns+"qwen=1",
		"rule airoute-fallback/chat/schema"+scope+first+"=1 backend:"+ns+"claude-pool=1 backend:"+ns+"inside=1",
		// All rules begin with a pool that fails open.
		"httproute/airoute-fallback/chat/rule/0/match/0/*"+scope+first,
		"httproute/airoute-fallback/chat/rule/0/match/1/*"+scope+first,
	)
	// A pool has the same endpoints whatever it is called, and only where nobody picked
	// in it does a cluster not fail closed.
	for name, translated := range map[string]bool{
		first: false, "fairway-later/" + ns + "qwen": false, "restore:" + ns + "qwen": true, "backend:" + ns + "claude-pool": true,
	} {
		c := out.cluster(name)
		if c == nil {
			t.Fatalf("cluster %s is missing", name)
		}
		pool := ns + "qwen"
		if name == first {
			pool = ns + "llama"
		}
		if c.EdsClusterConfig.GetServiceName() != pool {
			t.Errorf("%s has the endpoints of %s", name, c.EdsClusterConfig.GetServiceName())
		}
		if strings.Contains(c.LoadBalancingPolicy.String(), "fairway.dev/nobody") {
			t.Errorf("%s fails closed", name)
		}
		h := new(httpv3.HttpProtocolOptions)
		if err := c.TypedExtensionProtocolOptions["envoy.extensions.upstreams.http.v3.HttpProtocolOptions"].UnmarshalTo(h); err != nil {
			t.Fatal(err)
		}
		if (len(h.HttpFilters) > 0) != translated {
			t.Errorf("%s has %d filters", name, len(h.HttpFilters))
		}
	}
	if c := out.cluster("fairway/" + ns + "qwen"); c != nil {
		t.Error("a cluster that nothing goes to is there")
	}
	if a := out.named(t, "rule airoute-fallback/chat/chain").GetRoute().RetryPolicy; a.NumRetries.GetValue() != 2 || a.PerTryTimeout.AsDuration() != 5*time.Second {
		t.Errorf("tried %v", a)
	}
}

func TestAIBackendInHTTPRoute(t *testing.T) {
	in, out := feature(t, "aibackend-in-httproute")
	const ns = "aibackend-in-httproute/"
	wantLines(t, out, ns+"gw/http/*",
		"httproute/"+ns+"gone/rule/0/match/0/* > > direct 500",
		"httproute/"+ns+"half/rule/0/match/0/* > rule:httproute/"+ns+"half/0 > backend:"+ns+"openai",
		"httproute/"+ns+"zero/rule/0/match/0/* > "+ns+"llama > fairway/"+ns+"llama",
		"httproute/"+ns+"one/rule/0/match/0/* > rule:httproute/"+ns+"one/0 > backend:"+ns+"openai",
		"httproute/"+ns+"two/rule/0/match/0/* > rule:httproute/"+ns+"two/0 > backend:"+ns+"openai=1+fairway/"+ns+"llama=4",
	)
	a, b := in.route(t, "/one"), out.route(t, "/one")
	if !cmp.Equal(a.RequestHeadersToAdd, b.RequestHeadersToAdd, cmp.Comparer(proto.Equal)) || b.GetRoute().Timeout.AsDuration() != 30*time.Second {
		t.Errorf("the rule's filters or timeouts are gone: %v", b)
	}
}

func TestSeveralAIRoutesOnAHost(t *testing.T) {
	_, out := feature(t, "airoute-several-on-a-host")
	const ns = "airoute-several-on-a-host/"
	const both, alone, named = " > routes:" + ns + "first," + ns + "second > ", " > routes:" + ns + "guarded > ", " > routes:" + ns + "named > "
	const llama, qwen = "fairway/" + ns + "llama", "fairway/" + ns + "qwen"
	wantLines(t, out, ns+"gw/http/*",
		"models for Anthropic clients > > direct 200",
		"models > > direct 200",
		"rule "+ns+"first/0"+both+llama,
		"rule "+ns+"guarded/0"+alone+llama,
		"rule "+ns+"second/0"+both+qwen,
		// The guarded one's requests are its own: elsewhere nobody is guarding.
		"httproute/"+ns+"guarded/rule/0/match/1/*"+alone+llama,
		// One of the two fails closed.
		"httproute/"+ns+"first/rule/0/match/0/*"+both+"fairway-no-picker",
		"httproute/"+ns+"guarded/rule/0/match/0/*"+alone+llama,
		"httproute/"+ns+"second/rule/0/match/0/*"+both+"fairway-no-picker",
		"httproute/"+ns+"second/rule/0/match/1/*"+both+"fairway-no-picker",
		"httproute/"+ns+"first/rule/0/match/1/*"+both+"fairway-no-picker",
		"httproute/"+ns+"second/rule/0/match/2/*"+both+"fairway-no-picker",
	)
	for _, listener := range []string{"http", "named"} {
		// Somebody else has written a route for the catalogue's path.
		wantLines(t, out, ns+"gw/"+listener+"/a_example_com",
			"rule "+ns+"named/0"+named+llama,
			"httproute/"+ns+"named/rule/0/match/0/a_example_com"+named+llama,
			"httproute/"+ns+"own/rule/0/match/0/a_example_com > "+ns+"qwen > "+qwen,
		)
	}
}

func TestMissingAIRoute(t *testing.T) {
	_, out := feature(t, "airoute-missing")
	const ns = "airoute-missing/"
	const good = " > routes:" + ns + "good > "
	wantLines(t, out, ns+"gw/http/*",
		"models for Anthropic clients > > direct 200",
		"models > > direct 200",
		"rule "+ns+"good/0"+good+"fairway/"+ns+"llama",
		"rule "+ns+"good/1"+good+"direct 500", // none of its backends is there
		"httproute/"+ns+"good/rule/0/match/0/*"+good+"fairway-no-picker",
		"httproute/"+ns+"good/rule/0/match/1/*"+good+"fairway-no-picker",
		"httproute/"+ns+"unpoliced/rule/0/match/0/* > > direct 500", // by Envoy Gateway: its policy failed
		"httproute/"+ns+"deleted/rule/0/match/0/* > > direct 500",
		"httproute/"+ns+"refused/rule/0/match/0/* > > direct 500",
		"httproute/"+ns+"mixed/rule/0/match/0/* > > direct 500", // an AIRoute beside a pool
	)
}

// Where a policy failed, Envoy Gateway lets nobody through, and so do we.
func TestBrokenPolicies(t *testing.T) {
	in, out := feature(t, "broken-policies")
	for _, path := range []string{"/one", "/two", "/cloud"} {
		wantSplit(t, in, path, "direct 500")
		wantSplit(t, out, path, "direct 500")
	}
}
