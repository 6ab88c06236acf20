package file

import (
	"slices"
	"strings"

	"go.yaml.in/yaml/v3"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/util/validation"
	inferencev1 "sigs.k8s.io/gateway-api-inference-extension/api/v1"
)

const (
	poolAPIVersion = "inference.networking.k8s.io/v1"
	poolKind       = "InferencePool"
	maxPorts       = 8  // the API's limit of targetPorts
	maxSelector    = 64 // and of matchLabels
	maxModels      = 1024
	maxModelName   = 512
)

// poolObject is an InferencePool and where it stands.
type poolObject struct {
	inferencev1.InferencePool
	node   *yaml.Node // of metadata.name
	models []model
}

type model struct {
	name string
	node *yaml.Node
}

// document reads one YAML document.
func (d *decoder) document(n *yaml.Node) {
	n = deref(n)
	if isNull(n) {
		return
	}
	if n.Kind != yaml.MappingNode {
		d.problem(n, "document", "must be an %s or a mapping with endpoints, is %s", poolKind, kindOf(n))
		return
	}
	for i := 0; i+1 < len(n.Content); i += 2 {
		if k := n.Content[i].Value; k == "kind" || k == "apiVersion" {
			d.object(n)
			return
		}
	}
	d.endpointList(n)
}

// object reads a document with an apiVersion and a kind.
func (d *decoder) object(n *yaml.Node) {
	var kind, version *yaml.Node
	for i := 0; i+1 < len(n.Content); i += 2 {
		switch n.Content[i].Value {
		case "kind":
			kind = deref(n.Content[i+1])
		case "apiVersion":
			version = deref(n.Content[i+1])
		}
	}
	switch {
	case kind == nil:
		d.problem(n, "kind", "is missing; write kind: %s", poolKind)
	case version == nil:
		d.problem(n, "apiVersion", "is missing; write apiVersion: %s", poolAPIVersion)
	case kind.Value == "EndpointPickerConfig":
		d.problem(kind, "kind", "%q is not read from this file: give it with --config-file", kind.Value)
	case kind.Value != poolKind:
		d.problem(kind, "kind", "%q is not read from this file; it may have %s objects and documents with endpoints", shorten(kind.Value), poolKind)
	case version.Value != poolAPIVersion:
		d.problem(version, "apiVersion", "%q is not supported; write %s", shorten(version.Value), poolAPIVersion)
	case len(d.pools) == MaxPools:
		d.problem(n, "document", "is one %s too many; at most %d are allowed", poolKind, MaxPools)
	default:
		d.inferencePool(n)
	}
}

func (d *decoder) inferencePool(n *yaml.Node) {
	p := poolObject{node: n, InferencePool: inferencev1.InferencePool{
		TypeMeta: metav1.TypeMeta{APIVersion: poolAPIVersion, Kind: poolKind},
	}}
	// A status is there in what kubectl prints. It says nothing here.
	top := d.fields(n, "", "apiVersion", "kind", "metadata", "spec", "status")
	if m := top["metadata"]; m != nil {
		d.metadata(m, &p)
	} else {
		d.problem(n, "metadata.name", "is missing; name the pool")
	}
	if s := top["spec"]; s != nil {
		d.spec(s, &p)
	} else {
		d.problem(n, "spec", "is missing; it says which endpoints the pool selects")
	}
	for i := range d.pools {
		if o := &d.pools[i]; p.Name != "" && o.Name == p.Name && o.Namespace == p.Namespace {
			d.problem(p.node, "metadata.name", "%s/%s is there twice, first in line %d; names must be unique in a namespace", p.Namespace, p.Name, o.node.Line)
		}
	}
	d.pools = append(d.pools, p)
}

func (d *decoder) metadata(n *yaml.Node, p *poolObject) {
	// Beyond name, namespace and annotations: what kubectl prints.
	m := d.fields(n, "metadata", "name", "namespace", "annotations", "labels", "uid", "resourceVersion", "generation",
		"creationTimestamp", "managedFields", "ownerReferences", "finalizers", "generateName", "selfLink",
		"deletionTimestamp", "deletionGracePeriodSeconds")
	if m == nil {
		return
	}
	if v := m["name"]; v == nil {
		d.problem(n, "metadata.name", "is missing; name the pool")
	} else if s, ok := d.text(v, "metadata.name"); ok {
		if p.node = v; len(validation.IsDNS1123Subdomain(s)) > 0 {
			d.problem(v, "metadata.name", "%q is not a valid name; use lower-case letters, digits, - and .", shorten(s))
		}
		p.Name = s
	}
	p.Namespace = d.namespace(m["namespace"], "metadata.namespace")
	if v := m["annotations"]; v != nil {
		d.annotations(v, p)
	}
}

// namespace reads an optional namespace.
func (d *decoder) namespace(n *yaml.Node, path string) string {
	if n == nil {
		return DefaultNamespace
	}
	s, ok := d.text(n, path)
	if !ok {
		return DefaultNamespace
	}
	if len(validation.IsDNS1123Label(s)) > 0 {
		d.problem(n, path, "%q is not a valid namespace; use lower-case letters, digits and -", shorten(s))
	}
	return s
}

// annotations reads the models. Annotations of others are none of our business.
func (d *decoder) annotations(n *yaml.Node, p *poolObject) {
	prefix, _, _ := strings.Cut(ModelsAnnotation, "/")
	all := d.labels(n, "metadata.annotations", 256)
	for _, key := range sortedKeys(all) {
		path := "metadata.annotations." + shorten(key)
		switch {
		case key == ModelsAnnotation:
			d.models(all[key], path, p)
		case strings.HasPrefix(key, prefix+"/"):
			d.problem(all[key], path, "is not a known annotation; known is %s", ModelsAnnotation)
		}
	}
}

func (d *decoder) models(n *yaml.Node, path string, p *poolObject) {
	if strings.Count(n.Value, ",") >= maxModels {
		d.problem(n, path, "has more than %d models", maxModels)
		return
	}
	seen := map[string]bool{}
	for s := range strings.SplitSeq(n.Value, ",") {
		s = strings.TrimSpace(s)
		switch {
		case s == "":
			d.problem(n, path, "has an empty model name; write names separated by commas, as in \"llama-3,llama-3-*\"")
			return
		case len(s) > maxModelName:
			d.problem(n, path, "has a model name of %d bytes; at most %d are allowed", len(s), maxModelName)
		case strings.Contains(strings.TrimSuffix(s, "*"), "*"):
			d.problem(n, path, "model %q has a * that is not at its end; write the start of the names followed by *", shorten(s))
		case seen[s]:
			d.problem(n, path, "model %q is there twice; remove one", shorten(s))
		default:
			seen[s] = true
			p.models = append(p.models, model{s, n})
		}
	}
}

func (d *decoder) spec(n *yaml.Node, p *poolObject) {
	s := d.fields(n, "spec", "selector", "targetPorts", "appProtocol", "endpointPickerRef")
	if s == nil {
		return
	}
	d.selector(n, s["selector"], p)
	d.targetPorts(n, s["targetPorts"], p)
	p.Spec.AppProtocol = inferencev1.AppProtocolHTTP
	if v := s["appProtocol"]; v != nil {
		a := inferencev1.AppProtocol(v.Value)
		if a != inferencev1.AppProtocolHTTP && a != inferencev1.AppProtocolH2C {
			d.problem(v, "spec.appProtocol", "%q is not supported; write %s or %s", shorten(v.Value), inferencev1.AppProtocolHTTP, inferencev1.AppProtocolH2C)
		}
		p.Spec.AppProtocol = a
	}
	if v := s["endpointPickerRef"]; v != nil && !isNull(v) {
		d.pickerRef(v, p)
	}
}

func (d *decoder) selector(spec, n *yaml.Node, p *poolObject) {
	if n == nil {
		d.problem(spec, "spec.selector", "is missing; write selector: {matchLabels: {app: NAME}}")
		return
	}
	labels := d.fields(n, "spec.selector", "matchLabels")
	const path = "spec.selector.matchLabels"
	m := labels["matchLabels"]
	if m == nil {
		if labels != nil {
			d.problem(n, path, "is missing; write at least one label, as in {app: NAME}")
		}
		return
	}
	before := len(d.problems) + d.omitted
	all := d.labels(m, path, maxSelector)
	if len(all) == 0 && before == len(d.problems)+d.omitted {
		d.problem(m, path, "is empty; write at least one label, as in {app: NAME}")
	}
	p.Spec.Selector.MatchLabels = make(map[inferencev1.LabelKey]inferencev1.LabelValue, len(all))
	for _, key := range sortedKeys(all) {
		v := all[key]
		if len(validation.IsQualifiedName(key)) > 0 {
			d.problem(v, join(path, shorten(key)), "is not a valid label name; use letters, digits, -, _ and ., after an optional domain and /")
		}
		if len(validation.IsValidLabelValue(v.Value)) > 0 {
			d.problem(v, join(path, shorten(key)), "%q is not a valid label value; use up to 63 letters, digits, -, _ and .", shorten(v.Value))
		}
		p.Spec.Selector.MatchLabels[inferencev1.LabelKey(key)] = inferencev1.LabelValue(v.Value)
	}
}

func (d *decoder) targetPorts(spec, n *yaml.Node, p *poolObject) {
	const path = "spec.targetPorts"
	if n == nil {
		d.problem(spec, path, "is missing; write targetPorts: [{number: 8000}]")
		return
	}
	before := len(d.problems) + d.omitted
	items := d.items(n, path, maxPorts)
	if len(items) == 0 && before == len(d.problems)+d.omitted {
		d.problem(n, path, "is empty; write at least one port, as in [{number: 8000}]")
	}
	for i, item := range items {
		at := index(path, i)
		f := d.fields(item, at, "number")
		if f == nil {
			continue
		}
		v := f["number"]
		if v == nil {
			d.problem(item, at+".number", "is missing; write the port's number")
			continue
		}
		number, ok := d.port(v, at+".number", false)
		if !ok {
			continue
		}
		port := inferencev1.Port{Number: inferencev1.PortNumber(number)}
		if slices.Contains(p.Spec.TargetPorts, port) {
			d.problem(v, at+".number", "%d is there twice; every port is an endpoint of its own", number)
			continue
		}
		p.Spec.TargetPorts = append(p.Spec.TargetPorts, port)
	}
}

func (d *decoder) pickerRef(n *yaml.Node, p *poolObject) {
	const path = "spec.endpointPickerRef"
	f := d.fields(n, path, "group", "kind", "name", "port", "failureMode")
	if f == nil {
		return
	}
	ref := &inferencev1.EndpointPickerRef{Kind: "Service", FailureMode: inferencev1.EndpointPickerFailClose}
	p.Spec.EndpointPickerRef = ref
	if v := f["group"]; v != nil {
		if s, ok := d.text(v, path+".group"); ok {
			ref.Group = new(inferencev1.Group(s))
			if s != "" && len(validation.IsDNS1123Subdomain(s)) > 0 {
				d.problem(v, path+".group", "%q is not a valid API group; leave it out for a Service", shorten(s))
			}
		}
	}
	if v := f["kind"]; v != nil {
		if s, ok := d.text(v, path+".kind"); ok {
			if ref.Kind = inferencev1.Kind(s); s == "" || s == "ExternalName" {
				d.problem(v, path+".kind", "%q is not a valid kind; write Service, or leave it out", s)
			}
		}
	}
	if v := f["name"]; v == nil {
		d.problem(n, path+".name", "is missing; name the picker's Service, as in name: fairway")
	} else if s, ok := d.text(v, path+".name"); ok {
		if ref.Name = inferencev1.ObjectName(s); s == "" || len(s) > 253 {
			d.problem(v, path+".name", "must have 1 to 253 characters; name the picker's Service, as in name: fairway")
		}
	}
	if v := f["port"]; v != nil {
		if pf := d.fields(v, path+".port", "number"); pf["number"] != nil {
			number, _ := d.port(pf["number"], path+".port.number", false)
			ref.Port = &inferencev1.Port{Number: inferencev1.PortNumber(number)}
		} else if pf != nil {
			d.problem(v, path+".port.number", "is missing; write the picker's gRPC port, as in 9002")
		}
	} else if ref.Kind == "Service" {
		d.problem(n, path+".port", "is missing; write the picker's gRPC port, as in port: {number: 9002}")
	}
	if v := f["failureMode"]; v != nil {
		mode := inferencev1.EndpointPickerFailureMode(v.Value)
		if mode != inferencev1.EndpointPickerFailOpen && mode != inferencev1.EndpointPickerFailClose {
			d.problem(v, path+".failureMode", "%q is not supported; write %s or %s", shorten(v.Value), inferencev1.EndpointPickerFailOpen, inferencev1.EndpointPickerFailClose)
		}
		ref.FailureMode = mode
	}
}
