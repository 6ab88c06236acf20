package egress

import (
	"strconv"

	"github.com/prometheus/client_golang/prometheus"
)

// Metrics counts tries and tokens by backend. It implements Observer.
type Metrics struct {
	requests *prometheus.CounterVec
	tokens   *prometheus.CounterVec
	refused  *prometheus.CounterVec
	fell     *prometheus.CounterVec
}

// NewMetrics registers the counters.
func NewMetrics(r prometheus.Registerer) (*Metrics, error) {
	m := &Metrics{
		requests: prometheus.NewCounterVec(prometheus.CounterOpts{
			Name: "fairway_backend_requests_total",
			Help: "Tries that backends answered, by the status they gave; 0 when they gave none.",
		}, []string{"backend", "status"}),
		tokens: prometheus.NewCounterVec(prometheus.CounterOpts{
			Name: "fairway_backend_tokens_total",
			Help: "Tokens that backends reported. cached and reasoning are parts of input and output.",
		}, []string{"backend", "kind"}),
		refused: prometheus.NewCounterVec(prometheus.CounterOpts{
			Name: "fairway_backend_refused_total",
			Help: "Requests on the way to backends that the gateway answered itself, by status.",
		}, []string{"backend", "status"}),
		fell: prometheus.NewCounterVec(prometheus.CounterOpts{
			Name: "fairway_fallbacks_total",
			Help: "Requests that passed over a pool or backend before anything was sent to it, by why.",
		}, []string{"from", "reason"}),
	}
	for _, c := range []prometheus.Collector{m.requests, m.tokens, m.refused, m.fell} {
		if err := r.Register(c); err != nil {
			return nil, err
		}
	}
	return m, nil
}

// Answered implements Observer.
func (m *Metrics) Answered(o Outcome) {
	m.requests.WithLabelValues(o.Backend, strconv.Itoa(o.Status)).Inc()
	u := o.Usage
	if !u.Known {
		return
	}
	for kind, n := range map[string]int64{"input": u.Input, "cached": u.Cached, "output": u.Output, "reasoning": u.Reasoning} {
		if n > 0 {
			m.tokens.WithLabelValues(o.Backend, kind).Add(float64(n))
		}
	}
}

// Refused implements Observer.
func (m *Metrics) Refused(o Outcome) {
	m.refused.WithLabelValues(o.Backend, strconv.Itoa(o.Status)).Inc()
}

// FellBack counts a request that passed over a pool or backend. It is a
// Router.OnFallback.
func (m *Metrics) FellBack(from, reason, _ string) { m.fell.WithLabelValues(from, reason).Inc() }
