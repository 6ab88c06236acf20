package flowcontrol

import (
	"time"

	"github.com/fairway-ai/fairway/scheduler"
)

// Filter makes a detector a part of a scheduling profile: it removes endpoints that
// exceed their own thresholds by more than the headroom.
type Filter struct {
	name string
	// keep reports whether endpoint i may serve.
	keep func(now time.Time, c *scheduler.Cycle, i int32) bool
	// open keeps all endpoints when none is left.
	open bool
	now  func() time.Time
}

var _ scheduler.Filter = (*Filter)(nil)

// NewUtilizationFilter makes a filter of u. When no endpoint is left it keeps all.
// now is the clock; nil means time.Now.
func NewUtilizationFilter(name string, u *Utilization, now func() time.Time) *Filter {
	queue := float64(u.QueueDepthThreshold) * (1 + u.Headroom)
	cache := min(1, u.KVCacheUtilThreshold*(1+u.Headroom))
	return newFilter(name, true, now, func(now time.Time, c *scheduler.Cycle, i int32) bool {
		m := &c.Snapshot.Metrics[i]
		return !u.stale(now.UnixNano(), m, c.Snapshot.Endpoints[i].Load) && float64(m.Waiting) <= queue && float64(m.KVUsage) <= cache
	})
}

// NewConcurrencyFilter makes a filter of c.
func NewConcurrencyFilter(name string, d *Concurrency) *Filter {
	requests, tokens := float64(d.MaxRequests)*(1+d.Headroom), float64(d.MaxTokens)*(1+d.Headroom)
	return newFilter(name, false, nil, func(_ time.Time, c *scheduler.Cycle, i int32) bool {
		l := &c.Loads[i]
		return (d.Mode == ByTokens || float64(l.Requests) < requests) && (d.Mode == ByRequests || float64(l.Context) < tokens)
	})
}

func newFilter(name string, open bool, now func() time.Time, keep func(time.Time, *scheduler.Cycle, int32) bool) *Filter {
	if now == nil {
		now = time.Now
	}
	return &Filter{name: name, keep: keep, open: open, now: now}
}

// Name implements scheduler.Filter.
func (f *Filter) Name() string { return f.name }

// Filter implements scheduler.Filter.
func (f *Filter) Filter(c *scheduler.Cycle, in []int32) []int32 {
	now := f.now()
	kept := 0
	for _, i := range in {
		if f.keep(now, c, i) {
			kept++
		}
	}
	if kept == len(in) || kept == 0 && f.open {
		return in
	}
	out := in[:0]
	for _, i := range in {
		if f.keep(now, c, i) {
			out = append(out, i)
		}
	}
	return out
}
