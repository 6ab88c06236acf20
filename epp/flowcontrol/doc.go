// Package flowcontrol decides which waiting request goes next, and when none may.
//
// A [Queue] holds requests in three tiers: priority bands, highest first; in a
// band, the flows that a fairness policy chooses between; in a flow, the order of
// an ordering policy. Requests that may go to the same endpoints share a [Lane],
// which a [Valve] opens and shuts: a request whose endpoints are full never holds
// up one whose endpoints are free. The same Queue holds requests in front of a
// pool, where a [Detector] says how full the pool is, and in front of an endpoint,
// where the outstanding prefill work does.
//
// A [Meter] keeps a pool's saturation up to date at the cost of what has changed, and an
// [Evictor] chooses running requests to end so that a waiting one may go.
//
// Besides, the package has what sheds requests without a queue: see [Shedder].
//
// The package is pure: time comes as an argument, nothing waits, nothing is
// locked, no goroutine is started. It must never know HTTP, Envoy or Kubernetes,
// nor keep a request after it left. Callers: package epp, which owns the locks and
// the one timer of each queue, and package epp/config, which builds a [Config].
package flowcontrol
