// Package kube follows what a cluster has of AIRoutes and AIBackends and of all that
// they name, and says what it comes to: a [Source] keeps the newest state, has it
// compiled when something changed that can matter, and tells its subscribers.
//
// # Cost
//
// Nothing is listed again because something changed. The informers' events fill one
// store of pointers into the informers' own caches; each says in a few comparisons
// whether it can matter. Secrets, ConfigMaps and Services that no AIBackend names,
// changes of status, and HTTPRoutes without AIBackends end there. All other events
// of a burst lead to one compilation. A Secret whose values changed, but not its
// keys, leads to none: those who use it are told.
//
// # When the cluster is not as it should be
//
// A missing definition and a missing permission are states, not errors: the kind
// counts as empty, a line of the log says what to do, and it is noticed when the
// definition or the permission comes. Before it watches a kind, a Source asks for one
// object of it, so that informers, for which a cache may wait, exist only where they
// can be filled. An API server that cannot be reached, on the other hand, is waited
// for: nobody is told of half a state. So is the permission to read AIAccessPolicies:
// they forbid, and what cannot be read must not count as nothing.
//
// The values of Secrets leave this package through [Source.ReadSecret] alone, and
// must never be in a log line or an error. The package must never write to the
// cluster. Caller: gateway/cluster.
package kube
