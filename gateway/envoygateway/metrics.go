package envoygateway

import (
	"fmt"

	"github.com/prometheus/client_golang/prometheus"
)

type metrics struct {
	translations *prometheus.CounterVec
	refused      *prometheus.CounterVec
	seconds      prometheus.Histogram
}

func newMetrics(r prometheus.Registerer) (*metrics, error) {
	m := &metrics{
		translations: prometheus.NewCounterVec(prometheus.CounterOpts{
			Name: "fairway_gateway_translations_total",
			Help: "Translations that Envoy Gateway asked for, by result: ok, invalid, unavailable or failed.",
		}, []string{"result"}),
		refused: prometheus.NewCounterVec(prometheus.CounterOpts{
			Name: "fairway_gateway_refused_backends_total",
			Help: "Backends whose share of a rule was made to answer 500, by reason, counted at every translation.",
		}, []string{"reason"}),
		seconds: prometheus.NewHistogram(prometheus.HistogramOpts{
			Name:    "fairway_gateway_translation_seconds",
			Help:    "How long a translation took.",
			Buckets: prometheus.ExponentialBuckets(0.001, 2, 14),
		}),
	}
	if r == nil {
		return m, nil
	}
	for _, c := range []prometheus.Collector{m.translations, m.refused, m.seconds} {
		if err := r.Register(c); err != nil {
			return nil, fmt.Errorf("extension server: register metrics: %w", err)
		}
	}
	return m, nil
}
