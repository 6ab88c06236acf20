// Package replay drives the production scheduler, prefix index and hold queue
// over a workload, against simulated engines, as discrete events with no wall
// clock.
//
// Every policy sees the same arrivals, the same engines and the same index; only
// the choice differs. What an engine does with a request is package engine's
// business. The package must never contain a second implementation of anything
// in package scheduler, except the peers' rules it compares with. Caller:
// cmd/fairway (bench replay).
package replay
