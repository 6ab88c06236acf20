package flowcontrol

import (
	"errors"
	"fmt"
	"math"
	"time"

	"github.com/fairway-ai/fairway/scheduler"
)

// Detector says how saturated a pool is: 0 when nothing is in use, 1 when as much
// is as should be.
type Detector interface {
	// Read looks at the endpoints of a snapshot with these indices, or at all when
	// list is false.
	Read(now time.Time, s *scheduler.Snapshot, only []int32, list bool) Reading
	// String is the detector as a YAML flow mapping.
	String() string
}

// Pending are requests that were let through and do not count at an endpoint yet.
type Pending struct{ Requests, Tokens int64 }

// Reading is a saturation that can still take requests into account.
type Reading struct {
	// Requests and Tokens are the saturation by each measure; PerRequest and PerToken
	// are by how much one more of them raises it.
	Requests, PerRequest, Tokens, PerToken float64
	// Stale is the number of endpoints whose metrics are missing or too old.
	Stale int
}

// With is the saturation when p are let through besides.
func (r Reading) With(p Pending) float64 {
	return max(r.Requests+r.PerRequest*float64(p.Requests), r.Tokens+r.PerToken*float64(p.Tokens))
}

// Types of detectors.
const (
	UtilizationType = "utilization-detector"
	ConcurrencyType = "concurrency-detector"
)

// Utilization goes by what the endpoints' metrics say: the saturation of an
// endpoint is the larger of its queue and of its used KV cache, each as a share of
// its threshold, and a pool's is the mean. An endpoint whose metrics are missing
// or stale counts as 1, and so does a pool without endpoints.
//
// Requests in flight beyond those that the engine's metrics show count as queued, so
// that a pool is not filled twice between two readings.
type Utilization struct {
	QueueDepthThreshold  int
	KVCacheUtilThreshold float64
	// Staleness is the age from which metrics mean nothing.
	Staleness time.Duration
	// Headroom is the share by which a single endpoint may exceed the thresholds, when
	// the detector is used as a filter.
	Headroom float64
}

// DefaultUtilization is the published one.
func DefaultUtilization() *Utilization {
	return &Utilization{QueueDepthThreshold: 5, KVCacheUtilThreshold: 0.8, Staleness: 200 * time.Millisecond}
}

// String implements Detector.
func (u *Utilization) String() string {
	return fmt.Sprintf("{type: %s, queueDepthThreshold: %d, kvCacheUtilThreshold: %g, metricsStalenessThreshold: %s, headroom: %g}",
		UtilizationType, u.QueueDepthThreshold, u.KVCacheUtilThreshold, u.Staleness, u.Headroom)
}

// stale reports whether an endpoint's metrics mean nothing. An endpoint that this
// process has sent nothing is read less often, so the pool's own word counts.
func (u *Utilization) stale(now time.Time, m *scheduler.Metrics, l *scheduler.Load) bool {
	return !m.Known || !l.Idle() && now.UnixNano()-m.UnixNano > int64(u.Staleness)
}

// queued is an endpoint's queue, with what it does not know of yet.
func queued(m *scheduler.Metrics, l *scheduler.Load) float64 {
	unseen := int64(l.View().Requests) - int64(m.Waiting) - int64(m.Running)
	return float64(m.Waiting) + float64(max(0, unseen))
}

// Read implements Detector.
func (u *Utilization) Read(now time.Time, s *scheduler.Snapshot, only []int32, list bool) Reading {
	var r Reading
	var sum float64
	n := each(s, only, list, func(e *scheduler.Endpoint, m *scheduler.Metrics) {
		if u.stale(now, m, e.Load) {
			r.Stale++
			sum++
			return
		}
		sum += max(queued(m, e.Load)/float64(u.QueueDepthThreshold), float64(m.KVUsage)/u.KVCacheUtilThreshold)
	})
	if n == 0 {
		r.Requests = 1
		return r
	}
	r.Requests = sum / float64(n)
	r.PerRequest = 1 / (float64(n) * float64(u.QueueDepthThreshold))
	return r
}

// each calls f for the endpoints of s, or those of only when list is set, and
// returns their number.
func each(s *scheduler.Snapshot, only []int32, list bool, f func(*scheduler.Endpoint, *scheduler.Metrics)) int {
	if list {
		for _, i := range only {
			f(&s.Endpoints[i], &s.Metrics[i])
		}
		return len(only)
	}
	for i := range s.Endpoints {
		f(&s.Endpoints[i], &s.Metrics[i])
	}
	return len(s.Endpoints)
}

// Modes of [Concurrency].
const (
	ByRequests = "requests"
	ByTokens   = "tokens"
	ByBoth     = "hybrid"
)

// Concurrency goes by what this process has in flight, as a share of what all
// endpoints together should have: it knows of every request at once, and of no
// other client's. A pool without endpoints is saturated.
type Concurrency struct {
	// Mode is ByRequests, ByTokens, which counts prompt tokens, or ByBoth, the larger.
	Mode string
	// MaxRequests and MaxTokens are what one endpoint should have.
	MaxRequests, MaxTokens int64
	// Headroom is the share by which a single endpoint may exceed that, when the
	// detector is used as a filter.
	Headroom float64
}

// DefaultConcurrency is the published one.
func DefaultConcurrency() *Concurrency {
	return &Concurrency{Mode: ByRequests, MaxRequests: 100, MaxTokens: 1_000_000}
}

// Validate reports the first parameter that makes no sense.
func (c *Concurrency) Validate() error {
	switch {
	case c.Mode != ByRequests && c.Mode != ByTokens && c.Mode != ByBoth:
		return fmt.Errorf("concurrencyMode is %.60q: must be %s, %s or %s", c.Mode, ByRequests, ByTokens, ByBoth)
	case c.MaxRequests < 1:
		return fmt.Errorf("maxConcurrency is %d: must be 1 or more", c.MaxRequests)
	case c.MaxTokens < 1:
		return fmt.Errorf("maxTokenConcurrency is %d: must be 1 or more", c.MaxTokens)
	case !(c.Headroom >= 0) || math.IsInf(c.Headroom, 1):
		return errors.New("headroom must be 0 or more")
	}
	return nil
}

// String implements Detector.
func (c *Concurrency) String() string {
	return fmt.Sprintf("{type: %s, concurrencyMode: %s, maxConcurrency: %d, maxTokenConcurrency: %d, headroom: %g}",
		ConcurrencyType, c.Mode, c.MaxRequests, c.MaxTokens, c.Headroom)
}

// Read implements Detector.
func (c *Concurrency) Read(_ time.Time, s *scheduler.Snapshot, only []int32, list bool) Reading {
	var requests, tokens float64
	n := each(s, only, list, func(e *scheduler.Endpoint, _ *scheduler.Metrics) {
		v := e.Load.View()
		requests += float64(v.Requests)
		tokens += float64(v.Context)
	})
	if n == 0 {
		return Reading{Requests: 1, Tokens: 1}
	}
	var r Reading
	if c.Mode != ByTokens {
		r.PerRequest = 1 / (float64(n) * float64(c.MaxRequests))
		r.Requests = requests * r.PerRequest
	}
	if c.Mode != ByRequests {
		r.PerToken = 1 / (float64(n) * float64(c.MaxTokens))
		r.Tokens = tokens * r.PerToken
	}
	return r
}
