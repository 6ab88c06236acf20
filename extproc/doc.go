// Package extproc speaks Envoy's external processing protocol.
//
// The [Server] carries requests to a [Picker] and the pick back to Envoy, in
// every arrangement of bodies that Envoy can be configured for and that can
// carry a pick. Which of them it is, each stream's first message says:
//
//   - BUFFERED request: the headers are answered at once and empty, the pick goes
//     in the body's answer, and no body byte is sent back. The cheapest one, and
//     the only one whose failure_mode_allow works at every moment. This is also
//     assumed of an Envoy too old to tell.
//   - FULL_DUPLEX_STREAMED request, as the Gateway API Inference Extension's
//     endpoint picker protocol asks: the headers' answer waits for the body, which
//     is held by reference meanwhile and then sent back byte for byte.
//   - BUFFERED_PARTIAL request: as BUFFERED. A body that Envoy cut is picked for
//     without what the body says, except for its API.
//   - STREAMED request with send_body_without_waiting_for_header_response: the
//     headers' answer waits for the body, up to the 1 MB or so that Envoy sends.
//   - STREAMED request without it: Envoy has sent the headers on before the body is
//     known, so the pick, in the last body message's answer, only counts as
//     metadata and where it is a rejection. The server warns once.
//   - NONE, requests without a body, tunnels and paths that are no AI API: the pick
//     goes in the headers' answer, and a body passes unread.
//
// A pick is given as a header and as dynamic metadata, with clear_route_cache.
// Rejections are immediate responses in the schema of the API that was called, and to
// gRPC requests with a gRPC status. The calls that package scan knows are read as the
// HTTP APIs are; a response's grpc-status is its outcome.
// In the response phase, bodies may be STREAMED, FULL_DUPLEX_STREAMED, BUFFERED or
// NONE. Messages in observability mode are read and left alone.
//
// The server uses its own codec, which decodes messages by hand where gRPC
// received them; the buffers of a body are scanned, and sent back, in place. What
// is allocated for a request does not depend on the length of its body.
//
// A request that waits for its response can be ended from outside, with an [Interrupt]:
// its client gets an immediate response, and Envoy resets the request to the server.
//
// Pools that Options.Foreign knows are answered for by endpoint pickers of others. The
// server carries such a picker's answers to Envoy as they are, changed bodies
// included, whatever the arrangement; only where Envoy has sent the original on
// already does that one stay. Package relay is the client. A Picker may also ask such
// a picker itself, where it finds only in the body that it should, and hand the server
// what came of it: Pick.Change, and Pick.Exchange for the response.
//
// Package scan reads the request body, package observe the response body; both
// touch every byte once, in place.
//
// The package knows HTTP, JSON, the wire format and some messages of gRPC. It must never know a pod, a
// provider or a scheduling policy, and it never changes a body byte that a foreign
// picker did not, but for the model's name where a Picker asks for that. Callers:
// package epp, which implements Picker, and gateway/egress, which puts rules before it.
package extproc
