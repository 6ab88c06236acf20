package file

import (
	"errors"
	"fmt"
	"regexp"
	"slices"
	"strconv"
	"strings"

	"go.yaml.in/yaml/v3"
)

// maxProblems bounds an error's length.
const maxProblems = 100

// decoder walks YAML nodes, which know their lines, and collects mistakes.
type decoder struct {
	file      string
	problems  []error
	omitted   int
	warnings  []string
	pools     []poolObject
	endpoints []endpoint
	// lists counts documents with endpoints.
	lists int
}

func (d *decoder) problem(n *yaml.Node, field, format string, args ...any) {
	if len(d.problems) == maxProblems {
		d.omitted++
		return
	}
	d.problems = append(d.problems, fmt.Errorf("%s:%d: %s: %s", d.file, n.Line, field, fmt.Sprintf(format, args...)))
}

func (d *decoder) warn(n *yaml.Node, field, format string, args ...any) {
	switch len(d.warnings) {
	case maxProblems + 1:
	case maxProblems:
		d.warnings = append(d.warnings, fmt.Sprintf("%s: further warnings are left out", d.file))
	default:
		d.warnings = append(d.warnings, fmt.Sprintf("%s:%d: %s: %s", d.file, n.Line, field, fmt.Sprintf(format, args...)))
	}
}

// err is all mistakes, or nil.
func (d *decoder) err() error {
	all := d.problems
	if d.omitted > 0 {
		all = append(all[:len(all):len(all)], fmt.Errorf("%s: %d more mistakes", d.file, d.omitted))
	}
	return errors.Join(all...)
}

var yamlLine = regexp.MustCompile(`^yaml: line (\d+): (?s:(.*))$`)

// syntax turns the parser's error into ours.
func (d *decoder) syntax(err error) error {
	if m := yamlLine.FindStringSubmatch(err.Error()); m != nil {
		return fmt.Errorf("%s:%s: not YAML: %s", d.file, m[1], m[2])
	}
	return fmt.Errorf("%s: not YAML: %s", d.file, strings.TrimPrefix(err.Error(), "yaml: "))
}

// deref follows an alias. Nothing below recurses deeper than the schema, so
// aliases that contain themselves do no harm.
func deref(n *yaml.Node) *yaml.Node {
	for range 8 {
		if n.Kind != yaml.AliasNode || n.Alias == nil {
			break
		}
		n = n.Alias
	}
	return n
}

func isNull(n *yaml.Node) bool {
	return n.Kind == 0 || n.Kind == yaml.ScalarNode && n.ShortTag() == "!!null"
}

// kindOf names what a node is, for errors.
func kindOf(n *yaml.Node) string {
	switch {
	case isNull(n):
		return "empty"
	case n.Kind == yaml.MappingNode:
		return "a mapping"
	case n.Kind == yaml.SequenceNode:
		return "a list"
	case n.Kind == yaml.ScalarNode:
		switch n.ShortTag() {
		case "!!int", "!!float":
			return "a number"
		case "!!bool":
			return "a boolean"
		case "!!str":
			return "a string"
		}
	}
	return "something else"
}

// fields calls visit for every field of a mapping. A field that visit does not
// know, or that is there twice, is a mistake. It returns the values by key.
func (d *decoder) fields(n *yaml.Node, path string, known ...string) map[string]*yaml.Node {
	n = deref(n)
	if n.Kind != yaml.MappingNode {
		d.problem(n, orDocument(path), "must be a mapping with %s, is %s", strings.Join(known, ", "), kindOf(n))
		return nil
	}
	values := make(map[string]*yaml.Node, len(n.Content)/2)
	for i := 0; i+1 < len(n.Content); i += 2 {
		k := deref(n.Content[i])
		if k.Kind != yaml.ScalarNode {
			d.problem(k, orDocument(path), "has a key that is %s; keys are names", kindOf(k))
			continue
		}
		key := k.Value
		if !slices.Contains(known, key) {
			if key == "<<" {
				d.problem(k, join(path, key), "merge keys are not supported; write the fields out")
				continue
			}
			d.problem(k, join(path, shorten(key)), "is not a known field; known are %s", strings.Join(known, ", "))
			continue
		}
		if _, dup := values[key]; dup {
			d.problem(k, join(path, key), "is there twice; remove one")
			continue
		}
		values[key] = deref(n.Content[i+1])
	}
	return values
}

// items returns the elements of a list, nil when there is none. Null counts as an
// empty list.
func (d *decoder) items(n *yaml.Node, path string, most int) []*yaml.Node {
	if isNull(n) {
		return nil
	}
	if n.Kind != yaml.SequenceNode {
		d.problem(n, path, "must be a list, is %s", kindOf(n))
		return nil
	}
	if len(n.Content) > most {
		d.problem(n, path, "has %d elements; at most %d are allowed", len(n.Content), most)
		return nil
	}
	all := make([]*yaml.Node, len(n.Content))
	for i := range n.Content {
		all[i] = deref(n.Content[i])
	}
	return all
}

// text returns a string. ok is false, and the mistake noted, when it is none.
func (d *decoder) text(n *yaml.Node, path string) (s string, ok bool) {
	if n.Kind != yaml.ScalarNode || isNull(n) {
		d.problem(n, path, "must be a string, is %s", kindOf(n))
		return "", false
	}
	if n.ShortTag() != "!!str" {
		d.problem(n, path, "must be a string, is %s; write it in quotes: %q", kindOf(n), n.Value)
		return "", false
	}
	return n.Value, true
}

// port returns a port number. Where quoted is true it may be a string.
func (d *decoder) port(n *yaml.Node, path string, quoted bool) (int, bool) {
	tag := n.ShortTag()
	if n.Kind == yaml.ScalarNode && (tag == "!!int" || quoted && tag == "!!str") {
		if p, err := strconv.ParseUint(n.Value, 10, 16); err == nil && p > 0 {
			return int(p), true
		}
	}
	if n.Kind != yaml.ScalarNode || isNull(n) {
		d.problem(n, path, "must be a port number from 1 to 65535, is %s", kindOf(n))
	} else {
		d.problem(n, path, "must be a port number from 1 to 65535, is %q", shorten(n.Value))
	}
	return 0, false
}

// labels returns a mapping of strings to strings. Null counts as an empty one.
func (d *decoder) labels(n *yaml.Node, path string, most int) map[string]*yaml.Node {
	if isNull(n) {
		return nil
	}
	if n.Kind != yaml.MappingNode {
		d.problem(n, path, "must be a mapping of names to strings, is %s", kindOf(n))
		return nil
	}
	if len(n.Content)/2 > most {
		d.problem(n, path, "has %d entries; at most %d are allowed", len(n.Content)/2, most)
		return nil
	}
	all := make(map[string]*yaml.Node, len(n.Content)/2)
	for i := 0; i+1 < len(n.Content); i += 2 {
		k, v := deref(n.Content[i]), deref(n.Content[i+1])
		if k.Kind != yaml.ScalarNode || k.Value == "" {
			d.problem(k, path, "has a key that is %s; keys are names", kindOf(k))
			continue
		}
		if _, dup := all[k.Value]; dup {
			d.problem(k, join(path, shorten(k.Value)), "is there twice; remove one")
			continue
		}
		if _, ok := d.text(v, join(path, shorten(k.Value))); ok {
			all[k.Value] = v
		}
	}
	return all
}

func join(path, key string) string {
	if path == "" {
		return key
	}
	return path + "." + key
}

func orDocument(path string) string {
	if path == "" {
		return "document"
	}
	return path
}

// shorten keeps a hostile name from filling the error.
func shorten(s string) string {
	if len(s) > 80 {
		return strings.ToValidUTF8(s[:80], "") + "..."
	}
	return s
}
