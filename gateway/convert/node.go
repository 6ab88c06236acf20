package convert

import (
	"fmt"
	"maps"
	"math"
	"slices"
)

// node is a mapping of the input that remembers which of its fields were read.
type node struct {
	c    *converter
	x    *object
	path string
	m    map[string]any
	read map[string]bool
	// below are the mappings that were read from it, and those of its lists.
	below []*node
	lists map[string][]*node
	quiet bool
}

// has says whether the field is there and not null.
func (n *node) has(field string) bool { return n != nil && n.m[field] != nil }

// at is the path of a field.
func (n *node) at(field string) string {
	if n.path == "" {
		return field
	}
	return n.path + "." + field
}

func (n *node) take(field string) any {
	if n == nil {
		return nil
	}
	n.read[field] = true
	return n.m[field]
}

// wrong notes a field of another type than it must have.
func (n *node) wrong(field, want string) {
	n.c.lost(n.x, n.at(field), "must be %s", want)
}

func (n *node) str(field string) string {
	v := n.take(field)
	s, ok := v.(string)
	if v != nil && !ok {
		n.wrong(field, "a string")
	}
	return s
}

// num reads a whole number; false when there is none.
func (n *node) num(field string) (int64, bool) {
	switch v := n.take(field).(type) {
	case nil:
		return 0, false
	case int64:
		return v, true
	case float64:
		if v == math.Trunc(v) && math.Abs(v) < 1<<53 {
			return int64(v), true
		}
	}
	n.wrong(field, "a whole number")
	return 0, false
}

// flag reads a boolean; def when it is not there.
func (n *node) flag(field string, def bool) bool {
	v := n.take(field)
	if v == nil {
		return def
	}
	b, ok := v.(bool)
	if !ok {
		n.wrong(field, "true or false")
		return def
	}
	return b
}

// child is the mapping under a field; nil when there is none.
func (n *node) child(field string) *node {
	v := n.take(field)
	if v == nil {
		return nil
	}
	m, ok := v.(map[string]any)
	if !ok {
		n.wrong(field, "an object")
		return nil
	}
	return n.make(n.at(field), m)
}

func (n *node) make(path string, m map[string]any) *node {
	for _, b := range n.below {
		if b.path == path {
			return b
		}
	}
	b := &node{c: n.c, x: n.x, path: path, m: m, read: map[string]bool{}}
	n.below = append(n.below, b)
	return b
}

// list are the mappings in a list.
func (n *node) list(field string) []*node {
	v := n.take(field)
	if v == nil {
		return nil
	}
	if known, ok := n.lists[field]; ok {
		return known
	}
	all, ok := v.([]any)
	if !ok {
		n.wrong(field, "a list")
		return nil
	}
	out := make([]*node, 0, len(all))
	for i, v := range all {
		m, ok := v.(map[string]any)
		if !ok {
			n.wrong(fmt.Sprintf("%s[%d]", field, i), "an object")
			continue
		}
		out = append(out, &node{c: n.c, x: n.x, path: fmt.Sprintf("%s[%d]", n.at(field), i), m: m, read: map[string]bool{}})
	}
	n.below = append(n.below, out...)
	if n.lists == nil {
		n.lists = map[string][]*node{}
	}
	n.lists[field] = out
	return out
}

// strings is a list of strings.
func (n *node) strings(field string) []string {
	v := n.take(field)
	if v == nil {
		return nil
	}
	all, ok := v.([]any)
	if !ok {
		n.wrong(field, "a list")
		return nil
	}
	var out []string
	for i, v := range all {
		s, ok := v.(string)
		if !ok {
			n.wrong(fmt.Sprintf("%s[%d]", field, i), "a string")
			continue
		}
		out = append(out, s)
	}
	return out
}

// ignore marks everything below as seen.
func (n *node) ignore() {
	if n != nil {
		n.quiet = true
	}
}

// skip marks a field as seen, whatever it has.
func (n *node) skip(fields ...string) {
	for _, f := range fields {
		n.take(f)
	}
}

// leftovers reports the fields that nothing read, of objects that something was made of.
func (c *converter) leftovers(x *object) {
	if !x.used {
		return
	}
	var walk func(n *node)
	walk = func(n *node) {
		if n.quiet {
			return
		}
		for _, field := range slices.Sorted(maps.Keys(n.m)) {
			if !n.read[field] && n.m[field] != nil {
				c.lost(x, n.at(shorten(field)), "has no counterpart")
			}
		}
		for _, b := range n.below {
			walk(b)
		}
	}
	walk(x.root)
}
