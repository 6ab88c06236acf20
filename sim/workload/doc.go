// Package workload holds the requests a replay sends: traces read from files and
// workloads generated from a seed.
//
// It knows arrival times, lengths and which prompt blocks are shared; it must
// never know a policy or an endpoint. Callers: package sim/replay, cmd/fairway.
package workload
