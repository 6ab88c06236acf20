package metrics

import "github.com/prometheus/client_golang/prometheus"

// rewriting is one combination of labels of model_rewrite_decisions_total.
type rewriting struct{ by, model, target string }

func newRewritten(n naming) *prometheus.CounterVec {
	return prometheus.NewCounterVec(prometheus.CounterOpts{
		Name: n.extension + "_model_rewrite_decisions_total", Help: "Requests whose model an InferenceModelRewrite has replaced.",
	}, []string{"model_rewrite_name", "model_name", "target_model"})
}

// Rewritten counts a request for model that an InferenceModelRewrite by that name sends
// for target.
func (m *Metrics) Rewritten(by, model, target string) {
	w := rewriting{by, model, target}
	cs, ok := m.rewrote.get(w)
	if !ok {
		w = rewriting{m.rewrites.fold(by), m.models.fold(model), m.models.fold(target)}
		cs = m.rewrote.of(w, m.newRewriting)
	}
	cs.inc()
}

func (m *Metrics) newRewriting(w rewriting) counters {
	cs := make(counters, len(m.plain))
	for i := range m.plain {
		cs[i] = m.plain[i].rewritten.WithLabelValues(w.by, w.model, w.target)
	}
	return cs
}
