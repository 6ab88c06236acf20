package egress

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"strings"
	"testing"
	"time"

	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/types/known/structpb"

	"github.com/fairway-ai/fairway/aibackend"
	"github.com/fairway-ai/fairway/extproc"
	"github.com/fairway-ai/fairway/gateway/airoute"
)

func aPool(name string) airoute.Target  { return airoute.Target{Pool: name, Weight: 1} }
func aCloud(name string) airoute.Target { return airoute.Target{Backend: name, Weight: 1} }

// followed is a pick of a rule's, for a chat request for model "m".
func followed(t *testing.T, r *Router, rule airoute.Rule) (extproc.Pick, *structpb.Struct, error) {
	t.Helper()
	return followedAs(t, r, "m", rule)
}

func followedAs(t *testing.T, r *Router, model string, rule airoute.Rule, backends ...airoute.Backend) (extproc.Pick, *structpb.Struct, error) {
	t.Helper()
	rule.Name = "n/r/0"
	r.SetRules(&airoute.Config{Rules: []airoute.Rule{rule}, Backends: backends})
	q := extproc.NewRequest(headers(":path", "/v1/chat/completions", "x-a", "1"), func(time.Duration) error { return nil })
	q.ID, q.Path, q.Body.Model, q.Body.ModelStart, q.Body.ModelEnd = "id", "/v1/chat/completions", model, 9, 12
	pick, err := r.Pick(t.Context(), q)
	var s structpb.Struct
	if err := proto.Unmarshal(pick.Metadata, &s); err != nil {
		t.Fatal(err)
	}
	return pick, &s, err
}

// tellOf is what the client is told in FallbackHeader when by answers with status.
func tellOf(o extproc.Observer, status int, by string) string {
	if o == nil {
		return ""
	}
	if h, ok := o.(extproc.HeaderReader); ok {
		h.ReadHeaders(getter(headers(BackendHeader, by)).Get)
	}
	return getter(o.ResponseHeaders(time.Time{}, status, "")).Get(FallbackHeader)
}

func TestCooling(t *testing.T) {
	full := &extproc.Rejection{Status: 429}
	a, b, p := aCloud("ns/a"), aCloud("ns/b"), aPool("ns/p")
	for _, tt := range []struct {
		name     string
		groups   [][]airoute.Target
		attempts int
		cools    string
		full     bool // the pool
		random   uint64
		order    string
		told     string
		asked    string // of which providers Cools was asked
	}{
		{name: "none", groups: [][]airoute.Target{{a}, {b}}, attempts: 2, asked: "ns/a"},
		{name: "the first", groups: [][]airoute.Target{{a}, {b}}, attempts: 2, cools: "ns/a", order: "chosen=backend:ns/b cooling 0=backend:ns/a", told: "ns/a: cooling down", asked: "ns/a ns/b"},
		{name: "beyond attempts", groups: [][]airoute.Target{{a}, {b}}, attempts: 1, cools: "ns/a"},
		{name: "all", groups: [][]airoute.Target{{a}, {b}}, attempts: 2, cools: "ns/a ns/b", told: "ns/a: cooling down; ns/b: cooling down", asked: "ns/a ns/b"},
		{name: "alone", groups: [][]airoute.Target{{a}}, attempts: 1, cools: "ns/a"},
		{name: "one of two", groups: [][]airoute.Target{{a, b}}, attempts: 1, cools: "ns/a", order: "chosen=backend:ns/b", told: "ns/a: cooling down", asked: "ns/a ns/b"},
		{name: "none of two", groups: [][]airoute.Target{{a, b}}, attempts: 1, random: 1, order: "chosen=backend:ns/b", asked: "ns/b"},
		{name: "before a pool", groups: [][]airoute.Target{{a}, {p}}, attempts: 2, cools: "ns/a", order: "chosen=restore:ns/p cooling 0=backend:ns/a", told: "ns/a: cooling down", asked: "ns/a"},
		{name: "before a full pool", groups: [][]airoute.Target{{a}, {p}}, attempts: 2, cools: "ns/a", full: true, told: "ns/a: cooling down; ns/p: saturated", asked: "ns/a"},
		{name: "after a full pool", groups: [][]airoute.Target{{p}, {a}, {b}}, attempts: 3, cools: "ns/a", full: true, order: "chosen=backend:ns/b cooling 0=backend:ns/a", told: "ns/p: saturated; ns/a: cooling down", asked: "ns/a ns/b"},
		{name: "a model of its own", groups: [][]airoute.Target{{aCloud("ns/a#x")}, {b}}, attempts: 2, cools: "ns/a", order: "chosen=backend:ns/b cooling 0=backend:ns/a#x", told: "ns/a: cooling down", asked: "ns/a ns/b"},
		{name: "a pool does not", groups: [][]airoute.Target{{{Pool: "ns/p", Backend: "ns/q", Weight: 1}}, {b}}, attempts: 2, cools: "ns/q ns/p", order: ""},
	} {
		t.Run(tt.name, func(t *testing.T) {
			var asked, fell []string
			next := &picker{pools: map[string]error{}}
			if tt.full {
				next.pools["ns/p"] = full
			}
			r := &Router{
				Next: next, Random: func(uint64) uint64 { return tt.random },
				Cools: func(backend string) bool {
					asked = append(asked, backend)
					return strings.Contains(tt.cools, backend)
				},
				OnFallback: func(from, reason, to string) { fell = append(fell, from+": "+reason) },
			}
			pick, md, err := followed(t, r, airoute.Rule{Groups: tt.groups, On: airoute.AllTriggers(), Attempts: tt.attempts})
			if err != nil {
				t.Fatal(err)
			}
			if got := orderOf(md); got != tt.order {
				t.Errorf("order %q, want %q", got, tt.order)
			}
			if got := strings.Join(asked, " "); got != tt.asked {
				t.Errorf("Cools was asked of %q, want %q", got, tt.asked)
			}
			if got := tellOf(pick.Observer, 200, "ns/b"); got != tt.told || got != strings.Join(fell, "; ") {
				t.Errorf("told %q and %q, want %q", got, fell, tt.told)
			}
		})
	}
}

// TestNotReady: a backend whose requests cannot be signed is passed over, and left out
// of what is tried later, as long as anybody else is there.
func TestNotReady(t *testing.T) {
	a, b, c, p := aCloud("ns/a"), aCloud("ns/b#x"), aCloud("ns/c"), aPool("ns/p")
	spoken := airoute.Target{Pool: "ns/p", Backend: "ns/q", Weight: 1}
	full := &extproc.Rejection{Status: 429}
	for _, tt := range []struct {
		name     string
		groups   [][]airoute.Target
		not      string // ready
		cools    string
		pool     error
		order    string
		told     string
		rejected bool
	}{
		{name: "all are", groups: [][]airoute.Target{{a}, {b}}},
		{name: "the first", groups: [][]airoute.Target{{a}, {b}}, not: "ns/a", order: "chosen=backend:ns/b#x", told: "ns/a: credential not ready"},
		{name: "alone", groups: [][]airoute.Target{{a}}, not: "ns/a"},
		{name: "all of them", groups: [][]airoute.Target{{a}, {b}}, not: "ns/a ns/b", order: "chosen=backend:ns/a", told: "ns/a: credential not ready; ns/b: credential not ready"},
		{name: "and the other cools", groups: [][]airoute.Target{{a}, {b}}, not: "ns/a", cools: "ns/b", order: "chosen=backend:ns/b#x", told: "ns/a: credential not ready"},
		{name: "one of two", groups: [][]airoute.Target{{a, b}}, not: "ns/a", order: "chosen=backend:ns/b#x", told: "ns/a: credential not ready"},
		{name: "the second", groups: [][]airoute.Target{{a}, {b}, {c}}, not: "ns/b", order: "chosen=backend:ns/a 2"},
		{name: "the last", groups: [][]airoute.Target{{a}, {b}}, not: "ns/b", order: "chosen=backend:ns/a"},
		{name: "one of a later group", groups: [][]airoute.Target{{a}, {b, p}}, not: "ns/b", order: "chosen=backend:ns/a ready 1=restore:ns/p"},
		{name: "one of a group after a pool", groups: [][]airoute.Target{{p}, {b, aPool("ns/o")}}, not: "ns/b", order: "chosen=fairway/ns/p ready 1=fairway-later/ns/o"},
		{name: "a pool's", groups: [][]airoute.Target{{spoken}, {c}}, not: "ns/q", order: "chosen=backend:ns/c", told: "ns/p: credential not ready"},
		{name: "behind a pool that holds", groups: [][]airoute.Target{{p}, {a}}, not: "ns/a", pool: errHolds, order: "chosen=fairway/ns/p"},
		{name: "behind a full pool", groups: [][]airoute.Target{{p}, {a}}, not: "ns/a", pool: full, rejected: true},
	} {
		t.Run(tt.name, func(t *testing.T) {
			var fell []string
			next := &picker{pools: map[string]error{}}
			if tt.pool != nil {
				next.pools["ns/p"] = tt.pool
			}
			r := &Router{
				Next: next, Random: func(uint64) uint64 { return 0 }, MaxHold: time.Minute,
				Ready:      func(backend string) bool { return !strings.Contains(tt.not, backend) },
				Cools:      func(backend string) bool { return strings.Contains(tt.cools, backend) },
				OnFallback: func(from, reason, to string) { fell = append(fell, from+": "+reason) },
			}
			pick, md, err := followed(t, r, airoute.Rule{Groups: tt.groups, On: airoute.AllTriggers(), Attempts: len(tt.groups), Managed: true})
			if (err != nil) != tt.rejected {
				t.Fatal(err)
			}
			if got := orderOf(md); got != tt.order {
				t.Errorf("order %q, want %q", got, tt.order)
			}
			if got := tellOf(pick.Observer, 200, "ns/c"); !tt.rejected && !strings.HasSuffix(got, "failed") && (got != tt.told || got != strings.Join(fell, "; ")) {
				t.Errorf("told %q and %q, want %q", got, fell, tt.told)
			}
		})
	}
}

// tries remembers who took what.
type tries struct {
	said  map[string][]string
	taken []string
}

func (t *tries) Take(id string) []string {
	t.taken = append(t.taken, id)
	return t.said[id]
}

func TestTold(t *testing.T) {
	chain := [][]airoute.Target{{aPool("ns/p")}, {aCloud("ns/a")}, {aCloud("ns/b")}}
	for _, tt := range []struct {
		pool   error
		tries  []string
		status int
		by     string
		want   string
	}{
		{nil, nil, 200, "ns/p", ""},
		{nil, nil, 200, "fairway/ns/p", ""},
		{nil, nil, 503, "", ""},
		{nil, []string{"ns/a: 500"}, 200, "ns/b", "ns/p: failed; ns/a: 500"},
		{&extproc.Rejection{Status: 503, Code: "no_endpoints"}, nil, 200, "ns/a", "ns/p: no endpoints"},
		{&extproc.Rejection{Status: 503, Code: "picker_unavailable"}, []string{"ns/a: 429"}, 200, "ns/b", "ns/p: picker unavailable; ns/a: 429"},
		{&extproc.Rejection{Status: 503, Code: "overloaded"}, []string{"ns/a: reset", "ns/b: 500"}, 500, "ns/b", "ns/p: unavailable; ns/a: reset"},
		{nil, []string{"ns/b: 429"}, 429, "ns/b", "ns/p: failed"},
		{nil, []string{"ns/b: reset"}, 503, "ns/b", "ns/p: failed; ns/b: reset"},
		{errHolds, []string{"b\xffd\n: 500"}, 200, "ns/b", "ns/p: saturated; b?d?: 500"},
		{nil, []string{strings.Repeat("x", 5000)}, 200, "ns/p", strings.Repeat("x", maxFallback-3) + "..."},
	} {
		memory := &tries{}
		r := &Router{Next: &picker{pools: map[string]error{"ns/p": tt.pool}}, Tries: memory}
		pick, md, err := followed(t, r, airoute.Rule{Groups: chain, On: airoute.AllTriggers(), Attempts: 3})
		if err != nil {
			t.Fatal(err)
		}
		id := md.Fields[Namespace].GetStructValue().Fields[idKey].GetStringValue()
		if len(id) < 20 || id == "id" {
			t.Errorf("a client can guess %q", id)
		}
		memory.said = map[string][]string{id: tt.tries}
		if got := tellOf(pick.Observer, tt.status, tt.by); got != tt.want {
			t.Errorf("%v, %v: told %q, want %q", tt.pool, tt.tries, got, tt.want)
		}
		pick.Observer.FirstToken(time.Time{})
		pick.Observer.End(time.Time{}, extproc.Outcome{})
		if len(memory.taken) != 1 || !pick.Observer.(extproc.BodySkipper).SkipsBody() {
			t.Errorf("taken %v", memory.taken)
		}
	}
	// A request that nobody answers takes nothing: its client has left.
	memory := &tries{}
	pick, _, err := followed(t, &Router{Next: &picker{}, Tries: memory}, airoute.Rule{Groups: chain, Attempts: 3})
	if err != nil {
		t.Fatal(err)
	}
	pick.Observer.End(time.Time{}, extproc.Outcome{})
	if len(memory.taken) != 0 {
		t.Error("tries of a request without an answer are taken for failed")
	}
}

// A teller leaves the pool's own observer what it had.
func TestTellerPasses(t *testing.T) {
	w := &watcher{}
	o := &teller{Observer: &elsewhere{Observer: w, target: aPool("ns/p")}, over: []passed{{"x", "y"}}}
	if got := tellOf(o, 200, "ns/p"); got != "x: y" || o.SkipsBody() {
		t.Errorf("told %q", got)
	}
	o.FirstToken(time.Time{})
	o.End(time.Time{}, extproc.Outcome{Status: 200})
	if got := strings.Join(w.told, ", "); got != "headers 200 , first, end 200" {
		t.Errorf("the pool was told: %s", got)
	}
	o = &teller{Observer: &elsewhere{Observer: &watcher{}, target: aPool("ns/p")}}
	if got := tellOf(o, 200, "ns/cloud"); got != "" || !o.SkipsBody() {
		t.Errorf("told %q, or a body that nobody reads is asked for", got)
	}
}

func TestModels(t *testing.T) {
	own := airoute.Backend{Name: "ns/spoken", Label: "ns/spoken", Pool: "ns/p", Provider: aibackend.Backend{Model: "theirs"}}
	for _, tt := range []struct {
		name          string
		target        airoute.Target
		trim, model   string
		asked, sent   string
		original      string
		pools         string
		withoutOthers bool
	}{
		{name: "as it is", target: aPool("ns/p"), asked: "ns/p m"},
		{name: "another", target: airoute.Target{Pool: "ns/p", Model: "big", Weight: 1}, asked: "ns/p big", sent: "big", original: "m", pools: "ns/p=big "},
		{name: "another, alone", target: airoute.Target{Pool: "ns/p", Model: "big", Weight: 1}, withoutOthers: true, asked: "ns/p big", sent: "big", original: "m", pools: "ns/p=big "},
		{name: "in another API", target: airoute.Target{Pool: "ns/p", Backend: "ns/spoken", Weight: 1}, asked: "ns/p theirs"},
		{name: "less a prefix", target: aPool("ns/p"), trim: "x/", asked: "ns/p m", original: "m"},
		{name: "with less of a prefix", target: aPool("ns/p"), trim: "vendor/", model: "vendor/m", asked: "ns/p m", sent: "m", original: "m"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			var asked []string
			next := pickerFunc(func(q *extproc.Request) (extproc.Pick, error) {
				asked = append(asked, q.Pool+" "+q.Body.Model)
				return extproc.Pick{Destinations: "1.1.1.1:1", SetHeaders: headers("x-prefiller-host-port", "2.2.2.2:2")}, nil
			})
			groups := [][]airoute.Target{{tt.target}, {aCloud("ns/a")}}
			if tt.withoutOthers {
				groups = groups[:1]
			}
			rule := airoute.Rule{Groups: groups, Attempts: 2, TrimModel: tt.trim}
			pick, md, err := followedAs(t, &Router{Next: next}, cmp.Or(tt.model, "m"), rule, own)
			if err != nil {
				t.Fatal(err)
			}
			if got := strings.Join(asked, ", "); got != tt.asked || pick.Model != tt.sent {
				t.Errorf("asked for %q and sends %q, want %q and %q", got, pick.Model, tt.asked, tt.sent)
			}
			o := md.Fields[Namespace].GetStructValue().Fields
			pools := ""
			list := o[poolsKey].GetListValue().GetValues()
			for i := 0; i+1 < len(list); i += 2 {
				pools += list[i].GetStringValue() + "=" + list[i+1].GetStringValue() + " "
			}
			if got := o[modelKey].GetStringValue(); got != tt.original || pools != tt.pools {
				t.Errorf("the original's model is %q, want %q; pools %q", got, tt.original, pools)
			}
			// What is for one pool goes to no other place.
			text := fmt.Sprint(o[headersKey])
			if strings.Contains(text, "2.2.2.2:2") != (tt.target.Backend != "") {
				t.Errorf("other tries get %s", text)
			}
		})
	}
}

type pickerFunc func(*extproc.Request) (extproc.Pick, error)

func (f pickerFunc) Pick(_ context.Context, q *extproc.Request) (extproc.Pick, error) { return f(q) }

func TestLeads(t *testing.T) {
	only := func(s string) airoute.Triggers {
		return airoute.Triggers{Saturated: s == "s", NoEndpoints: s == "n", PickerUnavailable: s == "p"}
	}
	for _, tt := range []struct {
		err  error
		want string // triggers that lead on
	}{
		{errSpill, "s"},
		{&extproc.Rejection{Status: 429}, "s"},
		{&extproc.Rejection{Status: 503, Code: "no_endpoints"}, "n"},
		{&extproc.Rejection{Status: 503, Code: "picker_unavailable"}, "p"},
		{&extproc.Rejection{Status: 503}, "sp"},
		{&extproc.Rejection{Status: 400}, ""},
		{&refusal{extproc.Change{ImmediateStatus: 429}}, "s"},
		{&refusal{extproc.Change{ImmediateStatus: 503}}, "n"},
		{&refusal{extproc.Change{ImmediateStatus: 401}}, ""},
		{errors.New("bug"), ""},
	} {
		got := ""
		for _, s := range []string{"s", "n", "p"} {
			if leads(only(s), tt.err) {
				got += s
			}
		}
		if got != tt.want {
			t.Errorf("%v leads on with %q, want %q", tt.err, got, tt.want)
		}
	}
}
