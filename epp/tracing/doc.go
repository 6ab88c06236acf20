// Package tracing records OpenTelemetry spans of requests: one span,
// gateway.request, with what was decided and how it went, never a word of the
// prompt. Spans go out as OTLP over gRPC, configured by the standard OTEL_*
// environment variables.
//
// A nil [Tracer] records nothing and costs nothing. A collector that is slow or
// gone loses spans, never a request. Caller: package epp.
package tracing
