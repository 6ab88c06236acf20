// Package epp is the endpoint picker: it joins the ext_proc server, the
// scheduler and the endpoint pools.
//
// [Picker] implements extproc.Picker: it chooses the pool, asks the scheduler,
// holds a request that its endpoint cannot start yet, and follows the response
// to keep the endpoint's in-flight counters, the prefix index, the metrics and
// the explanations true. [Server] runs a Picker behind gRPC, with health, metrics
// and explanations beside it; `fairway epp` and `fairway run` both use it.
//
// Where engines report what their KV caches hold (Pool.Cache), the request's tokens are
// found first, within a budget; see package kvcache. Everything else is as without.
//
// # Waiting
//
// Requests wait at gates: a gate is a mutex, a flowcontrol.Queue, a valve that says
// how full what lies behind it is, and one timer for the next request that has waited
// long enough. With the default policy every endpoint has a gate: a request is bound
// to its endpoint at once but sent only when little enough prefill work is
// outstanding there. With flow control (Options.Flow) every pool has one, too, which
// requests pass before they are scheduled; the valve is the saturation detector.
//
// Nothing looks at a queue now and then. Whatever makes room behind a gate (a first
// token, an end, a retry served elsewhere, an estimate coming due, a change of
// endpoints or of their metrics) calls it, and it lets as many requests through as it
// may. A request counts as a caller before the gate looks how full it is, and is
// queued under the same lock, so no wakeup is lost. Between a pool's gate and its
// endpoint a request counts as pending, so no room is given away twice.
//
// # Locks
//
// Two kinds, always taken in this order: a gate's, then a request's; never two
// gates'. Neither is held while waiting.
//
// The package must never change a body, read it but to find its tokens, keep prompt text, or let a
// failing metrics or trace collector touch a request. Callers: cmd/fairway and
// package gateway.
package epp
