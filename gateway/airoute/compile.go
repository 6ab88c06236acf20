package airoute

import (
	"cmp"
	"slices"
	"strings"

	"k8s.io/apimachinery/pkg/types"
	gatewayv1 "sigs.k8s.io/gateway-api/apis/v1"

	"github.com/fairway-ai/fairway/api/v1alpha1"
	"github.com/fairway-ai/fairway/gateway/accesspolicy"
)

// Compile makes rules and backends of what a cluster has. The order of what in lists
// does not matter. It changes none of it, and the result shares none of it that may
// change.
func Compile(in *Input) *Result {
	sorted := *in
	sorted.Routes = slices.SortedFunc(slices.Values(in.Routes), func(a, b *v1alpha1.AIRoute) int {
		return cmp.Or(a.CreationTimestamp.Compare(b.CreationTimestamp.Time), cmp.Compare(nameOf(a).String(), nameOf(b).String()))
	})
	sorted.Backends = slices.SortedFunc(slices.Values(in.Backends), func(a, b *v1alpha1.AIBackend) int {
		return cmp.Compare(nameOf(a).String(), nameOf(b).String())
	})
	sorted.HTTPRoutes = slices.SortedFunc(slices.Values(in.HTTPRoutes), func(a, b *gatewayv1.HTTPRoute) int {
		return cmp.Compare(nameOf(a).String(), nameOf(b).String())
	})
	b := newBuilder(&sorted)
	r := b.run()
	slices.SortFunc(r.Config.Backends, func(x, y Backend) int { return cmp.Compare(x.Name, y.Name) })
	b.hashes(r)
	return r
}

// builder makes a Result of an Input, in the Input's order.
type builder struct {
	in *Input
	// local says that the objects are from a file, with no cluster around them.
	local bool
	c     *Config
	// made are the backends that are served, known all there are; by AIBackend.
	made  map[types.NamespacedName]*Backend
	known map[types.NamespacedName]*BackendResult
	// variants are the names of backends that are sent another model.
	variants map[string]bool
	// named are what rules name, served or not.
	named map[Reference]bool
}

func newBuilder(in *Input) *builder {
	return &builder{
		in: in, c: &Config{}, made: map[types.NamespacedName]*Backend{}, known: map[types.NamespacedName]*BackendResult{},
		variants: map[string]bool{}, named: map[Reference]bool{},
	}
}

func (b *builder) run() *Result {
	out := &Result{Config: b.c, Routes: map[types.NamespacedName]*RouteResult{}, Backends: b.known, Direct: map[types.NamespacedName]*DirectResult{}}
	b.c.Access, out.Policies = accesspolicy.Compile(b.in.Policies)
	for _, x := range b.in.Backends {
		if name := nameOf(x); b.known[name] == nil {
			b.known[name] = b.backend(x)
		}
	}
	for _, x := range b.in.Routes {
		if name := nameOf(x); out.Routes[name] == nil {
			out.Routes[name] = b.route(x)
		}
	}
	for _, x := range b.in.HTTPRoutes {
		name := nameOf(x)
		if out.Direct[name] != nil {
			continue
		}
		if d := b.httpRoute(x); d != nil {
			out.Direct[name] = d
		}
	}
	return out
}

type namer interface {
	GetName() string
	GetNamespace() string
}

func nameOf(x namer) types.NamespacedName {
	return types.NamespacedName{Namespace: x.GetNamespace(), Name: x.GetName()}
}

// parseName is the inverse of NamespacedName.String.
func parseName(s string) types.NamespacedName {
	namespace, name, _ := strings.Cut(s, "/")
	return types.NamespacedName{Namespace: namespace, Name: name}
}
