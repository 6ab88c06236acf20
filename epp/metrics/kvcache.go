package metrics

import (
	"sync/atomic"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/fairway-ai/fairway/epp/kvcache"
)

// WatchKVCache makes scrapes show what engines report of their KV caches, and what is
// asked of them. A second call replaces the first. Without a call there are no such
// metrics.
func (m *Metrics) WatchKVCache(stats func() kvcache.Stats) {
	if m.kvCache.source.Swap(&stats) == nil {
		m.registry.MustRegister(&m.kvCache)
	}
}

// kvCollector reads a kvcache.Set when somebody scrapes.
type kvCollector struct {
	source atomic.Pointer[func() kvcache.Stats]
	// index are in each family of names.
	index []kvIndexDescs

	subscribers, reconnections, received *prometheus.Desc
	followed, live, blocks               *prometheus.Desc
	trouble, replays, replayed           *prometheus.Desc
	tokens, tokenErrors, tokenSeconds    *prometheus.Desc
	tokenBytes                           *prometheus.Desc
}

type kvIndexDescs struct{ admissions, evictions, lookups, hits, most, latency *prometheus.Desc }

func (c *kvCollector) init(names []naming) {
	desc := func(name, help string, labels ...string) *prometheus.Desc {
		return prometheus.NewDesc(name, help, labels, nil)
	}
	for _, n := range names {
		if n.kvIndex == "" {
			continue
		}
		c.index = append(c.index, kvIndexDescs{
			admissions: desc(n.kvIndex+"_admissions_total", "Engines' blocks that were reported as stored."),
			evictions:  desc(n.kvIndex+"_evictions_total", "Engines' blocks that were reported as removed."),
			lookups:    desc(n.kvIndex+"_lookup_requests_total", "Lookups of prompts by their token ids."),
			hits:       desc(n.kvIndex+"_lookup_hits_total", "Blocks that the endpoint with the most held, in sum over the lookups."),
			most:       desc(n.kvIndex+"_max_pod_hit_count_total", "The same as lookup_hits."),
			latency:    desc(n.kvIndex+"_lookup_latency_seconds", "How long lookups took."),
		})
	}
	events, own := canonical.extension+"_kv_cache_events_", "fairway_"
	c.subscribers = desc(events+"active_subscribers", "Endpoints whose KV cache events are wanted.")
	c.reconnections = desc(events+"subscriber_reconnections_total", "Connections for KV cache events that have ended, and attempts at one.")
	c.received = desc(events+"messages_received_total", "Messages of KV cache events received.")
	c.followed = desc(own+"kv_cache_endpoints", "Endpoints whose KV cache is to be known from their events.", "pool")
	c.live = desc(own+"kv_cache_live_endpoints", "Endpoints whose KV cache is known; that of the others is guessed.", "pool")
	c.blocks = desc(own+"kv_cache_blocks", "Engines' blocks that are known.")
	c.trouble = desc(own+"kv_events_trouble_total", "What went wrong with KV cache events, by kind.", "kind")
	c.replays = desc(own+"kv_events_replays_total", "Replays of KV cache events, by result.", "result")
	c.replayed = desc(own+"kv_events_replayed_messages_total", "Messages of KV cache events that replays have brought.")
	c.tokens = desc(own+"tokens_requests_total", "Requests whose tokens were wanted, by how that went.", "result")
	c.tokenErrors = desc(own+"tokens_errors_total", "Questions for tokens that no endpoint answered.")
	c.tokenSeconds = desc(own+"tokens_answer_seconds", "How long answers to questions for tokens took.")
	c.tokenBytes = desc(own+"tokens_cache_bytes", "Memory of the answers that are kept.")
}

// Describe implements prometheus.Collector.
func (c *kvCollector) Describe(out chan<- *prometheus.Desc) {
	for _, d := range c.index {
		for _, one := range []*prometheus.Desc{d.admissions, d.evictions, d.lookups, d.hits, d.most, d.latency} {
			out <- one
		}
	}
	for _, one := range []*prometheus.Desc{
		c.subscribers, c.reconnections, c.received, c.followed, c.live, c.blocks, c.trouble, c.replays, c.replayed,
		c.tokens, c.tokenErrors, c.tokenSeconds, c.tokenBytes,
	} {
		out <- one
	}
}

// Collect implements prometheus.Collector.
func (c *kvCollector) Collect(out chan<- prometheus.Metric) {
	s := (*c.source.Load())()
	emit := func(d *prometheus.Desc, t prometheus.ValueType, v float64, labels ...string) {
		out <- prometheus.MustNewConstMetric(d, t, v, labels...)
	}
	count := func(d *prometheus.Desc, v uint64, labels ...string) {
		emit(d, prometheus.CounterValue, float64(v), labels...)
	}
	gauge := func(d *prometheus.Desc, v float64, labels ...string) {
		emit(d, prometheus.GaugeValue, v, labels...)
	}
	e, x, l, t := &s.Events, &s.Index, &s.Lookups, &s.Tokens
	for _, d := range c.index {
		count(d.admissions, e.Stored)
		count(d.evictions, e.Removed)
		count(d.lookups, l.Count)
		count(d.hits, l.Blocks)
		count(d.most, l.Blocks)
		out <- prometheus.MustNewConstHistogram(d.latency, l.Count, l.Seconds, l.Within)
	}
	gauge(c.subscribers, float64(e.Endpoints))
	count(c.reconnections, e.Disconnects)
	count(c.received, e.Messages)
	for _, p := range s.Pools {
		gauge(c.followed, float64(p.Followed), p.Name)
		gauge(c.live, float64(p.Live), p.Name)
	}
	gauge(c.blocks, float64(x.Blocks))
	for _, kind := range []struct {
		name string
		n    uint64
	}{
		{"lost", e.Lost}, {"gap", e.Gaps}, {"restart", e.Restarts}, {"reset", e.Resets}, {"dropped", e.Dropped},
		{"refused", e.Refused}, {"unknown_endpoint", e.Unknown}, {"malformed", e.Malformed}, {"invalid", e.Invalid},
		{"orphan", x.Orphans}, {"torn", x.Torn}, {"over_bound", x.Dropped},
	} {
		count(c.trouble, kind.n, kind.name)
	}
	count(c.replays, e.Replays-min(e.Replays, e.ReplaysFailed), "success")
	count(c.replays, e.ReplaysFailed, "failed")
	count(c.replayed, e.Replayed)
	for _, result := range []struct {
		name string
		n    uint64
	}{
		{"hit", t.Hits}, {"miss", t.Misses}, {"joined", t.Joined}, {"known", t.Known}, {"local", s.Local},
		{"late", t.Late}, {"busy", t.Busy}, {"unusable", t.Unusable},
	} {
		count(c.tokens, result.n, result.name)
	}
	count(c.tokenErrors, t.Errors)
	out <- prometheus.MustNewConstSummary(c.tokenSeconds, t.Answers, t.Seconds, nil)
	gauge(c.tokenBytes, float64(t.CacheBytes))
}
