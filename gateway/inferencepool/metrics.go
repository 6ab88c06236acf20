package inferencepool

import (
	"errors"
	"sync"

	"github.com/prometheus/client_golang/prometheus"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/types"
	inferencev1 "sigs.k8s.io/gateway-api-inference-extension/api/v1"
)

// metrics counts what the controller does, and what it last found of each pool. It
// is safe for concurrent use.
type metrics struct {
	reconciles *prometheus.CounterVec
	writes     *prometheus.CounterVec
	found      *stateCollector
}

// state is one condition of one parent.
type state struct {
	condition, status, reason string
}

// stateCollector counts the states of all pools when somebody scrapes. A replica
// that does not lead reports none: what it once found is old.
type stateCollector struct {
	desc  *prometheus.Desc
	leads func() bool

	mu    sync.Mutex
	pools map[types.NamespacedName][]state
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
		found: &stateCollector{
			desc: prometheus.NewDesc("fairway_inferencepool_parents",
				"Parents of InferencePools, by their conditions. Only the leader reports them.",
				[]string{"condition", "status", "reason"}, nil),
			leads: leads,
			pools: make(map[types.NamespacedName][]state),
		},
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
	var states []state
	for _, p := range parents {
		if p.ControllerName != ControllerName {
			continue
		}
		for _, c := range p.Conditions {
			states = append(states, state{c.Type, string(c.Status), c.Reason})
		}
	}
	m.found.mu.Lock()
	defer m.found.mu.Unlock()
	m.found.pools[pool] = states
}

func (m *metrics) forget(pool types.NamespacedName) {
	m.found.mu.Lock()
	defer m.found.mu.Unlock()
	delete(m.found.pools, pool)
}

// Describe implements prometheus.Collector.
func (c *stateCollector) Describe(to chan<- *prometheus.Desc) { to <- c.desc }

// Collect implements prometheus.Collector.
func (c *stateCollector) Collect(to chan<- prometheus.Metric) {
	if !c.leads() {
		return
	}
	counts := make(map[state]int)
	c.mu.Lock()
	for _, states := range c.pools {
		for _, s := range states {
			counts[s]++
		}
	}
	c.mu.Unlock()
	for s, n := range counts {
		to <- prometheus.MustNewConstMetric(c.desc, prometheus.GaugeValue, float64(n), s.condition, s.status, s.reason)
	}
}
