package config

import (
	"encoding/json"

	"go.yaml.in/yaml/v3"

	plugins "github.com/fairway-ai/fairway/epp/plugin"
)

// external adds the types of others to those that are built in.
func (l *loader) external(types []plugins.Type) {
	for _, t := range types {
		if err := t.Validate(); err != nil {
			l.fail(nil, "", "%v", err)
			continue
		}
		if _, taken := l.types[t.Name()]; taken {
			l.fail(nil, "", "the plugin type %s exists already: give yours another name", clip(t.Name()))
			continue
		}
		l.types[t.Name()] = factory{kind: kind(t.Kind()), alpha: t.IsExperimental(), external: true, build: func(d *decoder, p *plugin, params *yaml.Node) any {
			return buildExternal(d, t, p, params)
		}}
	}
}

// buildExternal builds a plugin of somebody else's type.
func buildExternal(d *decoder, t plugins.Type, p *plugin, params *yaml.Node) any {
	var raw json.RawMessage
	path := p.path + ".parameters"
	if params != nil {
		before := len(d.errs)
		text, err := json.Marshal(d.plain(params, path))
		if err != nil {
			d.fail(params, path, "%v", err)
		}
		if len(d.errs) > before {
			return nil
		}
		raw = text
	}
	built, err := t.Build(p.name, raw)
	if err != nil {
		if params == nil {
			params = p.node
		}
		d.fail(params, path, "%v", err)
		return nil
	}
	return built
}
