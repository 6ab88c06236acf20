package metrics

import (
	"cmp"
	"net/http"
	"strconv"
	"strings"
	"sync"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/collectors"
	"github.com/prometheus/client_golang/prometheus/promhttp"
)

// Options configure [New].
type Options struct {
	// Legacy adds the names of the Gateway API Inference Extension, and those that llm-d
	// had before 0.10.
	Legacy bool
	// Commit and BuildRef describe the build, for the info metric.
	Commit, BuildRef string
	// BareNames leaves the namespace out of pools' and endpoints' names, as llm-d does,
	// whose picker serves one pool.
	BareNames bool
	// FairnessIDs is how many fairness ids are told apart, at most; 0 means
	// [MaxLabelValues], and less than 0 none.
	FairnessIDs int
	// PoolInterval is how long the figures of pools and endpoints that were shown last
	// are shown again; 0 means that each scrape finds out anew.
	PoolInterval time.Duration
	// NoStreams leaves out the metrics of ext_proc streams.
	NoStreams bool
	// Process adds the Go runtime's and the process's own metrics.
	Process bool
}

const (
	// MaxLabelValues is the number of distinct values kept of a label that clients
	// choose.
	MaxLabelValues = 1000
	// MaxRequestKinds is the number of combinations of such labels kept.
	MaxRequestKinds = 2000
	// maxAttemptKinds bounds the combinations of model and endpoint counted in
	// scheduler_attempts_total.
	maxAttemptKinds = 50_000
	// Other stands for the values beyond those bounds.
	Other = "other"
)

// Metrics counts. It is safe for concurrent use.
type Metrics struct {
	registry *prometheus.Registry
	names    []naming
	requests []requestVecs
	plain    []plainMetrics // what has no client-chosen label
	pools    *poolCollector
	kvCache  kvCollector
	bare     bool

	flow    flowCounts
	plugins plugins

	streams     prometheus.Gauge
	streamTime  prometheus.Histogram
	streamTotal *prometheus.CounterVec
	answered    *prometheus.CounterVec

	mu sync.Mutex // guards plugins

	models   values
	fairness values
	rewrites values // the names of objects

	// What counters were for before. To ask the registry's own for one takes a lock that
	// all requests share, and that a scrape holds.
	kinds    table[kind, *Request]
	attempts table[attempt, counters]
	rewrote  table[rewriting, counters]
	ends     table[string, prometheus.Counter] // of streams, by gRPC status code
	answers  table[int, prometheus.Counter]    // by HTTP status
	cycles   table[struct{}, observers]        // shown with the first
}

// counters are one, under each naming.
type counters []prometheus.Counter

func (cs counters) inc() {
	for _, c := range cs {
		c.Inc()
	}
}

// observers are one, under each naming.
type observers []prometheus.Observer

func (os observers) observe(d time.Duration) {
	for _, o := range os {
		o.Observe(d.Seconds())
	}
}

// kind is one combination of a request's labels.
type kind struct {
	model, target, fairness string
	priority                int
}

// values is a bounded set of label values.
type values struct {
	most int
	seen table[string, string]
}

// fold returns v as a label value, or "other" when v is one too many.
func (s *values) fold(v string) string {
	v = label(v)
	// Asked before the look: what is not among all that there will be is too many.
	full := s.seen.len() >= s.most
	if kept, ok := s.seen.get(v); ok {
		return kept
	}
	if full {
		return Other
	}
	s.seen.mu.Lock()
	defer s.seen.mu.Unlock()
	if kept, ok := s.seen.get(v); ok {
		return kept
	}
	if s.seen.len() >= s.most {
		return Other
	}
	v = strings.Clone(v) // of a request, all of which it would keep in memory
	s.seen.add(v, v)
	return v
}

// New returns metrics in a registry of their own.
func New(o Options) *Metrics {
	m := &Metrics{
		registry: prometheus.NewRegistry(), bare: o.BareNames,
		names:  []naming{canonical},
		models: values{most: MaxLabelValues}, fairness: values{most: cmp.Or(o.FairnessIDs, MaxLabelValues)},
		rewrites: values{most: MaxLabelValues},
	}
	if o.Legacy {
		m.names = append(m.names, between, legacy)
	}
	for _, n := range m.names {
		m.requests = append(m.requests, newRequestVecs(m.registry, n))
		m.plain = append(m.plain, newPlainMetrics(m.registry, n))
		info := prometheus.NewGauge(prometheus.GaugeOpts{
			Name: n.extension + "_info", Help: "The running build.",
			ConstLabels: prometheus.Labels{"commit": o.Commit, "build_ref": o.BuildRef},
		})
		info.Set(1)
		m.registry.MustRegister(info)
	}
	m.pools = newPoolCollector(m.names, o.BareNames, m.fairness.fold)
	m.kvCache.init(m.names)
	m.flow = newFlowCounts(m.registry, m.names)
	m.plugins = newPlugins(m.names)
	m.streams = prometheus.NewGauge(prometheus.GaugeOpts{
		Name: canonical.extension + "_extproc_streams_inflight", Help: "Open ext_proc streams; a stream is one request.",
	})
	m.streamTime = prometheus.NewHistogram(prometheus.HistogramOpts{
		Name: canonical.extension + "_extproc_stream_duration_seconds", Help: "How long ext_proc streams were open.",
		Buckets: streamBuckets,
	})
	m.streamTotal = prometheus.NewCounterVec(prometheus.CounterOpts{
		Name: canonical.extension + "_extproc_streams_total", Help: "Ended ext_proc streams by gRPC status code.",
	}, []string{"code"})
	m.answered = prometheus.NewCounterVec(prometheus.CounterOpts{
		Name: canonical.extension + "_extproc_answered_total", Help: "Requests answered by the picker instead of a model server, by HTTP status.",
	}, []string{"status"})
	m.registry.MustRegister(every(o.PoolInterval, m.pools), m.answered, pluginCollector{m})
	if !o.NoStreams {
		m.registry.MustRegister(m.streams, m.streamTime, m.streamTotal)
	}
	if o.Process {
		m.registry.MustRegister(collectors.NewGoCollector(), collectors.NewProcessCollector(collectors.ProcessCollectorOpts{}))
	}
	return m
}

// Handler serves the metrics.
func (m *Metrics) Handler() http.Handler {
	return promhttp.HandlerFor(m.registry, promhttp.HandlerOpts{MaxRequestsInFlight: 4})
}

// Registry is where others may add their own.
func (m *Metrics) Registry() *prometheus.Registry { return m.registry }

// StreamOpened implements extproc.Metrics.
func (m *Metrics) StreamOpened() { m.streams.Inc() }

// StreamClosed implements extproc.Metrics.
func (m *Metrics) StreamClosed(d time.Duration) {
	m.streams.Dec()
	m.streamTime.Observe(d.Seconds())
}

// StreamEnded counts a stream by its gRPC status code.
func (m *Metrics) StreamEnded(code string) {
	m.ends.of(code, func(code string) prometheus.Counter { return m.streamTotal.WithLabelValues(code) }).Inc()
}

// Answered implements extproc.Metrics.
func (m *Metrics) Answered(status int) {
	m.answers.of(status, func(status int) prometheus.Counter { return m.answered.WithLabelValues(strconv.Itoa(status)) }).Inc()
}

// Processed counts the time from a request's arrival to its pick.
func (m *Metrics) Processed(d time.Duration) {
	for i := range m.plain {
		if h := m.plain[i].processing; h != nil {
			h.Observe(d.Seconds())
		}
	}
}

// Answering counts the time that a response took here.
func (m *Metrics) Answering(d time.Duration) {
	for i := range m.plain {
		if h := m.plain[i].responses; h != nil {
			h.Observe(d.Seconds())
		}
	}
}

// Prefix counts a lookup in the prefix index.
func (m *Metrics) Prefix(cached, prompt, bytesPerToken int64) {
	for i := range m.plain {
		m.plain[i].hitBytes.Observe(float64(cached * bytesPerToken))
		if prompt > 0 {
			m.plain[i].hitRatio.Observe(float64(cached) / float64(prompt))
		}
	}
}
