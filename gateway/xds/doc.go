// Package xds builds Envoy's configuration for inference pools: the listener and
// its ext_proc filter, the routes to pools, the pools' clusters and endpoints, and
// the bootstrap that finds the rest.
//
// A request passes so:
//
//   - Headers that steer the gateway ([DestinationHeader], [PoolHeader]) are taken
//     from the client before the first route is chosen. Doing it in a filter would
//     be too late: with the picker down, nobody chooses the route again.
//   - The ext_proc filter buffers the body and asks the picker, which answers with
//     the pool ([PoolHeader]) and an ordered list of endpoints, and clears the
//     route cache. The filter always fails open, so that the picker's death cuts no
//     running response.
//   - The route is the pool's. A FailClose pool's route also wants a picked
//     endpoint. Without a picker, the first pool takes the request when all pools
//     fail open, and otherwise a cluster without endpoints does: that is a 503. (A
//     direct response would do the same but brings Envoy's own limit for bodies.)
//   - The pool's cluster sends it to the first endpoint of the list, a retry to the
//     next, and requests without a list to the least busy of two.
//
// With rules ([Routing]), the picker names a rule ([RouteHeader]) instead of a pool. A
// rule's route has groups of clusters that are tried in order, those of pools and of
// AI providers. A provider's cluster has an ext_proc filter of its own, which asks the
// translator about every try and fails closed. So does a pool that is spoken to in
// another API than its own, and one that is tried after a provider.
//
// Errors that Envoy makes itself are JSON in the schema of the API that was called.
//
// Functions are pure and deterministic: the same arguments give the same bytes. The
// package must never do I/O, hold state, or know Kubernetes. Callers: package
// standalone, and package envoygateway, for an Envoy whose listeners and routes
// another control plane makes: there the pool's cluster fails closed by itself, and a
// rule's route is made of that control plane's.
package xds
