package config

import (
	"cmp"
	"fmt"
	"slices"

	"go.yaml.in/yaml/v3"

	"github.com/fairway-ai/fairway/scheduler/filter"
	"github.com/fairway-ai/fairway/scheduler/scorer"
	"github.com/fairway-ai/fairway/scheduler/session"
	"github.com/fairway-ai/fairway/scheduler/topology"
)

const (
	coreExtractor     = "core-metrics-extractor"
	topologyExtractor = "topology-extractor"
	sessionProducer   = "session-id-producer"
)

// late is a filter or scorer that refers to other plugins, and is made when all are
// known. make records errors and may then return nil.
type late struct {
	make func(l *loader, p *plugin) any
}

// resolve makes what was left for later.
func (l *loader) resolve() {
	for _, p := range l.plugins {
		if b, ok := p.built.(late); ok {
			p.built = b.make(l, p)
		}
	}
	l.mediaUnread()
}

// later is a factory of a plugin that refers to others.
func later[P any](k kind, defaults P, build func(l *loader, p *plugin, params P) any) factory {
	return factory{kind: k, build: func(d *decoder, p *plugin, n *yaml.Node) any {
		params := decodeParams(d, p, n, defaults)
		return late{func(l *loader, p *plugin) any { return build(l, p, params) }}
	}}
}

// schedulingPlugins are filters and scorers, and what they refer to.
func schedulingPlugins() registry {
	return registry{
		filter.UtilizationType: with(kindFilter, filter.UtilizationParameters{}, func(n string, p filter.UtilizationParameters) any {
			return filter.NewUtilization(n, p)
		}),
		filter.PrefixAffinityType: {kind: kindFilter, build: buildPrefixAffinity},
		filter.SessionAffinityType: later(kindFilter, session.Parameters{}, func(l *loader, p *plugin, params session.Parameters) any {
			return filter.NewSessionAffinity(p.name, l.session(p, params))
		}),
		scorer.SessionAffinityType: later(kindScorer, session.Parameters{}, func(l *loader, p *plugin, params session.Parameters) any {
			return scorer.NewSessionAffinity(p.name, l.session(p, params))
		}),
		sessionProducer: with(kindProducer, sessionID{}, func(_ string, p sessionID) any { return p }),
		scorer.MediaMemoryType: with(kindProducer, scorer.DefaultMediaMemoryParameters(), func(_ string, p scorer.MediaMemoryParameters) any {
			return scorer.NewMediaMemory(p)
		}),
		scorer.MediaCacheType: later(kindScorer, mediaCache{}, func(l *loader, p *plugin, params mediaCache) any {
			return scorer.NewMediaCache(p.name, l.mediaMemory(p, params.ProducerName))
		}),
		scorer.ContextLengthType: with(kindScorer, scorer.DefaultContextLengthParameters(), func(n string, p scorer.ContextLengthParameters) any {
			return scorer.NewContextLength(n, p)
		}),
		filter.AttributeType: alpha(later(kindFilter, filter.DefaultAttributeParameters(), func(l *loader, p *plugin, params filter.AttributeParameters) any {
			if params.Producer != nil && *params.Producer != "" {
				if e := l.ref(*params.Producer, p.path+".parameters.producer", child(p.node, "parameters", "producer"), kindExtractor); e == nil {
					return nil
				}
			}
			at, ok := l.attribute(p, params.Attribute, "attribute")
			if !ok {
				return nil
			}
			return filter.NewAttribute(p.name, params, at)
		})),
		scorer.AttributeType: alpha(later(kindScorer, scorer.AttributeParameters{}, func(l *loader, p *plugin, params scorer.AttributeParameters) any {
			at, ok := l.attribute(p, params.AttributeKey, "attributeKey")
			if !ok {
				return nil
			}
			return scorer.NewAttribute(p.name, params, at)
		})),
		scorer.HeaderLabelType: alpha(with(kindScorer, scorer.DefaultHeaderLabelParameters(), func(n string, p scorer.HeaderLabelParameters) any {
			return scorer.NewHeaderLabel(n, p)
		})),
		filter.TopologyType: alpha(later(kindFilter, filter.DefaultTopologyParameters(), func(l *loader, p *plugin, params filter.TopologyParameters) any {
			return filter.NewTopology(p.name, params, l.topology(p, params.TopologyProducerName))
		})),
		scorer.TopologyType: alpha(later(kindScorer, scorer.TopologyParameters{}, func(l *loader, p *plugin, params scorer.TopologyParameters) any {
			return scorer.NewTopology(p.name, l.topology(p, params.TopologyProducerName))
		})),
		topologyExtractor: with(kindExtractor, topology.DefaultLabels(), func(_ string, p topology.Labels) any {
			d := topology.DefaultLabels()
			return topology.Labels{
				Hostname: cmp.Or(p.Hostname, d.Hostname), Rack: cmp.Or(p.Rack, d.Rack),
				Zone: cmp.Or(p.Zone, d.Zone), Region: cmp.Or(p.Region, d.Region),
			}
		}),
	}
}

// topology finds the labels that say where endpoints are: those of the extractor of
// that name, or of the only one.
func (l *loader) topology(p *plugin, name string) topology.Labels {
	if name != "" {
		path := p.path + ".parameters.topologyProducerName"
		e := l.ref(name, path, child(p.node, "parameters", "topologyProducerName"), kindExtractor)
		if e == nil {
			return topology.Labels{}
		}
		labels, ok := e.built.(topology.Labels)
		if !ok {
			l.fail(child(p.node, "parameters", "topologyProducerName"), path, "%q is a %s: must name a %s", name, e.typ, topologyExtractor)
		}
		return labels
	}
	for _, e := range l.plugins {
		if labels, ok := e.built.(topology.Labels); ok {
			return labels
		}
	}
	return topology.DefaultLabels()
}

// attribute finds the place of a custom metric.
func (l *loader) attribute(p *plugin, key, field string) (at int, ok bool) {
	at = slices.Index(l.config.Metrics.Attributes(), key)
	if at < 0 {
		l.fail(child(p.node, "parameters", field), p.path+".parameters."+field,
			"no engine has a custom metric %s%s: name it under customMetrics of %s", clip(key), suggestSome(key, l.config.Metrics.Attributes()), coreExtractor)
	}
	return at, at >= 0
}

// suggestSome is suggest where there may be nothing to suggest.
func suggestSome(name string, names []string) string {
	if len(names) == 0 {
		return ""
	}
	return suggest(name, names)
}

// CustomMetric is a metric of an engine besides those that all have.
type CustomMetric struct {
	// AttributeKey is what filters and scorers call it.
	AttributeKey string `json:"attributeKey"`
	// MetricSpec is the series, with a label where it needs one.
	MetricSpec string `json:"metricSpec"`
	// Optional changes nothing: an endpoint that does not say it is one without it.
	Optional bool `json:"optional"`
}

// Attributes lists the keys of all engines' custom metrics, sorted: the places in
// scheduler.Metrics.Custom.
func (m *Metrics) Attributes() []string {
	var keys []string
	for _, e := range m.Engines.EngineConfigs {
		for _, c := range e.CustomMetrics {
			keys = append(keys, c.AttributeKey)
		}
	}
	slices.Sort(keys)
	return slices.Compact(keys)
}

// Custom lists an engine's series by their places; "" where it has none.
func (m *Metrics) Custom(e *EngineConfig) []string {
	keys := m.Attributes()
	if len(keys) == 0 {
		return nil
	}
	series := make([]string, len(keys))
	for _, c := range e.CustomMetrics {
		if i, ok := slices.BinarySearch(keys, c.AttributeKey); ok {
			series[i] = c.MetricSpec
		}
	}
	return series
}

// inflightLoad are the parameters of inflight-load-producer.
type inflightLoad struct {
	// AddEstimatedOutputTokens counts the answer as in flight, too: OutputRatio tokens
	// per token of the prompt, at most MaxEstimatedOutputTokens, and no more than the
	// client allows.
	AddEstimatedOutputTokens bool    `json:"addEstimatedOutputTokens"`
	OutputRatio              float64 `json:"outputRatio"`
	MaxEstimatedOutputTokens *int64  `json:"maxEstimatedOutputTokens"`
	// PrefixMatchInfoProducerName changes nothing: there is one prefix index.
	PrefixMatchInfoProducerName string `json:"prefixMatchInfoProducerName"`
}

func defaultInflightLoad() inflightLoad { return inflightLoad{OutputRatio: 1.5} }

// Validate implements validator.
func (l inflightLoad) Validate() error {
	switch {
	case !(l.OutputRatio >= 0 && l.OutputRatio <= 1e6):
		return fmt.Errorf("outputRatio is %v: must be 0 or more", l.OutputRatio)
	case l.MaxEstimatedOutputTokens != nil && *l.MaxEstimatedOutputTokens < 0:
		return fmt.Errorf("maxEstimatedOutputTokens is %d: must be 0 or more", *l.MaxEstimatedOutputTokens)
	}
	return nil
}
