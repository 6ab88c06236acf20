package config

import (
	"fmt"
	"math"
	"strconv"
	"time"

	"github.com/fairway-ai/fairway/epp/flowcontrol"
	"github.com/fairway-ai/fairway/scheduler"
)

// ordering is a declared ordering policy: its type.
type ordering string

// evictionPolicy is a declared eviction policy. What they do is built in.
type evictionPolicy struct{}

// detector is a declared saturation detector, which can be part of a profile, too.
type detector struct {
	scheduler.Filter
	parameters any // Saturation or *flowcontrol.Concurrency
}

// Detector says how saturated endpoints are: as the file says, else as published.
func (c *Config) Detector() flowcontrol.Detector {
	switch {
	case c.Concurrency != nil:
		return c.Concurrency
	case c.Saturation != nil:
		return c.Saturation.detector()
	}
	return flowcontrol.DefaultUtilization()
}

// Shedder refuses requests by their priority: without flow control, those of
// priorities below 0 while the endpoints are saturated.
func (c *Config) Shedder() *flowcontrol.Shedder {
	s := &flowcontrol.Shedder{Probabilistic: c.Probabilistic}
	if c.FlowControl == nil {
		s.Detector = c.Detector()
	}
	return s
}

func (s *Saturation) detector() *flowcontrol.Utilization {
	return &flowcontrol.Utilization{
		QueueDepthThreshold: s.QueueDepthThreshold, KVCacheUtilThreshold: s.KVCacheUtilThreshold,
		Staleness: s.MetricsStalenessThreshold.Duration, Headroom: s.Headroom,
	}
}

// concurrency are the parameters of concurrency-detector.
type concurrency struct {
	ConcurrencyMode     string  `json:"concurrencyMode"`
	MaxConcurrency      int64   `json:"maxConcurrency"`
	MaxTokenConcurrency int64   `json:"maxTokenConcurrency"`
	Headroom            float64 `json:"headroom"`
	// InFlightLoadProducerName is ignored: there is one account of what is in flight.
	InFlightLoadProducerName string `json:"inFlightLoadProducerName"`
}

func (c concurrency) parameters() *flowcontrol.Concurrency {
	return &flowcontrol.Concurrency{Mode: c.ConcurrencyMode, MaxRequests: c.MaxConcurrency, MaxTokens: c.MaxTokenConcurrency, Headroom: c.Headroom}
}

// Validate implements validator.
func (c concurrency) Validate() error { return c.parameters().Validate() }

// programAware are the parameters of program-aware-fairness.
type programAware struct {
	Strategy             string  `json:"strategy"`
	LASWeightService     float64 `json:"lasWeightService"`
	LASWeightHeadWait    float64 `json:"lasWeightHeadWait"`
	LASDecayFactor       float64 `json:"lasDecayFactor"`
	LASHalfLifeSeconds   float64 `json:"lasHalfLifeSeconds"`
	EvictionTTLSeconds   float64 `json:"evictionTtlSeconds"`
	EvictionSweepSeconds float64 `json:"evictionSweepSeconds"`
}

func (p programAware) parameters() flowcontrol.Programs {
	return flowcontrol.Programs{
		WeightService: p.LASWeightService, WeightHeadWait: p.LASWeightHeadWait, DecayFactor: p.LASDecayFactor,
		HalfLife: seconds(p.LASHalfLifeSeconds), TTL: seconds(p.EvictionTTLSeconds),
	}
}

// maxSeconds is the longest duration that is told in seconds: a year or so.
const maxSeconds = 4e7

func seconds(s float64) time.Duration { return time.Duration(s * float64(time.Second)) }

// Validate implements validator.
func (p programAware) Validate() error {
	if p.Strategy != "las" {
		return fmt.Errorf("strategy is %.60q: must be las", p.Strategy)
	}
	if !(p.EvictionSweepSeconds > 0) {
		return fmt.Errorf("evictionSweepSeconds is %v: must be above 0", p.EvictionSweepSeconds)
	}
	if !(math.Abs(p.LASHalfLifeSeconds) < maxSeconds && math.Abs(p.EvictionTTLSeconds) < maxSeconds) {
		return fmt.Errorf("lasHalfLifeSeconds and evictionTtlSeconds must be below %g", float64(maxSeconds))
	}
	c := p.parameters()
	return c.Validate()
}

// staticLimit are the parameters of static-usage-limit-policy.
type staticLimit struct {
	Threshold float64 `json:"threshold"`
}

// Validate implements validator.
func (s staticLimit) Validate() error {
	if !(s.Threshold >= 0) {
		return fmt.Errorf("threshold is %v: must be 0 or more", s.Threshold)
	}
	return nil
}

// holdback are the parameters of priority-holdback-policy.
type holdback struct {
	Shape      string             `json:"shape"`
	Domain     string             `json:"domain"`
	MinCeiling *float64           `json:"minCeiling"`
	MaxCeiling *float64           `json:"maxCeiling"`
	Ceilings   map[string]float64 `json:"ceilings"`
}

// Validate implements validator.
func (h holdback) Validate() error {
	if h.Domain == flowcontrol.DomainExplicit {
		if h.Shape != "" || h.MinCeiling != nil || h.MaxCeiling != nil {
			return fmt.Errorf("shape, minCeiling and maxCeiling: must not be set when domain is %q", h.Domain)
		}
	} else {
		if h.Shape != "" && h.Shape != "linear" {
			return fmt.Errorf("shape is %.60q: must be linear", h.Shape)
		}
		if h.MinCeiling == nil {
			return fmt.Errorf("minCeiling is missing: set the ceiling of the lowest priority")
		}
	}
	p, err := h.parameters()
	if err != nil {
		return err
	}
	return p.Validate()
}

func (h holdback) parameters() (*flowcontrol.Holdback, error) {
	p := &flowcontrol.Holdback{Domain: h.Domain, MaxCeiling: 1}
	if h.MinCeiling != nil {
		p.MinCeiling = *h.MinCeiling
	}
	if h.MaxCeiling != nil {
		p.MaxCeiling = *h.MaxCeiling
	}
	for key, c := range h.Ceilings {
		priority, err := strconv.Atoi(key)
		if err != nil || strconv.Itoa(priority) != key {
			return nil, fmt.Errorf("ceilings: %.60q is not a priority: write a number", key)
		}
		if p.Ceilings == nil {
			p.Ceilings = map[int]float64{}
		}
		p.Ceilings[priority] = c
	}
	return p, nil
}

// probabilistic are the parameters of probabilistic-admitter.
type probabilistic struct {
	QueueDepthThreshold  float64 `json:"queueDepthThreshold"`
	KVCacheUtilThreshold float64 `json:"kvCacheUtilThreshold"`
	Power                float64 `json:"power"`
	K                    float64 `json:"k"`
}

// Validate implements validator.
func (p probabilistic) Validate() error {
	c := flowcontrol.Probabilistic(p)
	return c.Validate()
}

// flowPlugins are the types of flow control and admission.
func flowPlugins() registry {
	r := registry{
		flowcontrol.UtilizationType: with(kindDetector, defaultSaturation(), func(n string, s Saturation) any {
			return detector{flowcontrol.NewUtilizationFilter(n, s.detector(), nil), s}
		}),
		flowcontrol.ConcurrencyType: with(kindDetector, concurrency{flowcontrol.ByRequests, 100, 1_000_000, 0, ""}, func(n string, c concurrency) any {
			return detector{flowcontrol.NewConcurrencyFilter(n, c.parameters()), c.parameters()}
		}),
		flowcontrol.ProbabilisticType: with(kindAdmitter, probabilistic(flowcontrol.DefaultProbabilistic()), func(_ string, p probabilistic) any {
			c := flowcontrol.Probabilistic(p)
			return &c
		}),
		flowcontrol.GlobalStrict: without(kindFlow, func(string) any { return flowcontrol.Fairness{Type: flowcontrol.GlobalStrict} }),
		flowcontrol.RoundRobin:   without(kindFlow, func(string) any { return flowcontrol.Fairness{Type: flowcontrol.RoundRobin} }),
		flowcontrol.ProgramAware: with(kindFlow, programAware{"las", 0.8, 0.2, 0.99997, 60, 3600, 300}, func(_ string, p programAware) any {
			return flowcontrol.Fairness{Type: flowcontrol.ProgramAware, Programs: p.parameters()}
		}),
		flowcontrol.StaticLimit: with(kindFlow, staticLimit{1}, func(_ string, s staticLimit) any {
			return flowcontrol.UsageLimit{Type: flowcontrol.StaticLimit, Threshold: s.Threshold}
		}),
		flowcontrol.HoldbackLimit: alpha(with(kindFlow, holdback{Domain: flowcontrol.DomainRank}, func(_ string, h holdback) any {
			p, err := h.parameters()
			if err != nil {
				return nil // an error of the parameters, which was recorded
			}
			return flowcontrol.UsageLimit{Type: flowcontrol.HoldbackLimit, Holdback: *p}
		})),
		flowcontrol.SoftReflective: alpha(without(kindFlow, func(string) any { return flowcontrol.UsageLimit{Type: flowcontrol.SoftReflective} })),
		// These two are how requests are chosen that make room for others.
		"sheddable-eviction-filter":                without(kindFlow, func(string) any { return evictionPolicy{} }),
		"priority-then-time-eviction-order-policy": without(kindFlow, func(string) any { return evictionPolicy{} }),
	}
	for _, typ := range []string{flowcontrol.FCFS, flowcontrol.EDF, flowcontrol.SLODeadline} {
		r[typ] = without(kindFlow, func(string) any { return ordering(typ) })
	}
	return r
}
