package config

import (
	"slices"

	"go.yaml.in/yaml/v3"

	"github.com/fairway-ai/fairway/scheduler/picker"
)

// profiles are the scheduling profiles in effect; without any policy, there is none.
func (e explainer) profiles() *yaml.Node {
	out := &yaml.Node{Kind: yaml.SequenceNode}
	list := child(e.l.root, "schedulingProfiles")
	if e.l.config.Policy == nil && len(e.l.spec.SchedulingProfiles) > 0 {
		out = e.copied(list, 0)
		out.HeadComment = "Nothing in it chooses: Fairway's own policy decides."
		return out
	}
	if e.l.config.Policy == nil {
		out.LineComment = "default: Fairway's own policy decides"
		return out
	}
	for i, refs := range e.refs() {
		n := item(list, i)
		m, plugins := &yaml.Node{Kind: yaml.MappingNode}, &yaml.Node{Kind: yaml.SequenceNode}
		name := "default"
		if n != nil {
			name = e.l.spec.SchedulingProfiles[i].Name
		}
		e.put(m, "name", e.scalar(name, child(n, "name")))
		e.put(m, "plugins", plugins)
		for j, ref := range refs {
			at := item(child(n, "plugins"), j)
			entry := e.ref(ref, child(at, "pluginRef"))
			if p := e.l.find(ref); p != nil && p.kind == kindScorer {
				weight := 1.0
				if n != nil && e.l.spec.SchedulingProfiles[i].Plugins[j].Weight != nil {
					weight = *e.l.spec.SchedulingProfiles[i].Plugins[j].Weight
				}
				e.put(entry, "weight", e.scalar(weight, child(at, "weight")))
			}
			plugins.Content = append(plugins.Content, entry)
		}
		if e.noPicker(refs) {
			name := picker.MaxScoreType
			if p := e.l.declaredPicker(); p != nil {
				name = p.name
			}
			plugins.Content = append(plugins.Content, e.ref(name, nil))
		}
		out.Content = append(out.Content, m)
	}
	return out
}

func (e explainer) dataLayer() *yaml.Node {
	out := &yaml.Node{Kind: yaml.MappingNode}
	n := child(e.l.root, "dataLayer")
	inject := true
	if d := e.l.spec.DataLayer; d != nil && d.InjectDefaults != nil {
		inject = *d.InjectDefaults
	}
	e.put(out, "injectDefaults", e.scalar(inject, child(n, "injectDefaults")))
	switch sources := child(n, "sources"); {
	case sources != nil:
		e.put(out, "sources", e.copied(sources, 0))
	case !e.l.config.Metrics.Disabled:
		source := e.ref(e.named("metrics-data-source"), nil)
		e.put(source, "extractors", &yaml.Node{Kind: yaml.SequenceNode, Content: []*yaml.Node{
			e.ref(e.named("core-metrics-extractor", "model-server-protocol-metrics"), nil),
		}})
		e.put(out, "sources", &yaml.Node{Kind: yaml.SequenceNode, Content: []*yaml.Node{source}})
	}
	if d := e.l.spec.DataLayer; d != nil && d.Discovery != nil {
		ref, at := d.Discovery.PluginRef, child(n, "discovery", "pluginRef")
		if ep := d.Discovery.Endpoints; ep != nil {
			ref, at = ep.PluginRef, child(n, "discovery", "endpoints", "pluginRef")
		} else {
			e.l.written(at, "dataLayer.discovery.pluginRef")
		}
		discovery := &yaml.Node{Kind: yaml.MappingNode}
		e.put(discovery, "endpoints", e.ref(ref, at))
		e.put(out, "discovery", discovery)
	}
	return out
}

// named is the name of the first plugin of one of the types; the first type when there
// is none.
func (e explainer) named(types ...string) string {
	for _, p := range e.l.plugins {
		if slices.Contains(types, p.typ) {
			return p.name
		}
	}
	return types[0]
}

// flowControl is the section in effect, nil for none. With the feature gate off it is
// the saturation detector alone.
func (e explainer) flowControl() *yaml.Node {
	n := child(e.l.root, "flowControl")
	if c := e.l.config.FlowControl; c != nil {
		var doc yaml.Node
		if err := yaml.Unmarshal([]byte(c.String()), &doc); err != nil || len(doc.Content) == 0 {
			return e.said(c.String(), "in effect")
		}
		e.origins(doc.Content[0], n)
		return doc.Content[0]
	}
	detector := present(n, "saturationDetector")
	if detector == nil {
		if detector = present(e.l.root, "saturationDetector"); detector == nil {
			return nil
		}
		e.l.written(child(detector, "pluginRef"), "saturationDetector.pluginRef")
	}
	ref := child(detector, "pluginRef")
	out := &yaml.Node{Kind: yaml.MappingNode}
	name := "utilization-detector"
	if ref != nil {
		name = ref.Value
	}
	e.put(out, "saturationDetector", e.ref(name, ref))
	return out
}

// origins puts behind each value of out where in the file, below n, it comes from. What
// out says in full where the file has a reference comes from the reference.
func (e explainer) origins(out, n *yaml.Node) {
	out.Style &^= yaml.FlowStyle
	switch {
	case out.Kind == yaml.MappingNode && len(out.Content) > 0:
		for i := 0; i+1 < len(out.Content); i += 2 {
			key := out.Content[i].Value
			in := child(n, key)
			for _, ref := range []string{"Ref", "PluginRef"} {
				if in == nil {
					in = child(n, key+ref)
				}
			}
			e.origins(out.Content[i+1], in)
		}
	case out.Kind == yaml.SequenceNode && len(out.Content) > 0:
		for i, c := range out.Content {
			e.origins(c, item(n, i))
		}
	default:
		if n != nil && n.Kind == yaml.MappingNode {
			n = orSelf(n, "pluginRef")
		}
		origin := e.from(n)
		if note := out.LineComment; note != "" {
			origin += "; " + note[2:]
		}
		out.LineComment = origin
	}
}

func (e explainer) requestHandler() *yaml.Node {
	out := &yaml.Node{Kind: yaml.MappingNode}
	parsers := child(e.l.root, "requestHandler", "parsers")
	old := child(e.l.root, "parser", "pluginRef")
	switch {
	case parsers != nil:
		e.put(out, "parsers", e.copied(parsers, 0))
	case old != nil:
		e.l.written(old, "parser.pluginRef")
		e.put(out, "parsers", &yaml.Node{Kind: yaml.SequenceNode, Content: []*yaml.Node{e.ref(old.Value, old)}})
	default:
		list := &yaml.Node{Kind: yaml.SequenceNode}
		for _, p := range parserTypes() {
			list.Content = append(list.Content, e.ref(p, nil))
		}
		e.put(out, "parsers", list)
	}
	return out
}

// parserTypes are those in use when the file names none.
func parserTypes() []string {
	return []string{
		"openai-parser", "anthropic-parser", "vllmhttp-parser", "sglanghttp-parser", "passthrough-parser",
		"vertexai-parser", "vllmgrpc-parser", "sglanggrpc-parser",
	}
}

// ref is a reference to a plugin; n is its place in the file.
func (e explainer) ref(name string, n *yaml.Node) *yaml.Node {
	out := &yaml.Node{Kind: yaml.MappingNode}
	e.put(out, "pluginRef", e.scalar(name, n))
	return out
}
