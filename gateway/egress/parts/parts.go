package parts

import (
	"errors"
	"fmt"
	"log/slog"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/fairway-ai/fairway/aibackend/credentials"
	"github.com/fairway-ai/fairway/epp/tracing"
	"github.com/fairway-ai/fairway/extproc"
	"github.com/fairway-ai/fairway/gateway/airoute"
	"github.com/fairway-ai/fairway/gateway/egress"
	"github.com/fairway-ai/fairway/gateway/egress/limits"
	"github.com/fairway-ai/fairway/gateway/genai"
)

// Options configure [New].
type Options struct {
	// Secrets are read by credentials.
	Secrets credentials.SecretReader
	// Strict makes Update change nothing when anything is wrong with any backend.
	Strict bool
	// Foreign knows the pools that pickers of somebody else answer for; nil when there
	// are none.
	Foreign extproc.Foreign
	// MaxHold is how long Envoy waits for a pick at most.
	MaxHold time.Duration
	// Metrics registers the metrics of all parts.
	Metrics prometheus.Registerer
	// Tracer records spans; nil for none.
	Tracer *tracing.Tracer
	Log    *slog.Logger
}

// Parts are the parts. Make them with [New].
type Parts struct {
	*egress.Backends
	router egress.Router
	costs  *egress.Costs
	limits *egress.Limits
	genai  *genai.Metrics
	log    *slog.Logger
}

// New makes the parts, without any backend or rule.
func New(o Options) (*Parts, error) {
	p := &Parts{log: o.Log}
	counters, err := egress.NewMetrics(o.Metrics)
	if err != nil {
		return nil, fmt.Errorf("metrics of backends: %w", err)
	}
	if p.costs, err = egress.NewCosts(o.Metrics, o.Log); err != nil {
		return nil, fmt.Errorf("metrics of costs: %w", err)
	}
	if p.genai, err = genai.NewMetrics(o.Metrics); err != nil {
		return nil, fmt.Errorf("GenAI metrics: %w", err)
	}
	limiter, err := limits.New(o.Metrics, nil)
	if err != nil {
		return nil, err
	}
	p.limits = egress.NewLimits(limiter, p.costs.Of, nil)
	spans := genai.NewTracer(o.Tracer.Provider())
	p.Backends = egress.NewBackends(egress.BackendsOptions{
		Secrets: o.Secrets, Strict: o.Strict, Next: o.Foreign,
		Observer: egress.Observers{counters, p.limits, p.genai, spans}, Costs: p.costs.Of, Log: o.Log,
	})
	if err := o.Metrics.Register(p.Cooling()); err != nil {
		return nil, fmt.Errorf("metrics of cooling backends: %w", err)
	}
	r := &p.router
	r.Foreign, r.MaxHold, r.OnFallback = o.Foreign, o.MaxHold, counters.FellBack
	r.Cools, r.Ready, r.Tries = p.Cooling().Cools, p.Ready, p.Tries()
	r.Limits = p.limits
	r.Pools = &egress.PoolAnswers{Costs: p.costs.Of, Observer: egress.Observers{p.limits, p.genai, spans}}
	return p, nil
}

// Wrap puts the rules before the pools' picker.
func (p *Parts) Wrap(next extproc.Picker) extproc.Picker {
	p.router.Next = next
	return &p.router
}

// SetRules has requests follow the rules of c from now on. Their backends must be known
// by then, see Update. The error names costs that cannot be computed, which are left
// out.
func (p *Parts) SetRules(c *airoute.Config) error {
	if c == nil {
		c = &airoute.Config{}
	}
	err := p.costs.SetRules(c)
	p.limits.SetRules(c) // before requests can follow the rules
	p.genai.SetRules(c)
	p.router.SetRules(c)
	if err != nil {
		return errors.Join(errors.New("costs"), err)
	}
	return nil
}
