package config

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"reflect"
	"slices"
	"strings"

	"go.yaml.in/yaml/v3"

	"github.com/fairway-ai/fairway/api/v1alpha1"
	plugins "github.com/fairway-ai/fairway/epp/plugin"
	"github.com/fairway-ai/fairway/epp/report"
	"github.com/fairway-ai/fairway/pool"
	"github.com/fairway-ai/fairway/scheduler"
	"github.com/fairway-ai/fairway/scheduler/scorer"
)

// MaxSize is the size of the largest file that Load reads, in bytes.
const MaxSize = 1 << 20

// versionV1 is the version in which fields of dataLayer have other names.
const versionV1 = "llm-d.ai/v1"

// apiVersions are the versions that are accepted, and what to write instead of
// those that are deprecated.
var apiVersions = []struct{ version, instead string }{
	{"llm-d.ai/v1alpha1", ""},
	{versionV1, ""},
	{"inference.networking.x-k8s.io/v1alpha1", "llm-d.ai/v1alpha1"},
	{"config.apix.gateway-api-inference-extension.sigs.k8s.io/v1alpha1", "llm-d.ai/v1alpha1"},
}

// loader is the state of one Load.
type loader struct {
	decoder
	root    *yaml.Node
	spec    v1alpha1.EndpointPickerConfig
	types   registry
	plugins []*plugin
	config  Config
	options Options
	gated   bool // by the feature gate flowControl
	// inline is the place in plugins of the one that thresholds in saturationDetector
	// stand for, -1 when there are none.
	inline int
	// aliased are values that are in the file under another name, and that name.
	aliased map[*yaml.Node]string
	// media is what scorers share that name no producer of theirs, nil for none.
	media *scorer.MediaMemory
	// broken are the names of plugins that are declared wrong: whoever refers to them is
	// not told so again.
	broken map[string]bool
}

// Options say what a configuration may use.
type Options struct {
	// Experimental allows the types that may still change.
	Experimental bool
	// Gates are feature gates that win over those of the file, such as "flowControl=true".
	Gates []string
	// Plugins are types besides those that are built in.
	Plugins []plugins.Type
	// KVEvents says that engines' KV cache events are followed whatever the file says, so
	// that prompts' token ids are of use.
	KVEvents bool
}

// Load is [Options.Load] without experimental plugins.
func Load(data []byte) (*Config, []Warning, error) { return Options{}.Load(data) }

// Load reads a configuration in YAML or JSON. The error joins a [FieldError] for
// every mistake it found. An empty file is the default configuration.
func (o Options) Load(data []byte) (*Config, []Warning, error) {
	l, err := o.load(data)
	if l == nil {
		return nil, nil, err
	}
	if err != nil {
		return nil, l.warnings, err
	}
	return &l.config, l.warnings, nil
}

// Policies makes the policy of a configuration, which Load has read from data, anew at
// each call: policies may remember, and pools must not share that. It is nil where the
// configuration leaves the choice to the default policy.
func (o Options) Policies(c *Config, data []byte) func() scheduler.Policy {
	if c.Policy == nil {
		return nil
	}
	return func() scheduler.Policy {
		again, _, err := o.Load(data)
		if err != nil {
			panic(err) // it could be loaded before
		}
		return again.Policy
	}
}

// load is Load with all that was known on the way; the loader is nil when the file could
// not be read at all.
func (o Options) load(data []byte) (*loader, error) {
	if len(data) > MaxSize {
		return nil, &FieldError{Message: fmt.Sprintf("the file has %d bytes: at most %d are read", len(data), MaxSize)}
	}
	l := &loader{types: newRegistry(), options: o, inline: -1, broken: map[string]bool{}}
	l.external(o.Plugins)
	if len(l.errs) > 0 {
		return nil, errors.Join(l.errs...)
	}
	l.config.Prefix = defaultApproxPrefix()
	l.config.Metrics.Source = defaultMetricsSource()
	if err := l.parse(data); err != nil {
		return nil, err
	}
	if l.root == nil && len(o.Gates) > 0 {
		l.root = mapping(1)
	}
	if l.root != nil {
		l.aliases()
		l.value(l.root, reflect.ValueOf(&l.spec).Elem(), "")
		l.checkType()
		l.told = len(l.errs)
		l.declare()
		if !l.sectionsWrong() {
			l.matchProducers()
			l.featureGates()
			l.requestHandler()
			l.dataLayer()
			l.listModels()
			l.saturation()
			l.schedule()
		}
	}
	return l, errors.Join(byLine(l.errs)...)
}

// parse finds the file's one document; none leaves root nil.
func (l *loader) parse(data []byte) error {
	dec := yaml.NewDecoder(bytes.NewReader(data))
	var doc, second yaml.Node
	switch err := dec.Decode(&doc); {
	case errors.Is(err, io.EOF):
		return nil
	case err != nil:
		return &FieldError{Message: "the file is not valid YAML: " + strings.TrimPrefix(err.Error(), "yaml: ")}
	}
	if err := dec.Decode(&second); !errors.Is(err, io.EOF) {
		if len(doc.Content) > 0 {
			if err := wrongKind(child(doc.Content[0], "kind")); err != nil {
				return err
			}
		}
		return &FieldError{Line: second.Line, Message: "the file has more than one document: only one is read"}
	}
	if len(doc.Content) > 0 {
		l.root = doc.Content[0]
	}
	return nil
}

func (l *loader) checkType() {
	if err := wrongKind(child(l.root, "kind")); err != nil && l.spec.Kind != "" {
		l.errs = append(l.errs, err)
	}
	if l.spec.APIVersion == "" {
		return
	}
	var known []string
	for _, v := range apiVersions {
		if v.version == l.spec.APIVersion {
			if v.instead != "" {
				l.warn(child(l.root, "apiVersion"), "apiVersion", "%s is deprecated: write %s", v.version, v.instead)
			}
			return
		}
		known = append(known, v.version)
	}
	l.fail(child(l.root, "apiVersion"), "apiVersion", "is %s: must be one of %s", clip(l.spec.APIVersion), strings.Join(known, ", "))
}

// declare builds every plugin of the file.
func (l *loader) declare() {
	list := child(l.root, "plugins")
	for i, spec := range l.spec.Plugins {
		p := &plugin{typ: spec.Type, name: spec.Name, path: fmt.Sprintf("plugins[%d]", i), node: item(list, i)}
		if i == l.inline {
			p.path = "saturationDetector"
		}
		if p.typ == "" {
			l.fail(p.node, p.path+".type", "is missing")
			continue
		}
		if p.name == "" {
			p.name = p.typ
		}
		typeNode := child(p.node, "type")
		f, ok := l.types[p.typ]
		if !ok {
			l.broken[p.name] = true
			if reason, known := notBuilt(p.typ); known {
				l.fail(typeNode, p.path+".type", "%q is not available in Fairway: %s", p.typ, reason)
			} else {
				l.fail(typeNode, p.path+".type", "unknown plugin type %s%s", clip(p.typ), suggest(p.typ, l.types.types()))
			}
			continue
		}
		if l.find(p.name) != nil {
			l.fail(p.node, p.path+".name", "%s is the name of another plugin: names must be unique", clip(p.name))
			continue
		}
		if f.alpha && !l.options.Experimental {
			l.broken[p.name] = true
			l.fail(typeNode, p.path+".type", "%s may still change: allow it with the flag --allow-experimental-plugins", p.typ)
			continue
		}
		if f.instead != "" {
			l.warn(typeNode, p.path+".type", "%s is deprecated: use %s", p.typ, f.instead)
		}
		p.kind, p.external = f.kind, f.external
		p.built = f.build(&l.decoder, p, child(p.node, "parameters"))
		l.plugins = append(l.plugins, p)
		l.carry(p)
	}
}

// carry copies a built-in part's parameters into the result.
func (l *loader) carry(p *plugin) {
	switch b := p.built.(type) {
	case ApproxPrefix:
		l.setPrefix(p, b)
	case prefixCache:
		if b.producer != nil {
			l.setPrefix(p, *b.producer)
		}
		p.built = b.PrefixCache
	case MetricsSource:
		if len(b.Families) > 0 {
			l.warn(child(p.node, "parameters", "families"), p.path+".parameters.families", "is ignored: only the series that are wanted are parsed")
		}
		if d := b.Interval.Duration; d > 0 && d < pool.MinInterval {
			l.warn(child(p.node, "parameters", "interval"), p.path+".parameters.interval", "%v is too short: %v is used", d, pool.MinInterval)
		}
		l.once(p, func() { l.config.Metrics.Source = b })
	case ServedVerifier:
		l.config.ServedHeader = true
	case agentIdentity:
		l.once(p, func() { l.config.SessionHeaders = b.headers() })
	case report.Attribute:
		l.report(p, b)
	case MetricsEngines:
		l.once(p, func() { l.config.Metrics.Engines = b })
	case preciseIndex:
		l.setKVCache(p, b)
	case Tokens:
		l.setTokens(p, b)
	}
}

func (l *loader) setPrefix(p *plugin, a ApproxPrefix) {
	for _, other := range l.plugins {
		if other != p && (other.typ == approxProducer) {
			l.warn(p.node, p.path, "its parameters are ignored: there is one prefix index, which takes those of %q", other.name)
			return
		}
	}
	l.config.Prefix = a
}

// once uses the first plugin of a type and refuses others.
func (l *loader) once(p *plugin, use func()) {
	for _, other := range l.plugins {
		if other != p && other.kind == p.kind && reflect.TypeOf(other.built) == reflect.TypeOf(p.built) {
			l.fail(p.node, p.path, "there is %s already, %q: only one is supported", p.kind.article(), other.name)
			return
		}
	}
	use()
}

func (l *loader) find(name string) *plugin {
	for _, p := range l.plugins {
		if p.name == name {
			return p
		}
	}
	return nil
}

// ref resolves a reference to a plugin of one of the kinds; nil means that an
// error was recorded.
func (l *loader) ref(name, path string, n *yaml.Node, kinds ...kind) *plugin {
	if name == "" {
		l.fail(n, path, "is missing: name an entry of plugins")
		return nil
	}
	p := l.find(name)
	if p == nil && l.broken[name] {
		return nil
	}
	if p == nil {
		var names []string
		for _, p := range l.plugins {
			names = append(names, p.name)
		}
		hint := suggestSome(name, names)
		if _, ok := l.types[name]; ok {
			hint = "; that is a type: add an entry of it"
		}
		l.fail(n, path, "no entry of plugins is named %s%s", clip(name), hint)
		return nil
	}
	if len(kinds) > 0 && !slices.Contains(kinds, p.kind) {
		want := make([]string, len(kinds))
		for i, k := range kinds {
			want[i] = k.article()
		}
		l.fail(n, path, "%q is %s: must name %s", name, p.kind.article(), strings.Join(want, " or "))
		return nil
	}
	return p
}
