package metrics

import (
	"cmp"

	"github.com/prometheus/client_golang/prometheus"
)

// The values of the label decision_type.
const (
	decodeOnly          = "decode-only"
	prefillDecode       = "prefill-decode"
	encodeDecode        = "encode-decode"
	encodePrefillDecode = "encode-prefill-decode"
)

// disaggType is the type of what chooses endpoints for several stages.
const disaggType = "disagg-profile-handler"

func newDisaggregated(n naming) *prometheus.CounterVec {
	labels := []string{"model_name", "decision_type"}
	if n.pluginNames {
		labels = append(labels, "plugin_name", "plugin_type")
	}
	return prometheus.NewCounterVec(prometheus.CounterOpts{
		Name: n.stages + "_disagg_decision_total", Help: "Choices of endpoints for the stages of a request, by the stages.",
	}, labels)
}

// Disaggregated counts a choice of endpoints for the stages of a request, by the
// profile handler of that name.
func (m *Metrics) Disaggregated(r *Request, handler string, prefill, encode bool) {
	decision := decodeOnly
	switch {
	case prefill && encode:
		decision = encodePrefillDecode
	case prefill:
		decision = prefillDecode
	case encode:
		decision = encodeDecode
	}
	model := cmp.Or(r.kind.target, "unknown")
	for i := range m.plain {
		p := &m.plain[i]
		if p.naming.pluginNames {
			p.disaggregated.WithLabelValues(model, decision, handler, disaggType).Inc()
		} else {
			p.disaggregated.WithLabelValues(model, decision).Inc()
		}
	}
}
