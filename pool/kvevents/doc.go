// Package kvevents follows what model servers' KV caches hold, as they report it.
//
// vLLM and SGLang publish KV cache events over ZeroMQ: messages of a topic, a
// sequence number and a batch of events in MessagePack. A [Subscriber] either
// dials every endpoint or listens for engines that dial, puts each endpoint's
// messages in order, and tells a [Sink] which blocks were stored and removed.
// Package pool/kvevents/index is the sink that keeps the prefix index.
//
// # Order and loss
//
// What is told of an endpoint is true or it is withdrawn. When messages are
// missing, the engine is asked to replay them where it can; otherwise Lost and
// Live tell the sink to start from nothing, which costs hits and never invents
// one. An endpoint is live while its connection is: an idle engine is silent, and
// silence means nothing. Keep-alive probes end a connection whose peer is gone.
//
// # Hostile peers
//
// A message, a queue, an event, the number of connections and the time a replay
// takes are bounded; memory grows with bytes that have come, never with what a
// header claims. An endpoint that floods fills its own queue, and loses its own
// state; all queues together are bounded, and each has a share that others cannot
// take. When endpoints dial, a connection speaks only for endpoints of its own
// address.
//
// The package must never decide about routing, know a request, or hold up one
// endpoint for another. Callers: package epp builds the Subscriber and feeds it
// the pool's endpoints.
package kvevents
