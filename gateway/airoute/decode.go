package airoute

import (
	"bytes"
	"encoding/base64"
	"errors"
	"fmt"
	"slices"

	"go.yaml.in/yaml/v3"

	"github.com/fairway-ai/fairway/api/v1alpha1"
)

const (
	fairwayVersion = "fairway.dev/v1alpha1"
	kindRoute      = "AIRoute"
	kindBackend    = "AIBackend"
	kindSecret     = "Secret"

	defaultNamespace = "default"
	maxObjects       = 1024
	maxProblems      = 100
)

// Objects are what a file has of AIRoutes, AIBackends and Secrets.
type Objects struct {
	Secrets  Secrets
	routes   []routeObject
	backends []backendObject
}

type routeObject struct {
	v1alpha1.AIRoute
	source
}

type backendObject struct {
	v1alpha1.AIBackend
	source
}

// Decode takes AIRoute, AIBackend and Secret objects out of a YAML file of several
// documents. What is left has as many lines as before, so that errors about it name the
// right ones. In the objects' strings, ${NAME} and ${NAME:-default} are replaced by
// what lookup says. It returns nil objects when there are none. The error has one line
// per mistake, file:line: field: what is wrong; what was put in for a variable is in
// none of them.
func Decode(name string, data []byte, lookup func(string) (string, bool)) (rest []byte, o *Objects, err error) {
	d := &decoder{file: name, lookup: lookup}
	rest = make([]byte, 0, len(data))
	line := 0 // lines before the document
	for len(data) > 0 {
		doc := firstDocument(data)
		data = data[len(doc):]
		if d.document(doc, line) {
			for range bytes.Count(doc, []byte("\n")) {
				rest = append(rest, '\n')
			}
			// The next document's separator must stay one.
		} else {
			rest = append(rest, doc...)
		}
		line += bytes.Count(doc, []byte("\n"))
	}
	if d.found == 0 {
		return rest, nil, nil
	}
	return rest, &d.objects, d.err()
}

// firstDocument is the document at the start of data with its own separator, up to the
// next one.
func firstDocument(data []byte) []byte {
	for at := 0; ; {
		n := bytes.IndexByte(data[at:], '\n')
		if n < 0 {
			return data
		}
		at += n + 1
		if separator(data[at:]) {
			return data[:at]
		}
	}
}

func separator(line []byte) bool {
	return bytes.HasPrefix(line, []byte("---")) && (len(line) == 3 || bytes.IndexByte([]byte(" \t\r\n"), line[3]) >= 0)
}

type decoder struct {
	file    string
	lookup  func(string) (string, bool)
	objects Objects
	found   int
	errs    []error
	omitted int
}

func (d *decoder) err() error {
	all := d.errs
	if d.omitted > 0 {
		all = append(slices.Clip(all), fmt.Errorf("%s: %d more mistakes", d.file, d.omitted))
	}
	return errors.Join(all...)
}

func (d *decoder) problem(line int, field, format string, args ...any) {
	if len(d.errs) == maxProblems {
		d.omitted++
		return
	}
	d.errs = append(d.errs, fmt.Errorf("%s:%d: %s: %s", d.file, line, field, fmt.Sprintf(format, args...)))
}

// document decodes a document of ours and says whether it is one. What is not YAML is
// left to those who read the rest.
func (d *decoder) document(doc []byte, before int) bool {
	if !bytes.Contains(doc, []byte(kindRoute)) && !bytes.Contains(doc, []byte(kindBackend)) && !bytes.Contains(doc, []byte(kindSecret)) {
		return false
	}
	var n yaml.Node
	if yaml.Unmarshal(doc, &n) != nil || len(n.Content) == 0 || n.Content[0].Kind != yaml.MappingNode {
		return false
	}
	root := n.Content[0]
	kind, version := child(root, "kind"), child(root, "apiVersion")
	if kind == nil || !slices.Contains([]string{kindRoute, kindBackend, kindSecret}, kind.Value) {
		return false
	}
	d.found++
	src := source{file: d.file, root: root, before: before}
	want := fairwayVersion
	if kind.Value == kindSecret {
		want = "v1"
	}
	switch {
	case d.found > maxObjects:
		if d.found == maxObjects+1 {
			d.problem(before+root.Line, "document", "there are more than %d objects", maxObjects)
		}
		return true
	case version == nil || version.Value != want:
		d.problem(before+root.Line, "apiVersion", "must be %s for an %s", want, kind.Value)
		return true
	}
	w := &walker{d: d, before: before, substituted: map[*yaml.Node]bool{}, seen: map[*yaml.Node]bool{}}
	w.substitute(root, "", 0)
	mistakes := len(d.errs) + d.omitted
	switch kind.Value {
	case kindRoute:
		x := routeObject{source: src}
		w.object(root, &x.Name, &x.Namespace, &x.Spec)
		if mistakes == len(d.errs)+d.omitted {
			d.objects.routes = append(d.objects.routes, x)
		}
	case kindBackend:
		x := backendObject{source: src}
		w.object(root, &x.Name, &x.Namespace, &x.Spec)
		if mistakes == len(d.errs)+d.omitted {
			d.objects.backends = append(d.objects.backends, x)
		}
	default:
		d.secret(w, root)
	}
	return true
}

// secretObject is what is read of a Secret.
type secretObject struct {
	APIVersion string            `json:"apiVersion"`
	Kind       string            `json:"kind"`
	Metadata   metadata          `json:"metadata"`
	Type       string            `json:"type"`
	Immutable  bool              `json:"immutable"`
	Data       map[string]string `json:"data"`
	StringData map[string]string `json:"stringData"`
}

func (d *decoder) secret(w *walker, root *yaml.Node) {
	var s secretObject
	w.value(root, &s)
	namespace, ok := w.name(root, &s.Metadata)
	if !ok {
		return
	}
	entries := map[string][]byte{}
	for k, v := range s.Data {
		b, err := base64.StdEncoding.DecodeString(v)
		if err != nil {
			d.problem(w.line(root), "data."+shorten(k), "is not base64; write plain text under stringData")
			continue
		}
		entries[k] = b
	}
	for k, v := range s.StringData {
		entries[k] = []byte(v)
	}
	if !d.objects.Secrets.add(namespace, s.Metadata.Name, entries) {
		d.problem(w.line(root), "metadata.name", "Secret %s/%s is there twice", namespace, shorten(s.Metadata.Name))
	}
}

// source is where an object stands.
type source struct {
	file   string
	root   *yaml.Node
	before int
}

// errorf is a mistake in a field, given as "spec.rules[0].name".
func (s source) errorf(field, format string, args ...any) error {
	return fmt.Errorf("%s:%d: %s: %s", s.file, s.before+lineOf(s.root, field), field, fmt.Sprintf(format, args...))
}

// child is the value of a mapping's key, nil when there is none.
func child(n *yaml.Node, key string) *yaml.Node {
	n = follow(n)
	if n.Kind != yaml.MappingNode {
		return nil
	}
	for i := 0; i+1 < len(n.Content); i += 2 {
		if n.Content[i].Value == key {
			return follow(n.Content[i+1])
		}
	}
	return nil
}

// follow follows an alias.
func follow(n *yaml.Node) *yaml.Node {
	for range 8 {
		if n.Kind != yaml.AliasNode || n.Alias == nil {
			break
		}
		n = n.Alias
	}
	return n
}

// shorten keeps a hostile name from filling an error.
func shorten(s string) string {
	if len(s) > 80 {
		return s[:80] + "…"
	}
	return s
}
