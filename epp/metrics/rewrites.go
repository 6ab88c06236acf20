package metrics

import (
	"strings"

	"github.com/prometheus/client_golang/prometheus"
)

func newRewritten(n naming) *prometheus.CounterVec {
	return prometheus.NewCounterVec(prometheus.CounterOpts{
		Name: n.extension + "_model_rewrite_decisions_total", Help: "Requests whose model an InferenceModelRewrite has replaced.",
	}, []string{"model_rewrite_name", "model_name", "target_model"})
}

// Rewritten counts a request for model that an InferenceModelRewrite by that name sends
// for target.
func (m *Metrics) Rewritten(by, model, target string) {
	m.mu.Lock()
	by = m.rewrites.fold(strings.Clone(label(by)))
	model, target = m.models.fold(strings.Clone(label(model))), m.models.fold(strings.Clone(label(target)))
	m.mu.Unlock()
	for i := range m.plain {
		m.plain[i].rewritten.WithLabelValues(by, model, target).Inc()
	}
}
