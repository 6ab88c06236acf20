package genai

import (
	"context"
	"strconv"
	"sync"

	"go.opentelemetry.io/otel/attribute"
	"go.opentelemetry.io/otel/codes"
	"go.opentelemetry.io/otel/propagation"
	"go.opentelemetry.io/otel/trace"

	"github.com/fairway-ai/fairway/gateway/egress"
)

// maxFailures bounds the requests whose last failed try is remembered.
const maxFailures = 1024

// Tracer records a span for each try, as a child of the span that the request came with.
// It implements egress.Observer and is safe for concurrent use. A nil Tracer records
// nothing.
type Tracer struct {
	tracer trace.Tracer
	w3c    propagation.TraceContext

	mu sync.Mutex // guards the following
	// failed are the last tries of requests that may have another one, by request; ring
	// has the same requests in order, and next is where the oldest one is.
	failed map[string]failure
	ring   [maxFailures]string
	next   int
}

// failure is a try that another one may follow.
type failure struct{ backend, reason string }

// NewTracer returns a Tracer that makes its spans with p.
func NewTracer(p trace.TracerProvider) *Tracer {
	return &Tracer{tracer: p.Tracer("github.com/fairway-ai/fairway/gateway/genai"), failed: map[string]failure{}}
}

// Answered implements egress.Observer.
func (t *Tracer) Answered(o egress.Outcome) {
	if t == nil || o.Sent.IsZero() {
		return
	}
	ctx := t.w3c.Extract(context.Background(), propagation.MapCarrier{"traceparent": o.TraceParent})
	name := string(o.Operation)
	if model := sent(&o); model != "" {
		name += " " + model
	}
	_, span := t.tracer.Start(ctx, name, trace.WithTimestamp(o.Sent), trace.WithSpanKind(trace.SpanKindClient))
	before, fell := t.follow(&o)
	if span.IsRecording() {
		span.SetAttributes(attributes(&o)...)
		if fell {
			span.AddEvent("fairway.fallback", trace.WithTimestamp(o.Sent), trace.WithAttributes(
				attribute.String("fairway.fallback.from", before.backend), attribute.String("error.type", before.reason),
			))
		}
		if !o.FirstByte.IsZero() && o.Stream {
			span.AddEvent("first token", trace.WithTimestamp(o.FirstByte))
		}
		if reason := errorType(&o); reason != "" {
			span.SetAttributes(attribute.String("error.type", reason))
			span.SetStatus(codes.Error, o.ErrorCode)
		}
	}
	span.End(trace.WithTimestamp(o.Ended))
}

// Refused implements egress.Observer.
func (t *Tracer) Refused(egress.Outcome) {}

// attributes are what the conventions want to be known of a try.
func attributes(o *egress.Outcome) []attribute.KeyValue {
	all := []attribute.KeyValue{
		attribute.String("gen_ai.operation.name", string(o.Operation)), attribute.String("gen_ai.provider.name", providerOf(o)),
		attribute.String("fairway.backend", o.Backend), attribute.Bool("gen_ai.request.stream", o.Stream),
	}
	text := func(key, value string) {
		if value != "" {
			all = append(all, attribute.String(key, value))
		}
	}
	text("gen_ai.request.model", sent(o))
	text("gen_ai.response.model", o.AnsweredModel)
	text("fairway.rule", o.Rule)
	text("fairway.original.model", o.Model)
	address, port := server(o.Host)
	text("server.address", address)
	if n, err := strconv.Atoi(port); err == nil {
		all = append(all, attribute.Int("server.port", n))
	}
	if o.Status != 0 {
		all = append(all, attribute.Int("http.response.status_code", o.Status))
	}
	if o.Stream && !o.FirstByte.IsZero() {
		all = append(all, attribute.Float64("gen_ai.response.time_to_first_chunk", o.TimeToFirstByte().Seconds()))
	}
	if u := o.Usage; u.Known {
		all = append(all, attribute.Int64("gen_ai.usage.input_tokens", u.Input), attribute.Int64("gen_ai.usage.output_tokens", u.Output))
		for key, n := range map[string]int64{
			"gen_ai.usage.cache_read.input_tokens": u.Cached, "gen_ai.usage.cache_creation.input_tokens": u.CacheWrite,
			"gen_ai.usage.reasoning.output_tokens": u.Reasoning,
		} {
			if n > 0 {
				all = append(all, attribute.Int64(key, n))
			}
		}
	}
	return all
}

// follow returns the failed try before this one, if this process has seen it, and
// remembers this one if it failed. A client that uses an ID twice mixes up its own
// requests alone.
func (t *Tracer) follow(o *egress.Outcome) (before failure, ok bool) {
	if o.RequestID == "" {
		return failure{}, false
	}
	t.mu.Lock()
	defer t.mu.Unlock()
	before, ok = t.failed[o.RequestID]
	if !o.Failed() {
		delete(t.failed, o.RequestID)
		return before, ok
	}
	if !ok {
		// What was in the slot may be there a second time, and is the younger one then:
		// it is forgotten too soon, which costs an event.
		delete(t.failed, t.ring[t.next])
		t.ring[t.next] = o.RequestID
		t.next = (t.next + 1) % maxFailures
	}
	t.failed[o.RequestID] = failure{o.Backend, errorType(o)}
	return before, ok
}
