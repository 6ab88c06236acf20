package config

import (
	"fmt"
	"slices"

	"go.yaml.in/yaml/v3"

	"github.com/fairway-ai/fairway/scheduler/profile"
)

// flatNames are the parameters that disagg-profile-handler had before they were nested,
// and where they are now. Of two for one place the first counts.
func flatNames() []struct{ old, section, now string } {
	return []struct{ old, section, now string }{
		{"decodeProfile", "profiles", "decode"},
		{"prefillProfile", "profiles", "prefill"},
		{"encodeProfile", "profiles", "encode"},
		{"prefillDeciderPluginName", "deciders", "prefill"},
		{"deciderPluginName", "deciders", "prefill"},
		{"encodeDeciderPluginName", "deciders", "encode"},
	}
}

// flatDisagg gives the earlier parameters of disagg-profile-handler their present places.
func (l *loader) flatDisagg() {
	list := child(l.root, "plugins")
	for i := 0; item(list, i) != nil; i++ {
		p := item(list, i)
		if t := child(p, "type"); t == nil || t.Value != profile.DisaggType {
			continue
		}
		params := child(p, "parameters")
		for params != nil && params.Kind == yaml.AliasNode {
			params = params.Alias
		}
		if params != nil && params.Kind == yaml.MappingNode {
			l.nest(params, fmt.Sprintf("plugins[%d].parameters", i))
		}
	}
}

// nest moves what is flat in params.
func (l *loader) nest(params *yaml.Node, path string) {
	nested := child(params, "profiles") != nil || child(params, "deciders") != nil
	sections := map[string]*yaml.Node{}
	for _, f := range flatNames() {
		at := keyIndex(params, f.old)
		if at < 0 {
			continue
		}
		key, value := params.Content[at], params.Content[at+1]
		if nested {
			l.fail(key, path+"."+f.old, "is an earlier form of %s.%s, and profiles or deciders are there, too: write all in one form", f.section, f.now)
			return
		}
		l.warn(key, path+"."+f.old, "is deprecated: write %s.%s", f.section, f.now)
		params.Content = slices.Delete(params.Content, at, at+2)
		section := sections[f.section]
		if section == nil {
			section = &yaml.Node{Kind: yaml.MappingNode, Tag: "!!map", Line: key.Line}
			sections[f.section] = section
		}
		if keyIndex(section, f.now) < 0 {
			section.Content = append(section.Content, text(f.now, key.Line), value)
			l.written(value, f.old)
		}
	}
	for _, name := range []string{"profiles", "deciders"} {
		if section := sections[name]; section != nil {
			params.Content = append(params.Content, text(name, section.Line), section)
		}
	}
}
