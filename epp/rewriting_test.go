package epp

import (
	"strings"
	"testing"
	"time"

	"google.golang.org/grpc/mem"

	"github.com/fairway-ai/fairway/epp/metrics"
	"github.com/fairway-ai/fairway/extproc"
	"github.com/fairway-ai/fairway/extproc/scan"
	"github.com/fairway-ai/fairway/scheduler"
	"github.com/fairway-ai/fairway/scheduler/prefix"

	"github.com/prometheus/client_golang/prometheus/testutil"
)

// seen keeps the requests that a policy was asked about.
type seen struct{ requests *[]scheduler.Request }

func (seen) Name() string { return "seen" }

func (s seen) Pick(c *scheduler.Cycle, _ []float32) []int32 {
	r := *c.Request
	r.Blocks = append([]prefix.Block(nil), r.Blocks...)
	*s.requests = append(*s.requests, r)
	return []int32{0}
}

func TestRewrite(t *testing.T) {
	var asked []scheduler.Request
	m := metrics.New(metrics.Options{Legacy: true})
	pools := []Pool{{Name: "ns/pool", Endpoints: newFakePool(1), Policy: scheduler.NewProfile("p", nil, nil, seen{&asked})}}
	p := newPicker(t, Options{Pools: pools, Metrics: m, Rewrite: func(pool, model string) (string, string, bool) {
		if pool != "ns/pool" || model != "food" {
			return "", "", false
		}
		return "food-v1", "split", true
	}})
	pick := func(model string, form bool, headers ...extproc.Header) (extproc.Pick, scheduler.Request) {
		t.Helper()
		req := extproc.NewRequest(headers, nil)
		req.ID, req.Body = "r", scan.Result{API: scan.ChatCompletions, Model: model, Form: form, PromptBytes: 400, Blocks: []prefix.Block{{Hash: 7, Tokens: 64}, {Hash: 8, Tokens: 36}}}
		pick := mustPick(t, p, req)
		pick.Observer.End(time.Now(), extproc.Outcome{Status: 200, Complete: true})
		return pick, asked[len(asked)-1]
	}
	header := func(name, value string) extproc.Header { return extproc.Header{Name: name, Value: value} }
	_, plain := pick("food-v1", false)
	for _, tc := range []struct {
		name, model, want string
		form              bool
		headers           []extproc.Header
	}{
		{name: "an object", model: "food", want: "food-v1"},
		{name: "an object before a header", model: "food", want: "food-v1", headers: []extproc.Header{header("x-llm-d-model-name-rewrite", "other")}},
		{name: "a header", model: "m", want: "other", headers: []extproc.Header{header("x-llm-d-model-name-rewrite", "other")}},
		{name: "the earlier header", model: "m", want: "other", headers: []extproc.Header{header("x-gateway-model-name-rewrite", "other")}},
		{name: "both headers", model: "m", want: "other", headers: []extproc.Header{header("x-gateway-model-name-rewrite", "old"), header("x-llm-d-model-name-rewrite", "other")}},
		{name: "nothing", model: "m"},
		{name: "the same", model: "m", headers: []extproc.Header{header("x-llm-d-model-name-rewrite", "m")}},
		{name: "a header without end", model: "m", headers: []extproc.Header{header("x-llm-d-model-name-rewrite", strings.Repeat("x", 2000))}},
		{name: "no model", headers: []extproc.Header{header("x-llm-d-model-name-rewrite", "other")}},
		{name: "a form", model: "food", form: true},
	} {
		got, sched := pick(tc.model, tc.form, tc.headers...)
		if got.Model != tc.want || (got.Exchange != nil) != (tc.want != "") {
			t.Errorf("%s: model %q, restored %t, want %q", tc.name, got.Model, got.Exchange != nil, tc.want)
		}
		if tc.want == "" {
			if sched.Model != tc.model || sched.Blocks[0].Hash != 7 || len(got.RemoveHeaders) != 0 {
				t.Errorf("%s: %+v is not the request as it came", tc.name, sched)
			}
			continue
		}
		if sched.Model != tc.want || sched.Blocks[0].Hash == plain.Blocks[0].Hash || sched.Blocks[0].Hash == sched.Blocks[1].Hash {
			t.Errorf("%s: scheduled for %q with blocks %v", tc.name, sched.Model, sched.Blocks)
		}
		if len(got.RemoveHeaders) != 1 || got.RemoveHeaders[0] != "accept-encoding" {
			t.Errorf("%s: removes %v", tc.name, got.RemoveHeaders)
		}
		got.Exchange.ResponseHeaders(extproc.Head{Headers: []extproc.Header{header("content-type", "application/json")}}, nil)
		c := got.Exchange.ResponseBody(mem.BufferSlice{mem.SliceBuffer(`{"model":"` + tc.want + `"}`)}, true, true, nil)
		if body := string(c.Body.Materialize()); body != `{"model":"`+tc.model+`"}` {
			t.Errorf("%s: the client gets %s", tc.name, body)
		}
	}
	const want = `
# HELP llm_d_epp_model_rewrite_decisions_total Requests whose model an InferenceModelRewrite has replaced.
# TYPE llm_d_epp_model_rewrite_decisions_total counter
llm_d_epp_model_rewrite_decisions_total{model_name="food",model_rewrite_name="split",target_model="food-v1"} 2
# HELP inference_extension_model_rewrite_decisions_total Requests whose model an InferenceModelRewrite has replaced.
# TYPE inference_extension_model_rewrite_decisions_total counter
inference_extension_model_rewrite_decisions_total{model_name="food",model_rewrite_name="split",target_model="food-v1"} 2
`
	if err := testutil.GatherAndCompare(m.Registry(), strings.NewReader(want), "llm_d_epp_model_rewrite_decisions_total", "inference_extension_model_rewrite_decisions_total"); err != nil {
		t.Error(err)
	}
	if n, err := testutil.GatherAndCount(m.Registry(), "llm_d_epp_request_total"); err != nil || n == 0 {
		t.Error(n, err)
	}
}
