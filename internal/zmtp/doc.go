// Package zmtp speaks as much of ZeroMQ's wire protocol, ZMTP 3.0 over TCP with
// the NULL mechanism, as following and publishing an engine's KV cache events
// takes: a greeting, a READY command, and messages of several frames.
//
// It is a connection, not a socket: whoever uses it dials or accepts, decides
// what a peer may send and for how long, and keeps its own queues. libzmq and its
// bindings are peers on the other side of it.
//
// Every byte of a peer is hostile. A message is bounded in bytes and in frames,
// memory grows with the bytes that have arrived and never with what a header
// claims, and a command that nobody asked for ends in an error or is answered
// without being kept. The package must never log, retry or start a goroutine.
// Callers: package pool/kvevents and package sim/server.
package zmtp
