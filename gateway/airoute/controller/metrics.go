package controller

import (
	"errors"
	"strings"
	"sync"

	"github.com/prometheus/client_golang/prometheus"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"

	"github.com/fairway-ai/fairway/gateway/airoute/kube"
)

// metrics counts what the controller does, and what it last found of each object. It
// is safe for concurrent use.
type metrics struct {
	reconciles *prometheus.CounterVec
	writes     *prometheus.CounterVec
	routes     *stateCollector
	backends   *stateCollector
}

// state is one condition.
type state struct {
	condition, status, reason string
}

// stateCollector counts the states of all objects when somebody scrapes. A replica
// that does not lead reports none: what it once found is old.
type stateCollector struct {
	desc  *prometheus.Desc
	leads func() bool

	mu      sync.Mutex
	objects map[types.NamespacedName][]state
}

func newMetrics(leads func() bool) *metrics {
	collector := func(name, help string) *stateCollector {
		return &stateCollector{
			desc:  prometheus.NewDesc(name, help+" Only the leader reports them.", []string{"condition", "status", "reason"}, nil),
			leads: leads, objects: make(map[types.NamespacedName][]state),
		}
	}
	m := &metrics{
		reconciles: prometheus.NewCounterVec(prometheus.CounterOpts{
			Name: "fairway_airoute_reconciles_total",
			Help: "Looks at an AIRoute, an AIBackend, or an HTTPRoute that sends to AIBackends, by kind and result: success or error.",
		}, []string{"kind", "result"}),
		writes: prometheus.NewCounterVec(prometheus.CounterOpts{
			Name: "fairway_airoute_writes_total",
			Help: "Writes of HTTPRoutes and of the status of AIRoutes and AIBackends, by kind and result: success, conflict or error.",
		}, []string{"kind", "result"}),
		routes:   collector("fairway_airoute_status", "Parents of AIRoutes, by their conditions."),
		backends: collector("fairway_aibackend_status", "AIBackends, by their conditions."),
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

// observe keeps what an object's status says.
func (c *stateCollector) observe(name types.NamespacedName, conditions [][]metav1.Condition) {
	var states []state
	for _, list := range conditions {
		for _, x := range list {
			states = append(states, state{x.Type, string(x.Status), x.Reason})
		}
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	c.objects[name] = states
}

func (c *stateCollector) forget(name types.NamespacedName) {
	c.mu.Lock()
	defer c.mu.Unlock()
	delete(c.objects, name)
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
	for _, states := range c.objects {
		for _, s := range states {
			counts[s]++
		}
	}
	c.mu.Unlock()
	for s, n := range counts {
		to <- prometheus.MustNewConstMetric(c.desc, prometheus.GaugeValue, float64(n), s.condition, s.status, s.reason)
	}
}
