package config

import (
	"bytes"
	"encoding/json"
	"fmt"
	"reflect"
	"strings"

	"go.yaml.in/yaml/v3"

	"github.com/fairway-ai/fairway/scheduler/picker"
	"github.com/fairway-ai/fairway/scheduler/scorer"
	"github.com/fairway-ai/fairway/scheduler/session"
)

// Explain returns the configuration that is in effect with what data says: YAML with
// every default, and behind each value, as a comment, where it comes from: a line of the
// file, what it is called there if by an earlier name, or a default.
func (o Options) Explain(data []byte) (text []byte, warnings []Warning, err error) {
	l, err := o.load(data)
	if l == nil {
		return nil, nil, err
	}
	if err != nil {
		return nil, l.warnings, err
	}
	e := explainer{l}
	root := &yaml.Node{Kind: yaml.MappingNode}
	version, kind := "llm-d.ai/v1alpha1", "EndpointPickerConfig"
	if l.spec.APIVersion != "" {
		version = l.spec.APIVersion
	}
	e.put(root, "apiVersion", e.scalar(version, child(l.root, "apiVersion")))
	e.put(root, "kind", e.scalar(kind, child(l.root, "kind")))
	e.put(root, "featureGates", e.gates())
	e.put(root, "plugins", e.plugins())
	e.put(root, "schedulingProfiles", e.profiles())
	e.put(root, "dataLayer", e.dataLayer())
	if n := e.flowControl(); n != nil {
		e.put(root, "flowControl", n)
	}
	e.put(root, "requestHandler", e.requestHandler())
	var out bytes.Buffer
	enc := yaml.NewEncoder(&out)
	enc.SetIndent(2)
	if err := enc.Encode(root); err != nil {
		return nil, l.warnings, fmt.Errorf("writing the configuration: %w", err)
	}
	return out.Bytes(), l.warnings, nil
}

// explainer writes a loaded configuration down.
type explainer struct{ l *loader }

// from says where a value comes from; n is its place in the file, nil for none.
func (e explainer) from(n *yaml.Node) string {
	if n == nil || n.Line == 0 {
		return "default"
	}
	if as := e.l.aliased[n]; as != "" {
		return fmt.Sprintf("line %d, written as %s", n.Line, as)
	}
	return fmt.Sprintf("line %d", n.Line)
}

func (e explainer) put(m *yaml.Node, key string, value *yaml.Node) {
	m.Content = append(m.Content, &yaml.Node{Kind: yaml.ScalarNode, Tag: "!!str", Value: key}, value)
}

// scalar is a value with its origin; what cannot be encoded is written as text.
func (e explainer) scalar(v any, from *yaml.Node) *yaml.Node { return e.said(v, e.from(from)) }

func (e explainer) said(v any, origin string) *yaml.Node {
	n := &yaml.Node{}
	if err := n.Encode(v); err != nil {
		n = &yaml.Node{Kind: yaml.ScalarNode, Tag: "!!str", Value: fmt.Sprint(v)}
	}
	e.comment(n, origin)
	return n
}

// comment puts an origin behind every value in n.
func (e explainer) comment(n *yaml.Node, origin string) {
	if n.Kind == yaml.ScalarNode || len(n.Content) == 0 {
		n.LineComment = origin
		return
	}
	for i, c := range n.Content {
		if n.Kind != yaml.MappingNode || i%2 == 1 {
			e.comment(c, origin)
		}
	}
}

// copied is a part of the file as it is written there, less its own comments.
func (e explainer) copied(n *yaml.Node, depth int) *yaml.Node {
	for n.Kind == yaml.AliasNode {
		n = n.Alias
	}
	out := &yaml.Node{Kind: n.Kind, Tag: n.Tag, Value: n.Value, Style: n.Style &^ yaml.FlowStyle}
	if depth > maxDepth {
		return out
	}
	for i, c := range n.Content {
		if n.Kind == yaml.MappingNode && i%2 == 0 {
			out.Content = append(out.Content, &yaml.Node{Kind: c.Kind, Tag: c.Tag, Value: c.Value})
			continue
		}
		out.Content = append(out.Content, e.copied(c, depth+1))
	}
	if out.Kind == yaml.ScalarNode || len(out.Content) == 0 {
		out.LineComment = e.from(n)
	}
	return out
}

// value is a parameter in effect; n is its place in the file.
func (e explainer) value(v reflect.Value, n *yaml.Node) *yaml.Node {
	if v.Kind() == reflect.Pointer && !v.IsNil() {
		v = v.Elem()
	}
	switch d := v.Interface().(type) {
	case Duration:
		return e.scalar(d.String(), n)
	case secret:
		return e.scalar("(not shown)", n)
	case fmt.Stringer:
		if v.Kind() == reflect.Struct {
			return e.scalar(d.String(), n)
		}
	case json.RawMessage:
		if n != nil {
			return e.copied(n, 0)
		}
	}
	switch {
	case v.Kind() == reflect.Struct:
		return e.object(v, n)
	case v.Kind() == reflect.Slice && v.Type().Elem().Kind() == reflect.Struct && v.Len() > 0:
		out := &yaml.Node{Kind: yaml.SequenceNode}
		for i := range v.Len() {
			out.Content = append(out.Content, e.value(v.Index(i), item(n, i)))
		}
		return out
	case n != nil:
		return e.copied(n, 0)
	}
	return e.scalar(v.Interface(), nil)
}

// object is a struct of parameters in effect, less what is empty and not in the file.
func (e explainer) object(v reflect.Value, n *yaml.Node) *yaml.Node {
	out := &yaml.Node{Kind: yaml.MappingNode}
	for i := range v.NumField() {
		f := v.Type().Field(i)
		name, _, _ := strings.Cut(f.Tag.Get("json"), ",")
		if f.Anonymous && name == "" {
			out.Content = append(out.Content, e.embedded(v.Field(i), n)...)
			continue
		}
		if name == "" || name == "-" {
			continue
		}
		in := child(n, name)
		if in == nil && (empty(v.Field(i)) || unset(v.Interface()) && v.Field(i).IsZero()) {
			continue
		}
		e.put(out, name, e.value(v.Field(i), in))
	}
	return out
}

// embedded are the fields of an embedded struct. Those of a prefix index in a scorer count
// only where the file has them: the index has a plugin of its own.
func (e explainer) embedded(v reflect.Value, n *yaml.Node) []*yaml.Node {
	all := e.object(v, n).Content
	if _, index := v.Interface().(ApproxPrefix); !index {
		return all
	}
	var there []*yaml.Node
	for i := 0; i+1 < len(all); i += 2 {
		if child(n, all[i].Value) != nil {
			there = append(there, all[i], all[i+1])
		}
	}
	return there
}

// unset reports whether zeros of a type's fields mean that somebody else decides.
func unset(v any) bool {
	switch v.(type) {
	case ApproxPrefix, MetricsSource, session.Parameters, session.IDConfig, sessionID:
		return true
	}
	return false
}

// empty reports whether a field that is not in the file says nothing.
func empty(v reflect.Value) bool {
	switch v.Kind() {
	case reflect.Pointer, reflect.Interface:
		return v.IsNil()
	case reflect.Slice, reflect.Map, reflect.String:
		return v.Len() == 0
	}
	return false
}

func (e explainer) gates() *yaml.Node {
	out := &yaml.Node{Kind: yaml.SequenceNode}
	flow := false
	for i, g := range e.l.spec.FeatureGates {
		name, _, _ := strings.Cut(g, "=")
		flow = flow || name == gateFlowControl
		out.Content = append(out.Content, e.scalar(g, item(child(e.l.root, "featureGates"), i)))
	}
	if !flow {
		out.Content = append(out.Content, e.scalar(gateFlowControl+"=false", nil))
	}
	return out
}

// plugins are those of the file and those that are there without it.
func (e explainer) plugins() *yaml.Node {
	out := &yaml.Node{Kind: yaml.SequenceNode}
	add := func(name, typ *yaml.Node, params any, n *yaml.Node) {
		m := &yaml.Node{Kind: yaml.MappingNode}
		e.put(m, "name", name)
		e.put(m, "type", typ)
		if params == nil && n != nil { // of somebody else's type
			e.put(m, "parameters", e.copied(n, 0))
		}
		if params != nil {
			if v := reflect.ValueOf(params); v.Kind() == reflect.Struct && v.NumField() > 0 {
				if o := e.object(v, n); len(o.Content) > 0 {
					e.put(m, "parameters", o)
				}
			}
		}
		out.Content = append(out.Content, m)
	}
	has := map[string]bool{}
	for _, p := range e.l.plugins {
		name := e.scalar(p.name, child(p.node, "name"))
		if child(p.node, "name") == nil {
			name.LineComment = "default: the type"
		}
		add(name, e.scalar(p.typ, child(p.node, "type")), p.params, child(p.node, "parameters"))
		has[p.typ] = true
	}
	added := func(typ string, params any) {
		if !has[typ] {
			add(e.scalar(typ, nil), e.scalar(typ, nil), params, nil)
		}
	}
	if e.l.config.Policy != nil {
		handled := false
		for _, p := range e.l.plugins {
			handled = handled || p.kind == kindHandler
		}
		if !handled {
			added("single-profile-handler", nil)
		}
		if e.l.declaredPicker() == nil && e.picksByDefault() {
			added(picker.MaxScoreType, picker.DefaultParameters())
		}
	}
	if !e.l.config.Metrics.Disabled {
		added("metrics-data-source", e.l.config.Metrics.Source)
		if !has["model-server-protocol-metrics"] {
			added("core-metrics-extractor", e.l.config.Metrics.Engines)
		}
	}
	if e.l.config.Models != nil {
		added(modelsSourceType, *e.l.config.Models)
		added(modelsExtractorType, nil)
	}
	added(approxProducer, e.l.config.Prefix)
	if has[scorer.MediaCacheType] {
		added(scorer.MediaMemoryType, scorer.DefaultMediaMemoryParameters())
	}
	if e.l.config.KVCache != nil && !has["tokenizer"] {
		added(tokenProducerType, askingEndpoints())
	}
	if child(e.l.root, "requestHandler", "parsers") == nil && e.l.spec.Parser == nil {
		for _, p := range parserTypes() {
			added(p, nil)
		}
	}
	return out
}

// noPicker reports whether a profile that does something names no picker.
func (e explainer) noPicker(refs []string) bool {
	some := false
	for _, ref := range refs {
		if p := e.l.find(ref); p != nil {
			if p.kind == kindPicker {
				return false
			}
			some = some || p.kind == kindFilter || p.kind == kindScorer
		}
	}
	return some
}

// picksByDefault reports whether a profile uses the picker that is there anyway.
func (e explainer) picksByDefault() bool {
	for _, refs := range e.refs() {
		if e.noPicker(refs) {
			return true
		}
	}
	return false
}

// refs are what profiles refer to; without profiles, those of the one that is assumed.
func (e explainer) refs() [][]string {
	var all [][]string
	for _, sp := range e.l.spec.SchedulingProfiles {
		var refs []string
		for _, p := range sp.Plugins {
			refs = append(refs, p.PluginRef)
		}
		all = append(all, refs)
	}
	if len(all) == 0 {
		var refs []string
		for _, p := range e.l.plugins {
			if p.kind == kindFilter || p.kind == kindScorer || p.kind == kindPicker {
				refs = append(refs, p.name)
			}
		}
		all = append(all, refs)
	}
	return all
}
