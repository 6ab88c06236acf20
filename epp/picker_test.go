package epp

import (
	"context"
	"errors"
	"net/http/httptest"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/fairway-ai/fairway/epp/explain"
	"github.com/fairway-ai/fairway/epp/metrics"
	"github.com/fairway-ai/fairway/extproc"
	"github.com/fairway-ai/fairway/extproc/observe"
	"github.com/fairway-ai/fairway/extproc/scan"
	"github.com/fairway-ai/fairway/scheduler"
)

// rejectAll is a filter that keeps nothing.
type rejectAll struct{}

func (rejectAll) Name() string                             { return "reject-all" }
func (rejectAll) Filter(*scheduler.Cycle, []int32) []int32 { return nil }
func (rejectAll) Pick(*scheduler.Cycle, []float32) []int32 { return nil }
func (rejectAll) Admit(context.Context, string, *scheduler.Request) error {
	return &extproc.Rejection{Status: 429, Code: "quota", Message: "enough"}
}

func TestPoolOfARequest(t *testing.T) {
	a, b, c := newFakePool(1), newFakePool(1), newFakePool(1)
	named := []Pool{
		{Name: "ns/a", Endpoints: a, Models: []string{"llama", "qwen*"}},
		{Name: "ns/b", Endpoints: b, Models: []string{"qwen-coder*", "qwen-7b"}},
	}
	for _, tt := range []struct {
		name        string
		pools       []Pool
		pool, model string
		want        string
		status      int
	}{
		{"the only pool takes any model", named[:1], "", "whatever", "ns/a", 0},
		{"the only pool takes no model", named[:1], "", "", "ns/a", 0},
		{"exact", named, "", "llama", "ns/a", 0},
		{"exact before a glob", named, "", "qwen-7b", "ns/b", 0},
		{"glob", named, "", "qwen-72b", "ns/a", 0},
		{"longest glob", named, "", "qwen-coder-7b", "ns/b", 0},
		{"named by the gateway", named, "ns/b", "llama", "ns/b", 0},
		{"unknown model", named, "", "gpt", "", 404},
		{"no model", named, "", "", "", 400},
		{"unknown pool", named, "ns/x", "llama", "", 503},
		{"the rest", append(named[:2:2], Pool{Name: "ns/c", Endpoints: c}), "", "gpt", "ns/c", 0},
		{"no pools", nil, "", "gpt", "", 503},
	} {
		t.Run(tt.name, func(t *testing.T) {
			p := newPicker(t, Options{Pools: tt.pools, PoolHeader: true})
			defer p.Close()
			req := prompt("r", tt.model, 10)
			req.Pool = tt.pool
			pick, err := p.Pick(context.Background(), req)
			var rej *extproc.Rejection
			if errors.As(err, &rej) {
				if rej.Status != tt.status {
					t.Errorf("status %d (%v), want %d", rej.Status, err, tt.status)
				}
				return
			}
			if err != nil || tt.status != 0 {
				t.Fatalf("error %v, want status %d", err, tt.status)
			}
			defer pick.Observer.End(time.Now(), extproc.Outcome{})
			got := tt.pool // the gateway knows then
			if len(pick.SetHeaders) == 1 {
				got = pick.SetHeaders[0].Value
			}
			if got != tt.want {
				t.Errorf("pool %q, want %q", got, tt.want)
			}
		})
	}
}

func TestPoolsThatContradict(t *testing.T) {
	e := newFakePool(1)
	for _, pools := range [][]Pool{
		{{Name: "a", Endpoints: e}, {Name: "a", Endpoints: e}},
		{{Name: "a", Endpoints: e, Models: []string{"m"}}, {Name: "b", Endpoints: e, Models: []string{"m"}}},
	} {
		if _, err := New(Options{Pools: pools}); err == nil {
			t.Errorf("%v were accepted", pools)
		}
	}
}

func TestRejections(t *testing.T) {
	profile := scheduler.NewProfile("p", []scheduler.Filter{rejectAll{}}, nil, rejectAll{})
	for _, tt := range []struct {
		name    string
		o       Options
		subset  bool
		status  int
		dropped string
	}{
		{"empty pool", Options{Pools: onePool(newFakePool(0))}, false, 503, "rejected-no-endpoints"},
		{"empty subset", Options{Pools: onePool(newFakePool(2))}, true, 503, "rejected-no-endpoints"},
		{"all filtered", Options{Pools: []Pool{{Name: "p", Endpoints: newFakePool(2), Policy: profile}}}, false, 429, "rejected-saturated"},
		{"not admitted", Options{Pools: onePool(newFakePool(2)), Admission: rejectAll{}}, false, 429, ""},
	} {
		t.Run(tt.name, func(t *testing.T) {
			ring := explain.NewRing(4)
			tt.o.Explain = ring
			p := newPicker(t, tt.o)
			req := prompt("r", "m", 10)
			req.HasSubset = tt.subset
			_, err := p.Pick(context.Background(), req)
			var rej *extproc.Rejection
			if !errors.As(err, &rej) || rej.Status != tt.status {
				t.Fatalf("error %v, want status %d", err, tt.status)
			}
			dropped := ""
			for _, h := range rej.Headers {
				if h.Name == HeaderDropped {
					dropped = h.Value
				}
			}
			if dropped != tt.dropped {
				t.Errorf("%s: %q, want %q", HeaderDropped, dropped, tt.dropped)
			}
			drained(t, tt.o.Pools[0].Endpoints.Snapshot().Endpoints)
			if d, ok := ring.Find("r"); ok && (d.Error == "" || d.Outcome == nil || d.Outcome.Status != tt.status) {
				t.Errorf("decision %+v does not tell of the rejection", d)
			}
		})
	}
}

// panics is a policy that panics.
type panics struct{}

func (panics) Name() string                      { return "panics" }
func (panics) Schedule(*scheduler.Cycle) []int32 { panic("ouch") }

func TestPanicOfAPluginLeavesNothingBehind(t *testing.T) {
	pool := newFakePool(1)
	m := metrics.New(metrics.Options{})
	p := newPicker(t, Options{Pools: []Pool{{Name: "p", Endpoints: pool, Policy: panics{}}}, Metrics: m})
	func() {
		defer func() {
			if recover() == nil {
				t.Error("the panic was swallowed")
			}
		}()
		_, _ = p.Pick(context.Background(), prompt("r", "m", 10))
	}()
	drained(t, pool.Snapshot().Endpoints)
	if got := scrape(m); !strings.Contains(got, `llm_d_epp_request_running{fairness_id="default-flow",model_name="m",priority="0",target_model_name="m"} 0`) {
		t.Error("a request that is over still counts as running")
	}
}

func TestUnknownModelsAreNoLabels(t *testing.T) {
	m := metrics.New(metrics.Options{})
	p := newPicker(t, Options{Metrics: m, Pools: []Pool{
		{Name: "a", Endpoints: newFakePool(1), Models: []string{"a"}}, {Name: "b", Endpoints: newFakePool(1), Models: []string{"b"}},
	}})
	if _, err := p.Pick(context.Background(), prompt("r", "made-up", 10)); err == nil {
		t.Error("a made-up model was served")
	}
	if got := scrape(m); strings.Contains(got, "made-up") || !strings.Contains(got, `model_name="other"`) {
		t.Errorf("a made-up model is not counted as other:\n%s", got)
	}
}

// scrape is the metrics page.
func scrape(m *metrics.Metrics) string {
	rec := httptest.NewRecorder()
	m.Handler().ServeHTTP(rec, httptest.NewRequest("GET", "/metrics", nil))
	return rec.Body.String()
}

func TestIgnoreSubset(t *testing.T) {
	p := newPicker(t, Options{Pools: onePool(newFakePool(2)), IgnoreSubset: true})
	req := prompt("r", "m", 10)
	req.HasSubset = true
	mustPick(t, p, req).Observer.End(time.Now(), extproc.Outcome{})
}

func TestDestinationsAreRanked(t *testing.T) {
	pool := newFakePool(6)
	p := newPicker(t, Options{Pools: onePool(pool), EmitScores: true})
	pick := mustPick(t, p, prompt("r", "m", 100))
	got := strings.Split(pick.Destinations, ",")
	if len(got) != 4 {
		t.Fatalf("destinations %q, want 4", pick.Destinations)
	}
	seen := map[string]bool{}
	for _, a := range got {
		if seen[a] || pool.Snapshot().IndexOf(a) < 0 {
			t.Errorf("destination %q is there twice or is no endpoint", a)
		}
		seen[a] = true
	}
	if len(pick.SetHeaders) != 1 || pick.SetHeaders[0] != (extproc.Header{Name: HeaderScores, Value: "100,100,100,100"}) {
		t.Errorf("headers %v, want the four prices", pick.SetHeaders)
	}
	if len(pick.Scores) != 4 || pick.Scores[1] != (extproc.EndpointScore{Address: got[1], Score: 100}) {
		t.Errorf("scores %v, want the four prices", pick.Scores)
	}
	pick.Observer.End(time.Now(), extproc.Outcome{})
}

// endings are the ways a response can go.
var endings = map[string]func(o extproc.Observer, now time.Time){
	"normal": func(o extproc.Observer, now time.Time) {
		o.ResponseHeaders(now, 200, "")
		o.FirstToken(now)
		o.End(now, extproc.Outcome{Status: 200, Complete: true, Streamed: true, Chunks: 5})
	},
	"client gone before the response": func(o extproc.Observer, now time.Time) { o.End(now, extproc.Outcome{}) },
	"client gone while streaming": func(o extproc.Observer, now time.Time) {
		o.ResponseHeaders(now, 200, "")
		o.FirstToken(now)
		o.End(now, extproc.Outcome{Status: 200})
	},
	"upstream reset before the first token": func(o extproc.Observer, now time.Time) {
		o.ResponseHeaders(now, 200, "")
		o.End(now, extproc.Outcome{Status: 200})
	},
	"refused by the model server": func(o extproc.Observer, now time.Time) {
		o.ResponseHeaders(now, 429, "")
		o.FirstToken(now)
		o.End(now, extproc.Outcome{Status: 429, Complete: true})
	},
	"served elsewhere": func(o extproc.Observer, now time.Time) {
		o.ResponseHeaders(now, 200, "10.0.0.2:8000")
		o.FirstToken(now)
		o.End(now, extproc.Outcome{Status: 200, Complete: true})
	},
	"served by somebody unknown": func(o extproc.Observer, now time.Time) {
		o.ResponseHeaders(now, 200, "10.9.9.9:8000")
		o.FirstToken(now)
		o.End(now, extproc.Outcome{Status: 200, Complete: true})
	},
}

func TestEveryEndLeavesNothingBehind(t *testing.T) {
	for name, end := range endings {
		for _, stream := range []bool{true, false} {
			for _, hold := range []bool{true, false} {
				pool := newFakePool(3)
				m := metrics.New(metrics.Options{})
				p := newPicker(t, Options{Pools: onePool(pool), Hold: hold, Metrics: m})
				req := prompt("r", "m", 1000)
				req.Body.Stream = stream
				end(mustPick(t, p, req).Observer, time.Now())
				drained(t, pool.Snapshot().Endpoints)
				if want := `llm_d_epp_request_running{fairness_id="default-flow",model_name="m",priority="0",target_model_name="m"} 0`; !strings.Contains(scrape(m), want) {
					t.Errorf("%s: no line %s", name, want)
				}
			}
		}
	}
}

func TestServedElsewhereMovesTheLoad(t *testing.T) {
	pool := newFakePool(3)
	ring := explain.NewRing(4)
	pools := onePool(pool)
	pools[0].Policy = stamping{scheduler.Priced{Alternatives: 1}}
	p := newPicker(t, Options{Pools: pools, Hold: true, Explain: ring, ServedHeader: true})
	pick := mustPick(t, p, prompt("r", "m", 1000))
	es := pool.Snapshot().Endpoints
	first, _, _ := strings.Cut(pick.Destinations, ",")
	from := pool.Snapshot().IndexOf(first)
	to := (from + 1) % 3
	now := time.Now()
	hs := pick.Observer.ResponseHeaders(now, 200, es[to].Address)
	want := []extproc.Header{{Name: HeaderSession, Value: sessionToken(es[to].ID)}, {Name: HeaderServed, Value: es[to].Address}}
	if !slices.Equal(hs, want) {
		t.Errorf("response headers %v, want the session token of %s and its address", hs, es[to].ID)
	}
	if v := es[to].Load.View(); v.Requests != 1 || v.Prefilling != 1000 {
		t.Errorf("the serving endpoint has %+v, want one request of 1000 tokens", v)
	}
	drained(t, es[from:from+1])
	if got := pool.suspected(); len(got) != 1 || got[0] != es[from].ID {
		t.Errorf("suspects %v, want %s", got, es[from].ID)
	}
	pick.Observer.FirstToken(now.Add(time.Second))
	pick.Observer.End(now.Add(2*time.Second), extproc.Outcome{
		Status: 200, Complete: true, Usage: observe.Usage{Known: true, PromptTokens: 900, CompletionTokens: 7, CachedTokens: 800},
	})
	drained(t, es)
	d, ok := ring.Find("r")
	if !ok || d.Outcome == nil || d.Outcome.Served != es[to].ID || d.Outcome.CachedTokens != 800 {
		t.Errorf("decision %+v, want the endpoint that served and its usage", d)
	}
}

func TestSessionToken(t *testing.T) {
	for token, want := range map[string]string{
		sessionToken("ns/pod-1"): "ns/pod-1", "": "", "%%%": "", strings.Repeat("QUFB", 1000): "",
	} {
		if got := session(token); got != want {
			t.Errorf("session(%.20q) = %q, want %q", token, got, want)
		}
	}
}

func TestSetPoolsKeepsTheAccounting(t *testing.T) {
	a, b := newFakePool(1), newFakePool(1)
	p := newPicker(t, Options{Pools: onePool(a), Hold: true})
	pick := mustPick(t, p, prompt("r", "m", 1000))
	state := p.states[a]
	if err := p.SetPools([]Pool{{Name: "ns/renamed", Endpoints: a}, {Name: "ns/b", Endpoints: b, Models: []string{"b"}}}); err != nil {
		t.Fatal(err)
	}
	if p.states[a] != state {
		t.Error("the pool's gates were replaced with its configuration")
	}
	if err := p.SetPools([]Pool{{Name: "x", Endpoints: a}, {Name: "x", Endpoints: b}}); err == nil || len(p.states) != 2 {
		t.Errorf("error %v with %d pools left, want a refusal that changes nothing", err, len(p.states))
	}
	p.Close()
	if _, err := p.Pick(context.Background(), prompt("r2", "m", 1)); err == nil {
		t.Error("a closed picker picked")
	}
	pick.Observer.End(time.Now(), extproc.Outcome{})
	drained(t, a.Snapshot().Endpoints)
	if len(a.subs)+len(b.subs) != 0 {
		t.Error("a closed picker still listens to its pools")
	}
}

func TestEmbeddingsTeachTheRate(t *testing.T) {
	for _, tt := range []struct {
		api     scan.API
		stream  bool
		status  int
		teaches bool
	}{
		{scan.Embeddings, false, 200, true},
		{scan.ChatCompletions, true, 200, true},
		{scan.ChatCompletions, false, 200, false},
		{scan.ChatCompletions, true, 503, false},
	} {
		pool := newFakePool(1)
		p := newPicker(t, Options{Pools: onePool(pool)})
		e := pool.Snapshot().Endpoints[0]
		for range 3 {
			req := prompt("r", "m", 50_000)
			req.Body.API, req.Body.Stream = tt.api, tt.stream
			pick := mustPick(t, p, req)
			now := time.Now().Add(2 * time.Second)
			pick.Observer.ResponseHeaders(now, tt.status, "")
			pick.Observer.FirstToken(now)
			pick.Observer.End(now, extproc.Outcome{Status: tt.status, Complete: true})
		}
		if got := e.Load.View().PrefillRate > 0; got != tt.teaches {
			t.Errorf("%v streamed %v status %d: rate learned: %v, want %v", tt.api, tt.stream, tt.status, got, tt.teaches)
		}
	}
}
