// Package airoute turns AIRoute and AIBackend objects, or the providers that an
// environment configures, into rules and backends: which request goes where, in which
// order of priority, and how each backend is spoken to.
//
// [FromObjects] checks objects as the API server would and refuses, by the field's
// name, what cannot be served; [FromProviders] makes rules of the model names that
// providers are known for. [Config.Routing] is what Envoy must know of the result.
//
// The package is pure: it reads no file, no environment and no clock, and must never
// see a credential's value. Callers: cmd/fairway, and package egress, which finds the
// rule of a request.
package airoute
