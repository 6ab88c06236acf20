// Package scheduler decides which endpoint serves a request.
//
// It is the pure core of Fairway: a [Request] and a [Snapshot] go in, a
// [Decision] comes out: the endpoints ranked best first, and, when asked, what
// every filter and scorer found. Given the same request, snapshot, load counters
// and index, the decision is the same; randomness comes from [Request.Seed].
//
// The package must never do I/O, read a clock, start a goroutine, or know a
// Kubernetes, Envoy or HTTP type. Time enters as an argument.
//
// # Parts
//
//   - [Snapshot]: the endpoints that can serve now, as parallel arrays indexed
//     0..n-1, immutable once published.
//   - [Load] and [Flight]: what this process has in flight on each endpoint,
//     counted, not scraped.
//   - [Holdings]: what engines report that they hold, where they do.
//   - package prefix: which endpoint holds which prompt blocks in its KV cache.
//   - [Policy]: turns a [Cycle] into a ranking. [Priced] is the default policy,
//     [Profile] runs configured filters, scorers and a picker; package profile has
//     policies of several profiles, one for each [Stage] of a request.
//   - [Stopwatch]: the caller's, for who wants to know how long each plugin takes.
//   - [HoldQueue]: one endpoint's queue of requests that are bound to it but not
//     yet sent, and the order in which they leave.
//
// Callers: package epp for live traffic and package sim/replay for traces. Both
// drive this same code.
package scheduler
