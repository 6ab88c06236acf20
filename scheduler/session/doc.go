// Package session keeps the requests of a session on one endpoint: what the
// session affinity filter and scorer have in common.
//
// A session is carried in a token that names the endpoint, which the client sends
// back, or it has an identifier of the client's own, and the endpoint is remembered
// here, for a while and for so many sessions. The package must never do I/O, read a
// clock or start a goroutine: expiry happens as requests come. Callers: packages
// scheduler/filter and scheduler/scorer.
package session
