package genai

import (
	"github.com/prometheus/client_golang/prometheus"

	"github.com/fairway-ai/fairway/gateway/airoute"
	"github.com/fairway-ai/fairway/gateway/egress"
)

// Labels, as the attributes of the conventions become them.
const (
	labelOperation     = "gen_ai_operation_name"
	labelProvider      = "gen_ai_provider_name"
	labelRequestModel  = "gen_ai_request_model"
	labelResponseModel = "gen_ai_response_model"
	labelAddress       = "server_address"
	labelPort          = "server_port"
	// labelBackend is ours: the AIBackend or InferencePool, "namespace/name".
	labelBackend = "fairway_backend"
	labelType    = "gen_ai_token_type"
	labelError   = "error_type"
)

// common are the labels of every metric.
var common = []string{labelOperation, labelProvider, labelRequestModel, labelResponseModel, labelAddress, labelPort, labelBackend}

// Types of tokens. Those after the first two are parts of them, and not in the
// conventions.
const (
	typeInput         = "input"
	typeOutput        = "output"
	typeCached        = "cached_input"
	typeCacheCreation = "cache_creation_input"
	typeReasoning     = "reasoning"
)

// Metrics are the histograms. It implements egress.Observer and is safe for concurrent
// use.
type Metrics struct {
	models                                 models
	tokens, duration, firstToken, perToken *prometheus.HistogramVec
}

// NewMetrics registers the histograms. Until SetRules, no model has a name.
func NewMetrics(r prometheus.Registerer) (*Metrics, error) {
	histogram := func(name, help string, buckets []float64, more ...string) *prometheus.HistogramVec {
		return prometheus.NewHistogramVec(prometheus.HistogramOpts{Name: name, Help: help, Buckets: buckets}, append(append([]string(nil), common...), more...))
	}
	// The buckets are those that the conventions ask for.
	m := &Metrics{
		tokens: histogram("gen_ai_client_token_usage",
			"Number of input and output tokens used. cached_input and cache_creation_input are parts of input, reasoning of output.",
			[]float64{1, 4, 16, 64, 256, 1024, 4096, 16384, 65536, 262144, 1048576, 4194304, 16777216, 67108864}, labelType),
		duration: histogram("gen_ai_server_request_duration_seconds",
			"Time from sending a try to the end of its answer.",
			[]float64{0.01, 0.02, 0.04, 0.08, 0.16, 0.32, 0.64, 1.28, 2.56, 5.12, 10.24, 20.48, 40.96, 81.92}, labelError),
		firstToken: histogram("gen_ai_server_time_to_first_token_seconds",
			"Time from sending a try to the begin of its answer, of streams that went well.",
			[]float64{0.001, 0.005, 0.01, 0.02, 0.04, 0.06, 0.08, 0.1, 0.25, 0.5, 0.75, 1, 2.5, 5, 7.5, 10}),
		perToken: histogram("gen_ai_server_time_per_output_token_seconds",
			"Time per output token after the first one, of streams that went well.",
			[]float64{0.01, 0.025, 0.05, 0.075, 0.1, 0.15, 0.2, 0.3, 0.4, 0.5, 0.75, 1, 2.5}),
	}
	for _, c := range []prometheus.Collector{m.tokens, m.duration, m.firstToken, m.perToken} {
		if err := r.Register(c); err != nil {
			return nil, err
		}
	}
	return m, nil
}

// SetRules says which names of models may be labels: those of rules and backends.
func (m *Metrics) SetRules(c *airoute.Config) { m.models.set(c) }

// Answered implements egress.Observer.
func (m *Metrics) Answered(o egress.Outcome) {
	address, port := server(o.Host)
	values := []string{string(o.Operation), providerOf(&o), m.models.request(sent(&o)), m.models.response(&o), address, port, o.Backend}
	with := func(h *prometheus.HistogramVec, more ...string) prometheus.Observer {
		return h.WithLabelValues(append(values[:len(values):len(values)], more...)...)
	}
	if u := o.Usage; u.Known {
		with(m.tokens, typeInput).Observe(float64(u.Input))
		with(m.tokens, typeOutput).Observe(float64(u.Output))
		for kind, n := range map[string]int64{typeCached: u.Cached, typeCacheCreation: u.CacheWrite, typeReasoning: u.Reasoning} {
			if n > 0 {
				with(m.tokens, kind).Observe(float64(n))
			}
		}
	}
	if o.Sent.IsZero() {
		return
	}
	failed := errorType(&o)
	with(m.duration, failed).Observe(o.Duration().Seconds())
	if failed != "" || !o.Stream || o.FirstByte.IsZero() {
		return
	}
	with(m.firstToken).Observe(o.TimeToFirstByte().Seconds())
	if o.Usage.Known && o.Usage.Output > 1 {
		with(m.perToken).Observe(o.Ended.Sub(o.FirstByte).Seconds() / float64(o.Usage.Output-1))
	}
}

// Refused implements egress.Observer. What no backend was asked is none of the
// conventions' business.
func (m *Metrics) Refused(egress.Outcome) {}

// sent is the model that a backend was asked for.
func sent(o *egress.Outcome) string {
	if o.SentModel != "" {
		return o.SentModel
	}
	return o.Model
}
