package tracing

import (
	"context"
	"errors"
	"testing"
	"time"

	sdktrace "go.opentelemetry.io/otel/sdk/trace"
	"go.opentelemetry.io/otel/sdk/trace/tracetest"

	"github.com/fairway-ai/fairway/extproc/observe"
)

const parent = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"

func at(s string) func(string) string {
	return func(name string) string {
		if name == HeaderTraceParent {
			return s
		}
		return ""
	}
}

func TestSpan(t *testing.T) {
	exp := tracetest.NewInMemoryExporter()
	tr, err := New(t.Context(), Options{Version: "v1", Exporter: exp})
	if err != nil {
		t.Fatal(err)
	}
	now := time.Now()
	s := tr.Start(at(parent), now)
	up := s.TraceParent()
	s.Picked("ns/pool", "ns/a", "llama", 100, 64, time.Second)
	s.FirstToken(now.Add(time.Second))
	s.Served("ns/b", observe.Usage{Known: true, PromptTokens: 90})
	s.End(now.Add(2*time.Second), 200, "")
	if err := tr.provider.ForceFlush(t.Context()); err != nil {
		t.Fatal(err)
	}
	got := exp.GetSpans()
	if len(got) != 1 {
		t.Fatalf("%d spans, want 1", len(got))
	}
	span := got[0]
	if span.Name != "gateway.request" || span.Parent.SpanID().String() != "b7ad6b7169203331" || span.EndTime.Sub(span.StartTime) != 2*time.Second {
		t.Errorf("span %q under %s for %v", span.Name, span.Parent.SpanID(), span.EndTime.Sub(span.StartTime))
	}
	if want := "00-0af7651916cd43dd8448eb211c80319c-" + span.SpanContext.SpanID().String() + "-01"; up != want {
		t.Errorf("traceparent for the model server %q, want %q", up, want)
	}
	attrs := map[string]string{}
	for _, a := range span.Attributes {
		attrs[string(a.Key)] = a.Value.String()
	}
	for k, want := range map[string]string{"fairway.endpoint.served": "ns/b", "gen_ai.usage.input_tokens": "90", "http.response.status_code": "200"} {
		if attrs[k] != want {
			t.Errorf("%s = %q, want %q", k, attrs[k], want)
		}
	}
}

func TestSamplingFollowsTheCaller(t *testing.T) {
	tr, err := New(t.Context(), Options{Exporter: tracetest.NewInMemoryExporter()})
	if err != nil {
		t.Fatal(err)
	}
	if tp := tr.Start(at(parent[:len(parent)-1]+"0"), time.Now()).TraceParent(); tp != "" {
		t.Errorf("traceparent %q for a request that its caller does not trace", tp)
	}
	if tp := tr.Start(at("garbage"), time.Now()).TraceParent(); tp == "" {
		t.Error("garbage turned tracing off")
	}
}

func TestOffCostsNothing(t *testing.T) {
	var tr *Tracer
	now, header := time.Now(), at(parent)
	if n := testing.AllocsPerRun(100, func() {
		s := tr.Start(header, now)
		s.Picked("p", "e", "m", 1, 1, 1)
		s.FirstToken(now)
		s.Served("e", observe.Usage{Known: true})
		s.End(now, 200, "x")
		_ = s.TraceParent()
	}); n > 0 {
		t.Errorf("%v allocations, want none", n)
	}
	if err := tr.Shutdown(t.Context()); err != nil {
		t.Error(err)
	}
}

// broken is a collector that is gone.
type broken struct{}

func (broken) ExportSpans(context.Context, []sdktrace.ReadOnlySpan) error { return errors.New("gone") }
func (broken) Shutdown(context.Context) error                             { return nil }

func TestBrokenCollector(t *testing.T) {
	tr, err := New(t.Context(), Options{Exporter: broken{}})
	if err != nil {
		t.Fatal(err)
	}
	for range 5000 { // more than the queue holds
		tr.Start(at(""), time.Now()).End(time.Now(), 200, "")
	}
}

func TestUnreachableCollector(t *testing.T) {
	t.Setenv("OTEL_EXPORTER_OTLP_ENDPOINT", "http://127.0.0.1:1")
	tr, err := New(t.Context(), Options{})
	if err != nil {
		t.Fatal(err)
	}
	tr.Start(at(""), time.Now()).End(time.Now(), 200, "")
	ctx, cancel := context.WithTimeout(t.Context(), 10*time.Millisecond)
	defer cancel()
	_ = tr.Shutdown(ctx)
}
