// Package kube finds endpoints in a Kubernetes cluster: it follows InferencePools
// and pods through a controller-runtime cache and tells a [Handler] what each pool
// consists of, whenever that changes.
//
// An endpoint is a ready pod's address with one of the pool's target ports. Ready
// means what it means to an EndpointSlice: the pod is Ready, has an address, has
// not finished, and is not about to be deleted.
//
// # Cost
//
// Nothing is listed again because something changed. A pod's event costs a look at
// the pools of its namespace that share a label with it, and only the pools it is a
// member of are put together anew, at most once per Options.Coalesce however many
// pods changed meanwhile. Events that change no endpoint, as most of a pod's status
// updates, end there. [CacheOptions] keeps of each pod in memory only what is
// looked at.
//
// # When the cluster is not as it should be
//
// A missing InferencePool definition, missing permissions and an unreachable API
// server are states, not errors: [Watcher.Synced] stays false at the start, later
// the last state stays, and [WatchErrors] says once what is wrong and what to do.
// An API server that goes away later is not even that: the watches are resumed
// when it is back. All of them heal by themselves.
//
// The package must never write to the cluster, nor contact a pod. Callers:
// cmd/fairway, and package gateway.
package kube
