package metrics

import "github.com/prometheus/client_golang/prometheus"

// The values of the label decision_type.
const (
	decodeOnly          = "decode-only"
	prefillDecode       = "prefill-decode"
	encodeDecode        = "encode-decode"
	encodePrefillDecode = "encode-prefill-decode"
)

func newDisaggregated(n naming) *prometheus.CounterVec {
	return prometheus.NewCounterVec(prometheus.CounterOpts{
		Name: n.extension + "_disagg_decision_total", Help: "Choices of endpoints for the stages of a request, by the stages.",
	}, []string{"decision_type"})
}

// Disaggregated counts a choice of endpoints for the stages of a request.
func (m *Metrics) Disaggregated(prefill, encode bool) {
	decision := decodeOnly
	switch {
	case prefill && encode:
		decision = encodePrefillDecode
	case prefill:
		decision = prefillDecode
	case encode:
		decision = encodeDecode
	}
	for i := range m.plain {
		m.plain[i].disaggregated.WithLabelValues(decision).Inc()
	}
}
