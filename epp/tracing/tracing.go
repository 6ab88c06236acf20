package tracing

import (
	"context"
	"fmt"
	"net/http"
	"time"

	"go.opentelemetry.io/otel/attribute"
	"go.opentelemetry.io/otel/codes"
	"go.opentelemetry.io/otel/exporters/otlp/otlptrace/otlptracegrpc"
	"go.opentelemetry.io/otel/propagation"
	"go.opentelemetry.io/otel/sdk/resource"
	sdktrace "go.opentelemetry.io/otel/sdk/trace"
	"go.opentelemetry.io/otel/trace"

	"github.com/fairway-ai/fairway/extproc/observe"
)

// HeaderTraceParent carries the W3C trace context.
const HeaderTraceParent = "traceparent"

// Options configure [New].
type Options struct {
	// Version is the service's version.
	Version string
	// Exporter replaces the OTLP exporter.
	Exporter sdktrace.SpanExporter
}

// Tracer starts spans. A nil Tracer starts none.
type Tracer struct {
	provider *sdktrace.TracerProvider
	tracer   trace.Tracer
	w3c      propagation.TraceContext
}

// New returns a tracer that sends spans where OTEL_EXPORTER_OTLP_ENDPOINT says,
// sampled as OTEL_TRACES_SAMPLER says: by default all, or as the caller decided.
// A collector that cannot be reached is no error.
func New(ctx context.Context, o Options) (*Tracer, error) {
	exporter := o.Exporter
	if exporter == nil {
		var err error
		if exporter, err = otlptracegrpc.New(ctx); err != nil {
			return nil, fmt.Errorf("tracing: OTLP exporter: %w", err)
		}
	}
	res, err := resource.New(ctx,
		resource.WithAttributes(attribute.String("service.name", "fairway-epp"), attribute.String("service.version", o.Version)),
		resource.WithTelemetrySDK(),
		resource.WithFromEnv(), // last: the environment wins
	)
	if err != nil {
		return nil, fmt.Errorf("tracing: OTEL_RESOURCE_ATTRIBUTES: %w", err)
	}
	p := sdktrace.NewTracerProvider(sdktrace.WithBatcher(exporter), sdktrace.WithResource(res))
	return &Tracer{provider: p, tracer: p.Tracer("github.com/fairway-ai/fairway/epp")}, nil
}

// Shutdown sends what is left, until ctx ends.
func (t *Tracer) Shutdown(ctx context.Context) error {
	if t == nil {
		return nil
	}
	return t.provider.Shutdown(ctx)
}

// headers lets the propagator read request headers.
type headers func(string) string

func (h headers) Get(key string) string { return h(key) }
func (headers) Set(string, string)      {}
func (headers) Keys() []string          { return nil }

// Start starts a request's span, as a child of the one its headers name.
func (t *Tracer) Start(header func(string) string, at time.Time) Span {
	if t == nil {
		return Span{}
	}
	ctx := t.w3c.Extract(context.Background(), headers(header))
	_, span := t.tracer.Start(ctx, "gateway.request", trace.WithTimestamp(at), trace.WithSpanKind(trace.SpanKindServer))
	return Span{span}
}

// Span is a request's span. The zero Span is none.
type Span struct{ s trace.Span }

// TraceParent is the header that makes the model server's span a child of this
// one; "" when the span is not recorded.
func (s Span) TraceParent() string {
	if s.s == nil || !s.s.IsRecording() {
		return ""
	}
	c := s.s.SpanContext()
	return "00-" + c.TraceID().String() + "-" + c.SpanID().String() + "-" + c.TraceFlags().String()
}

// Picked records the decision.
func (s Span) Picked(pool, endpoint, model string, prompt, cached int64, held time.Duration) {
	if s.s == nil || !s.s.IsRecording() {
		return
	}
	s.s.SetAttributes(
		attribute.String("fairway.pool", pool), attribute.String("fairway.endpoint.picked", endpoint),
		attribute.String("gen_ai.request.model", model),
		attribute.Int64("fairway.prompt.tokens", prompt), attribute.Int64("fairway.prompt.tokens_expected_cached", cached),
		attribute.Float64("fairway.held_seconds", held.Seconds()),
	)
	s.s.AddEvent("picked")
}

// FirstToken records when the first token came.
func (s Span) FirstToken(at time.Time) {
	if s.s != nil {
		s.s.AddEvent("first token", trace.WithTimestamp(at))
	}
}

// Served records who answered and how many tokens it reported.
func (s Span) Served(endpoint string, u observe.Usage) {
	if s.s == nil || !s.s.IsRecording() {
		return
	}
	s.s.SetAttributes(attribute.String("fairway.endpoint.served", endpoint))
	if u.Known {
		s.s.SetAttributes(
			attribute.Int64("gen_ai.usage.input_tokens", u.PromptTokens), attribute.Int64("gen_ai.usage.output_tokens", u.CompletionTokens),
			attribute.Int64("fairway.usage.cached_tokens", u.CachedTokens),
		)
	}
}

// End ends the span. reason is "" for a request that went well.
func (s Span) End(at time.Time, status int, reason string) {
	if s.s == nil {
		return
	}
	if status != 0 {
		s.s.SetAttributes(attribute.Int("http.response.status_code", status))
	}
	switch {
	case reason != "":
		s.s.SetStatus(codes.Error, reason)
	case status >= http.StatusInternalServerError:
		s.s.SetStatus(codes.Error, "")
	}
	s.s.End(trace.WithTimestamp(at))
}
