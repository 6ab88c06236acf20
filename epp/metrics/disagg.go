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

// staging is by whom and what a choice for several stages was.
type staging struct{ handler, decision string }

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
	r.staged.of(staging{handler, decision}, func(s staging) counters {
		model := cmp.Or(r.kind.target, "unknown")
		cs := make(counters, len(m.plain))
		for i := range m.plain {
			p := &m.plain[i]
			labels := []string{model, s.decision}
			if p.naming.pluginNames {
				labels = append(labels, s.handler, disaggType)
			}
			cs[i] = p.disaggregated.WithLabelValues(labels...)
		}
		return cs
	}).inc()
}
