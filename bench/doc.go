// Package bench measures what Fairway costs: a request's CPU time in the picker
// ([Requests]), throughput and latency behind real Envoy ([Gateway]), the CPU time of a
// picker that has nothing to do ([Idle]), requests to AI providers ([Egress]), and the
// index of what KV caches hold ([KVCache]).
//
// Whatever is measured runs in a process of its own, so that its CPU time can be
// told from that of the load (except for the index, where a thread's CPU time can); what it is compared with runs in the same minutes, in
// turns, so that noise hits both. Which policy routes best is no question here: see
// package sim/replay.
//
// The package must never be used to serve traffic. Its caller is cmd/fairway
// (bench).
package bench
