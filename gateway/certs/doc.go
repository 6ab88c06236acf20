// Package certs holds the certificates of the hops inside a cluster: Envoy and
// Envoy Gateway call Fairway over TLS, and trust exactly the authority named here.
//
// A [Source] is one of two. [SelfManaged] keeps an authority in a Secret that all
// replicas share and renew, and issues each replica's own certificate in memory.
// [Directory] reads what cert-manager or the user put into files, and follows them.
//
// The package must never write a private key anywhere but into that one Secret, nor
// say one in an error or a log line, nor replace a Secret that it cannot read: what
// is broken is reported, and what was in use stays in use. It knows nothing of who
// serves with the certificates.
//
// Caller: fairway gateway.
package certs
