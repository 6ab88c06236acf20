package flowcontrol

import (
	"errors"
	"fmt"
	"math"
	"time"

	"github.com/fairway-ai/fairway/scheduler"
)

// Detector says how saturated a pool is: 0 when nothing is in use, 1 when as much
// is as should be. It looks at each endpoint for itself and adds up, so that a [Meter]
// need look only at what has changed.
type Detector interface {
	// part is an endpoint's, when gone has left it, at a time in Unix nanoseconds.
	part(now int64, m *scheduler.Metrics, l *scheduler.Load, gone gone) part
	// reading is what the parts of n endpoints add up to.
	reading(sum part, n int) Reading
	// Lag is how long after a request's end the readings may still show it; 0 when they
	// show its end at once.
	Lag() time.Duration
	// String is the detector as a YAML flow mapping.
	String() string
}

// part is what an endpoint contributes to a reading. Its numbers are integers, so that
// sums are the same in whatever order they are made.
type part struct {
	// requests and tokens are in the detector's own units, see its reading.
	requests, tokens int64
	stale            int64
	// until is the time, in Unix nanoseconds, from which the part is another one although
	// nothing has happened.
	until int64
}

// forever is the time of a part that only changes when something happens.
const forever = math.MaxInt64

// plus is the sum, without until.
func (p part) plus(o part) part {
	return part{requests: p.requests + o.requests, tokens: p.tokens + o.tokens, stale: p.stale + o.stale}
}

// minus is the difference, without until.
func (p part) minus(o part) part {
	return part{requests: p.requests - o.requests, tokens: p.tokens - o.tokens, stale: p.stale - o.stale}
}

// gone is what will no longer be on an endpoint: requests that are still counted there,
// their tokens, and requests that no longer are although the metrics may show them.
type gone struct{ counted, tokens, shown int64 }

// Pending are requests that were let through and do not count at an endpoint yet.
type Pending struct{ Requests, Tokens int64 }

// Reading is a saturation that can still take requests into account.
type Reading struct {
	requests, tokens measure
	// Stale is the number of endpoints whose metrics are missing or too old.
	Stale int
}

// measure is the saturation by one measure, as a fraction: used of all, and each
// pending one uses some more. It is only divided in the end, so that what is exactly
// full does not look as if there were a little room. The zero measure is not saturated.
type measure struct{ used, all, more, of float64 }

// full is saturated.
var full = measure{used: 1, all: 1}

func (m *measure) with(pending int64) float64 {
	switch {
	case m.all == 0:
		return 0
	case m.more == 0:
		return m.used / m.all
	}
	return (m.used + float64(pending)*m.more/m.of) / m.all
}

// With is the saturation when p are let through besides.
func (r Reading) With(p Pending) float64 {
	return max(r.requests.with(p.Requests), r.tokens.with(p.Tokens))
}

// Read looks at all endpoints of a snapshot.
func Read(d Detector, now time.Time, s *scheduler.Snapshot) Reading {
	var sum part
	for i := range s.Endpoints {
		sum = sum.plus(d.part(now.UnixNano(), &s.Metrics[i], s.Endpoints[i].Load, gone{}))
	}
	return d.reading(sum, len(s.Endpoints))
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
func (u *Utilization) stale(now int64, m *scheduler.Metrics, l *scheduler.Load) bool {
	return !m.Known || !l.Idle() && now-m.UnixNano > int64(u.Staleness)
}

const (
	// utilizationUnit is the saturation of an endpoint as a whole number.
	utilizationUnit = 1 << 30
	// maxUtilization bounds it, so that a sum over a hundred thousand of them fits.
	maxUtilization = 1 << 16
)

// part implements Detector. requests is the endpoint's saturation in utilizationUnits.
//
// Of requests that are gone it is unknown what they used: each had the same share of
// the KV cache, and either waited itself or lets one go on that waits.
func (u *Utilization) part(now int64, m *scheduler.Metrics, l *scheduler.Load, g gone) part {
	if u.stale(now, m, l) {
		return part{requests: utilizationUnit, stale: 1, until: forever}
	}
	until := int64(forever)
	if !l.Idle() {
		until = m.UnixNano + int64(u.Staleness) + 1
	}
	mine, running := int64(l.View().Requests), int64(m.Running)
	seen := int64(m.Waiting) + running
	// What the process has in flight and the engine does not show yet counts as queued.
	there := max(seen-g.shown, mine) - g.counted
	queued := float64(max(0, there-running))
	cache := float64(m.KVUsage)
	if left := g.counted + g.shown; left > 0 {
		cache *= max(0, 1-float64(left)/float64(max(1, seen, mine+g.shown)))
	}
	share := max(queued/float64(u.QueueDepthThreshold), cache/u.KVCacheUtilThreshold)
	return part{requests: int64(math.Ceil(min(share, maxUtilization) * utilizationUnit)), until: until}
}

// reading implements Detector.
func (u *Utilization) reading(sum part, n int) Reading {
	if n == 0 {
		return Reading{requests: full}
	}
	return Reading{
		requests: measure{
			used: float64(sum.requests), all: float64(n) * utilizationUnit,
			more: utilizationUnit, of: float64(u.QueueDepthThreshold),
		},
		Stale: int(sum.stale),
	}
}

// abortTime is how long a model server may take to stop working on a request whose
// client has left.
const abortTime = 250 * time.Millisecond

// Lag implements Detector: the request must be aborted, the metrics read again, and
// those are not older than the threshold.
func (u *Utilization) Lag() time.Duration { return u.Staleness + abortTime }

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

// part implements Detector.
func (c *Concurrency) part(_ int64, _ *scheduler.Metrics, l *scheduler.Load, g gone) part {
	v := l.View()
	return part{requests: int64(v.Requests) - g.counted, tokens: v.Context - g.tokens, until: forever}
}

// reading implements Detector.
func (c *Concurrency) reading(sum part, n int) Reading {
	if n == 0 {
		return Reading{requests: full}
	}
	var r Reading
	if c.Mode != ByTokens {
		r.requests = measure{used: float64(sum.requests), all: float64(n) * float64(c.MaxRequests), more: 1, of: 1}
	}
	if c.Mode != ByRequests {
		r.tokens = measure{used: float64(sum.tokens), all: float64(n) * float64(c.MaxTokens), more: 1, of: 1}
	}
	return r
}

// Lag implements Detector.
func (c *Concurrency) Lag() time.Duration { return 0 }
