// Package controller writes what follows from AIRoutes and AIBackends into the
// cluster: for every AIRoute the HTTPRoute by which its Gateways serve it, and the
// status of both kinds.
//
// # The HTTPRoute
//
// It has the AIRoute's name, namespace, parentRefs and hostnames, and one rule, which
// sends all that could be for the AIRoute to the AIRoute itself: the Gateway's
// extension makes Envoy's routes of that. An annotation says which state of the
// AIRoute it stands for. The AIRoute owns it, so that the cluster removes it after the
// AIRoute. An AIRoute that is not accepted, is about to be deleted or has no parents
// is not served: it has no HTTPRoute, and one that is there is removed. An HTTPRoute
// of that name that is somebody else's stays as it is, and the AIRoute is not
// accepted, with reason HTTPRouteConflict.
//
// # Status
//
// An AIRoute has an entry for each of its parentRefs. Accepted says that the route is
// valid in itself, ResolvedRefs that all it names is there and may be named, and
// Programmed that the Gateway's controller has accepted the HTTPRoute as it is now,
// and some rule has a backend. A condition that is false has the reason of the first
// problem by field, and tells of all in its message. An AIBackend has the same
// conditions, and CredentialsReady. The status of HTTPRoutes that send to AIBackends
// is Envoy Gateway's: their problems become events. They get the same annotation as the
// HTTPRoute of an AIRoute, because Envoy Gateway does not see what else changes.
//
// What to write is found by pure functions (conditions.go, programmed.go,
// httproute.go) from the newest result of a source, and written only if that changes
// anything. Writes carry the resource version that was read, and a conflict starts
// over; entries of other controllers keep their content and their order.
//
// Only the leader writes. The package must never change an AIRoute's or AIBackend's
// spec, an HTTPRoute that is not an AIRoute's but for that annotation, or another
// controller's entry, and never see the value of a Secret. Caller: gateway/cluster.
package controller
