package cluster

import (
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/fairway-ai/fairway/extproc/relay"
)

// pickerMetrics counts what becomes of requests that other pickers are asked about.
// It is a relay.Metrics.
type pickerMetrics struct {
	consulted *prometheus.CounterVec
	seconds   *prometheus.HistogramVec
	left      *prometheus.CounterVec
}

func newPickerMetrics(r prometheus.Registerer) *pickerMetrics {
	m := &pickerMetrics{
		consulted: prometheus.NewCounterVec(prometheus.CounterOpts{
			Name: "fairway_picker_consultations_total",
			Help: "Requests about which a pool's own picker was asked, by outcome: picked, immediate, fail_open, fail_closed or canceled; and the reason where there was no usable answer.",
		}, []string{"pool", "outcome", "reason"}),
		seconds: prometheus.NewHistogramVec(prometheus.HistogramOpts{
			Name:    "fairway_picker_consultation_seconds",
			Help:    "Time from a request's last byte to the answer of a pool's own picker.",
			Buckets: prometheus.ExponentialBuckets(0.0005, 2, 15), // to 8 s
		}, []string{"pool"}),
		left: prometheus.NewCounterVec(prometheus.CounterOpts{
			Name: "fairway_picker_responses_left_total",
			Help: "Responses that went on without a pool's own picker, because it failed meanwhile.",
		}, []string{"pool", "reason"}),
	}
	r.MustRegister(m.consulted, m.seconds, m.left)
	return m
}

// Consulted implements relay.Metrics.
func (m *pickerMetrics) Consulted(pool, _ string, o relay.Outcome, r relay.Reason, d time.Duration) {
	m.consulted.WithLabelValues(pool, string(o), string(r)).Inc()
	m.seconds.WithLabelValues(pool).Observe(d.Seconds())
}

// ResponseLeft implements relay.Metrics.
func (m *pickerMetrics) ResponseLeft(pool, _ string, r relay.Reason) {
	m.left.WithLabelValues(pool, string(r)).Inc()
}

// forget drops a pool that is gone.
func (m *pickerMetrics) forget(pool string) {
	labels := prometheus.Labels{"pool": pool}
	m.consulted.DeletePartialMatch(labels)
	m.seconds.DeletePartialMatch(labels)
	m.left.DeletePartialMatch(labels)
}
