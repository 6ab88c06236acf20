package convert

import (
	"cmp"
	"fmt"
	"slices"

	"github.com/fairway-ai/fairway/api/v1alpha1"
)

// Limits of the input.
const (
	// MaxInput is how long all sources may be together, in bytes.
	MaxInput = 16 << 20
	// maxObjects bounds the objects, maxFindings the report.
	maxObjects  = 10_000
	maxFindings = 10_000
)

// Source is YAML, and where it comes from.
type Source struct {
	Name string
	Data []byte
}

// Options change what is written.
type Options struct {
	// Passthrough also writes objects of other kinds, as they were.
	Passthrough bool
}

// Result is what became of the sources.
type Result struct {
	// YAML has the objects, to be applied; it is empty when there are none.
	YAML []byte
	// Routes and Backends count the AIRoutes and AIBackends in it.
	Routes, Backends int
	// Findings are what is not as it was, in the order of the sources.
	Findings []Finding
}

// Lost says whether something could not be carried over.
func (r *Result) Lost() bool {
	return slices.ContainsFunc(r.Findings, func(f Finding) bool { return f.Lost })
}

// Finding is something that is not as it was.
type Finding struct {
	// File and Line are where the object begins.
	File string
	Line int
	// Object is "Kind namespace/name", Path the field in it; "" for the object itself.
	Object, Path string
	// Message says what became of it and what to do instead.
	Message string
	// Lost says that something does not work as before until somebody does that; else
	// it was carried over, and is worth a look.
	Lost bool
}

// String is the finding on one line.
func (f Finding) String() string {
	where := fmt.Sprintf("%s:%d: ", f.File, f.Line)
	if f.Object != "" {
		where += f.Object + ": "
	}
	if f.Path != "" {
		where += f.Path + ": "
	}
	what := "check: "
	if f.Lost {
		what = "not carried over: "
	}
	return where + what + f.Message
}

// converter is one conversion.
type converter struct {
	objects []*object
	byName  map[key]*object
	// routes and backends are what was made, in order.
	routes   []output
	backends []output
	taken    map[key]bool
	grants   map[grant]map[string]bool
	// policies are BackendSecurityPolicies by their target, tls BackendTLSPolicies.
	policies map[key]*object
	tls      map[key]*object
	// secured are AIBackends that stand for InferencePools which need credentials.
	secured  map[key]string
	findings []Finding
	found    map[Finding]bool
	dropped  int
}

// key names an object. The namespace is empty where the input gives none.
type key struct{ kind, namespace, name string }

// output is an object that was made.
type output struct {
	meta metadata
	kind string
	spec any
}

// Convert converts all sources together, for objects of one name those of another. The
// error is about input as a whole: too much of it.
func Convert(sources []Source, o Options) (*Result, error) {
	c := &converter{
		byName: map[key]*object{}, taken: map[key]bool{}, grants: map[grant]map[string]bool{}, found: map[Finding]bool{},
		policies: map[key]*object{}, tls: map[key]*object{}, secured: map[key]string{},
	}
	total := 0
	for _, s := range sources {
		if total += len(s.Data); total > MaxInput {
			return nil, fmt.Errorf("the input is longer than %d bytes", MaxInput)
		}
		if err := c.read(s); err != nil {
			return nil, err
		}
	}
	for _, x := range c.objects {
		if x.kind == kindServiceBackend {
			c.taken[key{kindAIBackend, x.namespace, x.name}] = true
		}
	}
	c.attachPolicies()
	for _, x := range c.objects {
		if x.kind == kindServiceBackend {
			c.serviceBackend(x)
		}
	}
	c.pools()
	for _, x := range c.objects {
		switch x.kind {
		case kindRoute:
			c.route(x)
		case kindMCPRoute, kindQuotaPolicy, kindGatewayConfig:
			c.unserved(x)
		case kindTrafficPolicy:
			c.trafficPolicy(x)
		}
	}
	for _, x := range c.objects {
		c.leftovers(x)
	}
	slices.SortStableFunc(c.findings, func(a, b Finding) int {
		return cmp.Or(cmp.Compare(order(sources, a.File), order(sources, b.File)), cmp.Compare(a.Line, b.Line))
	})
	if c.dropped > 0 {
		c.findings = append(c.findings, Finding{File: sources[0].Name, Line: 1, Message: fmt.Sprintf("%d more findings are not listed", c.dropped), Lost: true})
	}
	out, err := c.write(o)
	if err != nil {
		return nil, err
	}
	return &Result{YAML: out, Routes: len(c.routes), Backends: len(c.backends), Findings: c.findings}, nil
}

func order(sources []Source, name string) int {
	return slices.IndexFunc(sources, func(s Source) bool { return s.Name == name })
}

// find notes something about a field of x.
func (c *converter) find(x *object, path string, lost bool, format string, args ...any) {
	f := Finding{x.file, x.line, x.title(), path, fmt.Sprintf(format, args...), lost}
	switch {
	case c.found[f]:
	case len(c.findings) >= maxFindings:
		c.dropped++
	default:
		c.found[f] = true
		c.findings = append(c.findings, f)
	}
}

func (c *converter) lost(x *object, path, format string, args ...any) {
	c.find(x, path, true, format, args...)
}

func (c *converter) check(x *object, path, format string, args ...any) {
	c.find(x, path, false, format, args...)
}

// unserved names what has no counterpart.
func (c *converter) unserved(x *object) {
	instead := map[string]string{
		kindMCPRoute:    "Fairway does not route MCP; keep Envoy AI Gateway, on another Gateway, for it",
		kindQuotaPolicy: "give the AIRoute's rule costs, and limit them with a BackendTrafficPolicy of Envoy Gateway on the route",
		kindGatewayConfig: "there is no sidecar to configure: resources and environment of Fairway are values of its Helm chart, " +
			"and costs belong to the rules of AIRoutes",
	}[x.kind]
	c.lost(x, "", "%s has no counterpart; %s", x.kind, instead)
	x.root.ignore()
}

// free is a name for an AIBackend that none has: want, or want with a number.
func (c *converter) free(namespace, want string) string {
	for i := 1; ; i++ {
		name := clip(want, 240)
		if i > 1 {
			name = fmt.Sprintf("%s-%d", name, i)
		}
		if k := (key{kindAIBackend, namespace, name}); !c.taken[k] {
			c.taken[k] = true
			return name
		}
	}
}

// clip shortens a name to n bytes, so that it still ends as names must.
func clip(s string, n int) string {
	if len(s) <= n {
		return s
	}
	s = s[:n]
	for s != "" && (s[len(s)-1] == '-' || s[len(s)-1] == '.') {
		s = s[:len(s)-1]
	}
	return s
}

// made adds an AIBackend.
func (c *converter) made(m metadata, spec *v1alpha1.AIBackendSpec) {
	c.backends = append(c.backends, output{m, kindAIBackend, spec})
}
