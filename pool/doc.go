// Package pool knows what can serve now.
//
// A [Pool] holds a set of endpoints, scrapes their metrics, owns their in-flight
// counters, keeps the prefix index sized to their caches, and publishes all of it
// as immutable [scheduler.Snapshot]s through one atomic pointer. A source says
// what the endpoints are and calls [Pool.Set]: package pool/file for a file, and
// in a cluster whatever watches the pods that an InferencePool selects.
//
// # An endpoint's life
//
// A life begins with the Set that brings an ID and an address, and ends with the
// one that no longer has them. It has one slot, one [scheduler.Load] and one entry
// in the index, and shares none of them with another life: the Load is never
// reused, the index forgets, and the slot rests until no request counts on its
// last owner.
//
// # Scraping
//
// Each endpoint is scraped by a goroutine of its own, so that a server that hangs
// delays nobody, at a rate that follows the traffic: Options.Interval while it has
// requests in flight, a tenth of that rate while others of the pool have,
// Options.IdleInterval when no request passes. The first request after idleness
// wakes all of them. A failing endpoint is tried again after a wait that doubles
// up to a second. Two refused connections in a row make it unreachable; an answer
// of any kind, even one that is no metrics page, makes it reachable again, and its
// part of the index empty, since the process behind it is new. Any other failure
// only makes its metrics unknown, once they are older than Options.Staleness plus
// the current interval.
//
// The package must never know a request's body or a scheduling policy. Callers:
// package epp (reads snapshots), package gateway (feeds Envoy's endpoint
// discovery), cmd/fairway.
package pool
