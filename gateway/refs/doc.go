// Package refs knows who references whom: which pools an HTTPRoute sends to, which
// Gateways it is attached to, which Service a pool's picker is, and whether a
// reference into another namespace is allowed.
//
// One set of functions answers both ways, from an object to what it names and, by
// field indexes over a controller-runtime cache, from a name to the objects that
// name it, so that no watch has to list the cluster. The two cannot disagree.
//
// Only a route's backendRefs count. A pool that is only mirrored to serves nobody.
//
// The package must never write, watch or cache anything, nor decide what a
// reference means for a status. Callers: gateway/inferencepool (the status of
// pools), gateway/envoygateway (Envoy's clusters and routes), cmd/fairway (the
// indexes).
package refs
