// Package epp is the endpoint picker: it joins the ext_proc server, the
// scheduler and the endpoint pools.
//
// [Picker] implements extproc.Picker: it chooses the pool, asks the scheduler,
// holds a request that its endpoint cannot start yet, and follows the response
// to keep the endpoint's in-flight counters, the prefix index, the metrics and
// the explanations true. [Server] runs a Picker behind gRPC, with health, metrics
// and explanations beside it; `fairway epp` and `fairway run` both use it.
//
// # Holding
//
// With the default policy a request is bound to its endpoint at once but sent
// only when little enough prefill work is outstanding there. Every endpoint has a
// gate: a mutex and a scheduler.HoldQueue. Whatever lowers an endpoint's
// outstanding prefill (a first token, an end, a retry served elsewhere, an
// estimate coming due) calls the gate, which sends as many held requests as the
// endpoint admits. A request is only ever queued under the gate's lock after the
// endpoint refused it under that same lock, so no wakeup is lost.
//
// # Locks
//
// Two kinds, always taken in this order: a gate's, then a request's. Neither is
// held while waiting.
//
// The package must never read or change a body, keep prompt text, or let a
// failing metrics or trace collector touch a request. Callers: cmd/fairway and
// package gateway.
package epp
