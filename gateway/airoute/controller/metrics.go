package controller

import (
	"errors"
	"strings"

	"github.com/prometheus/client_golang/prometheus"
	apierrors "k8s.io/apimachinery/pkg/api/errors"

	"github.com/fairway-ai/fairway/gateway/airoute/kube"
	"github.com/fairway-ai/fairway/gateway/internal/statusgauge"
)

// metrics counts what the controller does, and what it last found of each object. It
// is safe for concurrent use.
type metrics struct {
	reconciles *prometheus.CounterVec
	writes     *prometheus.CounterVec
	routes     *statusgauge.Gauge
	backends   *statusgauge.Gauge
}

func newMetrics(leads func() bool) *metrics {
	m := &metrics{
		reconciles: prometheus.NewCounterVec(prometheus.CounterOpts{
			Name: "fairway_airoute_reconciles_total",
			Help: "Looks at an AIRoute, an AIBackend, or an HTTPRoute that sends to AIBackends, by kind and result: success or error.",
		}, []string{"kind", "result"}),
		writes: prometheus.NewCounterVec(prometheus.CounterOpts{
			Name: "fairway_airoute_writes_total",
			Help: "Writes of HTTPRoutes and of the status of AIRoutes and AIBackends, by kind and result: success, conflict or error.",
		}, []string{"kind", "result"}),
		routes:   statusgauge.New("fairway_airoute_status", "Parents of AIRoutes, by their conditions.", leads),
		backends: statusgauge.New("fairway_aibackend_status", "AIBackends, by their conditions.", leads),
	}
	for _, kind := range []kube.Kind{kube.AIRoute, kube.AIBackend, kube.HTTPRoute} {
		for _, result := range []string{"success", "error"} {
			m.reconciles.WithLabelValues(label(kind), result)
			m.writes.WithLabelValues(label(kind), result)
		}
		m.writes.WithLabelValues(label(kind), "conflict")
	}
	return m
}

func label(k kube.Kind) string { return strings.ToLower(string(k)) }

func (m *metrics) register(to prometheus.Registerer) error {
	var errs []error
	for _, c := range []prometheus.Collector{m.reconciles, m.writes, m.routes, m.backends} {
		errs = append(errs, to.Register(c))
	}
	return errors.Join(errs...)
}

func (m *metrics) reconciled(k kube.Kind, err error) {
	result := "success"
	if err != nil {
		result = "error"
	}
	m.reconciles.WithLabelValues(label(k), result).Inc()
}

func (m *metrics) wrote(k kube.Kind, err error) {
	result := "success"
	if apierrors.IsConflict(err) || apierrors.IsAlreadyExists(err) {
		result = "conflict"
	} else if err != nil {
		result = "error"
	}
	m.writes.WithLabelValues(label(k), result).Inc()
}
