package egress

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	corev3 "github.com/envoyproxy/go-control-plane/envoy/config/core/v3"
	"github.com/prometheus/client_golang/prometheus"
	"google.golang.org/grpc/mem"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/types/known/structpb"

	"github.com/fairway-ai/fairway/aibackend"
	"github.com/fairway-ai/fairway/api/v1alpha1"
	"github.com/fairway-ai/fairway/extproc"
	"github.com/fairway-ai/fairway/extproc/observe"
	"github.com/fairway-ai/fairway/extproc/scan"
	"github.com/fairway-ai/fairway/gateway/airoute"
	"github.com/fairway-ai/fairway/gateway/egress/limits"
)

// limitedRouter is a router of one rule under limits, to a backend or a pool.
func limitedRouter(t *testing.T, rule airoute.Rule, p *picker) (*Router, *Translators) {
	t.Helper()
	limiter, err := limits.New(prometheus.NewRegistry(), nil)
	if err != nil {
		t.Fatal(err)
	}
	l := NewLimits(limiter, func(o *Outcome) map[string]uint64 {
		return map[string]uint64{"double": 2 * uint64(o.Usage.Input+o.Usage.Output)}
	}, nil)
	rule.Name, rule.Route, rule.Attempts, rule.On = "ns/r/0", "ns/r", len(rule.Groups), airoute.AllTriggers()
	c := &airoute.Config{Rules: []airoute.Rule{rule}}
	l.SetRules(c)
	r := &Router{Next: p, Limits: l, Pools: &PoolAnswers{Observer: l}}
	r.SetRules(c)
	tr := &Translators{Observer: l}
	if err := tr.Set(Backend{Name: "b", Host: "api.example.com", Provider: aibackend.Backend{Schema: aibackend.OpenAI}}); err != nil {
		t.Fatal(err)
	}
	return r, tr
}

func limitedRequest(path, model string) *extproc.Request {
	q := extproc.NewRequest(headers(":method", "POST", ":path", path, "x-team", "a"), func(time.Duration) error { return nil })
	q.ID, q.Path, q.Pool = "same", path, "routes:ns/r"
	q.Body = scan.Result{API: scan.APIFromPath(path), Model: model, PromptBytes: 400, MaxTokens: 100}
	return q
}

func totalTokens(n int64) []airoute.Limit {
	return []airoute.Limit{{Type: v1alpha1.LimitTotalTokens, Max: n, Period: time.Hour}}
}

// left is what the client is told that is left.
func left(t *testing.T, pick extproc.Pick) string {
	t.Helper()
	for _, h := range pick.Observer.ResponseHeaders(time.Now(), 200, "") {
		if h.Name == "x-ratelimit-remaining-tokens" {
			return h.Value
		}
	}
	t.Error("the client is not told what is left")
	return ""
}

func TestRefusedOverItsLimit(t *testing.T) {
	rule := airoute.Rule{
		Groups: [][]airoute.Target{{{Pool: "p"}}, {{Backend: "b"}}},
		Limits: []airoute.Limit{{Type: v1alpha1.LimitRequests, Max: 1, Period: time.Hour, Per: v1alpha1.LimitPerHeader, Header: "x-team"}},
	}
	for path, want := range map[string]string{
		"/v1/chat/completions": "x-ratelimit-limit-requests x-ratelimit-remaining-requests x-ratelimit-reset-requests retry-after",
		"/v1/messages":         "anthropic-ratelimit-requests-limit anthropic-ratelimit-requests-remaining anthropic-ratelimit-requests-reset retry-after",
	} {
		p := &picker{}
		r, _ := limitedRouter(t, rule, p)
		if _, err := r.Pick(t.Context(), limitedRequest(path, "m")); err != nil {
			t.Fatal(err)
		}
		_, err := r.Pick(t.Context(), limitedRequest(path, "m"))
		var no *extproc.Rejection
		if !errors.As(err, &no) || no.Status != 429 || no.Code != "rate_limit_exceeded" || !strings.Contains(no.Message, "1 requests in 1 hours") {
			t.Fatalf("%v", err)
		}
		var names []string
		for _, h := range no.Headers {
			names = append(names, h.Name)
		}
		if got := strings.Join(names, " "); got != want {
			t.Errorf("%s: told %s", path, got)
		}
		if len(p.asked) != 1 {
			t.Errorf("a pool was asked about a request over its limit: %v", p.asked)
		}
	}
}

// TestNothingSentIsNothingUsed: what is refused after it was let in counts for nothing.
func TestNothingSentIsNothingUsed(t *testing.T) {
	p := &picker{pools: map[string]error{"p": &extproc.Rejection{Status: 503, Code: "no_endpoints"}}}
	r, _ := limitedRouter(t, airoute.Rule{
		Groups: [][]airoute.Target{{{Pool: "p"}}}, Limits: []airoute.Limit{{Type: v1alpha1.LimitRequests, Max: 1, Period: time.Hour}},
	}, p)
	for range 3 {
		if _, err := r.Pick(t.Context(), limitedRequest("/v1/chat/completions", "m")); !errors.Is(err, p.pools["p"]) {
			t.Fatal(err)
		}
	}
	delete(p.pools, "p")
	if _, err := r.Pick(t.Context(), limitedRequest("/v1/chat/completions", "m")); err != nil {
		t.Error(err)
	}
	if n := len(r.Limits.byID); n != 1 {
		t.Errorf("%d requests are remembered, one is under way", n)
	}
}

// TestBackendsCharge: what a backend reports is charged to the request that it answered,
// whichever of Envoy's two streams ends first, and whatever the client calls itself.
func TestBackendsCharge(t *testing.T) {
	for name, firstEnds := range map[string]bool{"the client's first": true, "the backend's first": false} {
		t.Run(name, func(t *testing.T) {
			r, tr := limitedRouter(t, airoute.Rule{Groups: [][]airoute.Target{{{Backend: "b"}}}, Limits: totalTokens(1000)}, &picker{})
			pick, err := r.Pick(t.Context(), limitedRequest("/v1/chat/completions", "m"))
			if err != nil {
				t.Fatal(err)
			}
			if n := left(t, pick); n != "800" {
				t.Errorf("%s are left while 200 are reserved", n)
			}
			var s structpb.Struct
			if err := proto.Unmarshal(pick.Metadata, &s); err != nil {
				t.Fatal(err)
			}
			md, err := proto.Marshal(&corev3.Metadata{FilterMetadata: map[string]*structpb.Struct{Namespace: s.Fields[Namespace].GetStructValue()}})
			if err != nil {
				t.Fatal(err)
			}
			x := tr.Consult(t.Context(), Prefix+"b")
			if err := x.RequestHeaders(extproc.Head{Headers: headers(":path", "/v1/chat/completions"), Metadata: md}); err != nil {
				t.Fatal(err)
			}
			x.RequestBody(mem.BufferSlice{mem.SliceBuffer(ask)}, true)
			if _, err := x.Decide(nil); err != nil {
				t.Fatal(err)
			}
			x.ResponseHeaders(extproc.Head{Headers: headers(":status", "200", "content-type", "application/json")}, nil)
			x.ResponseBody(mem.BufferSlice{mem.SliceBuffer(`{"id":"x","object":"chat.completion","model":"m","choices":[],"usage":{"prompt_tokens":7,"completion_tokens":3,"total_tokens":10}}`)}, true, true, nil)
			if firstEnds {
				pick.Observer.End(time.Now(), extproc.Outcome{Status: 200, Complete: true})
				x.Close(true)
			} else {
				x.Close(true)
				pick.Observer.End(time.Now(), extproc.Outcome{Status: 200, Complete: true})
			}
			next, err := r.Pick(t.Context(), limitedRequest("/v1/chat/completions", "m"))
			if err != nil {
				t.Fatal(err)
			}
			if n := left(t, next); n != "790" {
				t.Errorf("%s are left after an answer of 10 tokens", n)
			}
		})
	}
}

// TestPoolsCharge: a pool's answer is charged with what its server reports, or else with
// the events that went by, or what was expected; an error with nothing.
func TestPoolsCharge(t *testing.T) {
	for name, tt := range map[string]struct {
		outcome extproc.Outcome
		left    string // less what the next one reserves
	}{
		"reported":                  {extproc.Outcome{Status: 200, Usage: observe.Usage{Known: true, PromptTokens: 7, CompletionTokens: 3}}, "790"},
		"counted":                   {extproc.Outcome{Status: 200, Chunks: 50}, "650"},
		"unknown":                   {extproc.Outcome{Status: 200, Complete: true}, "600"},
		"the client left":           {extproc.Outcome{}, "600"},
		"an error":                  {extproc.Outcome{Status: 500, Complete: true}, "800"},
		"an error that has a price": {extproc.Outcome{Status: 500, Usage: observe.Usage{Known: true, PromptTokens: 100}}, "700"},
	} {
		t.Run(name, func(t *testing.T) {
			r, _ := limitedRouter(t, airoute.Rule{Groups: [][]airoute.Target{{{Pool: "p"}}}, Limits: totalTokens(1000)}, &picker{})
			r.Next = pickerWith{&watcher{}}
			pick, err := r.Pick(t.Context(), limitedRequest("/v1/chat/completions", "m"))
			if err != nil {
				t.Fatal(err)
			}
			pick.Observer.(extproc.HeaderReader).ReadHeaders(func(string) string { return "" })
			pick.Observer.ResponseHeaders(time.Now(), tt.outcome.Status, "1.1.1.1:1")
			pick.Observer.End(time.Now(), tt.outcome)
			next, err := r.Pick(t.Context(), limitedRequest("/v1/chat/completions", "m"))
			if err != nil {
				t.Fatal(err)
			}
			if n := left(t, next); n != tt.left {
				t.Errorf("%s are left, want %s", n, tt.left)
			}
		})
	}
}

// TestCostsAreLimited: a limit on a cost counts what the costs come to.
func TestCostsAreLimited(t *testing.T) {
	r, _ := limitedRouter(t, airoute.Rule{
		Groups: [][]airoute.Target{{{Backend: "b"}}},
		Limits: []airoute.Limit{{Type: v1alpha1.LimitCost, Cost: "double", Max: 700, Period: time.Hour}},
	}, &picker{})
	if _, err := r.Pick(t.Context(), limitedRequest("/v1/chat/completions", "m")); err != nil {
		t.Fatal(err)
	}
	if _, err := r.Pick(t.Context(), limitedRequest("/v1/chat/completions", "m")); err == nil || !strings.Contains(err.Error(), "of double") {
		t.Errorf("two requests of 400 each are within 700: %v", err)
	}
}

// TestLateIsBounded: requests that nobody reports anything of are not remembered for good.
func TestLateIsBounded(t *testing.T) {
	r, _ := limitedRouter(t, airoute.Rule{Groups: [][]airoute.Target{{{Backend: "b"}}}, Limits: totalTokens(1 << 40)}, &picker{})
	now := time.Unix(1e9, 0)
	r.Limits.now = func() time.Time { return now }
	one := func() {
		pick, err := r.Pick(t.Context(), limitedRequest("/v1/chat/completions", "m"))
		if err != nil {
			t.Fatal(err)
		}
		pick.Observer.End(now, extproc.Outcome{Status: 200})
	}
	for range maxLate + 100 {
		one()
	}
	if n := len(r.Limits.byID); n != maxLate || r.Limits.ended.Len() != n {
		t.Errorf("%d are remembered", n)
	}
	now = now.Add(2 * lateLife)
	one()
	if n := len(r.Limits.byID); n != 1 {
		t.Errorf("%d are remembered after their time", n)
	}
}

// TestWithoutLimitsNothingChanges: a rule without limits costs nothing and is told of
// nothing.
func TestWithoutLimitsNothingChanges(t *testing.T) {
	r, _ := limitedRouter(t, airoute.Rule{Groups: [][]airoute.Target{{{Backend: "b"}}}}, &picker{})
	pick, err := r.Pick(t.Context(), limitedRequest("/v1/chat/completions", "m"))
	if err != nil || pick.Observer != nil {
		t.Errorf("%+v, %v", pick.Observer, err)
	}
	rule, q := &r.rules.Load().Rules[0], limitedRequest("/v1/chat/completions", "m")
	if n := testing.AllocsPerRun(100, func() { _, _ = r.Limits.admit(rule, q, "") }); n > 0 {
		t.Errorf("%v allocations", n)
	}
}

// pickerWith picks with an observer.
type pickerWith struct{ o extproc.Observer }

func (p pickerWith) Pick(_ context.Context, _ *extproc.Request) (extproc.Pick, error) {
	return extproc.Pick{Destinations: "1.1.1.1:1", Observer: p.o}, nil
}

// TestUnderLimitsPassesOn: who watched before is told all the same.
func TestUnderLimitsPassesOn(t *testing.T) {
	r, _ := limitedRouter(t, airoute.Rule{Groups: [][]airoute.Target{{{Pool: "p"}}}, Limits: totalTokens(1000)}, &picker{})
	w := &watcher{}
	r.Next = pickerWith{w}
	pick, err := r.Pick(t.Context(), limitedRequest("/v1/chat/completions", "m"))
	if err != nil {
		t.Fatal(err)
	}
	o := pick.Observer.(*underLimits)
	o.ReadHeaders(func(string) string { return "" })
	o.ResponseHeaders(time.Now(), 200, "1.1.1.1:1")
	o.FirstToken(time.Now())
	if o.SkipsBody() || o.ResponseMetadata(observe.Usage{Known: true, PromptTokens: 1}) == nil {
		t.Error("the pool's answer is not followed")
	}
	o.End(time.Now(), extproc.Outcome{Status: 200})
	if want := []string{"headers 200 1.1.1.1:1", "first", "end 200"}; !slices.Equal(w.told, want) {
		t.Errorf("told %v", fmt.Sprint(w.told))
	}
}
