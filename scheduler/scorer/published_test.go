package scorer_test

import (
	"strconv"
	"testing"

	"github.com/fairway-ai/fairway/scheduler"
	"github.com/fairway-ai/fairway/scheduler/prefix"
	"github.com/fairway-ai/fairway/scheduler/scorer"
)

// The tests below hold each scorer to the value that llm-d's formula gives with its
// defaults. The numbers are worked out from the formula by hand; a change of one is a
// change of where llm-d's configurations send requests.

// published is one table: the i-th endpoint has inputs[i] and want[i].
type published[T any] struct {
	name   string
	inputs []T
	want   []float64
}

func checkPublished[T any](t *testing.T, s scheduler.Scorer, req scheduler.Request, endpoint func(T) ep, tables []published[T]) {
	t.Helper()
	for _, tc := range tables {
		t.Run(tc.name, func(t *testing.T) {
			var eps []ep
			for _, in := range tc.inputs {
				eps = append(eps, endpoint(in))
			}
			wantScores(t, s, cycle(req, eps), tc.want...)
		})
	}
}

// queue-scorer: (max-q)/(max-min), 1 when all are equal.
func TestPublishedQueue(t *testing.T) {
	checkPublished(t, scorer.NewQueue(""), scheduler.Request{}, queue, []published[int32]{
		{"spread", []int32{2, 7, 12, 4}, []float64{1, 0.5, 0, 0.8}},
		{"equal", []int32{3, 3, 3}, []float64{1, 1, 1}},
		{"one", []int32{9}, []float64{1}},
		{"empty queues", []int32{0, 0}, []float64{1, 1}},
	})
}

// running-requests-size-scorer: the same of the running requests.
func TestPublishedRunning(t *testing.T) {
	running := func(n int32) ep { return ep{metrics: known(scheduler.Metrics{Running: n})} }
	checkPublished(t, scorer.NewRunningRequests(""), scheduler.Request{}, running, []published[int32]{
		{"spread", []int32{10, 0, 4}, []float64{0, 1, 0.6}},
		{"equal", []int32{6, 6}, []float64{1, 1}},
	})
}

// kv-cache-utilization-scorer: 1 - usage.
func TestPublishedKVCache(t *testing.T) {
	usage := func(u float32) ep { return ep{metrics: known(scheduler.Metrics{KVUsage: u})} }
	checkPublished(t, scorer.NewKVCacheUtilization(""), scheduler.Request{}, usage, []published[float32]{
		{"shares", []float32{0, 0.5, 0.875, 1}, []float64{1, 0.5, 0.125, 0}},
	})
}

// prefix-cache-scorer: w×min(1, tokens/scale)² + (1-w)×blocks/all; 0 where nothing is
// known; w 0 and scale 8192.
func TestPublishedPrefix(t *testing.T) {
	match := func(blocks int32) ep { return ep{blocks: blocks, tokens: blocks * 64} }
	req := scheduler.Request{PromptTokens: 160 * 64, Blocks: make([]prefix.Block, 160)}
	checkPublished(t, scorer.NewPrefixCache("", scorer.DefaultPrefixCacheParameters()), req, match, []published[int32]{
		{"defaults", []int32{0, 40, 80, 160}, []float64{0, 0.25, 0.5, 1}},
	})
	weighted := scorer.NewPrefixCache("", scorer.PrefixCacheParameters{MatchLengthWeight: 0.25, MatchLengthScaleTokens: 8192})
	checkPublished(t, weighted, req, match, []published[int32]{
		// 64 blocks are 4096 tokens: 0.25×0.25 + 0.75×0.4; 128 are 8192: 0.25 + 0.75×0.8.
		{"weighted", []int32{0, 64, 128, 160}, []float64{0, 0.3625, 0.85, 1}},
	})
	checkPublished(t, weighted, scheduler.Request{PromptTokens: 10}, match, []published[int32]{{"no blocks", []int32{0}, []float64{0}}})
}

// load-aware-scorer: 0.5 for an empty queue, else 0.5×(1-min(w, t)/t); t 128.
func TestPublishedLoadAware(t *testing.T) {
	checkPublished(t, scorer.NewLoadAware("", scorer.DefaultLoadAwareParameters()), scheduler.Request{}, queue, []published[int32]{
		{"defaults", []int32{0, 1, 32, 96, 128, 500}, []float64{0.5, 0.49609375, 0.375, 0.125, 0, 0}},
	})
	checkPublished(t, scorer.NewLoadAware("", scorer.LoadAwareParameters{Threshold: 4}), scheduler.Request{}, queue, []published[int32]{
		{"threshold 4", []int32{0, 1, 3, 4}, []float64{0.5, 0.375, 0.125, 0}},
	})
}

// active-request-scorer: 1 up to idleThreshold (0), else (max-n)/max × maxBusyScore (1).
func TestPublishedActiveRequest(t *testing.T) {
	active := func(n int32) ep { return ep{load: scheduler.LoadView{Requests: n}} }
	checkPublished(t, scorer.NewActiveRequest("", scorer.DefaultActiveRequestParameters()), scheduler.Request{}, active, []published[int32]{
		{"defaults", []int32{0, 2, 6, 8}, []float64{1, 0.75, 0.25, 0}},
		{"all idle", []int32{0, 0}, []float64{1, 1}},
		{"all busy", []int32{5, 5}, []float64{0, 0}},
	})
	checkPublished(t, scorer.NewActiveRequest("", scorer.ActiveRequestParameters{IdleThreshold: 3, MaxBusyScore: 0.5}), scheduler.Request{}, active, []published[int32]{
		{"idle up to 3", []int32{3, 4, 10, 0}, []float64{1, 0.3, 0, 1}},
		{"no gap to nobody", []int32{3, 3}, []float64{1, 1}},
	})
	checkPublished(t, scorer.NewActiveRequest("", scorer.ActiveRequestParameters{}), scheduler.Request{}, active, []published[int32]{
		{"a maximum of 0", []int32{0, 1, 2}, []float64{1, 0, 0}},
	})
}

// token-load-scorer: 1 - min(in flight + uncached of this one, t)/t; t 4194304; 1 where
// there is none.
func TestPublishedTokenLoad(t *testing.T) {
	type in struct {
		backlog, output int64
		cached          int32
	}
	tokens := func(i in) ep {
		return ep{load: scheduler.LoadView{Backlog: i.backlog, Output: i.output}, tokens: i.cached}
	}
	checkPublished(t, scorer.NewTokenLoad("", scorer.DefaultTokenLoadParameters()), scheduler.Request{PromptTokens: 1 << 20}, tokens, []published[in]{
		{"defaults", []in{{}, {cached: 1 << 20}, {backlog: 1 << 20}, {backlog: 1 << 20, output: 1 << 20}, {backlog: 1 << 40}, {backlog: 1 << 20, cached: 1 << 20}},
			[]float64{0.75, 1, 0.5, 0.25, 0, 0.75}},
	})
	checkPublished(t, scorer.NewTokenLoad("", scorer.TokenLoadParameters{}), scheduler.Request{PromptTokens: 1 << 20}, tokens, []published[in]{
		{"a threshold of 0 is the default", []in{{}}, []float64{0.75}},
	})
	checkPublished(t, scorer.NewTokenLoad("", scorer.TokenLoadParameters{QueueThresholdTokens: 1000}), scheduler.Request{PromptTokens: 250}, tokens, []published[in]{
		{"threshold 1000", []in{{}, {cached: 250}, {backlog: 250}, {backlog: 750}, {backlog: 9999}}, []float64{0.75, 1, 0.5, 0, 0}},
	})
}

// lora-affinity-scorer: 1 active, 0.8 where there is room, 0.6 waiting, else 0.
func TestPublishedLoRA(t *testing.T) {
	lora := func(m scheduler.Metrics) ep { return ep{metrics: known(m)} }
	checkPublished(t, scorer.NewLoRAAffinity(""), scheduler.Request{Model: "a"}, lora, []published[scheduler.Metrics]{{"all", []scheduler.Metrics{
		{MaxLoRA: 2, ActiveLoRA: []string{"a", "b"}},
		{MaxLoRA: 2, ActiveLoRA: []string{"b"}},
		{MaxLoRA: 3, ActiveLoRA: []string{"b"}, WaitingLoRA: []string{"a"}}, // room comes before waiting
		{MaxLoRA: 2, ActiveLoRA: []string{"b"}, WaitingLoRA: []string{"a"}},
		{MaxLoRA: 2, ActiveLoRA: []string{"b", "c"}},
		{MaxLoRA: 0},
	}, []float64{1, 0.8, 0.8, 0.6, 0, 0}}})
}

// context-length-aware: inside 0.3+0.7×(0.7/(1+w/10000) + 0.3×room/w), outside
// 0.3/(1+d/1000), 0.5 without the label, 0 for a label that says nothing.
func TestPublishedContextLength(t *testing.T) {
	const label = "llm-d.ai/context-length-range"
	ranges := []string{"4000-14000", "5000-5000", "0-4000", "6000-9000", "", "many"}
	want := []float64{
		0.3 + 0.7*(0.35+0.27), // nine tenths of the room are left
		1,
		0.15, // 1000 too long
		0.15, // 1000 too short
		0.5,
		0,
	}
	var labels []map[string]string
	for _, r := range ranges {
		if r == "" {
			labels = append(labels, nil)
			continue
		}
		labels = append(labels, map[string]string{label: r})
	}
	s := scorer.NewContextLength("", scorer.DefaultContextLengthParameters())
	wantScores(t, s, labelled(cycle(scheduler.Request{PromptTokens: 5000}, make([]ep, len(labels))), labels...), want...)
}

// no-hit-lru-scorer: 0.5 for all when anyone has some of the prompt; else 1-i/(n-1) for
// those that never got a cold prompt, then 1-(never+position)/(n-1), the oldest first.
func TestPublishedNoHitLRU(t *testing.T) {
	eps := make([]ep, 5)
	for i := range eps {
		eps[i].id = strconv.Itoa(i)
	}
	s := scorer.NewNoHitLRU("", scorer.NoHitLRUParameters{}) // a size of 0 is the default
	cold := cycle(scheduler.Request{}, eps)
	wantScores(t, s, cold, 1, 0.75, 0.5, 0.25, 0)
	for _, i := range []int32{3, 1, 4} {
		s.Picked(cold, []int32{i})
	}
	// 0 and 2 never had one, then 3, 1 and 4 in the order in which they did.
	wantScores(t, s, cold, 1, 0.25, 0.75, 0.5, 0)
	warm := append([]ep(nil), eps...)
	warm[2].blocks = 1
	wantScores(t, s, cycle(scheduler.Request{}, warm), 0.5, 0.5, 0.5, 0.5, 0.5)
	// Of those that are not candidates nothing is taken: their places are not counted.
	some := append([]ep(nil), eps...)
	some[3].out, some[0].out, some[2].out = true, true, true
	wantScores(t, s, cycle(scheduler.Request{}, some), na, 1, na, na, 0)
}
