package convert

import (
	"bytes"
	"fmt"
	"strings"

	"sigs.k8s.io/yaml"

	"github.com/fairway-ai/fairway/api/v1alpha1"
)

// Kinds that are read or written.
const (
	kindRoute          = "AIGatewayRoute"
	kindServiceBackend = "AIServiceBackend"
	kindSecurityPolicy = "BackendSecurityPolicy"
	kindMCPRoute       = "MCPRoute"
	kindQuotaPolicy    = "QuotaPolicy"
	kindGatewayConfig  = "GatewayConfig"
	kindEGBackend      = "Backend"
	kindTrafficPolicy  = "BackendTrafficPolicy"
	kindTLSPolicy      = "BackendTLSPolicy"
	kindPool           = "InferencePool"
	kindService        = "Service"
	kindAIBackend      = "AIBackend"
	kindAIRoute        = "AIRoute"

	groupAIGateway    = "aigateway.envoyproxy.io"
	groupEnvoyGateway = "gateway.envoyproxy.io"
	groupGateway      = "gateway.networking.k8s.io"
	groupPool         = "inference.networking.k8s.io"
	groupFairway      = v1alpha1.GroupName
)

// known are the kinds that are converted, by group. All others are left as they are.
var known = map[string][]string{
	groupAIGateway:    {kindRoute, kindServiceBackend, kindSecurityPolicy, kindMCPRoute, kindQuotaPolicy, kindGatewayConfig},
	groupEnvoyGateway: {kindEGBackend, kindTrafficPolicy},
	groupGateway:      {kindTLSPolicy},
}

// object is one of the input.
type object struct {
	file string
	line int
	// text is its YAML, where it is a document of its own.
	text []byte
	// group, version and kind; kind is empty when it is none that is converted.
	group, version, kind, named string
	namespace, name             string
	meta                        metadata
	root                        *node
	raw                         map[string]any
	// used says that something was made of it, so that its leftovers matter.
	used bool
}

// title is how reports call the object.
func (x *object) title() string {
	name := x.name
	if x.namespace != "" {
		name = x.namespace + "/" + x.name
	}
	return x.named + " " + shorten(name)
}

// metadata is what is kept of an object's.
type metadata struct {
	Name        string            `json:"name"`
	Namespace   string            `json:"namespace,omitempty"`
	Labels      map[string]string `json:"labels,omitempty"`
	Annotations map[string]string `json:"annotations,omitempty"`
}

// read takes the objects out of a source.
func (c *converter) read(s Source) error {
	data, line := s.Data, 1
	for len(data) > 0 {
		doc, rest := cut(data)
		at := line + leadingLines(doc)
		line += bytes.Count(data[:len(data)-len(rest)], []byte("\n"))
		data = rest
		if len(bytes.TrimSpace(doc)) == 0 {
			continue
		}
		var m map[string]any
		if err := yaml.Unmarshal(doc, &m); err != nil {
			c.findings = append(c.findings, Finding{File: s.Name, Line: at, Message: "is not a YAML object: " + firstLine(err), Lost: true})
			if len(c.findings) > maxFindings {
				return fmt.Errorf("%s: too many documents are not YAML", s.Name)
			}
			continue
		}
		if len(m) == 0 {
			continue
		}
		items, isList := m["items"].([]any)
		if kind, _ := m["kind"].(string); !isList || !strings.HasSuffix(kind, "List") {
			if err := c.add(s.Name, at, doc, m); err != nil {
				return err
			}
			continue
		}
		for _, item := range items {
			if m, ok := item.(map[string]any); ok {
				if err := c.add(s.Name, at, nil, m); err != nil {
					return err
				}
			}
		}
	}
	return nil
}

// cut splits off the first document.
func cut(data []byte) (doc, rest []byte) {
	for at := 0; at < len(data); {
		end := len(data)
		if i := bytes.IndexByte(data[at:], '\n'); i >= 0 {
			end = at + i + 1
		}
		l := data[at:end]
		if bytes.HasPrefix(l, []byte("---")) && (len(l) == 3 || strings.ContainsRune(" \t\r\n", rune(l[3]))) {
			return data[:at], data[end:]
		}
		at = end
	}
	return data, nil
}

// leadingLines counts blank lines and comments before the document begins.
func leadingLines(doc []byte) (n int) {
	for l := range bytes.Lines(doc) {
		if t := bytes.TrimSpace(l); len(t) > 0 && t[0] != '#' {
			return n
		}
		n++
	}
	return n
}

func (c *converter) add(file string, line int, text []byte, m map[string]any) error {
	if len(c.objects) >= maxObjects {
		return fmt.Errorf("%s: there are more than %d objects", file, maxObjects)
	}
	x := &object{file: file, line: line, text: text, raw: m}
	apiVersion, _ := m["apiVersion"].(string)
	kind, _ := m["kind"].(string)
	group, version, found := strings.Cut(apiVersion, "/")
	if !found {
		group, version = "", apiVersion
	}
	x.group, x.version, x.named = group, version, shorten(kind)
	for _, k := range known[group] {
		if k == kind {
			x.kind = kind
		}
	}
	md, _ := m["metadata"].(map[string]any)
	x.name, _ = md["name"].(string)
	x.namespace, _ = md["namespace"].(string)
	x.meta = metadata{x.name, x.namespace, kept(md["labels"]), kept(md["annotations"])}
	spec, _ := m["spec"].(map[string]any)
	x.root = &node{c: c, x: x, path: "spec", m: spec, read: map[string]bool{}}
	c.objects = append(c.objects, x)
	if x.kind == "" {
		return nil
	}
	k := key{x.kind, x.namespace, x.name}
	switch {
	case x.name == "":
		c.lost(x, "metadata.name", "an object without a name cannot be converted")
		x.kind = ""
	case c.byName[k] != nil:
		c.lost(x, "", "is there twice; the first one, in %s:%d, was taken", c.byName[k].file, c.byName[k].line)
		x.kind = ""
	default:
		c.byName[k] = x
	}
	return nil
}

// kept are the labels or annotations that mean something elsewhere too.
func kept(v any) map[string]string {
	all, _ := v.(map[string]any)
	out := map[string]string{}
	for k, v := range all {
		s, ok := v.(string)
		if ok && k != "kubectl.kubernetes.io/last-applied-configuration" && !strings.Contains(k, groupAIGateway) {
			out[k] = s
		}
	}
	if len(out) == 0 {
		return nil
	}
	return out
}

// shorten makes what a file says fit for a line of a report.
func shorten(s string) string {
	s = strings.Map(func(r rune) rune {
		if r < ' ' || r == 0x7f {
			return '?'
		}
		return r
	}, strings.ToValidUTF8(s, "?"))
	if r := []rune(s); len(r) > 100 {
		s = string(r[:100]) + "…"
	}
	return s
}

func firstLine(err error) string {
	s, _, _ := strings.Cut(err.Error(), "\n")
	return shorten(s)
}
