// Package replicas lets several endpoint pickers serve side by side: each tells the
// others what it has in flight and which prompts it has sent where, so that every one
// decides as if it saw all requests, a few hundredths of a second late.
//
// # What is exchanged
//
// A replica connects to every other one and sends frames on that stream; the other one
// only acknowledges them. So between two replicas there are two streams, and neither
// side's trouble in sending is the other's. A frame carries
//
//   - work: for endpoints where something changed, all that this replica has in flight
//     there, as totals and not as events. What is lost, comes twice or comes late does
//     no harm: the newest totals count. Requests need no identity, and a request's end
//     cannot be missed.
//     With it, the length and waiting time of the request that leaves the replica's
//     hold queue next: of all replicas' requests for an endpoint, the first goes.
//   - prompts: the block hashes of prompts that were sent to an endpoint, which the
//     others put into their prefix index as they do with their own. They are told once;
//     losing one costs a cache hit. Where the prompt's tokens are known, its exact keys
//     are told besides: an endpoint whose engine reports what it holds is judged by those
//     alone, and the report of a prompt comes only when that has been processed.
//
// Each second a full frame has the totals of all endpoints, and zero of what it does
// not name. It is also the sign of life.
//
// # What is kept of another replica
//
// One [scheduler.Share] for each endpoint. It ends when the stream does, when nothing
// is heard for Options.Silence, and when the endpoint goes; what the other replica had
// in flight is then seen in the endpoints' own metrics again, as work of others. A
// replica that starts again under its name has a higher incarnation, and replaces what
// it was.
//
// Nothing is agreed upon: no replica leads, none asks another, and a replica alone works
// as without this package.
//
// # Trust
//
// With [TLS], both sides show a certificate for the replicas' name. A replica that is
// wrong, or lies, can make endpoints look busy or warm, or its requests come first, until
// it is silent. No endpoint is left idle for it. Frames are bounded, endpoints that are
// not known here are ignored, and counts are clamped.
//
// # The request's way
//
// [Replicas.Sent] copies block hashes into memory that is there already, under a lock
// that one in sixteen requests shares, and nothing else: in-flight totals are read from
// the counters that the scheduler keeps anyway, when a frame is made.
//
// The package must never make a request wait or fail, send prompt text, or know Envoy.
// Callers: cmd/fairway and gateway/cluster, which give it to package epp.
package replicas
