package egress

import (
	"strconv"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/fairway-ai/fairway/aibackend/chat"
)

// Metrics counts tries and tokens by backend. It implements Observer.
type Metrics struct {
	requests *prometheus.CounterVec
	tokens   *prometheus.CounterVec
	refused  *prometheus.CounterVec
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
	}
	for _, c := range []prometheus.Collector{m.requests, m.tokens, m.refused} {
		if err := r.Register(c); err != nil {
			return nil, err
		}
	}
	return m, nil
}

// Answered implements Observer.
func (m *Metrics) Answered(backend string, status int, u chat.Usage, _ bool) {
	m.requests.WithLabelValues(backend, strconv.Itoa(status)).Inc()
	if !u.Known {
		return
	}
	for kind, n := range map[string]int64{"input": u.Input, "cached": u.Cached, "output": u.Output, "reasoning": u.Reasoning} {
		if n > 0 {
			m.tokens.WithLabelValues(backend, kind).Add(float64(n))
		}
	}
}

// Refused implements Observer.
func (m *Metrics) Refused(backend string, status int) {
	m.refused.WithLabelValues(backend, strconv.Itoa(status)).Inc()
}
