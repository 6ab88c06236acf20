package config

import (
	"maps"
	"reflect"
	"strings"

	"go.yaml.in/yaml/v3"

	"github.com/fairway-ai/fairway/scheduler/filter"
	"github.com/fairway-ai/fairway/scheduler/picker"
	"github.com/fairway-ai/fairway/scheduler/scorer"
)

// kind is where a plugin can be referred to.
type kind string

const (
	kindFilter    kind = "filter"
	kindScorer    kind = "scorer"
	kindPicker    kind = "picker"
	kindHandler   kind = "profile handler"
	kindProducer  kind = "data producer"
	kindParser    kind = "parser"
	kindSource    kind = "data source"
	kindExtractor kind = "extractor"
	kindDiscovery kind = "endpoint discovery"
	kindDetector  kind = "saturation detector"
	kindFlow      kind = "flow control policy"
	kindAdmitter  kind = "admitter"
	kindReporter  kind = "response reporter"
	kindResponder kind = "responder"
	kindDecider   kind = "decider"
	kindShim      kind = "header handler"
)

// article is the kind with its indefinite article.
func (k kind) article() string {
	if strings.ContainsRune("aeiou", rune(k[0])) {
		return "an " + string(k)
	}
	return "a " + string(k)
}

// plugin is a plugin that the file declares.
type plugin struct {
	kind kind
	typ  string
	name string
	path string     // plugins[i]
	node *yaml.Node // the declaration
	// external plugins are of somebody else's type.
	external bool
	// built is the filter, scorer or picker, or the parameters of a built-in part.
	built any
	// params are its parameters, defaults included; nil when it has none.
	params any
}

// factory makes plugins of one type.
type factory struct {
	kind kind
	// instead is what to use instead of a deprecated type.
	instead string
	// alpha types are refused unless experimental plugins are allowed, external ones are
	// somebody else's.
	alpha, external bool
	build           func(d *decoder, p *plugin, params *yaml.Node) any
}

// registry knows every type that can be built.
type registry map[string]factory

// validator is implemented by parameters that have rules of their own.
type validator interface{ Validate() error }

// lenient is implemented by parameters of which some values that make no sense stand for
// the default, as published. Mend puts that there, and returns the names of the fields.
type lenient interface{ Mend() []string }

// decodeParams decodes parameters strictly over their defaults.
func decodeParams[P any](d *decoder, p *plugin, params *yaml.Node, defaults P) P {
	if params == nil {
		params = &yaml.Node{Kind: yaml.MappingNode, Line: line(p.node)}
	}
	before := len(d.errs)
	path := p.path + ".parameters"
	d.value(params, reflect.ValueOf(&defaults).Elem(), path)
	if m, ok := any(&defaults).(lenient); ok && len(d.errs) == before {
		for _, name := range m.Mend() {
			d.mended(params, path, name, reflect.ValueOf(defaults))
		}
	}
	if v, ok := any(defaults).(validator); ok && len(d.errs) == before {
		if err := v.Validate(); err != nil {
			d.fail(params, path, "%v", err)
		}
	}
	p.params = defaults
	return defaults
}

// mended warns that a parameter's value is not used, and has the file say which one is.
func (d *decoder) mended(params *yaml.Node, path, name string, in reflect.Value) {
	used := parameter(in, name)
	for params.Kind == yaml.AliasNode {
		params = params.Alias
	}
	i := keyIndex(params, name)
	if i < 0 {
		return // it was not there: what is wrong is the default
	}
	was, now := params.Content[i+1], &yaml.Node{}
	if err := now.Encode(used); err == nil {
		now.Line = was.Line
		params.Content[i+1] = now
	}
	for was.Kind == yaml.AliasNode {
		was = was.Alias
	}
	d.warn(now, path+"."+name, "is %s, which makes no sense: %v is used", clip(was.Value), used)
}

// parameter is a field of parameters by the name that it has in files.
func parameter(in reflect.Value, name string) any {
	fields := map[string]reflect.Value{}
	addFields(fields, in)
	return fields[name].Interface()
}

// with makes a factory of a plugin that has parameters.
func with[P any](k kind, defaults P, build func(name string, p P) any) factory {
	return factory{kind: k, build: func(d *decoder, p *plugin, params *yaml.Node) any {
		return build(p.name, decodeParams(d, p, params, defaults))
	}}
}

// without makes a factory of a plugin that has none.
func without(k kind, build func(name string) any) factory {
	return with(k, struct{}{}, func(name string, _ struct{}) any { return build(name) })
}

// builtIn makes a factory of a plugin whose work is built in: only its
// parameters matter.
func builtIn[P any](k kind, defaults P) factory {
	return with(k, defaults, func(_ string, p P) any { return p })
}

func deprecated(f factory, instead string) factory {
	f.instead = instead
	return f
}

// alpha marks a type that may still change.
func alpha(f factory) factory {
	f.alpha = true
	return f
}

func newRegistry() registry {
	selector := with(kindFilter, filter.Selector{}, func(n string, s filter.Selector) any { return filter.NewLabelSelector(n, s) })
	tokens := factory{kind: kindProducer, build: buildTokenProducer}
	extractor := builtIn(kindExtractor, MetricsEngines{})
	r := registry{
		filter.LabelSelectorType:   selector,
		filter.ByLabelSelectorType: deprecated(selector, filter.LabelSelectorType),
		filter.ByLabelType: deprecated(with(kindFilter, filter.ByLabelParameters{}, func(n string, p filter.ByLabelParameters) any {
			return filter.NewByLabel(n, p)
		}), filter.LabelSelectorType),
		filter.DecodeType:  without(kindFilter, func(n string) any { return filter.NewDecode(n) }),
		filter.PrefillType: without(kindFilter, func(n string) any { return filter.NewPrefill(n) }),
		filter.EncodeType:  without(kindFilter, func(n string) any { return filter.NewEncode(n) }),
		filter.HeaderType:  without(kindFilter, func(n string) any { return filter.NewHeader(n) }),

		scorer.QueueType:              without(kindScorer, func(n string) any { return scorer.NewQueue(n) }),
		scorer.RunningRequestsType:    without(kindScorer, func(n string) any { return scorer.NewRunningRequests(n) }),
		scorer.KVCacheUtilizationType: without(kindScorer, func(n string) any { return scorer.NewKVCacheUtilization(n) }),
		scorer.LoRAAffinityType:       without(kindScorer, func(n string) any { return scorer.NewLoRAAffinity(n) }),
		scorer.PrefixCacheType:        {kind: kindScorer, build: buildPrefixCache},
		scorer.TokenLoadType: with(kindScorer, scorer.DefaultTokenLoadParameters(), func(n string, p scorer.TokenLoadParameters) any {
			return scorer.NewTokenLoad(n, p)
		}),
		scorer.ActiveRequestType: {kind: kindScorer, build: buildActiveRequest},
		scorer.LoadAwareType: with(kindScorer, scorer.DefaultLoadAwareParameters(), func(n string, p scorer.LoadAwareParameters) any {
			return scorer.NewLoadAware(n, p)
		}),
		scorer.NoHitLRUType: {kind: kindScorer, build: buildNoHitLRU},

		picker.MaxScoreType:       with(kindPicker, picker.DefaultParameters(), func(n string, p picker.Parameters) any { return picker.NewMaxScore(n, p) }),
		picker.RandomType:         with(kindPicker, picker.DefaultParameters(), func(n string, p picker.Parameters) any { return picker.NewRandom(n, p) }),
		picker.WeightedRandomType: with(kindPicker, picker.DefaultParameters(), func(n string, p picker.Parameters) any { return picker.NewWeightedRandom(n, p) }),

		"openai-parser":                 builtIn(kindParser, struct{}{}),
		"anthropic-parser":              builtIn(kindParser, struct{}{}),
		"vllmhttp-parser":               builtIn(kindParser, struct{}{}),
		"sglanghttp-parser":             builtIn(kindParser, struct{}{}),
		"passthrough-parser":            builtIn(kindParser, struct{}{}),
		"vertexai-parser":               builtIn(kindParser, struct{}{}),
		"vllmgrpc-parser":               builtIn(kindParser, struct{}{}),
		"sglanggrpc-parser":             builtIn(kindParser, struct{}{}),
		"metrics-data-source":           builtIn(kindSource, defaultMetricsSource()),
		"endpoint-notification-source":  builtIn(kindSource, struct{}{}),
		"core-metrics-extractor":        extractor,
		"model-server-protocol-metrics": deprecated(extractor, "core-metrics-extractor"),
		approxProducer:                  {kind: kindProducer, build: buildApproxPrefix},
		preciseProducer:                 {kind: kindProducer, build: buildPrecise},
		preciseScorer:                   deprecated(factory{kind: kindScorer, build: buildPrecise}, preciseProducer+" and prefix-cache-scorer, which names it in prefixMatchInfoProducerName"),
		"inflight-load-producer":        builtIn(kindProducer, defaultInflightLoad()),
		tokenProducerType:               tokens,
		"tokenizer":                     deprecated(tokens, tokenProducerType),
		modelsSourceType:                builtIn(kindSource, defaultModelsSource()),
		modelsExtractorType:             builtIn(kindExtractor, modelsExtractor{}),
		modelsResponderType:             alpha(builtIn(kindResponder, modelsResponder{})),
		agentIdentityType:               alpha(builtIn(kindProducer, agentIdentity{})),
		servedVerifierType:              builtIn(kindReporter, ServedVerifier{}),
		reporterType:                    {kind: kindReporter, build: buildAttributeReporter},
		"file-discovery":                builtIn(kindDiscovery, FileDiscovery{}),
	}
	maps.Copy(r, handlers())
	maps.Copy(r, schedulingPlugins())
	maps.Copy(r, flowPlugins())
	return r
}

// types lists what can be written as a type, for suggestions.
func (r registry) types() []string {
	out := make([]string, 0, len(r))
	for typ := range r {
		out = append(out, typ)
	}
	return out
}
