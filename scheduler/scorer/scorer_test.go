package scorer_test

import (
	"fmt"
	"math"
	"sync"
	"testing"

	"github.com/fairway-ai/fairway/scheduler"
	"github.com/fairway-ai/fairway/scheduler/prefix"
	"github.com/fairway-ai/fairway/scheduler/scorer"
	"github.com/fairway-ai/fairway/scheduler/session"
)

// ep is one endpoint of a test: what a scorer can see of it.
type ep struct {
	id      string
	out     bool // not a candidate
	metrics scheduler.Metrics
	load    scheduler.LoadView
	tokens  int32
	blocks  int32
}

func known(m scheduler.Metrics) scheduler.Metrics { m.Known = true; return m }

func cycle(req scheduler.Request, eps []ep) *scheduler.Cycle {
	c := &scheduler.Cycle{Request: &req, Snapshot: &scheduler.Snapshot{}}
	for i, e := range eps {
		c.Snapshot.Endpoints = append(c.Snapshot.Endpoints, scheduler.Endpoint{ID: e.id})
		c.Snapshot.Metrics = append(c.Snapshot.Metrics, e.metrics)
		c.Loads = append(c.Loads, e.load)
		c.Cached = append(c.Cached, e.tokens)
		c.CachedBlocks = append(c.CachedBlocks, e.blocks)
		if !e.out {
			c.Candidates = append(c.Candidates, int32(i))
		}
	}
	return c
}

// na is a column's value where the scorer must not look.
const na = -7

func score(s scheduler.Scorer, c *scheduler.Cycle) []float32 {
	out := make([]float32, len(c.Snapshot.Endpoints))
	for i := range out {
		out[i] = na
	}
	s.Score(c, out)
	return out
}

func wantScores(t *testing.T, s scheduler.Scorer, c *scheduler.Cycle, want ...float64) {
	t.Helper()
	got := score(s, c)
	for i := range want {
		if math.Abs(float64(got[i])-want[i]) > 1e-6 {
			t.Errorf("%s = %v, want %v", s.Name(), got, want)
			return
		}
	}
}

func queue(n int32) ep { return ep{metrics: known(scheduler.Metrics{Waiting: n})} }

func TestScorers(t *testing.T) {
	blocks := scheduler.Request{PromptTokens: 20_000, Blocks: make([]prefix.Block, 10)}
	for _, tc := range []struct {
		name string
		s    scheduler.Scorer
		req  scheduler.Request
		eps  []ep
		want []float64
	}{
		{"queue: min-max", scorer.NewQueue(""), scheduler.Request{},
			[]ep{queue(0), queue(10), queue(4)}, []float64{1, 0, 0.6}},
		{"queue: all equal", scorer.NewQueue(""), scheduler.Request{},
			[]ep{queue(7), queue(7)}, []float64{1, 1}},
		{"queue: others do not count", scorer.NewQueue(""), scheduler.Request{},
			[]ep{queue(5), {out: true, metrics: known(scheduler.Metrics{Waiting: 500})}, queue(10)}, []float64{1, na, 0}},
		{"queue: none", scorer.NewQueue(""), scheduler.Request{}, []ep{{out: true}}, []float64{na}},
		{"queue: unknown is what we sent", scorer.NewQueue(""), scheduler.Request{},
			[]ep{{load: scheduler.LoadView{Waiting: 10}}, queue(0), queue(5)}, []float64{0, 1, 0.5}},
		{"queue: known is what it says", scorer.NewQueue(""), scheduler.Request{},
			[]ep{{metrics: known(scheduler.Metrics{Waiting: 2}), load: scheduler.LoadView{Waiting: 10}}, queue(0), queue(4)}, []float64{.5, 1, 0}},
		{"running: min-max", scorer.NewRunningRequests(""), scheduler.Request{},
			[]ep{{metrics: known(scheduler.Metrics{Running: 1})}, {metrics: known(scheduler.Metrics{Running: 5})}, {metrics: known(scheduler.Metrics{Running: 2})}}, []float64{1, 0, 0.75}},
		{"running: unknown is what we sent", scorer.NewRunningRequests(""), scheduler.Request{},
			[]ep{{metrics: known(scheduler.Metrics{Running: 1})}, {load: scheduler.LoadView{Requests: 9, Dispatched: 6, Waiting: 1}}}, []float64{1, 0}},
		{"kv", scorer.NewKVCacheUtilization(""), scheduler.Request{},
			[]ep{{metrics: known(scheduler.Metrics{KVUsage: 0.25})}, {metrics: known(scheduler.Metrics{KVUsage: 1})}}, []float64{0.75, 0}},
		{"kv: unknown is like the others", scorer.NewKVCacheUtilization(""), scheduler.Request{},
			[]ep{{metrics: known(scheduler.Metrics{KVUsage: 0.2})}, {metrics: known(scheduler.Metrics{KVUsage: 0.6})}, {}, {metrics: scheduler.Metrics{KVUsage: 0.9}}}, []float64{0.8, 0.4, 0.6, 0.1}},
		{"kv: nothing known", scorer.NewKVCacheUtilization(""), scheduler.Request{}, []ep{{}, {}}, []float64{1, 1}},
		{"prefix: share of blocks", scorer.NewPrefixCache("", scorer.DefaultPrefixCacheParameters()), blocks,
			[]ep{{tokens: 4000, blocks: 2}, {}, {tokens: 20_000, blocks: 10}}, []float64{0.2, 0, 1}},
		{"prefix: length", scorer.NewPrefixCache("", scorer.PrefixCacheParameters{MatchLengthWeight: 0.5, MatchLengthScaleTokens: 8000}), blocks,
			[]ep{{tokens: 4000, blocks: 2}, {}, {tokens: 20_000, blocks: 10}}, []float64{0.5*0.25 + 0.5*0.2, 0, 1}},
		{"prefix: default scale", scorer.NewPrefixCache("", scorer.PrefixCacheParameters{MatchLengthWeight: 1}), blocks,
			[]ep{{tokens: 4096, blocks: 2}}, []float64{0.25}},
		{"prefix: no blocks", scorer.NewPrefixCache("", scorer.PrefixCacheParameters{}), scheduler.Request{},
			[]ep{{}}, []float64{0}},
		{"token load", scorer.NewTokenLoad("", scorer.TokenLoadParameters{QueueThresholdTokens: 1000}), scheduler.Request{PromptTokens: 100},
			[]ep{{}, {load: scheduler.LoadView{Backlog: 400}, tokens: 100}, {load: scheduler.LoadView{Backlog: 5000}}, {tokens: 100}}, []float64{0.9, 0.6, 0, 1}},
		{"active requests", scorer.NewActiveRequest("", scorer.DefaultActiveRequestParameters()), scheduler.Request{},
			[]ep{{}, {load: scheduler.LoadView{Requests: 4}}, {load: scheduler.LoadView{Requests: 1}}}, []float64{1, 0, 0.75}},
		{"active requests: parameters", scorer.NewActiveRequest("", scorer.ActiveRequestParameters{IdleThreshold: 2, MaxBusyScore: 0.5}), scheduler.Request{},
			[]ep{{load: scheduler.LoadView{Requests: 2}}, {load: scheduler.LoadView{Requests: 4}}, {load: scheduler.LoadView{Requests: 3}}}, []float64{1, 0, 0.125}},
		{"load aware", scorer.NewLoadAware("", scorer.DefaultLoadAwareParameters()), scheduler.Request{},
			[]ep{queue(0), queue(64), queue(128), queue(999)}, []float64{0.5, 0.25, 0, 0}},
		{"lora", scorer.NewLoRAAffinity(""), scheduler.Request{Model: "sql"},
			[]ep{
				{metrics: known(scheduler.Metrics{MaxLoRA: 1, ActiveLoRA: []string{"sql"}})},
				{metrics: known(scheduler.Metrics{MaxLoRA: 3, ActiveLoRA: []string{"x"}, WaitingLoRA: []string{"sql"}})},
				{metrics: known(scheduler.Metrics{MaxLoRA: 2, ActiveLoRA: []string{"x"}, WaitingLoRA: []string{"sql"}})},
				{metrics: known(scheduler.Metrics{MaxLoRA: 1, ActiveLoRA: []string{"x"}})},
				{},
			}, []float64{1, 0.8, 0.6, 0, 0}},
		{"session", scorer.NewSessionAffinity("", session.New(session.Parameters{}, 0)), scheduler.Request{Session: "ns/b"},
			[]ep{{id: "ns/a"}, {id: "ns/b"}}, []float64{0, 1}},
		{"session: no token", scorer.NewSessionAffinity("", session.New(session.Parameters{}, 0)), scheduler.Request{}, []ep{{id: ""}}, []float64{0}},
	} {
		t.Run(tc.name, func(t *testing.T) { wantScores(t, tc.s, cycle(tc.req, tc.eps), tc.want...) })
	}
}

func TestNoHitLRU(t *testing.T) {
	s := scorer.NewNoHitLRU("", scorer.DefaultNoHitLRUParameters())
	eps := []ep{{id: "a"}, {id: "b"}, {id: "c"}}
	cold := cycle(scheduler.Request{}, eps)
	wantScores(t, s, cold, 1, 0.5, 0)
	s.Picked(cold, []int32{0, 1})
	wantScores(t, s, cold, 0, 1, 0.5) // b and c never had one
	s.Picked(cold, []int32{1})
	wantScores(t, s, cold, 0.5, 0, 1) // c never had one, then a, then b
	s.Picked(cold, []int32{2})
	s.Picked(cold, []int32{0})
	wantScores(t, s, cold, 0, 1, 0.5)

	// A prompt that somebody has cached is neither spread nor remembered.
	warm := cycle(scheduler.Request{}, []ep{{id: "a"}, {id: "b", blocks: 1}, {id: "c"}})
	wantScores(t, s, warm, 0.5, 0.5, 0.5)
	s.Picked(warm, []int32{1})
	s.Picked(cold, nil)
	wantScores(t, s, cold, 0, 1, 0.5)

	wantScores(t, s, cycle(scheduler.Request{}, []ep{{id: "a"}}), 1)
	wantScores(t, s, cycle(scheduler.Request{}, nil))

	// An LRU of one endpoint forgets the one before.
	one := scorer.NewNoHitLRU("", scorer.NoHitLRUParameters{LRUSize: 1})
	one.Picked(cold, []int32{0})
	one.Picked(cold, []int32{1})
	wantScores(t, one, cold, 1, 0, 0.5)
}

func TestNoHitLRUConcurrent(t *testing.T) {
	s := scorer.NewNoHitLRU("", scorer.NoHitLRUParameters{})
	var wg sync.WaitGroup
	for g := range 4 {
		wg.Add(1)
		go func() {
			defer wg.Done()
			c := cycle(scheduler.Request{}, []ep{{id: "a"}, {id: "b"}, {id: "c"}})
			for i := range 500 {
				score(s, c)
				s.Picked(c, []int32{int32((g + i) % 3)})
			}
		}()
	}
	wg.Wait()
}

func TestNames(t *testing.T) {
	for want, s := range map[string]scheduler.Scorer{
		"queue-scorer":                 scorer.NewQueue(""),
		"running-requests-size-scorer": scorer.NewRunningRequests(""),
		"kv-cache-utilization-scorer":  scorer.NewKVCacheUtilization(""),
		"prefix-cache-scorer":          scorer.NewPrefixCache("", scorer.PrefixCacheParameters{}),
		"token-load-scorer":            scorer.NewTokenLoad("", scorer.TokenLoadParameters{}),
		"active-request-scorer":        scorer.NewActiveRequest("", scorer.ActiveRequestParameters{}),
		"load-aware-scorer":            scorer.NewLoadAware("", scorer.LoadAwareParameters{}),
		"lora-affinity-scorer":         scorer.NewLoRAAffinity(""),
		"session-affinity-scorer":      scorer.NewSessionAffinity("", session.New(session.Parameters{}, 0)),
		"no-hit-lru-scorer":            scorer.NewNoHitLRU("", scorer.NoHitLRUParameters{}),
		"mine":                         scorer.NewQueue("mine"),
	} {
		if s.Name() != want {
			t.Errorf("name %q, want %q", s.Name(), want)
		}
	}
}

func TestValidate(t *testing.T) {
	type validator interface{ Validate() error }
	for _, ok := range []validator{
		scorer.DefaultPrefixCacheParameters(), scorer.DefaultTokenLoadParameters(),
		scorer.DefaultContextLengthParameters(), scorer.HeaderLabelParameters{HeaderName: "x-zone", LabelKey: "zone"},
	} {
		if err := ok.Validate(); err != nil {
			t.Errorf("%+v: %v", ok, err)
		}
	}
	for _, bad := range []validator{
		scorer.PrefixCacheParameters{MatchLengthWeight: 1.1, MatchLengthScaleTokens: 1},
		scorer.PrefixCacheParameters{MatchLengthWeight: math.NaN(), MatchLengthScaleTokens: 1},
		scorer.PrefixCacheParameters{},
		scorer.TokenLoadParameters{QueueThresholdTokens: 1, NonTextTokenWeight: 2},
		scorer.ContextLengthParameters{},
		scorer.HeaderLabelParameters{HeaderName: "x-zone"},
		scorer.HeaderLabelParameters{LabelKey: "zone"},
		scorer.AttributeParameters{},
		attribute(func(p *scorer.AttributeParameters) { p.Algorithm.Type = "linear" }),
		attribute(func(p *scorer.AttributeParameters) { p.AttributeKey = "" }),
		attribute(func(p *scorer.AttributeParameters) { p.Algorithm.Normalization.FixedRange = fixed(1, 1) }),
		attribute(func(p *scorer.AttributeParameters) { p.Algorithm.Normalization.FixedRange = fixed(5, 0) }),
	} {
		if err := bad.Validate(); err == nil {
			t.Errorf("%+v was accepted", bad)
		}
	}
}

// What makes no sense is the default, as llm-d has it, and said to be.
func TestMend(t *testing.T) {
	type lenient interface{ Mend() []string }
	nan := math.NaN()
	for _, tc := range []struct {
		params lenient
		names  string
		want   any
	}{
		{&scorer.LoadAwareParameters{Threshold: 7}, "[]", &scorer.LoadAwareParameters{Threshold: 7}},
		{&scorer.LoadAwareParameters{}, "[threshold]", &scorer.LoadAwareParameters{Threshold: 128}},
		{&scorer.LoadAwareParameters{Threshold: -5}, "[threshold]", &scorer.LoadAwareParameters{Threshold: 128}},
		{&scorer.ActiveRequestParameters{IdleThreshold: 3}, "[]", &scorer.ActiveRequestParameters{IdleThreshold: 3}},
		{&scorer.ActiveRequestParameters{IdleThreshold: -1, MaxBusyScore: 1.5}, "[idleThreshold maxBusyScore]", &scorer.ActiveRequestParameters{MaxBusyScore: 1}},
		{&scorer.ActiveRequestParameters{MaxBusyScore: nan}, "[maxBusyScore]", &scorer.ActiveRequestParameters{MaxBusyScore: 1}},
		{&scorer.TokenLoadParameters{}, "[]", &scorer.TokenLoadParameters{}},
		{&scorer.TokenLoadParameters{QueueThresholdTokens: -1}, "[queueThresholdTokens]", &scorer.TokenLoadParameters{QueueThresholdTokens: 4194304}},
		{&scorer.NoHitLRUParameters{}, "[]", &scorer.NoHitLRUParameters{}},
		{&scorer.NoHitLRUParameters{LRUSize: -1}, "[lruSize]", &scorer.NoHitLRUParameters{LRUSize: 1024}},
		{&scorer.NoHitLRUParameters{LRUSize: 1 << 30}, "[lruSize]", &scorer.NoHitLRUParameters{LRUSize: 1 << 16}},
	} {
		before := fmt.Sprintf("%+v", tc.params)
		if names := fmt.Sprint(tc.params.Mend()); names != tc.names {
			t.Errorf("%s: replaced %s, want %s", before, names, tc.names)
		}
		if got, want := fmt.Sprintf("%+v", tc.params), fmt.Sprintf("%+v", tc.want); got != want {
			t.Errorf("%s became %s, want %s", before, got, want)
		}
	}
}
