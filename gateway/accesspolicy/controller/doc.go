// Package controller makes AIAccessPolicies so: it has Envoy Gateway ask for client
// certificates at a policy's Gateway, and says in the policy's status how far that is.
//
// For each policy it keeps two objects, which the policy owns: a ConfigMap with the trust
// bundle in PEM, and a ClientTrafficPolicy that has the listeners require certificates of
// these authorities and name the URI of each in the header of package accesspolicy. Where
// somebody else's ClientTrafficPolicy is for the Gateway already, nothing of it is changed
// and none is made: the status says what to add there.
//
// A bundle that cannot be read, or has no valid certificate, changes nothing: the
// listeners go on with the last good one, and the status says so. Bundles are read from
// the API server every half a minute, not watched, because they are entries of ConfigMaps
// and Secrets that nobody else here needs.
//
// It must never have requests pass that a policy forbids: it writes nothing that opens a
// listener, and decides about no request. Caller: gateway/cluster, on the leader.
package controller
