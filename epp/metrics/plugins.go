package metrics

import (
	"math"
	"strings"
	"sync/atomic"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/fairway-ai/fairway/scheduler"
)

// What is timed outside of decisions: llm-d's names of it.
const (
	pointAdmission = "Admission"
	tokenProducer  = "token-producer"
	admitter       = "probabilistic-admitter"
)

// pluginBuckets are llm-d's, and finer and coarser ones: most plugins take about a
// microsecond, but tokens may have to be asked for.
var pluginBuckets = []float64{
	.000001, .000002, .000005, .00001, .00002, .00005,
	.0001, .0002, .0005, .001, .002, .005, .01, .02, .05, .1, .2, .5, 1,
}

// pluginSeries is the histogram of one plugin at one point. It is not Prometheus' own,
// which takes several times as long to add to.
type pluginSeries struct {
	part    scheduler.Part
	uses    int             // by [PluginTimes]; guarded by Metrics.mu
	bounds  []time.Duration // shared
	buckets []atomic.Uint64 // one more
	sum     atomic.Int64    // nanoseconds
}

func (s *pluginSeries) observe(d time.Duration) {
	d = max(0, d)
	i := 0
	for i < len(s.bounds) && d > s.bounds[i] {
		i++
	}
	s.buckets[i].Add(1)
	s.sum.Add(int64(d))
}

// plugins are the histograms of all plugins in use.
type plugins struct {
	bounds []time.Duration
	descs  []*prometheus.Desc
	// byPart is guarded by Metrics.mu.
	byPart map[scheduler.Part]*pluginSeries
	// tokens and admitted are not part of a policy.
	tokens, admitted *pluginSeries
}

func newPlugins(names []naming) plugins {
	p := plugins{byPart: map[scheduler.Part]*pluginSeries{}}
	for _, b := range pluginBuckets {
		p.bounds = append(p.bounds, time.Duration(math.Round(b*float64(time.Second))))
	}
	for _, n := range names {
		p.descs = append(p.descs, prometheus.NewDesc(n.extension+"_plugin_duration_seconds",
			"How long a plugin took, each time.", []string{"extension_point", "plugin_type", "plugin_name"}, nil))
	}
	p.tokens = p.series(scheduler.Part{Point: scheduler.PointProducer, Type: tokenProducer, Name: tokenProducer})
	p.admitted = p.series(scheduler.Part{Point: pointAdmission, Type: admitter, Name: admitter})
	return p
}

func (p *plugins) series(part scheduler.Part) *pluginSeries {
	return &pluginSeries{part: part, bounds: p.bounds, buckets: make([]atomic.Uint64, len(p.bounds)+1)}
}

// PluginTimes times the plugins of a policy. It implements scheduler.Stopwatch.
type PluginTimes struct {
	elapsed func() time.Duration
	series  []*pluginSeries // by part
}

var _ scheduler.Stopwatch = (*PluginTimes)(nil)

// Lap implements scheduler.Stopwatch.
func (t *PluginTimes) Lap(part int, since time.Duration) time.Duration {
	now := t.elapsed()
	if part >= 0 {
		t.series[part].observe(now - since)
	}
	return now
}

// PluginTimes times the parts of a policy by a clock that says how long ago some moment
// is, until [Metrics.ForgetPlugins]. What other policies have as well is counted together.
func (m *Metrics) PluginTimes(parts []scheduler.Part, elapsed func() time.Duration) *PluginTimes {
	t := &PluginTimes{elapsed: elapsed, series: make([]*pluginSeries, len(parts))}
	m.mu.Lock()
	defer m.mu.Unlock()
	for i, part := range parts {
		part.Type, part.Name = strings.Clone(label(part.Type)), strings.Clone(label(part.Name))
		s := m.plugins.byPart[part]
		if s == nil {
			s = m.plugins.series(part)
			m.plugins.byPart[part] = s
		}
		s.uses++
		t.series[i] = s
	}
	return t
}

// ForgetPlugins drops the series that nobody but t has; what t is still told is lost.
// It is called once for each [Metrics.PluginTimes].
func (m *Metrics) ForgetPlugins(t *PluginTimes) {
	m.mu.Lock()
	defer m.mu.Unlock()
	for _, s := range t.series {
		if s.uses--; s.uses == 0 {
			delete(m.plugins.byPart, s.part)
		}
	}
}

// Tokenized counts the time it took to find a prompt's token ids.
func (m *Metrics) Tokenized(d time.Duration) { m.plugins.tokens.observe(d) }

// Admitted counts the time it took to decide whether a request is shed.
func (m *Metrics) Admitted(d time.Duration) { m.plugins.admitted.observe(d) }

// pluginCollector shows the plugins that have run.
type pluginCollector struct{ m *Metrics }

// Describe implements prometheus.Collector.
func (c pluginCollector) Describe(out chan<- *prometheus.Desc) {
	for _, d := range c.m.plugins.descs {
		out <- d
	}
}

// Collect implements prometheus.Collector.
func (c pluginCollector) Collect(out chan<- prometheus.Metric) {
	p := &c.m.plugins
	all := []*pluginSeries{p.tokens, p.admitted}
	c.m.mu.Lock()
	for _, s := range p.byPart {
		all = append(all, s)
	}
	c.m.mu.Unlock()
	for _, s := range all {
		var count uint64
		cumulative := make(map[float64]uint64, len(pluginBuckets))
		sum := time.Duration(s.sum.Load()).Seconds()
		for i, bound := range pluginBuckets {
			count += s.buckets[i].Load()
			cumulative[bound] = count
		}
		count += s.buckets[len(pluginBuckets)].Load()
		if count == 0 {
			continue
		}
		for _, d := range p.descs {
			out <- prometheus.MustNewConstHistogram(d, count, sum, cumulative, string(s.part.Point), s.part.Type, s.part.Name)
		}
	}
}
