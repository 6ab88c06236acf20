package refs_test

import (
	"slices"
	"testing"

	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/types"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/client/fake"
	inferencev1 "sigs.k8s.io/gateway-api-inference-extension/api/v1"
	gatewayv1 "sigs.k8s.io/gateway-api/apis/v1"
	gatewayv1beta1 "sigs.k8s.io/gateway-api/apis/v1beta1"

	"github.com/fairway-ai/fairway/gateway/internal/test"
	"github.com/fairway-ai/fairway/gateway/refs"
)

func TestPoolRef(t *testing.T) {
	ref := func(group, kind, namespace, name string) gatewayv1.BackendObjectReference {
		r := gatewayv1.BackendObjectReference{Name: gatewayv1.ObjectName(name)}
		if group != "-" {
			r.Group = new(gatewayv1.Group(group))
		}
		if kind != "-" {
			r.Kind = new(gatewayv1.Kind(kind))
		}
		if namespace != "-" {
			r.Namespace = new(gatewayv1.Namespace(namespace))
		}
		return r
	}
	const group = "inference.networking.k8s.io"
	for _, c := range []struct {
		name string
		ref  gatewayv1.BackendObjectReference
		want string
	}{
		{"local", ref(group, "InferencePool", "-", "p"), "routes/p"},
		{"empty namespace", ref(group, "InferencePool", "", "p"), "routes/p"},
		{"other namespace", ref(group, "InferencePool", "models", "p"), "models/p"},
		{"experimental group", ref("inference.networking.x-k8s.io", "InferencePool", "-", "p"), ""},
		{"no group", ref("-", "InferencePool", "-", "p"), ""},
		{"no kind", ref(group, "-", "-", "p"), ""},
		{"Service", ref("-", "-", "-", "p"), ""},
		{"other kind of the group", ref(group, "InferencePoolImport", "-", "p"), ""},
		{"no name", ref(group, "InferencePool", "-", ""), ""},
	} {
		t.Run(c.name, func(t *testing.T) {
			got, ok := refs.PoolRef("routes", c.ref)
			if ok != (c.want != "") || ok && got.String() != c.want {
				t.Errorf("got %v, %v, want %q", got, ok, c.want)
			}
		})
	}
}

func TestRoute(t *testing.T) {
	r := test.Route("a/r", test.FromListener("gw/g", "x"), test.From("a/other"), test.FromListener("gw/g", "y"),
		test.To("p"), test.ToKind("", "Service", "s"), test.To("b/p"), test.To("p"))
	r.Spec.ParentRefs = append(r.Spec.ParentRefs,
		gatewayv1.ParentReference{Name: "local"},
		gatewayv1.ParentReference{Name: "mesh", Kind: new(gatewayv1.Kind("Service")), Group: new(gatewayv1.Group(""))},
		gatewayv1.ParentReference{Name: "mesh", Kind: new(gatewayv1.Kind("Service"))})
	names(t, refs.Pools(r), "default/p", "b/p")
	names(t, refs.Parents(r), "gw/g", "a/other", "a/local")
	attached := refs.Attached(r, test.Name("gw/g"))
	if len(attached) != 2 || *attached[0].SectionName != "x" || *attached[1].SectionName != "y" {
		t.Errorf("attached to gw/g by %v", attached)
	}
	if a := refs.Attached(r, test.Name("gw/none")); len(a) != 0 {
		t.Errorf("attached to gw/none by %v", a)
	}
}

func TestSameParent(t *testing.T) {
	full := gatewayv1.ParentReference{
		Group: new(gatewayv1.Group(gatewayv1.GroupName)), Kind: new(gatewayv1.Kind("Gateway")),
		Namespace: new(gatewayv1.Namespace("a")), Name: "g",
	}
	if !refs.SameParent("a", gatewayv1.ParentReference{Name: "g"}, full) {
		t.Error("defaults are not the same as what they stand for")
	}
	for name, change := range map[string]func(*gatewayv1.ParentReference){
		"namespace": func(p *gatewayv1.ParentReference) { p.Namespace = new(gatewayv1.Namespace("b")) },
		"name":      func(p *gatewayv1.ParentReference) { p.Name = "h" },
		"kind":      func(p *gatewayv1.ParentReference) { p.Kind = new(gatewayv1.Kind("Service")) },
		"group":     func(p *gatewayv1.ParentReference) { p.Group = new(gatewayv1.Group("")) },
		"section":   func(p *gatewayv1.ParentReference) { p.SectionName = new(gatewayv1.SectionName("x")) },
		"port":      func(p *gatewayv1.ParentReference) { p.Port = new(gatewayv1.PortNumber(80)) },
	} {
		other := full
		change(&other)
		if refs.SameParent("a", full, other) {
			t.Errorf("another %s is the same parent", name)
		}
	}
}

func TestPickerService(t *testing.T) {
	for name, c := range map[string]struct {
		pool *inferencev1.InferencePool
		want string
	}{
		"none":        {test.Pool("a/p"), ""},
		"kind unset":  {test.Pool("a/p", test.Picker("s", 9002)), "a/s"},
		"kind set":    {test.Pool("a/p", test.PickerKind("", "Service", "s")), "a/s"},
		"other kind":  {test.Pool("a/p", test.PickerKind("", "Pod", "s")), ""},
		"other group": {test.Pool("a/p", test.PickerKind("serving.knative.dev", "Service", "s")), ""},
	} {
		got, ok := refs.PickerService(c.pool)
		if ok != (c.want != "") || ok && got.String() != c.want {
			t.Errorf("%s: got %v, %v, want %q", name, got, ok, c.want)
		}
	}
}

func TestGranted(t *testing.T) {
	otherKind := test.Grant("models/other-kind", "kind", "")
	otherKind.Spec.From[0].Kind = "GRPCRoute"
	otherTarget := test.Grant("models/other-target", "target", "")
	otherTarget.Spec.To[0].Kind = "Service"
	r := reader(t, test.Grant("models/all", "a", ""), test.Grant("models/one", "b", "p"),
		test.Grant("elsewhere/all", "c", ""), otherKind, otherTarget)
	for _, c := range []struct {
		from, pool string
		want       bool
	}{
		{"models", "models/p", true},
		{"a", "models/p", true},
		{"a", "models/q", true},
		{"b", "models/p", true},
		{"b", "models/q", false},
		{"c", "models/p", false},
		{"kind", "models/p", false},
		{"target", "models/p", false},
	} {
		got, err := refs.Granted(t.Context(), r, c.from, test.Name(c.pool))
		if err != nil || got != c.want {
			t.Errorf("from %s to %s: %v, %v, want %v", c.from, c.pool, got, err, c.want)
		}
	}
}

// A reverse look-up finds exactly the objects that name the object.
func TestIndexes(t *testing.T) {
	r := reader(t,
		test.Route("a/one", test.From("gw/g"), test.To("a/p")),
		test.Route("b/two", test.From("gw/g"), test.From("gw/h"), test.To("a/p"), test.To("b/p")),
		test.Route("c/none", test.From("gw/h"), test.ToKind("", "Service", "a/p")),
		test.Pool("a/p", test.Picker("s", 1)), test.Pool("b/p", test.Picker("s", 1)), test.Pool("a/q", test.Picker("s", 1)), test.Pool("a/r"),
		test.Gateway("gw/g", "x"), test.Gateway("gw/h", "y"), test.Gateway("a/g", "x"))
	ctx := t.Context()

	routes, err := refs.RoutesOfPool(ctx, r, test.Name("a/p"))
	objects(t, routes, err, "a/one", "b/two")
	routes, err = refs.RoutesOfPool(ctx, r, test.Name("b/p"))
	objects(t, routes, err, "b/two")
	routes, err = refs.RoutesOfGateway(ctx, r, test.Name("gw/h"))
	objects(t, routes, err, "b/two", "c/none")
	pools, err := refs.PoolsOfService(ctx, r, test.Name("a/s"))
	objects(t, pools, err, "a/p", "a/q")
	gateways, err := refs.GatewaysOfClass(ctx, r, "x")
	objects(t, gateways, err, "a/g", "gw/g")
}

func reader(t *testing.T, o ...client.Object) client.Reader {
	t.Helper()
	s := runtime.NewScheme()
	for _, add := range []func(*runtime.Scheme) error{gatewayv1.Install, gatewayv1beta1.Install, inferencev1.Install} {
		if err := add(s); err != nil {
			t.Fatal(err)
		}
	}
	b := fake.NewClientBuilder().WithScheme(s).WithObjects(o...)
	for _, i := range refs.Indexes() {
		b = b.WithIndex(i.Object, i.Key, i.Extract)
	}
	return b.Build()
}

func names(t *testing.T, got []types.NamespacedName, want ...string) {
	t.Helper()
	s := make([]string, len(got))
	for i, n := range got {
		s[i] = n.String()
	}
	if !slices.Equal(s, want) {
		t.Errorf("got %v, want %v", s, want)
	}
}

func objects[T any, P interface {
	*T
	client.Object
}](t *testing.T, got []T, err error, want ...string) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
	var n []types.NamespacedName
	for i := range got {
		n = append(n, client.ObjectKeyFromObject(P(&got[i])))
	}
	slices.SortFunc(n, func(a, b types.NamespacedName) int { return slices.Compare([]string{a.String()}, []string{b.String()}) })
	names(t, n, want...)
}

func TestFailOpen(t *testing.T) {
	for _, c := range []struct {
		name string
		ref  *inferencev1.EndpointPickerRef
		want bool
	}{
		{"no picker", nil, true},
		{"the default", &inferencev1.EndpointPickerRef{Name: "picker"}, false},
		{"FailClose", &inferencev1.EndpointPickerRef{Name: "picker", FailureMode: inferencev1.EndpointPickerFailClose}, false},
		{"FailOpen", &inferencev1.EndpointPickerRef{Name: "picker", FailureMode: inferencev1.EndpointPickerFailOpen}, true},
	} {
		pool := &inferencev1.InferencePool{Spec: inferencev1.InferencePoolSpec{EndpointPickerRef: c.ref}}
		if got := refs.FailOpen(pool); got != c.want {
			t.Errorf("%s: %v, want %v", c.name, got, c.want)
		}
	}
}
