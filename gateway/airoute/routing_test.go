package airoute

import (
	"fmt"
	"strings"
	"testing"
)

func TestCluster(t *testing.T) {
	targets := map[string]Target{
		"pool": {Pool: "n/p"}, "other": {Pool: "n/q"}, "renamed": {Pool: "n/r", Model: "m"},
		"cloud": {Backend: "n/c"}, "spoken": {Pool: "n/s", Backend: "n/b"},
	}
	for _, tt := range []struct{ groups, managed, local string }{
		{"pool", "fairway/n/p", "n/p"},
		{"pool other", "fairway/n/p fairway/n/q", "n/p n/q"},
		{"pool cloud other", "fairway/n/p backend:n/c restore:n/q", "n/p backend:n/c restore:n/q"},
		{"spoken pool", "backend:n/b restore:n/p", "backend:n/b restore:n/p"},
		{"renamed pool", "fairway/n/r restore:n/p", "n/r restore:n/p"},
		{"pool renamed other", "fairway/n/p restore:n/r restore:n/q", "n/p restore:n/r restore:n/q"},
		{"pool spoken", "fairway/n/p backend:n/b", "n/p backend:n/b"},
	} {
		for managed, want := range map[bool]string{true: tt.managed, false: tt.local} {
			r := Rule{Managed: managed, Attempts: 9}
			for name := range strings.FieldsSeq(tt.groups) {
				r.Groups = append(r.Groups, []Target{targets[name]})
			}
			x := r.routing()
			var got []string
			for i, g := range x.Groups {
				if g.Name != GroupName(i) {
					t.Errorf("group %d is %s", i, g.Name)
				}
				got = append(got, g.Clusters[0].Name)
			}
			if strings.Join(got, " ") != want || x.Attempts != len(r.Groups) {
				t.Errorf("%s, managed %t: %v and %d attempts, want %s", tt.groups, managed, got, x.Attempts, want)
			}
			if has := strings.Contains(want, "backend:"); r.HasBackend() != has {
				t.Errorf("%s has a backend: %t", tt.groups, r.HasBackend())
			}
		}
	}
}

// TestPaths says what becomes of more paths than an HTTPRoute's rule may have.
func TestPaths(t *testing.T) {
	matches := func(n int) string {
		all := make([]string, n)
		for i := range all {
			all[i] = fmt.Sprintf("{path: {value: /p%d}}", i)
		}
		return strings.Join(all, ", ")
	}
	for n, want := range map[int]int{1: 1, 64: 64, 65: 1} {
		in := world(t, fmt.Sprintf(routesText, "a", "2020-01-01T00:00:00Z",
			"    - {matches: ["+matches(n)+"], backendRefs: [{group: inference.networking.k8s.io, kind: InferencePool, name: p}]}"))
		r := Compile(in).Routes[nameOf(in.Routes[0])]
		if len(r.Matches) != want || len(r.Problems) > 0 {
			t.Fatalf("%d paths become %d, %v", n, len(r.Matches), r.Problems)
		}
		if value := *r.Matches[0].Path.Value; (value == "/") != (n > 64) {
			t.Errorf("the first of %d paths is %s", n, value)
		}
	}
}
