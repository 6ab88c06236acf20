package airoute

import (
	"reflect"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"time"

	"go.yaml.in/yaml/v3"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/util/validation"
)

const maxDepth = 32

// walker puts YAML into Go values and knows the place of every mistake.
type walker struct {
	d      *decoder
	before int
	// substituted are nodes with the value of a variable, which no error may show.
	substituted map[*yaml.Node]bool
	seen        map[*yaml.Node]bool
}

func (w *walker) line(n *yaml.Node) int { return w.before + n.Line }

func (w *walker) problem(n *yaml.Node, path, format string, args ...any) {
	if path == "" {
		path = "document"
	}
	w.d.problem(w.line(n), path, format, args...)
}

var variable = regexp.MustCompile(`\$\$|\$\{([A-Za-z_][A-Za-z0-9_]*)(:-([^}]*))?\}`)

// substitute replaces variables in all strings below n.
func (w *walker) substitute(n *yaml.Node, path string, depth int) {
	if depth > maxDepth || w.seen[n] {
		return
	}
	w.seen[n] = true
	switch n.Kind {
	case yaml.AliasNode:
		if n.Alias != nil {
			w.substitute(n.Alias, path, depth+1)
		}
	case yaml.MappingNode:
		for i := 0; i+1 < len(n.Content); i += 2 {
			w.substitute(n.Content[i+1], join(path, shorten(n.Content[i].Value)), depth+1)
		}
	case yaml.SequenceNode:
		for i, c := range n.Content {
			w.substitute(c, path+"["+strconv.Itoa(i)+"]", depth+1)
		}
	case yaml.ScalarNode:
		if n.ShortTag() != "!!str" || !strings.Contains(n.Value, "$") {
			return
		}
		n.Value = variable.ReplaceAllStringFunc(n.Value, func(s string) string {
			if s == "$$" {
				return "$"
			}
			m := variable.FindStringSubmatch(s)
			w.substituted[n] = true
			if v, ok := w.d.lookup(m[1]); ok && (v != "" || m[2] == "") {
				return v
			}
			if m[2] == "" {
				w.problem(n, path, "the environment variable %s is not set; set it, or write ${%s:-default}", m[1], m[1])
			}
			return m[3]
		})
	}
}

// metadata is what is read of an object's metadata; the rest is what API servers write.
type metadata struct {
	Name              string            `json:"name"`
	Namespace         string            `json:"namespace"`
	Labels            map[string]string `json:"labels"`
	Annotations       map[string]string `json:"annotations"`
	UID               string            `json:"uid"`
	ResourceVersion   string            `json:"resourceVersion"`
	CreationTimestamp metav1.Time       `json:"creationTimestamp"`
	Generation        int64             `json:"generation"`
}

// object reads an object of ours; its status says nothing here.
func (w *walker) object(root *yaml.Node, name, namespace *string, spec any) {
	for i := 0; i+1 < len(root.Content); i += 2 {
		if k := root.Content[i]; !slices.Contains([]string{"apiVersion", "kind", "metadata", "spec", "status"}, k.Value) {
			w.unknown(k, k.Value, "apiVersion", "kind", "metadata", "spec")
		}
	}
	var m metadata
	if n := child(root, "metadata"); n != nil {
		w.into(n, reflect.ValueOf(&m).Elem(), "metadata", 0)
	}
	var ok bool
	if *namespace, ok = w.name(root, &m); ok {
		*name = m.Name
	}
	if n := child(root, "spec"); n != nil {
		w.into(n, reflect.ValueOf(spec).Elem(), "spec", 0)
		return
	}
	w.problem(root, "spec", "is missing")
}

// name checks an object's name and returns its namespace.
func (w *walker) name(root *yaml.Node, m *metadata) (namespace string, ok bool) {
	if len(validation.IsDNS1123Subdomain(m.Name)) > 0 {
		w.problem(root, "metadata.name", "must be a name of lower case letters, digits, - and .")
		return "", false
	}
	if m.Namespace == "" {
		return defaultNamespace, true
	}
	if len(validation.IsDNS1123Label(m.Namespace)) > 0 {
		w.problem(root, "metadata.namespace", "must be a name of lower case letters, digits and -")
		return "", false
	}
	return m.Namespace, true
}

// value reads n into what p points to.
func (w *walker) value(n *yaml.Node, p any) { w.into(n, reflect.ValueOf(p).Elem(), "", 0) }

var timeType = reflect.TypeFor[metav1.Time]()

func (w *walker) into(n *yaml.Node, v reflect.Value, path string, depth int) {
	n = follow(n)
	if depth > maxDepth {
		w.problem(n, path, "is nested too deep")
		return
	}
	if n.Kind == yaml.ScalarNode && n.ShortTag() == "!!null" {
		return
	}
	if v.Type() == timeType {
		t, err := time.Parse(time.RFC3339, n.Value)
		if err != nil {
			w.problem(n, path, "must be a time as in 2026-01-31T12:00:00Z")
			return
		}
		v.Set(reflect.ValueOf(metav1.NewTime(t)))
		return
	}
	switch v.Kind() {
	case reflect.Pointer:
		v.Set(reflect.New(v.Type().Elem()))
		w.into(n, v.Elem(), path, depth+1)
	case reflect.Struct:
		w.fields(n, v, path, depth)
	case reflect.Slice:
		if n.Kind != yaml.SequenceNode {
			w.problem(n, path, "must be a list")
			return
		}
		if len(n.Content) > maxObjects {
			w.problem(n, path, "has more than %d elements", maxObjects)
			return
		}
		s := reflect.MakeSlice(v.Type(), len(n.Content), len(n.Content))
		for i, c := range n.Content {
			w.into(c, s.Index(i), path+"["+strconv.Itoa(i)+"]", depth+1)
		}
		v.Set(s)
	case reflect.Map:
		w.entries(n, v, path, depth)
	default:
		w.scalar(n, v, path)
	}
}

func (w *walker) entries(n *yaml.Node, v reflect.Value, path string, depth int) {
	if n.Kind != yaml.MappingNode {
		w.problem(n, path, "must be a mapping of names to strings")
		return
	}
	m := reflect.MakeMap(v.Type())
	for i := 0; i+1 < len(n.Content); i += 2 {
		e := reflect.New(v.Type().Elem()).Elem()
		key := n.Content[i].Value
		w.into(n.Content[i+1], e, join(path, shorten(key)), depth+1)
		m.SetMapIndex(reflect.ValueOf(key), e)
	}
	v.Set(m)
}

func (w *walker) fields(n *yaml.Node, v reflect.Value, path string, depth int) {
	if n.Kind != yaml.MappingNode {
		w.problem(n, path, "must be a mapping")
		return
	}
	at := map[string]int{}
	var names []string
	for i := range v.NumField() {
		name, _, _ := strings.Cut(v.Type().Field(i).Tag.Get("json"), ",")
		if name != "" {
			at[name] = i
			names = append(names, name)
		}
	}
	done := map[string]bool{}
	for i := 0; i+1 < len(n.Content); i += 2 {
		k := n.Content[i]
		field, known := at[k.Value]
		switch {
		case !known:
			w.unknown(k, join(path, shorten(k.Value)), names...)
		case done[k.Value]:
			w.problem(k, join(path, k.Value), "is there twice; remove one")
		default:
			done[k.Value] = true
			w.into(n.Content[i+1], v.Field(field), join(path, k.Value), depth+1)
		}
	}
}

func (w *walker) unknown(k *yaml.Node, path string, known ...string) {
	best, least := "", 3
	for _, name := range known {
		if n := distance(k.Value, name); n < least {
			best, least = name, n
		}
	}
	if best != "" {
		w.problem(k, path, "is not a known field; did you mean %s?", best)
		return
	}
	w.problem(k, path, "is not a known field; known are %s", strings.Join(known, ", "))
}

// scalar never shows a value: it may be a secret.
func (w *walker) scalar(n *yaml.Node, v reflect.Value, path string) {
	tag := n.ShortTag()
	switch {
	case n.Kind != yaml.ScalarNode:
		w.problem(n, path, "must be a single value")
	case v.Kind() == reflect.String:
		if tag != "!!str" && !w.substituted[n] {
			w.problem(n, path, "must be a string; write it in quotes")
			return
		}
		v.SetString(n.Value)
	case v.Kind() == reflect.Bool:
		b, err := strconv.ParseBool(n.Value)
		if tag != "!!bool" && !w.substituted[n] || err != nil {
			w.problem(n, path, "must be true or false")
			return
		}
		v.SetBool(b)
	case v.CanInt():
		i, err := strconv.ParseInt(n.Value, 10, v.Type().Bits())
		if tag != "!!int" && !w.substituted[n] || err != nil {
			w.problem(n, path, "must be a whole number")
			return
		}
		v.SetInt(i)
	default:
		w.problem(n, path, "cannot be read from a file")
	}
}

func join(path, key string) string {
	if path == "" {
		return key
	}
	return path + "." + key
}

// lineOf is the line of a field, or of the nearest that is there.
func lineOf(n *yaml.Node, field string) int {
	line := n.Line
	for _, step := range strings.FieldsFunc(field, func(r rune) bool { return r == '.' || r == '[' || r == ']' }) {
		n = follow(n)
		if i, err := strconv.Atoi(step); err == nil && n.Kind == yaml.SequenceNode && i < len(n.Content) {
			n = n.Content[i]
		} else if n = child(n, step); n == nil {
			break
		}
		line = n.Line
	}
	return line
}

// distance counts the letters to change to make one of a and b the other, for names of
// a sensible length.
func distance(a, b string) int {
	if len(a) > 64 || len(b) > 64 {
		return 64
	}
	row := make([]int, len(b)+1)
	for j := range row {
		row[j] = j
	}
	for i := range len(a) {
		diagonal := row[0]
		row[0] = i + 1
		for j := range len(b) {
			cost := diagonal
			if a[i] != b[j] {
				cost++
			}
			diagonal = row[j+1]
			row[j+1] = min(cost, row[j]+1, row[j+1]+1)
		}
	}
	return row[len(b)]
}
