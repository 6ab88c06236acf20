package airoute

import (
	"encoding/json"
	"strings"
	"testing"

	gatewayv1 "sigs.k8s.io/gateway-api/apis/v1"

	"github.com/fairway-ai/fairway/api/v1alpha1"
)

func FuzzDecode(f *testing.F) {
	f.Add([]byte(fileText))
	f.Add([]byte("kind: AIRoute\napiVersion: fairway.dev/v1alpha1\nspec: &a {rules: [*a]}\nmetadata: *a\n"))
	f.Add([]byte("--- {kind: Secret, apiVersion: v1, metadata: {name: a}, data: {a: !!binary x}}\n---\n"))
	f.Fuzz(func(t *testing.T, data []byte) {
		rest, o, err := Decode("f", data, vars)
		if strings.Count(string(rest), "\n") != strings.Count(string(data), "\n") {
			t.Error("lines are lost")
		}
		if err != nil && strings.Contains(err.Error(), "sk-hidden") {
			t.Errorf("the error shows a secret: %v", err)
		}
		if err != nil || o == nil {
			return
		}
		if c, err := FromObjects(o, []string{"default/local"}); err == nil {
			sound(t, c)
			c.Routing()
		}
		in := o.input([]string{"default/local"})
		in.ClusterDomain = "cluster.local"
		check(t, Compile(in), in)
	})
}

// FuzzCompile compiles objects that no API server has looked at, in the JSON of clients.
func FuzzCompile(f *testing.F) {
	in := world(f, served(f))
	type objects struct {
		Routes     []*v1alpha1.AIRoute
		Backends   []*v1alpha1.AIBackend
		HTTPRoutes []*gatewayv1.HTTPRoute
	}
	seed, err := json.Marshal(objects{in.Routes, in.Backends, in.HTTPRoutes})
	if err != nil {
		f.Fatal(err)
	}
	f.Add(seed, true)
	f.Add([]byte(`{"Routes":[{},{"spec":{"rules":[{},{"matches":[{},{"path":{}}],"backendRefs":[{}]}]}}],"Backends":[{}],"HTTPRoutes":[{}]}`), false)
	f.Fuzz(func(t *testing.T, data []byte, granted bool) {
		var o objects
		if json.Unmarshal(data, &o) != nil {
			return
		}
		x := *in
		x.Granted = func(Reference, Reference) bool { return granted }
		x.Routes, x.Backends, x.HTTPRoutes = present(o.Routes), present(o.Backends), present(o.HTTPRoutes)
		check(t, Compile(&x), &x)
	})
}

func present[T any](all []*T) (out []*T) {
	for _, x := range all {
		if x != nil {
			out = append(out, x)
		}
	}
	return out
}

// check tells what no Result may have.
func check(t *testing.T, r *Result, in *Input) {
	t.Helper()
	sound(t, r.Config)
	for _, x := range r.Routes {
		accepted := len(x.Rules) > 0
		if n := len(x.Matches); accepted != (n > 0) || n > maxMatches {
			t.Errorf("%s has %d rules and %d matches", x.Name, len(x.Rules), n)
		}
		for _, name := range x.Rules {
			if rule := r.Config.Rule(name); rule == nil || rule.Route != x.Name {
				t.Errorf("%s has the rule %s, which is %v", x.Name, name, rule)
			}
		}
		if len(x.Hash) != 16 || !accepted && len(x.Problems) == 0 {
			t.Errorf("%+v", x)
		}
	}
	for _, x := range r.Direct {
		for _, name := range x.Rules {
			if r.Config.Rule(name) == nil {
				t.Errorf("there is no rule %s", name)
			}
		}
	}
	for n, x := range r.Backends {
		if len(x.Problems) == 0 != (r.Config.Backend(n.String()) != nil) {
			t.Errorf("%s is served with the problems %v", n, x.Problems)
		}
	}
	again := Compile(in)
	for n, x := range r.Routes {
		if again.Routes[n].Hash != x.Hash {
			t.Errorf("the hash of %s changes by itself", n)
		}
	}
}

// sound tells what no Config may have.
func sound(t *testing.T, c *Config) {
	t.Helper()
	names := map[string]bool{}
	for i := range c.Backends {
		b := &c.Backends[i]
		if names[b.Name] || b.Name == "" || (b.Pool == "") == (b.Host == "" || b.Port == 0) {
			t.Errorf("backend %+v", b)
		}
		names[b.Name] = true
	}
	rules := map[string]bool{}
	for i := range c.Rules {
		r := &c.Rules[i]
		if rules[r.Name] || r.Attempts < 1 || r.Attempts > max(1, len(r.Groups)) {
			t.Errorf("rule %+v", r)
		}
		rules[r.Name] = true
		for _, g := range r.Groups {
			if len(g) == 0 {
				t.Errorf("rule %s has an empty group", r.Name)
			}
			for _, x := range g {
				b := c.Backend(x.Backend)
				if x.Weight < 1 || x.Pool == "" && b == nil || x.Backend != "" && (b == nil || b.Pool != x.Pool || x.Model != "") {
					t.Errorf("rule %s has the target %+v", r.Name, x)
				}
			}
		}
		q := Request{Model: "m", Path: "/v1/chat/completions", Header: func(string) string { return "a" }}
		if found := c.FindIn([]string{r.Route}, q); found != nil && (found.Route != r.Route || found != firstOf(c, r.Route, q)) {
			t.Errorf("%s is found in %s", found.Name, r.Route)
		}
	}
	c.Models()
	c.Served()
}

// firstOf is the first rule of an AIRoute that takes the request, by the definition.
func firstOf(c *Config, route string, q Request) *Rule {
	for i := range c.Rules {
		if _, ok := c.Rules[i].takes(&q); ok && c.Rules[i].Route == route {
			return &c.Rules[i]
		}
	}
	return nil
}
