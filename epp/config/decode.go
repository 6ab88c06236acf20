package config

import (
	"encoding"
	"encoding/json"
	"fmt"
	"reflect"
	"slices"
	"strconv"
	"strings"

	"go.yaml.in/yaml/v3"
)

const (
	maxNodes  = 100_000 // that are visited, aliases included
	maxDepth  = 64
	maxErrors = 20
)

// decoder decodes YAML into structs with JSON tags and collects every error with
// its place. It refuses unknown and repeated fields.
type decoder struct {
	errs     []error
	warnings []Warning
	nodes    int
	depth    int
	// told is how many of errs are about the file's shape. What they are about has no
	// value, so no other mistake is found there.
	told int
}

func (d *decoder) fail(n *yaml.Node, path, format string, args ...any) {
	if len(d.errs) < maxErrors && !follows(d.errs[:d.told], path) {
		d.errs = append(d.errs, &FieldError{Line: line(n), Path: path, Message: fmt.Sprintf(format, args...)})
	}
}

func (d *decoder) warn(n *yaml.Node, path, format string, args ...any) {
	d.warnings = append(d.warnings, Warning{Line: line(n), Path: path, Message: fmt.Sprintf(format, args...)})
}

func line(n *yaml.Node) int {
	if n == nil {
		return 0
	}
	return n.Line
}

// enter counts a node, follows an alias, and reports whether to go on.
func (d *decoder) enter(n *yaml.Node, path string) (*yaml.Node, bool) {
	d.nodes++
	if d.nodes > maxNodes || d.depth > maxDepth {
		if d.nodes <= maxNodes+1 || d.depth > maxDepth {
			d.fail(n, path, "the file is too large or too deeply nested")
		}
		return n, false
	}
	if n.Kind == yaml.AliasNode {
		return n.Alias, n.Alias != nil
	}
	return n, true
}

// value decodes a node into v.
func (d *decoder) value(n *yaml.Node, v reflect.Value, path string) {
	n, ok := d.enter(n, path)
	if !ok {
		return
	}
	d.depth++
	defer func() { d.depth-- }()
	if n.Kind == yaml.ScalarNode && n.Tag == "!!null" {
		return // as in Kubernetes: null is the same as leaving the field out
	}
	if v.Kind() == reflect.Pointer {
		if v.IsNil() {
			v.Set(reflect.New(v.Type().Elem()))
		}
		d.value(n, v.Elem(), path)
		return
	}
	switch u := v.Addr().Interface().(type) {
	case encoding.TextUnmarshaler:
		if s, ok := d.scalar(n, path, "text"); ok {
			if err := u.UnmarshalText([]byte(s)); err != nil {
				d.fail(n, path, "%v", err)
			}
		}
		return
	case json.Unmarshaler:
		raw, err := json.Marshal(d.plain(n, path))
		if err == nil {
			err = u.UnmarshalJSON(raw)
		}
		if err != nil {
			d.fail(n, path, "%v", err)
		}
		return
	}
	switch v.Kind() {
	case reflect.Struct:
		d.object(n, v, path)
	case reflect.Slice:
		d.list(n, v, path)
	case reflect.Map:
		d.strings(n, v, path)
	default:
		d.basic(n, v, path)
	}
}

// object decodes a mapping into a struct.
func (d *decoder) object(n *yaml.Node, v reflect.Value, path string) {
	if n.Kind != yaml.MappingNode {
		d.fail(n, path, "is %s: must be an object", kindOf(n))
		return
	}
	fields := map[string]reflect.Value{}
	addFields(fields, v)
	seen := map[string]bool{}
	for i := 0; i+1 < len(n.Content); i += 2 {
		key := n.Content[i]
		name := d.spelled(key, fields, path)
		at := join(path, name)
		switch field, known := fields[name]; {
		case seen[name]:
			d.fail(key, at, "is there twice")
		case known:
			d.value(n.Content[i+1], field, at)
		default:
			names := make([]string, 0, len(fields))
			for f := range fields {
				names = append(names, f)
			}
			d.fail(key, at, "unknown field%s", suggest(name, names))
		}
		seen[name] = true
	}
}

// spelled is a key's name. Of parameters, upper and lower case need not be right, as
// published; everywhere else they must.
func (d *decoder) spelled(key *yaml.Node, fields map[string]reflect.Value, path string) string {
	if _, known := fields[key.Value]; !known && strings.Contains(path, ".parameters") {
		for f := range fields {
			if strings.EqualFold(f, key.Value) {
				d.warn(key, join(path, key.Value), "write %s", f)
				key.Value = f
			}
		}
	}
	return key.Value
}

func addFields(fields map[string]reflect.Value, v reflect.Value) {
	for i := range v.NumField() {
		f := v.Type().Field(i)
		name, _, _ := strings.Cut(f.Tag.Get("json"), ",")
		switch {
		case f.Anonymous && name == "":
			addFields(fields, v.Field(i))
		case name != "" && name != "-":
			fields[name] = v.Field(i)
		}
	}
}

func (d *decoder) list(n *yaml.Node, v reflect.Value, path string) {
	if n.Kind != yaml.SequenceNode {
		d.fail(n, path, "is %s: must be a list", kindOf(n))
		return
	}
	v.Set(reflect.MakeSlice(v.Type(), len(n.Content), len(n.Content)))
	for i, item := range n.Content {
		d.value(item, v.Index(i), fmt.Sprintf("%s[%d]", path, i))
	}
}

// strings decodes a mapping into a map of strings.
func (d *decoder) strings(n *yaml.Node, v reflect.Value, path string) {
	if n.Kind != yaml.MappingNode {
		d.fail(n, path, "is %s: must be an object", kindOf(n))
		return
	}
	v.Set(reflect.MakeMap(v.Type()))
	for i := 0; i+1 < len(n.Content); i += 2 {
		item := reflect.New(v.Type().Elem()).Elem()
		d.value(n.Content[i+1], item, join(path, n.Content[i].Value))
		v.SetMapIndex(reflect.ValueOf(n.Content[i].Value), item)
	}
}

// scalar returns a scalar's text.
func (d *decoder) scalar(n *yaml.Node, path, want string) (string, bool) {
	if n.Kind != yaml.ScalarNode {
		d.fail(n, path, "is %s: must be %s", kindOf(n), want)
		return "", false
	}
	return n.Value, true
}

// basic decodes text, numbers and booleans, each only from what is written so.
func (d *decoder) basic(n *yaml.Node, v reflect.Value, path string) {
	switch v.Kind() {
	case reflect.String:
		if s, ok := d.scalar(n, path, "text"); ok {
			if n.Tag != "!!str" {
				d.fail(n, path, "is %s: must be text; put %s in quotes", kindOf(n), clip(s))
				return
			}
			v.SetString(s)
		}
	case reflect.Bool:
		if s, ok := d.scalar(n, path, "true or false"); ok {
			b, err := strconv.ParseBool(strings.ToLower(s))
			if err != nil || n.Tag != "!!bool" {
				d.fail(n, path, "is %s: must be true or false", clip(s))
				return
			}
			v.SetBool(b)
		}
	case reflect.Int, reflect.Int32, reflect.Int64:
		if s, ok := d.scalar(n, path, "a whole number"); ok {
			i, err := strconv.ParseInt(s, 10, v.Type().Bits())
			if err != nil || n.Tag != "!!int" {
				d.fail(n, path, "is %s: must be a whole number that fits in %d bits", clip(s), v.Type().Bits())
				return
			}
			v.SetInt(i)
		}
	case reflect.Float64:
		if s, ok := d.scalar(n, path, "a number"); ok {
			f, err := strconv.ParseFloat(s, 64)
			if err != nil || n.Tag != "!!int" && n.Tag != "!!float" {
				d.fail(n, path, "is %s: must be a number", clip(s))
				return
			}
			v.SetFloat(f)
		}
	default:
		panic("config: no way to decode " + v.Type().String())
	}
}

// plain turns a node into what encoding/json can write.
func (d *decoder) plain(n *yaml.Node, path string) any {
	n, ok := d.enter(n, path)
	if !ok {
		return nil
	}
	d.depth++
	defer func() { d.depth-- }()
	switch n.Kind {
	case yaml.MappingNode:
		m := map[string]any{}
		for i := 0; i+1 < len(n.Content); i += 2 {
			m[n.Content[i].Value] = d.plain(n.Content[i+1], join(path, n.Content[i].Value))
		}
		return m
	case yaml.SequenceNode:
		l := make([]any, len(n.Content))
		for i, item := range n.Content {
			l[i] = d.plain(item, fmt.Sprintf("%s[%d]", path, i))
		}
		return l
	}
	var v any
	if n.Tag == "!!str" || n.Tag == "!!timestamp" {
		return n.Value
	}
	if err := n.Decode(&v); err != nil {
		d.fail(n, path, "%v", err)
		return nil
	}
	return v
}

// kindOf says in words what a node is.
func kindOf(n *yaml.Node) string {
	switch n.Kind {
	case yaml.MappingNode:
		return "an object"
	case yaml.SequenceNode:
		return "a list"
	}
	switch n.Tag {
	case "!!int", "!!float":
		return "a number"
	case "!!bool":
		return "a boolean"
	}
	return "text"
}

func join(path, name string) string {
	if path == "" {
		return clip2(name)
	}
	return path + "." + clip2(name)
}

// clip quotes text from the file, shortened.
func clip(s string) string { return fmt.Sprintf("%.60q", s) }

func clip2(s string) string {
	if len(s) > 60 {
		return s[:60] + "…"
	}
	return s
}

// child is the value of a mapping's key, nil when there is none.
func child(n *yaml.Node, keys ...string) *yaml.Node {
	for _, key := range keys {
		for n != nil && n.Kind == yaml.AliasNode {
			n = n.Alias
		}
		if n == nil || n.Kind != yaml.MappingNode {
			return nil
		}
		i := 0
		for i+1 < len(n.Content) && n.Content[i].Value != key {
			i += 2
		}
		if i+1 >= len(n.Content) {
			return nil
		}
		n = n.Content[i+1]
	}
	return n
}

// item is an element of a list, nil when there is none.
func item(n *yaml.Node, i int) *yaml.Node {
	for n != nil && n.Kind == yaml.AliasNode {
		n = n.Alias
	}
	if n == nil || n.Kind != yaml.SequenceNode || i >= len(n.Content) {
		return nil
	}
	return n.Content[i]
}

// suggest says which of the names was probably meant, or lists them when they
// are few.
func suggest(name string, names []string) string {
	slices.Sort(names)
	best, least := "", max(2, len(name)/3)+1
	for _, n := range names {
		if len(name) > 100 {
			break
		}
		if k := distance(strings.ToLower(name), strings.ToLower(n)); k < least {
			best, least = n, k
		}
	}
	switch {
	case best != "":
		return fmt.Sprintf("; did you mean %q?", best)
	case len(names) == 0:
		return "; none are allowed here"
	case len(names) <= 8:
		return "; must be one of " + strings.Join(names, ", ")
	}
	return ""
}

// distance is the Levenshtein distance of two strings.
func distance(a, b string) int {
	row := make([]int, len(b)+1)
	for j := range row {
		row[j] = j
	}
	for i := 1; i <= len(a); i++ {
		diagonal := row[0]
		row[0] = i
		for j := 1; j <= len(b); j++ {
			cost := diagonal
			if a[i-1] != b[j-1] {
				cost++
			}
			diagonal = row[j]
			row[j] = min(cost, row[j]+1, row[j-1]+1)
		}
	}
	return row[len(b)]
}
