package genai

import (
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/testutil"
	"go.opentelemetry.io/otel/attribute"
	sdktrace "go.opentelemetry.io/otel/sdk/trace"
	"go.opentelemetry.io/otel/sdk/trace/tracetest"
	"go.opentelemetry.io/otel/trace"
	"go.opentelemetry.io/otel/trace/noop"

	"github.com/fairway-ai/fairway/aibackend"
	"github.com/fairway-ai/fairway/aibackend/chat"
	"github.com/fairway-ai/fairway/gateway/airoute"
	"github.com/fairway-ai/fairway/gateway/egress"
)

var at = time.Unix(1e9, 0)

// try is a stream of Anthropic's that went well: 2 s to its begin, 6 s in all.
func try() egress.Outcome {
	return egress.Outcome{
		RequestID: "id", TraceParent: "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01", Rule: "ns/r/0", Backend: "ns/b",
		Schema: aibackend.Anthropic, Host: "api.anthropic.com", Operation: egress.OperationChat,
		Model: "our/claude", SentModel: "claude", AnsweredModel: "claude-5-20260101", Stream: true,
		Status: 200, Usage: chat.Usage{Known: true, Input: 100, Output: 5, Cached: 40, CacheWrite: 10, Reasoning: 2}, Complete: true,
		Began: at.Add(-time.Second), Sent: at, FirstByte: at.Add(2 * time.Second), Ended: at.Add(6 * time.Second),
	}
}

var rules = &airoute.Config{
	Rules: []airoute.Rule{{
		TrimModel: "our/", Matches: []airoute.Match{{Model: airoute.Equal("our/claude")}, {Model: airoute.HasPrefix("our/gpt-")}},
		Groups: [][]airoute.Target{{{Pool: "ns/p", Model: "lora"}}},
	}},
	Backends: []airoute.Backend{{Provider: aibackend.Backend{Model: "sent"}, Models: []string{"listed"}}},
}

func newMetrics(t *testing.T) (*Metrics, *prometheus.Registry) {
	t.Helper()
	r := prometheus.NewRegistry()
	m, err := NewMetrics(r)
	if err != nil {
		t.Fatal(err)
	}
	m.SetRules(rules)
	return m, r
}

// series are the series of a registry as "name labels count sum", labels without their
// usual prefixes and without the empty ones.
func series(t *testing.T, r *prometheus.Registry) (all []string) {
	t.Helper()
	families, err := r.Gather()
	if err != nil {
		t.Fatal(err)
	}
	for _, f := range families {
		for _, m := range f.Metric {
			var labels []string
			for _, l := range m.Label {
				if l.GetValue() != "" {
					labels = append(labels, strings.TrimPrefix(l.GetName(), "gen_ai_")+"="+l.GetValue())
				}
			}
			slices.Sort(labels)
			all = append(all, fmt.Sprint(f.GetName(), " ", strings.Join(labels, ","), " ", m.GetHistogram().GetSampleCount(), " ", m.GetHistogram().GetSampleSum()))
		}
	}
	slices.Sort(all)
	return all
}

func TestMetrics(t *testing.T) {
	m, r := newMetrics(t)
	m.Answered(try())
	const labels = "fairway_backend=ns/b,operation_name=chat,provider_name=anthropic,request_model=claude,response_model=claude-5-20260101,server_address=api.anthropic.com"
	with := func(typ string) string { return labels + ",token_type=" + typ }
	want := []string{
		"gen_ai_client_token_usage " + with("cache_creation_input") + " 1 10",
		"gen_ai_client_token_usage " + with("cached_input") + " 1 40",
		"gen_ai_client_token_usage " + with("input") + " 1 100",
		"gen_ai_client_token_usage " + with("output") + " 1 5",
		"gen_ai_client_token_usage " + with("reasoning") + " 1 2",
		"gen_ai_server_request_duration_seconds " + labels + " 1 6",
		"gen_ai_server_time_per_output_token_seconds " + labels + " 1 1",
		"gen_ai_server_time_to_first_token_seconds " + labels + " 1 2",
	}
	if got := series(t, r); !slices.Equal(got, want) {
		t.Errorf("got\n%s\nwant\n%s", strings.Join(got, "\n"), strings.Join(want, "\n"))
	}
	m.Refused(try())
	if got := series(t, r); !slices.Equal(got, want) {
		t.Error("what no backend was asked is counted")
	}
	if problems, err := testutil.GatherAndLint(r); err != nil || len(problems) > 0 {
		t.Errorf("%v, %v", problems, err)
	}
	if _, err := NewMetrics(r); err == nil {
		t.Error("registered twice")
	}
}

// What did not go well, or was no stream, has a duration and nothing else.
func TestOnlyGoodStreamsAreFast(t *testing.T) {
	for name, tt := range map[string]struct {
		change func(*egress.Outcome)
		error  string
	}{
		"refused":     {func(o *egress.Outcome) { o.Status, o.ErrorCode = 429, "rate_limit_exceeded" }, "429"},
		"odd status":  {func(o *egress.Outcome) { o.Status = 1 << 20 }, "_OTHER"},
		"no answer":   {func(o *egress.Outcome) { o.Status, o.Complete = 0, false }, "no_response"},
		"cut":         {func(o *egress.Outcome) { o.Complete = false }, "incomplete"},
		"broke off":   {func(o *egress.Outcome) { o.ErrorCode = "overloaded_error" }, "stream_error"},
		"no stream":   {func(o *egress.Outcome) { o.Stream = false }, ""},
		"no body":     {func(o *egress.Outcome) { o.FirstByte = time.Time{} }, ""},
		"a redirect?": {func(o *egress.Outcome) { o.Status = 302 }, "302"},
	} {
		m, r := newMetrics(t)
		o := try()
		o.Usage = chat.Usage{}
		tt.change(&o)
		m.Answered(o)
		got := series(t, r)
		if len(got) != 1 || !strings.Contains(got[0]+",", "gen_ai_server_request_duration_seconds ") ||
			tt.error != "" && !strings.Contains(got[0], "error_type="+tt.error+",") || tt.error == "" && strings.Contains(got[0], "error_type") {
			t.Errorf("%s: %v", name, got)
		}
	}
	m, r := newMetrics(t)
	o := try()
	o.Usage.Output = 1
	m.Answered(o)
	if got := strings.Join(series(t, r), "\n"); strings.Contains(got, "per_output_token") || !strings.Contains(got, "first_token") {
		t.Errorf("one token: %s", got)
	}
}

func TestModelsOfClientsAreBounded(t *testing.T) {
	m, r := newMetrics(t)
	for i := range 1000 {
		o := try()
		o.Model, o.SentModel = fmt.Sprint("our/gpt-", i), fmt.Sprint("gpt-", i)
		o.AnsweredModel = []string{o.Model, o.SentModel, fmt.Sprint("gpt-", i, "-2026")}[i%3]
		o.Status = []int{200, 404}[i%2]
		m.Answered(o)
	}
	n := testutil.CollectAndCount(m.duration)
	if n != maxAnswering+2 { // other, with and without an error
		t.Errorf("%d series", n)
	}
	all := strings.Join(series(t, r), "\n")
	if n := strings.Count(all, "error_type=404"); n != 1 {
		t.Errorf("%d series of refusals", n)
	}
	if strings.Contains(all, "request_model=gpt") || !strings.Contains(all, "request_model=other") {
		t.Error("a client's model is a label")
	}
	for _, name := range []string{"claude", "lora", "sent", "listed"} {
		if m.models.request(name) != name {
			t.Errorf("%s is %s", name, m.models.request(name))
		}
	}
	if got := m.models.request("our/gpt-"); got != other || m.models.request("") != "" {
		t.Errorf("got %s", got)
	}
	if m, err := NewMetrics(prometheus.NewRegistry()); err != nil || m.models.request("claude") != other {
		t.Error("a model has a name without rules", err)
	}
}

func TestProvidersAndServers(t *testing.T) {
	for schema, want := range map[aibackend.Schema]string{
		"": "self_hosted", aibackend.OpenAI: "openai", aibackend.AWSAnthropic: "aws.bedrock", aibackend.GCPAnthropic: "gcp.vertex_ai", "Newest": "newest",
	} {
		if got := providerOf(&egress.Outcome{Schema: schema}); got != want {
			t.Errorf("%s is %s, want %s", schema, got, want)
		}
	}
	for host, want := range map[string]string{"": " ", "a.b": "a.b ", "a.b:8443": "a.b 8443", "[::1]": "::1 ", "[::1]:80": "::1 80"} {
		if address, port := server(host); address+" "+port != want {
			t.Errorf("%s is %s %s", host, address, port)
		}
	}
}

func newTracer(t *testing.T) (*Tracer, *tracetest.InMemoryExporter) {
	t.Helper()
	exporter := tracetest.NewInMemoryExporter()
	p := sdktrace.NewTracerProvider(sdktrace.WithSyncer(exporter))
	t.Cleanup(func() { _ = p.Shutdown(t.Context()) })
	return NewTracer(p), exporter
}

func attributesOf(all []attribute.KeyValue) map[string]string {
	out := map[string]string{}
	for _, a := range all {
		out[string(a.Key)] = a.Value.String()
	}
	return out
}

func TestSpans(t *testing.T) {
	tr, exporter := newTracer(t)
	bad := try()
	bad.Backend, bad.Status, bad.ErrorCode, bad.Usage = "ns/first", 503, "overloaded", chat.Usage{}
	tr.Answered(bad)
	tr.Answered(try())
	tr.Answered(try())
	spans := exporter.GetSpans()
	if len(spans) != 3 {
		t.Fatalf("%d spans", len(spans))
	}
	failed, good := spans[0], spans[1]
	if good.Name != "chat claude" || good.SpanKind != trace.SpanKindClient || good.Parent.SpanID().String() != "b7ad6b7169203331" ||
		!good.StartTime.Equal(at) || good.EndTime.Sub(good.StartTime) != 6*time.Second || good.Status.Code.String() != "Unset" {
		t.Errorf("%+v", good)
	}
	got := attributesOf(good.Attributes)
	for key, want := range map[string]string{
		"gen_ai.operation.name": "chat", "gen_ai.provider.name": "anthropic", "gen_ai.request.model": "claude", "gen_ai.response.model": "claude-5-20260101",
		"gen_ai.usage.input_tokens": "100", "gen_ai.usage.output_tokens": "5", "gen_ai.usage.cache_read.input_tokens": "40",
		"gen_ai.usage.cache_creation.input_tokens": "10", "gen_ai.usage.reasoning.output_tokens": "2", "gen_ai.response.time_to_first_chunk": "2",
		"server.address": "api.anthropic.com", "fairway.backend": "ns/b", "fairway.rule": "ns/r/0", "fairway.original.model": "our/claude",
		"gen_ai.request.stream": "true", "http.response.status_code": "200",
	} {
		if got[key] != want {
			t.Errorf("%s = %q, want %q", key, got[key], want)
		}
	}
	if _, ok := got["error.type"]; ok || len(got) != 16 {
		t.Errorf("%d attributes: %v", len(got), got)
	}
	if a := attributesOf(failed.Attributes); a["error.type"] != "503" || failed.Status.Code.String() != "Error" || failed.Status.Description != "overloaded" {
		t.Errorf("%+v, %v", failed, a)
	}
	var events []string
	for _, s := range spans {
		for _, e := range s.Events {
			if e.Name == "fairway.fallback" {
				a := attributesOf(e.Attributes)
				events = append(events, s.Name+" from "+a["fairway.fallback.from"]+": "+a["error.type"])
			}
		}
	}
	if fmt.Sprint(events) != "[chat claude from ns/first: 503]" || len(good.Events) != 2 {
		t.Errorf("events %v, %v", events, good.Events)
	}
}

func TestSpansFollowTheCaller(t *testing.T) {
	tr, exporter := newTracer(t)
	o := try()
	o.TraceParent = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-00"
	tr.Answered(o)
	if n := len(exporter.GetSpans()); n != 0 {
		t.Errorf("%d spans of a request that its caller does not trace", n)
	}
	o.TraceParent = "garbage"
	tr.Answered(o)
	o.Sent = time.Time{}
	tr.Answered(o)
	tr.Refused(o)
	if spans := exporter.GetSpans(); len(spans) != 1 || spans[0].Parent.IsValid() {
		t.Errorf("%+v", spans)
	}
	(*Tracer)(nil).Answered(try())
}

func TestFailuresAreForgotten(t *testing.T) {
	tr := NewTracer(noop.NewTracerProvider())
	for i := range 3 * maxFailures {
		o := try()
		o.RequestID, o.Status = fmt.Sprint(i), 500
		tr.Answered(o)
		if i%2 == 0 {
			o.Status = 200
			tr.Answered(o)
		}
	}
	if n := len(tr.failed); n == 0 || n > maxFailures {
		t.Errorf("%d failures are remembered", n)
	}
}
