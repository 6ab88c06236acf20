package airoute

import (
	"fmt"
	"strings"
	"testing"
)

const routesText = `kind: InferencePool
metadata: {name: p}
---
kind: AIRoute
metadata: {name: %s, creationTimestamp: "%s"}
spec:
  rules:
%s`

// sharing are AIRoutes, given as "name year: matches of rule 0 | of rule 1 | …".
func sharing(t testing.TB, routes ...string) *Config {
	t.Helper()
	var docs []string
	for _, r := range routes {
		head, rules, _ := strings.Cut(r, ": ")
		name, year, _ := strings.Cut(head, " ")
		var text strings.Builder
		for m := range strings.SplitSeq(rules, " | ") {
			fmt.Fprintf(&text, "    - {matches: [%s], backendRefs: [{group: inference.networking.k8s.io, kind: InferencePool, name: p}]}\n", m)
		}
		docs = append(docs, fmt.Sprintf(routesText, name, year+"-01-01T00:00:00Z", text.String()))
	}
	r := Compile(world(t, strings.Join(docs, "\n---\n")))
	if wrong := faults(r); wrong != "" {
		t.Fatal(wrong)
	}
	return r.Config
}

func TestFindIn(t *testing.T) {
	const (
		exact    = "{model: {value: m-large}}"
		prefix   = "{model: {type: Prefix, value: m-}}"
		longer   = "{model: {type: Prefix, value: m-l}}"
		regexp   = "{model: {type: RegularExpression, value: 'm.*'}}"
		header   = "{headers: [{name: x-team, value: a}]}"
		headers  = "{headers: [{name: x-team, value: a}, {name: x-user, type: RegularExpression, value: 'b+'}]}"
		exactTo  = "{path: {type: Exact, value: /v1/chat/completions}}"
		below    = "{path: {value: /v1}}"
		deeper   = "{path: {value: /v1/chat}}"
		like     = "{path: {type: RegularExpression, value: '/v1/.*'}}"
		other    = "{model: {value: other}}"
		exactA   = "{model: {value: m-large}, headers: [{name: x-team, value: a}]}"
		prefixAB = "{model: {type: Prefix, value: m-}, headers: [{name: x-team, value: a}, {name: x-user, value: b}], path: {type: Exact, value: /v1/chat/completions}}"
		any      = ""
	)
	for _, tt := range []struct {
		name   string
		routes []string
		want   string
	}{
		{"exact before prefix", []string{"b 2020: " + prefix, "a 2021: " + exact}, "a/0"},
		{"longest prefix", []string{"b 2020: " + prefix, "a 2021: " + longer}, "a/0"},
		{"prefix before regular expression", []string{"b 2020: " + regexp, "a 2021: " + prefix}, "a/0"},
		{"regular expression before none", []string{"b 2020: " + headers, "a 2021: " + regexp}, "a/0"},
		{"more headers", []string{"b 2020: " + header, "a 2021: " + headers}, "a/0"},
		{"header before path", []string{"b 2020: " + exactTo, "a 2021: " + header}, "a/0"},
		{"model before headers", []string{"b 2020: " + prefixAB, "a 2021: " + exact}, "a/0"},
		{"model and header", []string{"b 2020: " + exact, "a 2021: " + exactA}, "a/0"},
		{"exact path before prefix", []string{"b 2020: " + deeper, "a 2021: " + exactTo}, "a/0"},
		{"longest path", []string{"b 2020: " + below, "a 2021: " + deeper}, "a/0"},
		{"path's prefix before regular expression", []string{"b 2020: " + like, "a 2021: " + below}, "a/0"},
		{"path before nothing", []string{"b 2020: " + any, "a 2021: " + like}, "a/0"},
		{"older", []string{"a 2021: " + exact, "b 2020: " + exact}, "b/0"},
		{"name", []string{"b 2020: " + exact, "a 2020: " + exact}, "a/0"},
		{"first rule of its route", []string{"a 2020: " + prefix + " | " + exact, "b 2021: " + regexp}, "a/0"},
		{"first rule of a route is weaker", []string{"a 2020: " + any + " | " + exact, "b 2021: " + regexp}, "b/0"},
		{"rule that does not match is skipped", []string{"a 2020: " + other + " | " + exact, "b 2021: " + prefix}, "a/1"},
		{"best of alternatives", []string{"a 2020: " + prefix, "b 2021: " + regexp + ", " + exact}, "b/0"},
		{"alternatives that do not hold", []string{"a 2020: " + prefix, "b 2021: " + regexp + ", " + other}, "a/0"},
		{"exact again after a prefix", []string{"a 2020: " + other + " | " + longer + " | " + exact + ", " + exact}, "a/1"},
		{"nobody", []string{"a 2020: " + other}, ""},
		{"not asked for", []string{"hidden 2020: " + exact, "a 2020: " + any}, "a/0"},
	} {
		c := sharing(t, tt.routes...)
		q := Request{Model: "m-large", Path: "/v1/chat/completions", Header: func(n string) string {
			return map[string]string{"x-team": "a", "x-user": "b"}[n]
		}}
		for _, names := range [][]string{{"default/a", "default/b", "default/gone"}, {"default/b", "default/a", "default/a"}} {
			got := ""
			if r := c.FindIn(names, q); r != nil {
				got = strings.TrimPrefix(r.Name, "default/")
				if c.Rule(r.Name) != r {
					t.Errorf("%s: rule %s is found by name as %p, not %p", tt.name, r.Name, c.Rule(r.Name), r)
				}
			}
			if got != tt.want {
				t.Errorf("%s: %v gives %q, want %q", tt.name, names, got, tt.want)
			}
		}
	}
	c := sharing(t, "a 2020: "+exact, "b 2020: "+other)
	if got := c.ModelsOf([]string{"default/b", "default/gone"}); len(got) != 1 || got[0].Name != "other" {
		t.Errorf("the models of b are %v", got)
	}
	if got := c.ServedIn([]string{"default/b"}); len(got) != 1 || got[0] != "other" {
		t.Errorf("b serves %v", got)
	}
	if c.Rule("") != nil || c.Rule("default/a/7") != nil || c.Backend("") != nil {
		t.Error("what does not exist is found")
	}
}

// many is a cluster with n AIRoutes on one host, of 4 rules each, and all their names.
func many(t testing.TB, n int) (*Config, []string) {
	t.Helper()
	var routes, names []string
	for i := range n {
		names = append(names, fmt.Sprintf("default/r%d", i))
		var rules []string
		for k := range 4 {
			rules = append(rules, fmt.Sprintf("{model: {value: m%d-%d}}, {model: {value: n%d-%d}}", i, k, i, k))
		}
		routes = append(routes, fmt.Sprintf("r%d 2020: %s", i, strings.Join(rules, " | ")))
	}
	return sharing(t, routes...), names
}

func TestFindInAllocatesNothing(t *testing.T) {
	c, names := many(t, 20)
	q := Request{Model: "n19-3", Path: "/v1/chat/completions", Header: func(string) string { return "" }}
	if got := testing.AllocsPerRun(100, func() {
		if c.FindIn(names, q) == nil {
			t.Fatal("no rule")
		}
	}); got != 0 {
		t.Errorf("%v allocations", got)
	}
}

func BenchmarkFindIn(b *testing.B) {
	for _, n := range []int{1, 300} {
		c, names := many(b, n)
		q := Request{Model: fmt.Sprintf("n%d-3", n-1), Path: "/v1/chat/completions", Header: func(string) string { return "" }}
		b.Run(fmt.Sprintf("routes=%d", n), func(b *testing.B) {
			b.ReportAllocs()
			for b.Loop() {
				if c.FindIn(names, q) == nil {
					b.Fatal("no rule")
				}
			}
		})
	}
}
