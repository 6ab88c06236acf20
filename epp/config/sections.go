package config

import (
	"fmt"
	"math"
	"strings"

	"go.yaml.in/yaml/v3"

	"github.com/fairway-ai/fairway/api/v1alpha1"
	"github.com/fairway-ai/fairway/scheduler"
	"github.com/fairway-ai/fairway/scheduler/picker"
	"github.com/fairway-ai/fairway/scheduler/scorer"
)

const gateFlowControl = "flowControl"

// featureGates checks the gates; the only one that changes anything is refused.
func (l *loader) featureGates() {
	known := []string{gateFlowControl, "haPopulateNonLeaderDatastore", "dataLayer", "prepareDataPlugins", "enableLegacyMetrics"}
	list := child(l.root, "featureGates")
	flow := false
next:
	for i, gate := range l.spec.FeatureGates {
		path, n := fmt.Sprintf("featureGates[%d]", i), item(list, i)
		name, value, set := strings.Cut(gate, "=")
		if set && value != "true" && value != "false" {
			l.fail(n, path, "is %s: must be a name, or name=true or name=false", clip(gate))
			continue
		}
		on := value != "false"
		for _, k := range known {
			if k != name {
				continue
			}
			switch {
			case name == gateFlowControl:
				flow = on
				if on {
					l.fail(n, path, "flow control is not available in Fairway: requests wait in the queue of the endpoint they are bound to; remove the gate")
				}
			case name == "dataLayer" || name == "prepareDataPlugins":
				l.warn(n, path, "%s is no longer a feature gate: it is always on; remove it", name)
			}
			continue next
		}
		l.fail(n, path, "unknown feature gate %s%s", clip(name), suggest(name, known))
	}
	if l.spec.FlowControl != nil && !flow {
		l.flowControl()
	}
}

// flowControl checks the references of a section that does nothing.
func (l *loader) flowControl() {
	f, n := l.spec.FlowControl, child(l.root, "flowControl")
	only := f.SaturationDetector != nil
	if reduced := *f; only {
		reduced.SaturationDetector = nil
		only = isZero(reduced)
	}
	if !only {
		l.warn(n, "flowControl", "is ignored, except for saturationDetector: the feature gate flowControl is off")
	}
	if f.UsageLimitPolicyPluginRef != "" {
		l.ref(f.UsageLimitPolicyPluginRef, "flowControl.usageLimitPolicyPluginRef", child(n, "usageLimitPolicyPluginRef"), kindFlow)
	}
	band := func(b *v1alpha1.PriorityBandConfig, n *yaml.Node, path string) {
		if b == nil {
			return
		}
		if b.FairnessPolicyRef != "" {
			l.ref(b.FairnessPolicyRef, path+".fairnessPolicyRef", child(n, "fairnessPolicyRef"), kindFlow)
		}
		if b.OrderingPolicyRef != "" {
			l.ref(b.OrderingPolicyRef, path+".orderingPolicyRef", child(n, "orderingPolicyRef"), kindFlow)
		}
	}
	band(f.DefaultPriorityBand, child(n, "defaultPriorityBand"), "flowControl.defaultPriorityBand")
	band(f.DefaultNegativePriorityBand, child(n, "defaultNegativePriorityBand"), "flowControl.defaultNegativePriorityBand")
	for i := range f.PriorityBands {
		band(&f.PriorityBands[i], item(child(n, "priorityBands"), i), fmt.Sprintf("flowControl.priorityBands[%d]", i))
	}
}

func isZero(f v1alpha1.FlowControlConfig) bool {
	return f.MaxBytes == nil && f.MaxRequests == nil && f.DefaultRequestTTL == nil && f.NoEndpointRequestTTL == nil &&
		f.DefaultPriorityBand == nil && f.DefaultNegativePriorityBand == nil && len(f.PriorityBands) == 0 &&
		f.UsageLimitPolicyPluginRef == "" && !f.EnableEviction
}

// requestHandler checks the parsers. All that exist are always in use.
func (l *loader) requestHandler() {
	if p := l.spec.Parser; p != nil {
		n := child(l.root, "parser")
		l.warn(n, "parser", "is deprecated: write requestHandler.parsers")
		l.ref(p.PluginRef, "parser.pluginRef", child(n, "pluginRef"), kindParser)
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
			l.ref(e.PluginRef, fmt.Sprintf("%s.extractors[%d].pluginRef", path, j), orSelf(item(child(sn, "extractors"), j), "pluginRef"), kindExtractor, kindProducer)
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
			l.fail(child(n, f.key), "dataLayer."+f.key, "is not available in Fairway: replicas do not share state; remove it")
		}
	}
}

func (l *loader) discovery(dc *v1alpha1.DiscoveryConfig, n *yaml.Node) {
	if dc == nil {
		return
	}
	name, path, at := dc.PluginRef, "dataLayer.discovery.pluginRef", orSelf(n, "pluginRef")
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
// one that is declared.
func (l *loader) saturation() {
	use := func(p *plugin) {
		if s, ok := p.built.(Saturation); ok {
			l.config.Saturation = &s
		}
	}
	refer := func(s *v1alpha1.SaturationDetectorConfig, path string, n *yaml.Node) {
		switch {
		case s == nil:
		case s.PluginRef == "" || s.PluginRef == "utilization-detector" && l.find(s.PluginRef) == nil:
			d := defaultSaturation()
			l.config.Saturation = &d
		default:
			if p := l.ref(s.PluginRef, path+".pluginRef", child(n, "pluginRef"), kindDetector); p != nil {
				use(p)
			}
		}
	}
	for _, p := range l.plugins {
		if p.kind == kindDetector && l.config.Saturation == nil {
			use(p)
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
}

// schedule builds the policy.
func (l *loader) schedule() {
	profiles := l.spec.SchedulingProfiles
	list := child(l.root, "schedulingProfiles")
	handlers := 0
	for _, p := range l.plugins {
		if p.kind == kindHandler {
			if handlers++; handlers == 2 {
				l.fail(p.node, p.path, "there is a profile handler already: only one can be used")
			}
		}
	}
	switch len(profiles) {
	case 0:
		// As published: one profile with every plugin that can be part of one.
		prof := v1alpha1.SchedulingProfile{Name: "default"}
		for _, p := range l.plugins {
			if p.kind == kindFilter || p.kind == kindScorer || p.kind == kindPicker {
				prof.Plugins = append(prof.Plugins, v1alpha1.SchedulingPlugin{PluginRef: p.name})
			}
		}
		l.profile(prof, "plugins", child(l.root, "plugins"))
	case 1:
		l.profile(profiles[0], "schedulingProfiles[0]", item(list, 0))
	default:
		l.fail(item(list, 1), "schedulingProfiles", "there are %d profiles: Fairway schedules with one, since none of the handlers that choose between several is available", len(profiles))
	}
}

func (l *loader) profile(spec v1alpha1.SchedulingProfile, path string, n *yaml.Node) {
	if spec.Name == "" {
		l.fail(n, path+".name", "is missing")
	}
	var filters []scheduler.Filter
	var scorers []scheduler.Weighted
	var pick scheduler.Picker
	list := child(n, "plugins")
	for i, sp := range spec.Plugins {
		at, pn := fmt.Sprintf("%s.plugins[%d]", path, i), item(list, i)
		p := l.ref(sp.PluginRef, at+".pluginRef", orSelf(pn, "pluginRef"),
			kindFilter, kindScorer, kindPicker, kindHandler, kindProducer)
		if p == nil {
			continue
		}
		weight := 1.0
		if sp.Weight != nil {
			weight = *sp.Weight
		}
		switch b := p.built.(type) {
		case scheduler.Filter:
			filters = append(filters, b)
		case scheduler.Scorer:
			if math.IsNaN(weight) || math.Abs(weight) > math.MaxFloat32/1e6 {
				l.fail(child(pn, "weight"), at+".weight", "is %v: must be a finite number", weight)
			}
			_, session := b.(*scorer.SessionAffinity)
			l.config.SessionHeader = l.config.SessionHeader || session
			scorers = append(scorers, scheduler.Weighted{Scorer: b, Weight: float32(weight)})
		case scheduler.Picker:
			if pick != nil {
				l.fail(orSelf(pn, "pluginRef"), at+".pluginRef", "%q is a second picker, after %q: a profile has one", p.name, pick.Name())
			}
			pick = b
		}
	}
	if len(filters)+len(scorers) == 0 && pick == nil {
		return // nothing says how to choose: the default policy does
	}
	if pick == nil {
		pick = picker.NewMaxScore("", picker.DefaultParameters())
	}
	l.config.Policy = scheduler.NewProfile(spec.Name, filters, scorers, pick)
}
