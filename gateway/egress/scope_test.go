package egress

import (
	"errors"
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/fairway-ai/fairway/extproc"
	"github.com/fairway-ai/fairway/gateway/airoute"
	"github.com/fairway-ai/fairway/gateway/xds"
)

// scoped is rules of three AIRoutes and of an HTTPRoute.
func scoped() *airoute.Config {
	rule := func(route string, n int, pool string, models ...string) airoute.Rule {
		r := airoute.Rule{Name: fmt.Sprint(route, "/", n), Route: route, Groups: [][]airoute.Target{{{Pool: pool, Weight: 1}}}, Attempts: 1}
		for _, m := range models {
			r.Matches = append(r.Matches, airoute.Match{Model: airoute.Equal(m)})
		}
		return r
	}
	broken := rule("ns/broken", 0, "", "broken")
	broken.Groups = nil
	direct := rule("", 0, "ns/direct")
	direct.Name = "httproute/ns/h/0"
	return &airoute.Config{Rules: []airoute.Rule{
		rule("ns/a", 0, "ns/pa", "m", "only-a"), rule("ns/b", 0, "ns/pb", "m", "only-b"), broken, direct,
	}}
}

func TestScopes(t *testing.T) {
	for _, tt := range []struct {
		pool, model string
		rules       *airoute.Config
		rule        string // or the pool that Next was asked for
		code        string // of the refusal
		status      int
		says, never string
	}{
		{pool: "routes:ns/a,ns/b", model: "m", rules: scoped(), rule: "ns/a/0"},
		{pool: "routes:ns/b", model: "m", rules: scoped(), rule: "ns/b/0"},
		{pool: "routes:,ns/b,,", model: "only-b", rules: scoped(), rule: "ns/b/0"},
		{pool: "routes:ns/b", model: "only-a", rules: scoped(), code: "model_not_found", status: 404, says: "only-b", never: "only-a,"},
		{pool: "routes:ns/b", model: "", rules: scoped(), code: "model_not_found", status: 404, says: "names no model", never: "only-a"},
		{pool: "routes:", model: "m", rules: scoped(), code: "model_not_found", status: 404, says: "nothing is", never: "only"},
		{pool: "routes:ns/gone", model: "m", rules: scoped(), code: "model_not_found", status: 404, says: "nothing is", never: "only"},
		{pool: "routes:ns/a", model: "m", code: "not_ready", status: 503},
		{pool: "routes:ns/broken", model: "broken", rules: scoped(), code: "no_usable_backend", status: 500, says: `"ns/broken/0"`},
		{pool: "rule:httproute/ns/h/0", model: "whatever", rules: scoped(), rule: "httproute/ns/h/0"},
		{pool: "rule:ns/a/0", model: "whatever", rules: scoped(), rule: "ns/a/0"},
		{pool: "rule:gone", model: "m", rules: scoped(), code: "rule_not_found", status: 503},
		{pool: "rule:", model: "m", code: "not_ready", status: 503},
		{pool: "ns/p", model: "m", rules: scoped(), rule: "next ns/p"},
		{pool: "ns/p", model: "m", rule: "next ns/p"},
		{pool: "", model: "only-b", rules: scoped(), rule: "ns/b/0"},
		{pool: "", model: "m", rule: "next "},
	} {
		t.Run(tt.pool+" "+tt.model, func(t *testing.T) {
			p := &picker{}
			r := &Router{Next: p, Foreign: &Translators{}}
			r.SetRules(tt.rules)
			q := extproc.NewRequest(nil, func(time.Duration) error { return nil })
			q.Pool, q.Path, q.Body.Model = tt.pool, "/v1/chat/completions?x", tt.model
			got, err := r.Pick(t.Context(), q)
			if tt.code != "" {
				var no *extproc.Rejection
				if !errors.As(err, &no) || no.Code != tt.code || no.Status != tt.status || !strings.Contains(no.Message, tt.says) {
					t.Fatalf("%v, want %d %s %q", err, tt.status, tt.code, tt.says)
				}
				if _, list, _ := strings.Cut(no.Message, "served"); tt.never != "" && strings.Contains(list, tt.never) {
					t.Errorf("%s tells of other routes' models", no.Message)
				}
				return
			}
			if err != nil {
				t.Fatal(err)
			}
			rule := ""
			for _, h := range got.SetHeaders {
				if h.Name == xds.RouteHeader {
					rule = h.Value
				}
			}
			if rule == "" {
				rule = "next " + strings.Join(p.asked, " ")
			}
			if rule != tt.rule {
				t.Errorf("followed %q, want %q", rule, tt.rule)
			}
		})
	}
}

func TestScopesAreRemembered(t *testing.T) {
	var s scopes
	list := strings.Repeat("team/route,", 200) + "ns/a"
	if got := s.of(list); len(got) != 201 {
		t.Fatalf("%d routes", len(got))
	}
	if n := testing.AllocsPerRun(100, func() { s.of(list) }); n != 0 {
		t.Errorf("a look-up allocates %v times", n)
	}
	for i := range 100 {
		s.of(fmt.Sprint("ns/", i))
		if n := len(*s.known.Load()); n > maxScopes {
			t.Fatalf("%d lists are remembered", n)
		}
	}
	full := map[string][]string{}
	for i := range maxScopes {
		full[fmt.Sprint(i)] = nil
	}
	s.known.Store(&full)
	s.of("one more")
	if n := len(*s.known.Load()); n > maxScopes {
		t.Errorf("%d lists are remembered", n)
	}
	before := len(*s.known.Load())
	if got := s.of(strings.Repeat("x", maxScopeBytes+1)); len(got) != 1 || len(*s.known.Load()) != before {
		t.Error("a list of any length is remembered")
	}
}

func FuzzScope(f *testing.F) {
	f.Add("ns/a,ns/b")
	f.Add(",,")
	f.Fuzz(func(t *testing.T, list string) {
		var s scopes
		got := s.of(list)
		want := slices.DeleteFunc(strings.Split(list, ","), func(r string) bool { return r == "" })
		if !slices.Equal(got, want) || !slices.Equal(s.of(list), want) {
			t.Fatalf("%q: %q, want %q", list, got, want)
		}
	})
}
