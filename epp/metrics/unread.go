package metrics

import (
	"errors"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/fairway-ai/fairway/pool/scrape"
)

// llm-d's names for what reads the endpoints' metrics, and for what finds the values.
const (
	metricsSource    = "metrics-data-source"
	metricsExtractor = "core-metrics-extractor"
)

// newUnread makes the counters of pages that cannot be read, and of those that say
// nothing.
func newUnread(n naming) (unread, empty *prometheus.CounterVec) {
	unread = prometheus.NewCounterVec(prometheus.CounterOpts{
		Name: n.stages + "_datalayer_poll_errors_total", Help: "Failed attempts to read an endpoint's metrics.",
	}, []string{"source_type"})
	empty = prometheus.NewCounterVec(prometheus.CounterOpts{
		Name: n.stages + "_datalayer_extract_errors_total", Help: "Metrics pages of endpoints with none of their engine's series.",
	}, []string{"source_type", "extractor_type"})
	return unread, empty
}

// Unread counts a failed attempt to read an endpoint's metrics, by what failed.
func (m *Metrics) Unread(err error) {
	for i := range m.plain {
		p := &m.plain[i]
		if errors.Is(err, scrape.ErrNoSeries) {
			p.empty.WithLabelValues(metricsSource, metricsExtractor).Inc()
		} else {
			p.unread.WithLabelValues(metricsSource).Inc()
		}
	}
}
