// Package filter holds the filters of llm-d's catalogue, under their names: what
// removes the endpoints that must not serve a request.
//
// All but [Header], which is for tests, read the endpoints' labels and nothing else.
// Their verdict on an endpoint never depends on the other candidates. A filter must
// never add a candidate, reorder them, or do I/O. Caller: scheduler.Profile, built
// by package epp/config.
package filter
