// Package genai tells of tries at AI providers and pools in OpenTelemetry's semantic
// conventions for generative AI: [Metrics] as Prometheus histograms, under the names that
// OpenTelemetry's rules make of the conventions', and [Tracer] as spans.
//
// Both are observers of package egress and see what it tells, when a try has ended: never
// a message, a header or a credential, so there is nothing to switch off. A client that
// invents names of models makes no series: names that no rule or backend has are "other".
//
// The package must never block a request or answer an error. Callers: cmd/fairway and
// gateway/cluster, which put it among the observers of egress.
package genai
