package convert

import (
	"encoding/json"
	"regexp"
	"slices"
	"strings"

	gatewayv1 "sigs.k8s.io/gateway-api/apis/v1"

	"github.com/fairway-ai/fairway/api/v1alpha1"
)

// maxMutations is how many fields or headers may be set, and how many removed.
const maxMutations = 16

var headerName = regexp.MustCompile(`^[-A-Za-z0-9_]{1,256}$`)

// headers converts a headerMutation; nil when nothing is left of it.
func (c *converter) headers(n *node) *gatewayv1.HTTPHeaderFilter {
	f := &gatewayv1.HTTPHeaderFilter{}
	for _, h := range n.list("set") {
		name, value := h.str("name"), h.str("value")
		if value == "" || len(value) > 4096 {
			c.lost(n.x, h.at("value"), "must have 1 to 4096 characters")
			continue
		}
		if c.changeable(n, h.at("name"), name) && !slices.ContainsFunc(f.Set, func(x gatewayv1.HTTPHeader) bool { return strings.EqualFold(string(x.Name), name) }) {
			f.Set = append(f.Set, gatewayv1.HTTPHeader{Name: gatewayv1.HTTPHeaderName(name), Value: value})
		}
	}
	for _, name := range n.strings("remove") {
		if c.changeable(n, n.at("remove"), name) && !slices.Contains(f.Remove, name) {
			f.Remove = append(f.Remove, name)
		}
	}
	return c.boundHeaders(n, f)
}

// boundHeaders is f, nil when it is empty.
func (c *converter) boundHeaders(n *node, f *gatewayv1.HTTPHeaderFilter) *gatewayv1.HTTPHeaderFilter {
	if len(f.Set) > maxMutations || len(f.Remove) > maxMutations {
		c.lost(n.x, n.path, "more than %d headers are set or removed; the rest was left out", maxMutations)
		f.Set, f.Remove = f.Set[:min(len(f.Set), maxMutations)], f.Remove[:min(len(f.Remove), maxMutations)]
	}
	if len(f.Set)+len(f.Remove) == 0 {
		return nil
	}
	return f
}

// changeable says whether a header may be changed on the way to a backend.
func (c *converter) changeable(n *node, path, name string) bool {
	lower := strings.ToLower(name)
	if headerName.MatchString(name) && lower != "host" && lower != "content-length" && lower != "transfer-encoding" && !strings.HasPrefix(lower, "x-fairway-") {
		return true
	}
	c.lost(n.x, path, "%q is not a header that can be changed", shorten(name))
	return false
}

// body converts a bodyMutation; nil when nothing is left of it.
func (c *converter) body(n *node) *v1alpha1.BodyMutation {
	m := &v1alpha1.BodyMutation{}
	for _, f := range n.list("set") {
		name, value := f.str("path"), f.str("value")
		switch {
		case name == "" || len(name) > 256:
			c.lost(n.x, f.at("path"), "must be a field's name")
			continue
		case slices.ContainsFunc(m.Set, func(x v1alpha1.BodyField) bool { return x.Name == name }):
			c.check(n.x, f.at("path"), "is there twice; the first one was taken")
			continue
		case !json.Valid([]byte(value)):
			c.check(n.x, f.at("value"), "is not JSON, and was taken for a string")
			quoted, _ := json.Marshal(value)
			value = string(quoted)
		}
		if len(value) > 4096 {
			c.lost(n.x, f.at("value"), "is longer than 4096 bytes")
			continue
		}
		m.Set = append(m.Set, v1alpha1.BodyField{Name: name, Value: value})
	}
	for _, name := range n.strings("remove") {
		if name != "" && len(name) <= 256 && !slices.Contains(m.Remove, name) {
			m.Remove = append(m.Remove, name)
		}
	}
	return c.boundBody(n, m)
}

func (c *converter) boundBody(n *node, m *v1alpha1.BodyMutation) *v1alpha1.BodyMutation {
	if len(m.Set) > maxMutations || len(m.Remove) > maxMutations {
		c.lost(n.x, n.path, "more than %d fields are set or removed; the rest was left out", maxMutations)
		m.Set, m.Remove = m.Set[:min(len(m.Set), maxMutations)], m.Remove[:min(len(m.Remove), maxMutations)]
	}
	if len(m.Set)+len(m.Remove) == 0 {
		return nil
	}
	return m
}

// overHeaders lays what a rule says over what the backend says.
func (c *converter) overHeaders(n *node, base, over *gatewayv1.HTTPHeaderFilter) *gatewayv1.HTTPHeaderFilter {
	if base == nil {
		return over
	}
	out := &gatewayv1.HTTPHeaderFilter{Set: slices.Clone(over.Set), Remove: slices.Clone(over.Remove)}
	said := func(name string) bool {
		return slices.ContainsFunc(over.Set, func(h gatewayv1.HTTPHeader) bool { return strings.EqualFold(string(h.Name), name) }) ||
			slices.ContainsFunc(over.Remove, func(r string) bool { return strings.EqualFold(r, name) })
	}
	for _, h := range base.Set {
		if !said(string(h.Name)) {
			out.Set = append(out.Set, h)
		}
	}
	for _, r := range base.Remove {
		if !said(r) {
			out.Remove = append(out.Remove, r)
		}
	}
	return c.boundHeaders(n, out)
}

func (c *converter) overBody(n *node, base, over *v1alpha1.BodyMutation) *v1alpha1.BodyMutation {
	if base == nil {
		return over
	}
	out := &v1alpha1.BodyMutation{Set: slices.Clone(over.Set), Remove: slices.Clone(over.Remove)}
	said := func(name string) bool {
		return slices.ContainsFunc(over.Set, func(f v1alpha1.BodyField) bool { return f.Name == name }) || slices.Contains(over.Remove, name)
	}
	for _, f := range base.Set {
		if !said(f.Name) {
			out.Set = append(out.Set, f)
		}
	}
	for _, r := range base.Remove {
		if !said(r) {
			out.Remove = append(out.Remove, r)
		}
	}
	return c.boundBody(n, out)
}
