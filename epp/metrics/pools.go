package metrics

import (
	"iter"
	"math"
	"strings"
	"sync/atomic"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/fairway-ai/fairway/scheduler"
	"github.com/fairway-ai/fairway/scheduler/prefix"
)

// PoolView is what a scrape shows of a pool.
type PoolView struct {
	// Name is the pool's.
	Name string
	// Snapshot is its endpoints now.
	Snapshot *scheduler.Snapshot
	// Held is the number of requests held for its endpoints.
	Held int
	// Index is its prefix index; it may be nil.
	Index *prefix.Index
	// Flow is its queue; nil without flow control.
	Flow *FlowView
}

// Watch makes scrapes show what pools yields. A second call replaces the first.
func (m *Metrics) Watch(pools iter.Seq[PoolView]) { m.pools.source.Store(&pools) }

// poolCollector reads the pools when somebody scrapes, and never otherwise.
type poolCollector struct {
	source atomic.Pointer[iter.Seq[PoolView]]
	names  []naming
	sets   []poolDescs
	flow   flowDescs
	fold   func(fairness string) string
	bare   bool // names go without their namespace
	flying *prometheus.Desc
	tokens *prometheus.Desc
}

type poolDescs struct {
	kv, queue, running, kvDev, queueDev, runningDev *prometheus.Desc
	ready, perEndpoint, index                       *prometheus.Desc
}

func newPoolCollector(names []naming, bare bool, fold func(string) string) *poolCollector {
	c := &poolCollector{
		names: names, flow: newFlowDescs(names), fold: fold, bare: bare,
	}
	endpoint := []string{"endpoint_name", "namespace"}
	constant := prometheus.Labels{"producer_name": "inflight-load-producer", "fairness_id": "", "priority": ""}
	c.flying = prometheus.NewDesc(canonical.extension+"_inflight_requests", "Requests in flight on the endpoint.", endpoint, constant)
	c.tokens = prometheus.NewDesc(canonical.extension+"_inflight_tokens", "Uncached prompt tokens in flight on the endpoint that have not produced a first token.", endpoint, constant)
	for _, n := range names {
		gauge := func(name, help string, labels ...string) *prometheus.Desc {
			return prometheus.NewDesc(name, help, append([]string{"name"}, labels...), nil)
		}
		d := poolDescs{
			kv:          gauge(n.pool+"_average_kv_cache_utilization", "Mean used share of the endpoints' KV caches."),
			queue:       gauge(n.pool+"_average_queue_size", "Mean number of requests waiting in the endpoints."),
			running:     gauge(n.pool+"_average_running_requests", "Mean number of requests running in the endpoints."),
			ready:       gauge(n.readyEndpoints, "Endpoints that can serve."),
			perEndpoint: gauge(n.perEndpointQueue, "Requests waiting in the endpoint.", n.endpointLabel),
			index:       prometheus.NewDesc(n.extension+"_prefix_indexer_size", "Entries in the prefix indexes.", nil, n.pluginLabels()),
		}
		if n.full {
			d.kvDev = gauge(n.pool+"_std_dev_kv_cache_utilization", "Standard deviation of the used share of the endpoints' KV caches.")
			d.queueDev = gauge(n.pool+"_std_dev_queue_size", "Standard deviation of the number of requests waiting in the endpoints.")
			d.runningDev = gauge(n.pool+"_std_dev_running_requests", "Standard deviation of the number of requests running in the endpoints.")
		}
		c.sets = append(c.sets, d)
	}
	return c
}

// Describe implements prometheus.Collector.
func (c *poolCollector) Describe(out chan<- *prometheus.Desc) {
	for _, d := range append(append(c.flow.all(), c.flying, c.tokens), c.descs()...) {
		out <- d
	}
}

func (c *poolCollector) descs() []*prometheus.Desc {
	var all []*prometheus.Desc
	for _, d := range c.sets {
		all = append(all, d.kv, d.queue, d.running, d.ready, d.perEndpoint, d.index)
		if d.kvDev != nil {
			all = append(all, d.kvDev, d.queueDev, d.runningDev)
		}
	}
	return all
}

// Collect implements prometheus.Collector.
func (c *poolCollector) Collect(out chan<- prometheus.Metric) {
	source := c.source.Load()
	if source == nil {
		return
	}
	gauge := func(d *prometheus.Desc, v float64, labels ...string) {
		out <- prometheus.MustNewConstMetric(d, prometheus.GaugeValue, v, labels...)
	}
	var entries int64
	indexes := map[*prefix.Index]bool{}
	var flows flowTotals
	seen := map[string]bool{} // an endpoint shows once, in however many pools it is
	for v := range *source {
		s, pool := v.Snapshot, bareName(v.Name, c.bare)
		var kv, queue, running stats
		ready := 0
		for i := range s.Endpoints {
			e, m := &s.Endpoints[i], &s.Metrics[i]
			if !m.Unreachable {
				ready++
			}
			kv.add(float64(m.KVUsage))
			queue.add(float64(m.Waiting))
			running.add(float64(m.Running))
			for _, d := range c.sets {
				gauge(d.perEndpoint, float64(m.Waiting), pool, bareName(e.ID, c.bare))
			}
			if seen[e.ID] {
				continue
			}
			seen[e.ID] = true
			namespace, name := SplitID(e.ID)
			l := e.Load.Own() // so that replicas' metrics may be added up
			gauge(c.flying, float64(l.Requests), name, namespace)
			gauge(c.tokens, float64(l.Backlog), name, namespace)
		}
		for _, d := range c.sets {
			gauge(d.kv, kv.mean(), pool)
			gauge(d.queue, queue.mean(), pool)
			gauge(d.running, running.mean(), pool)
			gauge(d.ready, float64(ready), pool)
			if d.kvDev != nil {
				gauge(d.kvDev, kv.deviation(), pool)
				gauge(d.queueDev, queue.deviation(), pool)
				gauge(d.runningDev, running.deviation(), pool)
			}
		}
		for _, d := range c.flow.size {
			gauge(d, float64(v.Held), pool, "", "")
		}
		if v.Flow != nil {
			c.collectFlow(gauge, pool, v.Flow, &flows)
		}
		if v.Index != nil && !indexes[v.Index] {
			indexes[v.Index] = true
			entries += v.Index.Stats().Entries
		}
	}
	for _, d := range c.sets {
		gauge(d.index, float64(entries))
	}
	c.collectTotals(gauge, &flows)
}

// bareName is "namespace/name" without the namespace when bare is set.
func bareName(id string, bare bool) string {
	if _, name, ok := strings.Cut(id, "/"); ok && bare {
		return name
	}
	return id
}

// stats is a running mean and deviation (of the population).
type stats struct{ n, sum, squares float64 }

func (s *stats) add(v float64) { s.n++; s.sum += v; s.squares += v * v }

func (s *stats) mean() float64 {
	if s.n == 0 {
		return 0
	}
	return s.sum / s.n
}

func (s *stats) deviation() float64 {
	if s.n == 0 {
		return 0
	}
	m := s.mean()
	return math.Sqrt(max(0, s.squares/s.n-m*m))
}
