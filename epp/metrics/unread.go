package metrics

import "github.com/prometheus/client_golang/prometheus"

// metricsSource is llm-d's name for what reads the endpoints' metrics.
const metricsSource = "metrics-data-source"

func newUnread(n naming) *prometheus.CounterVec {
	return prometheus.NewCounterVec(prometheus.CounterOpts{
		Name: n.stages + "_datalayer_poll_errors_total", Help: "Failed attempts to read an endpoint's metrics.",
	}, []string{"source_type"})
}

// Unread counts a failed attempt to read an endpoint's metrics.
func (m *Metrics) Unread() {
	for i := range m.plain {
		m.plain[i].unread.WithLabelValues(metricsSource).Inc()
	}
}
