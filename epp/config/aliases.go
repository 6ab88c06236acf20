package config

import (
	"reflect"
	"slices"

	"go.yaml.in/yaml/v3"

	"github.com/fairway-ai/fairway/api/v1alpha1"
)

// oldDataLayer is what dataLayer was called.
const oldDataLayer = "data"

// inlineDetector are the fields that saturationDetector had before there was a plugin
// for them.
func inlineDetector() []string {
	return []string{"queueDepthThreshold", "kvCacheUtilThreshold", "metricsStalenessThreshold"}
}

// aliases rewrites what earlier versions of the format wrote in another way, each with
// a warning, so that all else reads one form only. Lines stay those of the file.
func (l *loader) aliases() {
	if l.root.Kind != yaml.MappingNode {
		return
	}
	l.rename(oldDataLayer, "dataLayer")
	l.detectorAlias()
	l.flatDisagg()
}

// rename gives a field of the document its present name.
func (l *loader) rename(old, now string) {
	i := keyIndex(l.root, old)
	if i < 0 {
		return
	}
	key := l.root.Content[i]
	if child(l.root, now) != nil {
		l.fail(key, old, "is an earlier name of %s, which is there, too: remove one", now)
		return
	}
	l.warn(key, old, "is deprecated: write %s", now)
	key.Value = now
	l.written(l.root.Content[i+1], old)
}

// written notes that a value is in the file under another name.
func (l *loader) written(value *yaml.Node, as string) {
	if l.aliased == nil {
		l.aliased = map[*yaml.Node]string{}
	}
	l.aliased[value] = as
}

// detectorAlias turns thresholds in saturationDetector into a utilization-detector.
func (l *loader) detectorAlias() {
	n := child(l.root, "saturationDetector")
	if n == nil || n.Kind != yaml.MappingNode {
		return
	}
	params := &yaml.Node{Kind: yaml.MappingNode, Tag: "!!map", Line: n.Line}
	var rest []*yaml.Node
	for i := 0; i+1 < len(n.Content); i += 2 {
		if slices.Contains(inlineDetector(), n.Content[i].Value) {
			params.Content = append(params.Content, n.Content[i], n.Content[i+1])
			l.written(n.Content[i+1], "saturationDetector."+n.Content[i].Value)
		} else {
			rest = append(rest, n.Content[i], n.Content[i+1])
		}
	}
	if len(params.Content) == 0 {
		return
	}
	if child(n, "pluginRef") != nil {
		l.fail(params.Content[0], "saturationDetector."+params.Content[0].Value, "belongs to the parameters of the plugin that pluginRef names: move it there")
		return
	}
	l.warn(params.Content[0], "saturationDetector."+params.Content[0].Value, "is deprecated: write it in the parameters of a utilization-detector, and name that in flowControl.saturationDetector")
	list := child(l.root, "plugins")
	if list == nil || list.Kind != yaml.SequenceNode {
		if list != nil && list.Tag != "!!null" {
			return // what is wrong with it is said when it is decoded
		}
		l.removeKey("plugins")
		list = &yaml.Node{Kind: yaml.SequenceNode, Tag: "!!seq", Line: n.Line}
		l.root.Content = append(l.root.Content, text("plugins", n.Line), list)
	}
	name := "saturationDetector"
	l.inline = len(list.Content)
	list.Content = append(list.Content, mapping(n.Line, "name", text(name, n.Line), "type", text("utilization-detector", n.Line), "parameters", params))
	n.Content = append(rest, text("pluginRef", n.Line), text(name, n.Line))
}

// Section reports whether an EndpointPickerConfig has a field of that name that other
// files do not have, so that one without a kind can be told from them.
func Section(name string) bool {
	fields := map[string]reflect.Value{}
	addFields(fields, reflect.ValueOf(v1alpha1.EndpointPickerConfig{}))
	delete(fields, "apiVersion")
	delete(fields, "kind")
	_, known := fields[name]
	return known || name == oldDataLayer
}

func (l *loader) removeKey(key string) {
	if i := keyIndex(l.root, key); i >= 0 {
		l.root.Content = slices.Delete(l.root.Content, i, i+2)
	}
}

// keyIndex is the place of a key among a mapping's contents, -1 when it is not there.
func keyIndex(n *yaml.Node, key string) int {
	for i := 0; i+1 < len(n.Content); i += 2 {
		if n.Content[i].Value == key {
			return i
		}
	}
	return -1
}

func text(s string, line int) *yaml.Node {
	return &yaml.Node{Kind: yaml.ScalarNode, Tag: "!!str", Value: s, Line: line}
}

// mapping makes a mapping of keys, each followed by its *yaml.Node.
func mapping(line int, pairs ...any) *yaml.Node {
	n := &yaml.Node{Kind: yaml.MappingNode, Tag: "!!map", Line: line}
	for i := 0; i+1 < len(pairs); i += 2 {
		n.Content = append(n.Content, text(pairs[i].(string), line), pairs[i+1].(*yaml.Node))
	}
	return n
}
