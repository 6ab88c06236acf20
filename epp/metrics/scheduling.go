package metrics

import (
	"net"
	"strings"
	"time"

	"github.com/prometheus/client_golang/prometheus"
)

// plainMetrics are those without client-chosen labels but for attempts.
type plainMetrics struct {
	naming     naming
	scheduling prometheus.Histogram
	processing prometheus.Histogram // nil where the naming has none
	responses  prometheus.Histogram // nil as well
	hitRatio   prometheus.Histogram
	hitBytes   prometheus.Histogram
	attempts   *prometheus.CounterVec
	rewritten  *prometheus.CounterVec // model names that were replaced
	// disaggregated are the choices for requests of several stages.
	disaggregated *prometheus.CounterVec
	// unread are the failed attempts to read something of endpoints, empty those that
	// found nothing in it.
	unread, empty *prometheus.CounterVec
}

func newPlainMetrics(reg *prometheus.Registry, n naming) plainMetrics {
	histogram := func(name, help string, buckets []float64, labels prometheus.Labels) prometheus.Histogram {
		h := prometheus.NewHistogram(prometheus.HistogramOpts{Name: n.extension + name, Help: help, Buckets: buckets, ConstLabels: labels})
		reg.MustRegister(h)
		return h
	}
	p := plainMetrics{
		naming:     n,
		scheduling: histogram("_scheduler_e2e_duration_seconds", "Time to choose an endpoint.", decisionBuckets, nil),
		hitRatio:   histogram("_prefix_indexer_hit_ratio", "Share of the prompt that the picked endpoint is expected to have cached.", ratioBuckets, n.pluginLabels()),
		hitBytes:   histogram("_prefix_indexer_hit_bytes", "Prompt bytes that the picked endpoint is expected to have cached.", hitBuckets, n.pluginLabels()),
		attempts: prometheus.NewCounterVec(prometheus.CounterOpts{
			Name: n.extension + "_scheduler_attempts_total", Help: "Attempts to choose an endpoint.",
		}, []string{"status", "target_model_name", n.attemptLabel, "namespace", "port"}),
	}
	if n.full {
		p.processing = histogram("_request_processing_duration_seconds", "Time from a request's arrival until it goes to its endpoint, holding included.", processingBuckets, nil)
		p.responses = histogram("_response_processing_duration_seconds", "Time that the messages of a streamed response took here; of any other, from its headers to its end.", responseTimes, nil)
	}
	p.rewritten = newRewritten(n)
	p.disaggregated = newDisaggregated(n)
	p.unread, p.empty = newUnread(n)
	reg.MustRegister(p.attempts, p.rewritten, p.disaggregated, p.unread, p.empty)
	return p
}

// prefixType is the plugin that has the prefix index in llm-d.
const prefixType = "approx-prefix-cache-producer"

// pluginLabels are those of what a plugin counts in llm-d.
func (n *naming) pluginLabels() prometheus.Labels {
	if !n.pluginNames {
		return nil
	}
	return prometheus.Labels{"plugin_name": prefixType, "plugin_type": prefixType}
}

// attempt is one combination of labels of scheduler_attempts_total. An empty id
// means that no endpoint was found.
type attempt struct{ model, id, address string }

// Scheduled counts a choice of the endpoint with this ID and address.
func (m *Metrics) Scheduled(d time.Duration, model, id, address string) {
	m.attempted(d, attempt{model, id, address})
}

// Unscheduled counts an attempt that found no endpoint.
func (m *Metrics) Unscheduled(d time.Duration, model string) {
	m.attempted(d, attempt{model: model})
}

func (m *Metrics) attempted(d time.Duration, a attempt) {
	cs, ok := m.attempts.get(a)
	if !ok {
		other := attempt{Other, a.id, a.address}
		if m.attempts.len() >= maxAttemptKinds {
			a = other
		} else {
			a.model = m.models.fold(a.model)
		}
		cs = m.attempts.bounded(a, maxAttemptKinds, other, m.newAttempt)
	}
	for i := range m.plain {
		m.plain[i].scheduling.Observe(d.Seconds())
	}
	cs.inc()
}

func (m *Metrics) newAttempt(a attempt) counters {
	status, port := "success", ""
	if a.id == "" {
		status = "failure"
	}
	namespace, name := SplitID(a.id)
	if _, p, err := net.SplitHostPort(a.address); err == nil {
		port = p
	}
	cs := make(counters, len(m.plain))
	for i := range m.plain {
		cs[i] = m.plain[i].attempts.WithLabelValues(status, a.model, name, namespace, port)
	}
	return cs
}

// ForgetEndpoint drops the series of an endpoint that is gone.
func (m *Metrics) ForgetEndpoint(id string) {
	namespace, name := SplitID(id)
	// The lock is held to the end: nobody may find a counter of a series that goes.
	m.attempts.mu.Lock()
	defer m.attempts.mu.Unlock()
	m.attempts.drop(func(a attempt) bool { return a.id == id })
	for i := range m.plain {
		p := &m.plain[i]
		p.attempts.DeletePartialMatch(prometheus.Labels{p.naming.attemptLabel: name, "namespace": namespace})
	}
}

// SplitID takes an endpoint ID "namespace/name" apart.
func SplitID(id string) (namespace, name string) {
	namespace, name, ok := strings.Cut(id, "/")
	if !ok {
		return "", id
	}
	return namespace, name
}
