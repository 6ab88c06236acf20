// Package kvcache knows what the KV caches of pools' endpoints hold, from what their
// engines report, and finds the keys by which a request is looked up in it.
//
// A [Set] follows engines' events for all pools of a process, over one
// kvevents.Subscriber: an endpoint is followed once, in however many pools it is, and
// where engines dial, one listener serves all. [Set.Open] adds a pool, whose [Cache] is
// a scheduler.Holdings and a source of requests' keys. [Set.Run] does the work until its
// context ends.
//
// # Two indexes
//
// A Cache is an index by token ids, beside the pool's own prefix index by bytes, which
// goes on learning from what is sent where. An endpoint counts as known while its events
// are followed and most of what they tell is understood; the index by bytes takes over, as
// warm as ever, when that ends, and for requests whose tokens are not known in time or
// whose model no engine names.
//
// # Time
//
// Tokens are asked for before a request is scheduled, within a budget that all sources
// share. What is late serves the next request with the same prompt.
//
// The package must never fail a request, wait beyond the budget, choose an endpoint, or
// log or keep a prompt. Callers: package epp, which owns pools, and those that run one.
package kvcache
