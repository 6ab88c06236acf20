// Package accesspolicy turns AIAccessPolicy objects into what the path of requests asks:
// which Gateway's clients must prove who they are, and which models they may call.
//
// [Compile] makes a [Set] of a cluster's policies. A policy that is wrong in itself, or
// that comes after another for the same target, has [Problem]s for its status; one that
// is wrong still guards its target, and allows nothing: a mistake must never open what
// was to be closed. [Identity] reads the identity of a client out of the header that
// Envoy makes of its certificate, and [ParseBundle] reads trust bundles.
//
// Whether that header can be believed is not known here: a client may send one, and only
// a listener that checks certificates and replaces the header makes it true. The hook of
// gateway/envoygateway looks at each listener for that, and says so with the request.
//
// The package is pure: it reads no file, cluster or clock. Callers: gateway/airoute and
// gateway/egress for requests, gateway/envoygateway for the targets, and package
// accesspolicy/controller for bundles and status.
package accesspolicy
