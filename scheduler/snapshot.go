package scheduler

import "math"

// Endpoint is one model server (or one data-parallel rank of it) that can
// serve now. It does not change while it is in the pool.
type Endpoint struct {
	// ID is the stable identity, "namespace/name", or "namespace/name-rank-i"
	// where a pod serves several ports.
	ID string
	// Address is "ip:port", as Envoy's host selection expects it.
	Address string
	// Slot is a small dense number that stays the endpoint's own while it is in
	// the pool; the prefix index stores slots. It may be reused after the
	// endpoint is gone.
	Slot int32
	// Labels are the pod's (or the endpoint file's) labels.
	Labels map[string]string
	// Load holds the live in-flight counters. It is never nil.
	Load *Load
}

// SameEndpoints reports whether two lists are the same memory: snapshots of a pool share
// theirs while no endpoint comes, goes or changes, and only metrics do.
func SameEndpoints(a, b []Endpoint) bool {
	return len(a) == len(b) && (len(a) == 0 || &a[0] == &b[0])
}

// Metrics is what the endpoint's model server said of itself last.
type Metrics struct {
	// Known is false until a scrape has succeeded, and again once the last one
	// is older than the pool's staleness threshold. Everything else is then the
	// last known value, or zero.
	Known bool
	// Unreachable is true while the endpoint refuses connections. It is not a
	// candidate then, unless every endpoint is unreachable.
	Unreachable bool
	// UnixNano is when the values were read.
	UnixNano int64
	// Waiting and Running count requests in the engine's queue and batch.
	Waiting, Running int32
	// OtherWaiting and OtherRunning are the part of those that this process did
	// not send: other clients, other routers.
	OtherWaiting, OtherRunning int32
	// KVUsage is the used share of the KV cache, 0 to 1.
	KVUsage float32
	// BlockTokens is the engine's KV block size in tokens, Blocks its number of
	// blocks; zero when the engine does not say.
	BlockTokens, Blocks int32
	// MaxLoRA is the number of LoRA adapters that fit at once; zero when unknown.
	MaxLoRA int32
	// ActiveLoRA and WaitingLoRA name adapters with running and queued requests.
	ActiveLoRA, WaitingLoRA []string
	// Adapters is the same by the numbers of the snapshot's Adapters; nil for none.
	Adapters *AdapterUse
	// Custom are the metrics that a configuration asks for besides, in an order of its
	// own; NaN where the engine does not say.
	Custom []float64
}

// CustomValue is the custom metric at a place, and whether the engine says it.
func (m *Metrics) CustomValue(at int) (v float64, ok bool) {
	if at >= len(m.Custom) || math.IsNaN(m.Custom[at]) {
		return 0, false
	}
	return m.Custom[at], true
}

// Snapshot is everything a decision reads about a pool. It is immutable after
// publication: a request reads one snapshot from start to end. Endpoints and
// Metrics are parallel: index i of one is index i of the other.
type Snapshot struct {
	// Version grows with every publication.
	Version uint64
	// Endpoints is shared between snapshots while the membership is unchanged.
	Endpoints []Endpoint
	// Metrics has the same length as Endpoints.
	Metrics []Metrics
	// Slots is one more than the largest slot in use; slot-indexed columns have
	// this length.
	Slots int
	// Adapters are the LoRA adapters that the endpoints have named so far; nil for none.
	Adapters *Adapters
}

// Len is the number of endpoints.
func (s *Snapshot) Len() int { return len(s.Endpoints) }

// IndexOf returns the index of the endpoint with the given address, or -1.
func (s *Snapshot) IndexOf(address string) int {
	for i := range s.Endpoints {
		if s.Endpoints[i].Address == address {
			return i
		}
	}
	return -1
}

// clampTokens keeps a token count inside what the int32 columns can hold.
func clampTokens(n int64) int32 {
	return int32(max(0, min(n, math.MaxInt32)))
}
