package envoygateway

import (
	"strings"
	"testing"

	"k8s.io/apimachinery/pkg/types"
)

// Every form of route that Envoy Gateway names is known for its rule's.
func TestNames(t *testing.T) {
	_, out := feature(t, "names")
	n := 0
	for _, c := range out.Routes {
		for _, h := range c.VirtualHosts {
			for _, r := range h.Routes {
				n++
				if got := split(r); len(got) != 1 || got[0] != "fairway/names/llama" {
					t.Errorf("%s goes to %v", r.Name, got)
				}
			}
		}
	}
	if n != 5 {
		t.Errorf("%d routes, want 5", n)
	}
}

func TestParseNames(t *testing.T) {
	at := func(n int) rule { return rule{types.NamespacedName{Namespace: "ns", Name: "a.b"}, n} }
	for _, tt := range []struct {
		name string
		want rule
		ok   bool
	}{
		{"httproute/ns/a.b/rule/0/match/0/*", at(0), true},
		{"httproute/ns/a.b/rule/12/match/-1/chat_example_com", at(12), true},
		{"httproute/ns/a.b/rule/1/match/0/cors-preflight/*_example_com", at(1), true},
		{"httproute/ns/a.b/rule/0/match/0/", rule{}, false},
		{"httproute/ns/a.b/rule/0/match/0", rule{}, false},
		{"httproute/ns/a.b/rule/0/match/-2/*", rule{}, false},
		{"httproute/ns/a.b/rule/00/match/0/*", rule{}, false},
		{"httproute/ns/a.b/rule/-1/match/0/*", rule{}, false},
		{"httproute/ns/a.b/rule/9999999/match/0/*", rule{}, false},
		{"httproute//a.b/rule/0/match/0/*", rule{}, false},
		{"httproute/ns//rule/0/match/0/*", rule{}, false},
		{"grpcroute/ns/a.b/rule/0/match/0/*", rule{}, false},
		{"httproute/ns/a.b/rule/0", rule{}, false},
		{"", rule{}, false},
	} {
		if got, ok := parseRoute(tt.name); ok != tt.ok || got != tt.want {
			t.Errorf("route %q: %v, %v", tt.name, got, ok)
		}
	}
	for _, tt := range []struct {
		name    string
		want    rule
		backend int
		ok      bool
	}{
		{"httproute/ns/a.b/rule/3", at(3), wholeRule, true},
		{"httproute/ns/a.b/rule/3/backend/15", at(3), 15, true},
		{"httproute/ns/a.b/rule/3-mirror-0", rule{}, 0, false},
		{"httproute/ns/a.b/rule/3-mirror-0/backend/-1", rule{}, 0, false},
		{"httproute/ns/a.b/rule/3/backend/-1", rule{}, 0, false},
		{"httproute/ns/a.b/rule/3/", rule{}, 0, false},
		{"httproute/ns/a.b/rule/3/backend/1/x", rule{}, 0, false},
		{"service/ns/web/80", rule{}, 0, false},
	} {
		if got, backend, ok := parseCluster(tt.name); ok != tt.ok || got != tt.want || backend != tt.backend {
			t.Errorf("cluster %q: %v, %d, %v", tt.name, got, backend, ok)
		}
	}
}

func FuzzNames(f *testing.F) {
	f.Add("httproute/ns/a.b/rule/12/match/-1/chat_example_com")
	f.Add("httproute/ns/a.b/rule/3/backend/15")
	f.Fuzz(func(t *testing.T, name string) {
		if r, ok := parseRoute(name); ok && !strings.HasPrefix(name, strings.TrimSuffix(r.cluster(0), "/backend/0")+"/match/") {
			t.Errorf("%q is not of %v", name, r)
		}
		if r, backend, ok := parseCluster(name); ok && backend != wholeRule && r.cluster(backend) != name {
			t.Errorf("%q is not backend %d of %v", name, backend, r)
		}
	})
}
