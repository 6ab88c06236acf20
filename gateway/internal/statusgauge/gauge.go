package statusgauge

import (
	"sync"

	"github.com/prometheus/client_golang/prometheus"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
)

// state is one condition.
type state struct {
	condition, status, reason string
}

// Gauge counts the conditions of all objects when somebody scrapes. A replica that does
// not lead reports none: what it once found is old. It implements prometheus.Collector
// and is safe for concurrent use.
type Gauge struct {
	desc  *prometheus.Desc
	leads func() bool

	mu      sync.Mutex
	objects map[types.NamespacedName][]state
}

// New returns a gauge without objects, labelled by condition, status and reason. Its
// help goes on to say that only the leader reports.
func New(name, help string, leads func() bool) *Gauge {
	return &Gauge{
		desc:  prometheus.NewDesc(name, help+" Only the leader reports them.", []string{"condition", "status", "reason"}, nil),
		leads: leads, objects: make(map[types.NamespacedName][]state),
	}
}

// Observe keeps what an object's status says, in place of what it said before.
func (g *Gauge) Observe(name types.NamespacedName, conditions [][]metav1.Condition) {
	var states []state
	for _, list := range conditions {
		for _, c := range list {
			states = append(states, state{c.Type, string(c.Status), c.Reason})
		}
	}
	g.mu.Lock()
	defer g.mu.Unlock()
	g.objects[name] = states
}

// Forget drops an object that is gone.
func (g *Gauge) Forget(name types.NamespacedName) {
	g.mu.Lock()
	defer g.mu.Unlock()
	delete(g.objects, name)
}

// Describe implements prometheus.Collector.
func (g *Gauge) Describe(to chan<- *prometheus.Desc) { to <- g.desc }

// Collect implements prometheus.Collector.
func (g *Gauge) Collect(to chan<- prometheus.Metric) {
	if !g.leads() {
		return
	}
	counts := make(map[state]int)
	g.mu.Lock()
	for _, states := range g.objects {
		for _, s := range states {
			counts[s]++
		}
	}
	g.mu.Unlock()
	for s, n := range counts {
		to <- prometheus.MustNewConstMetric(g.desc, prometheus.GaugeValue, float64(n), s.condition, s.status, s.reason)
	}
}
