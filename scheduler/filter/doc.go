// Package filter holds the filters of llm-d's catalogue, under their names: what
// removes the endpoints that must not serve a request.
//
// Some are hard: what they remove must not serve the request ([Role], [LabelSelector],
// [ByLabel], [Utilization] and [Attribute] unless they fall back, and [Header], which
// is for tests). The others ([PrefixAffinity], [SessionAffinity], [Topology]) narrow
// the choice and never leave nobody. A filter must never add a candidate, reorder
// them, or do I/O. Caller: scheduler.Profile, built by package epp/config.
package filter
