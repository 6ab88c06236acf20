package config

import (
	"fmt"
	"reflect"
	"slices"
	"strconv"
	"strings"

	"go.yaml.in/yaml/v3"

	"github.com/fairway-ai/fairway/api/v1alpha1"
	"github.com/fairway-ai/fairway/epp/flowcontrol"
)

const gateFlowControl = "flowControl"

// FeatureGates are the names of the feature gates.
func FeatureGates() []string {
	return []string{gateFlowControl, "haPopulateNonLeaderDatastore", "dataLayer", "prepareDataPlugins", "enableLegacyMetrics"}
}

// featureGates checks the gates; the only one that changes anything is flowControl.
func (l *loader) featureGates() {
	known := FeatureGates()
	list := child(l.root, "featureGates")
next:
	for i, gate := range slices.Concat(l.spec.FeatureGates, l.options.Gates) {
		path, n := fmt.Sprintf("featureGates[%d]", i), item(list, i)
		if i >= len(l.spec.FeatureGates) {
			path = "--feature-gates"
		}
		name, value, set := strings.Cut(gate, "=")
		on := true
		if set {
			var err error
			if on, err = strconv.ParseBool(strings.ToLower(strings.TrimSpace(value))); err != nil {
				l.fail(n, path, "is %s: must be a name, or name=true or name=false", clip(gate))
				continue
			}
		}
		for _, k := range known {
			if k != name {
				continue
			}
			switch {
			case name == gateFlowControl:
				l.gated = on
			case name == "enableLegacyMetrics":
				l.warn(n, path, "%s changes nothing: there is one way to read the endpoints' metrics; remove it", name)
			case name == "haPopulateNonLeaderDatastore" && !on:
				l.warn(n, path, "%s=false changes nothing: a replica that does not lead knows the endpoints all the same; remove it", name)
			case name == "dataLayer" || name == "prepareDataPlugins":
				l.warn(n, path, "%s is no longer a feature gate: it is always on; remove it", name)
			}
			continue next
		}
		l.fail(n, path, "unknown feature gate %s%s", clip(name), suggest(name, known))
	}
	if l.spec.FlowControl != nil && !l.gated {
		l.ignored()
	}
}

// ignored warns of a section that does nothing.
func (l *loader) ignored() {
	reduced := *l.spec.FlowControl
	reduced.SaturationDetector = nil
	if !reflect.DeepEqual(reduced, v1alpha1.FlowControlConfig{}) {
		l.warn(child(l.root, "flowControl"), "flowControl", "is ignored, except for saturationDetector: the feature gate flowControl is off")
	}
}

// requestHandler checks the parsers. All that exist are always in use.
func (l *loader) requestHandler() {
	if p := l.spec.Parser; p != nil {
		n := child(l.root, "parser")
		l.warn(n, "parser", "is deprecated: write requestHandler.parsers")
		if p.PluginRef != "openai-parser" || l.find(p.PluginRef) != nil { // that one needs no entry of plugins, as published
			l.ref(p.PluginRef, "parser.pluginRef", child(n, "pluginRef"), kindParser)
		}
	}
	if h := l.spec.RequestHandler; h != nil {
		list := child(l.root, "requestHandler", "parsers")
		for i, p := range h.Parsers {
			l.ref(p.PluginRef, fmt.Sprintf("requestHandler.parsers[%d].pluginRef", i), orSelf(item(list, i), "pluginRef"), kindParser)
		}
	}
}

// orSelf is a field's node, or that of the object that lacks it.
func orSelf(n *yaml.Node, key string) *yaml.Node {
	if c := child(n, key); c != nil {
		return c
	}
	return n
}

// dataLayer finds discovery and metrics.
func (l *loader) dataLayer() {
	dl := l.spec.DataLayer
	if dl == nil {
		return
	}
	n := child(l.root, "dataLayer")
	metrics := false
	for i, s := range dl.Sources {
		path, sn := fmt.Sprintf("dataLayer.sources[%d]", i), item(child(n, "sources"), i)
		if p := l.ref(s.PluginRef, path+".pluginRef", orSelf(sn, "pluginRef"), kindSource); p != nil {
			metrics = metrics || p.typ == "metrics-data-source"
		}
		for j, e := range s.Extractors {
			kinds := []kind{kindExtractor, kindProducer}
			if p := l.find(e.PluginRef); p != nil && p.typ == preciseScorer {
				kinds = append(kinds, kindScorer) // it is a producer, too
			}
			l.ref(e.PluginRef, fmt.Sprintf("%s.extractors[%d].pluginRef", path, j), orSelf(item(child(sn, "extractors"), j), "pluginRef"), kinds...)
		}
	}
	l.config.Metrics.Disabled = dl.InjectDefaults != nil && !*dl.InjectDefaults && !metrics
	l.discovery(dl.Discovery, child(n, "discovery"))
	for _, f := range []struct {
		set bool
		key string
	}{
		{dl.PeerDiscovery != nil, "peerDiscovery"},
		{dl.CrossReplica != nil, "crossReplica"},
		{dl.CrossReplicaSyncerPluginRef != "", "crossReplicaSyncerPluginRef"},
		{dl.CrossReplicaSyncInterval != nil, "crossReplicaSyncInterval"},
		{dl.CrossReplicaPublishTimeout != nil, "crossReplicaPublishTimeout"},
	} {
		if f.set {
			l.fail(child(n, f.key), "dataLayer."+f.key, "is not available in Fairway: with the flag --replica-port replicas tell each other what is in flight and which prompts are where; remove it")
		}
	}
}

func (l *loader) discovery(dc *v1alpha1.DiscoveryConfig, n *yaml.Node) {
	if dc == nil {
		return
	}
	name, path, at := dc.PluginRef, "dataLayer.discovery.pluginRef", orSelf(n, "pluginRef")
	if name != "" && l.spec.APIVersion == versionV1 {
		l.warn(at, path, "is deprecated in %s: write dataLayer.discovery.endpoints.pluginRef", versionV1)
	}
	if dc.Endpoints != nil {
		if name != "" && name != dc.Endpoints.PluginRef {
			l.fail(at, path, "contradicts dataLayer.discovery.endpoints.pluginRef: remove it")
			return
		}
		name, path, at = dc.Endpoints.PluginRef, "dataLayer.discovery.endpoints.pluginRef", orSelf(child(n, "endpoints"), "pluginRef")
	}
	if p := l.ref(name, path, at, kindDiscovery); p != nil {
		if f, ok := p.built.(FileDiscovery); ok {
			l.config.Discovery = &f
		}
	}
}

// saturation finds the saturation detector: the one that is referred to, else the
// one that is declared. Then all is known that flow control needs.
func (l *loader) saturation() {
	use := func(p *plugin) {
		l.config.Saturation, l.config.Concurrency = nil, nil
		switch d := p.built.(detector).parameters.(type) {
		case Saturation:
			l.config.Saturation = &d
		case *flowcontrol.Concurrency:
			l.config.Concurrency = d
		}
	}
	refer := func(s *v1alpha1.SaturationDetectorConfig, path string, n *yaml.Node) {
		switch {
		case s == nil:
		case s.PluginRef == "" || s.PluginRef == "utilization-detector" && l.find(s.PluginRef) == nil:
			d := defaultSaturation()
			l.config.Saturation, l.config.Concurrency = &d, nil
		default:
			if p := l.ref(s.PluginRef, path+".pluginRef", child(n, "pluginRef"), kindDetector); p != nil {
				use(p)
			}
		}
	}
	for _, p := range l.plugins {
		if p.kind == kindDetector && l.config.Saturation == nil && l.config.Concurrency == nil {
			use(p)
		}
		if a, ok := p.built.(*flowcontrol.Probabilistic); ok {
			l.once(p, func() { l.config.Probabilistic = a })
		}
	}
	if s := l.spec.SaturationDetector; s != nil {
		n := child(l.root, "saturationDetector")
		l.warn(n, "saturationDetector", "is deprecated: write flowControl.saturationDetector")
		refer(s, "saturationDetector", n)
	}
	if f := l.spec.FlowControl; f != nil {
		refer(f.SaturationDetector, "flowControl.saturationDetector", child(l.root, "flowControl", "saturationDetector"))
	}
	if l.gated || l.spec.FlowControl != nil {
		l.flow()
	}
}
