package objectives

import (
	"strings"
	"testing"
	"time"
)

func TestPriority(t *testing.T) {
	var s Store
	if _, ok := s.Priority("a/p", "x"); ok {
		t.Error("an empty store knows an objective")
	}
	s.Set([]Objective{
		{Namespace: "a", Name: "high", Pool: "p", Priority: 10},
		{Namespace: "a", Name: "low", Pool: "p", Priority: -1},
		{Namespace: "b", Name: "high", Pool: "p", Priority: 5},
	}, nil)
	for _, tc := range []struct {
		pool, name string
		want       int
		ok         bool
	}{
		{"a/p", "high", 10, true}, {"a/p", "low", -1, true}, {"b/p", "high", 5, true},
		{"b/p", "low", 0, false}, {"a/q", "high", 0, false}, {"a/p", "", 0, false},
	} {
		if got, ok := s.Priority(tc.pool, tc.name); got != tc.want || ok != tc.ok {
			t.Errorf("%s %s: %d %t, want %d %t", tc.pool, tc.name, got, ok, tc.want, tc.ok)
		}
	}
	s.Set(nil, nil)
	if _, ok := s.Priority("a/p", "high"); ok {
		t.Error("an objective that is gone is known")
	}
}

func TestRewrite(t *testing.T) {
	at := func(n int) time.Time { return time.Unix(int64(n), 0) }
	one := func(model string) []Target { return []Target{{Model: model}} }
	rewrites := []Rewrite{
		{Namespace: "a", Name: "young", Pool: "p", Created: at(2), Rules: []Rule{{Models: []string{"m"}, Targets: one("young")}, {Models: []string{"n"}, Targets: one("n-young")}}},
		{Namespace: "a", Name: "old", Pool: "p", Created: at(1), Rules: []Rule{
			{All: true, Targets: one("rest")},
			{Models: []string{"m", "k"}, Targets: one("old")},
			{Models: []string{"m"}, Targets: one("second")},
			{Models: []string{"stays"}},
		}},
		{Namespace: "a", Name: "later-all", Pool: "p", Created: at(3), Rules: []Rule{{All: true, Targets: one("later")}}},
		{Namespace: "a", Name: "b-same-age", Pool: "q", Created: at(1), Rules: []Rule{{Models: []string{"m"}, Targets: one("b")}}},
		{Namespace: "a", Name: "a-same-age", Pool: "q", Created: at(1), Rules: []Rule{{Models: []string{"m"}, Targets: one("a")}}},
	}
	var s Store
	if _, _, ok := s.Rewrite("a/p", "m"); ok {
		t.Error("an empty store rewrites")
	}
	s.Set(nil, rewrites)
	for _, tc := range []struct{ pool, model, want, by string }{
		{"a/p", "m", "old", "old"}, {"a/p", "k", "old", "old"}, {"a/p", "n", "n-young", "young"},
		{"a/p", "x", "rest", "old"}, {"a/p", "stays", "", ""},
		{"a/q", "m", "a", "a-same-age"}, {"a/q", "x", "", ""}, {"b/p", "m", "", ""},
	} {
		got, by, ok := s.Rewrite(tc.pool, tc.model)
		if got != tc.want || by != tc.by || ok != (tc.want != "") {
			t.Errorf("%s %s: %q by %q %t, want %q by %q", tc.pool, tc.model, got, by, ok, tc.want, tc.by)
		}
	}
}

func TestWeights(t *testing.T) {
	var n uint64
	s := Store{Random: func(total uint64) uint64 {
		if n >= total {
			t.Fatalf("%d of %d", n, total)
		}
		return n
	}}
	choices := func(total int, targets ...Target) string {
		s.Set(nil, []Rewrite{{Namespace: "a", Pool: "p", Rules: []Rule{{All: true, Targets: targets}}}})
		var got []string
		for n = 0; n < uint64(total); n++ {
			target, _, _ := s.Rewrite("a/p", "m")
			got = append(got, target)
		}
		return strings.Join(got, "")
	}
	if got := choices(6, Target{"a", 1}, Target{"b", 0}, Target{"c", 3}, Target{"d", 2}); got != "acccdd" {
		t.Errorf("got %s", got)
	}
	if got := choices(3, Target{"a", 0}, Target{"b", 0}, Target{"c", 0}); got != "abc" {
		t.Errorf("got %s, want all the same", got)
	}
	if got := choices(2, Target{"a", 2}, Target{"b", 0}); got != "aa" {
		t.Errorf("got %s, want nothing for no weight", got)
	}
}
