package inferencepool

import (
	"errors"

	"github.com/prometheus/client_golang/prometheus"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	inferencev1 "sigs.k8s.io/gateway-api-inference-extension/api/v1"

	"github.com/fairway-ai/fairway/gateway/internal/statusgauge"
)

// metrics counts what the controller does, and what it last found of each pool. It
// is safe for concurrent use.
type metrics struct {
	reconciles *prometheus.CounterVec
	writes     *prometheus.CounterVec
	found      *statusgauge.Gauge
}

func newMetrics(leads func() bool) *metrics {
	m := &metrics{
		reconciles: prometheus.NewCounterVec(prometheus.CounterOpts{
			Name: "fairway_inferencepool_reconciles_total",
			Help: "Looks at an InferencePool, by result: success or error.",
		}, []string{"result"}),
		writes: prometheus.NewCounterVec(prometheus.CounterOpts{
			Name: "fairway_inferencepool_status_writes_total",
			Help: "Writes of an InferencePool's status, by result: success, conflict or error.",
		}, []string{"result"}),
		found: statusgauge.New("fairway_inferencepool_parents", "Parents of InferencePools, by their conditions.", leads),
	}
	for _, result := range []string{"success", "error"} {
		m.reconciles.WithLabelValues(result)
		m.writes.WithLabelValues(result)
	}
	m.writes.WithLabelValues("conflict")
	return m
}

func (m *metrics) register(to prometheus.Registerer) error {
	var errs []error
	for _, c := range []prometheus.Collector{m.reconciles, m.writes, m.found} {
		errs = append(errs, to.Register(c))
	}
	return errors.Join(errs...)
}

func (m *metrics) reconciled(err error) {
	if err != nil {
		m.reconciles.WithLabelValues("error").Inc()
		return
	}
	m.reconciles.WithLabelValues("success").Inc()
}

func (m *metrics) wrote(err error) {
	result := "success"
	if apierrors.IsConflict(err) {
		result = "conflict"
	} else if err != nil {
		result = "error"
	}
	m.writes.WithLabelValues(result).Inc()
}

// observe keeps what the pool's status says of Fairway's parents.
func (m *metrics) observe(pool types.NamespacedName, parents []inferencev1.ParentStatus) {
	var own [][]metav1.Condition
	for _, p := range parents {
		if p.ControllerName == ControllerName {
			own = append(own, p.Conditions)
		}
	}
	m.found.Observe(pool, own)
}

func (m *metrics) forget(pool types.NamespacedName) { m.found.Forget(pool) }
