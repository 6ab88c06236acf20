// Package eds serves endpoints to Envoy: those of the pools, and the replicas of
// Fairway itself.
//
// Envoy's clusters come from Envoy Gateway and change rarely; their endpoints come
// from here, in the state-of-the-world and the incremental form of the protocol,
// and change as often as pods do. Every replica of Fairway runs a [Server] and
// knows the same, so that Envoy may ask any of them, and any other after that.
//
// What Envoy has is never taken away by a replica that merely knows less:
//
//   - Until [Server.Ready], streams are open but not answered. A replica that has
//     just started has not seen the pools yet.
//   - A resource that is not known is not answered either, until it is [Server.Set];
//     neither "empty" nor "removed" is ever said of it.
//   - An incremental version is a hash of the content, so that Envoy is not sent
//     again, after a restart or by another replica, what it has already. The
//     state-of-the-world form has no such versions and sends everything once per
//     stream, which Envoy compares and drops; prefer the incremental form.
//
// A pool without endpoints is a pool with one where nobody listens ([Endpoints]).
//
// The package must never decide which pods can serve, and never block a caller of
// Set on a slow Envoy. Caller: gateway/cluster.
package eds
