package inferencepool

import (
	"fmt"
	"strings"
	"testing"

	corev1 "k8s.io/api/core/v1"
	inferencev1 "sigs.k8s.io/gateway-api-inference-extension/api/v1"
	gatewayv1 "sigs.k8s.io/gateway-api/apis/v1"

	"github.com/fairway-ai/fairway/gateway/internal/test"
)

func TestAccepted(t *testing.T) {
	for _, c := range []struct {
		name   string
		routes map[verdict][]string
		want   string
	}{
		{"accepted", map[verdict][]string{acceptedAsIs: {"a/r"}}, "True/Accepted: The Gateway serves the pool."},
		{"one of several", map[verdict][]string{acceptedAsIs: {"a/r"}, rejected: {"a/s"}, unsupported: {"a/t"}, undecided: {"a/u"}},
			"True/Accepted: The Gateway serves the pool."},
		{"unsupported", map[verdict][]string{unsupported: {"a/t"}, rejected: {"a/s"}}, "False/NotSupportedByParent: Envoy Gateway does not know InferencePool as a backend of HTTPRoute a/t: "},
		{"rejected", map[verdict][]string{rejected: {"a/s"}, undecided: {"a/u"}}, "False/HTTPRouteNotAccepted: The Gateway has not accepted HTTPRoute a/s: "},
		{"many", map[verdict][]string{rejected: {"a/1", "a/2", "a/3", "a/4", "a/5"}}, "False/HTTPRouteNotAccepted: The Gateway has not accepted HTTPRoute a/1, a/2, a/3 and 2 more: "},
		{"undecided", map[verdict][]string{undecided: {"a/u"}}, "Unknown/Pending: The Gateway has not judged HTTPRoute a/u yet."},
	} {
		t.Run(c.name, func(t *testing.T) {
			f := &facts{pool: test.Pool("a/p", test.Picker("s", 1)), attachment: attachment{routes: c.routes}}
			got := conditions(f)[0]
			if s := fmt.Sprintf("%s/%s: %s", got.Status, got.Reason, got.Message); got.Type != "Accepted" || !strings.HasPrefix(s, c.want) {
				t.Errorf("got %s %q, want %q", got.Type, s, c.want)
			}
		})
	}
}

func TestResolvedRefs(t *testing.T) {
	service := func(change func(*corev1.Service)) *corev1.Service {
		s := test.Service("a/epp", 9002)
		if change != nil {
			change(s)
		}
		return s
	}
	for _, c := range []struct {
		name    string
		pool    *inferencev1.InferencePool
		service *corev1.Service
		want    string
	}{
		{"no picker", test.Pool("a/p"), nil, "True/ResolvedRefs: The pool references nothing."},
		{"found", test.Pool("a/p", test.Picker("epp", 9002)), service(nil), `True/ResolvedRefs: The endpoint picker is Service "epp", port 9002.`},
		{"other kind", test.Pool("a/p", test.PickerKind("", "Deployment", "epp")), nil, `False/InvalidExtensionRef: spec.endpointPickerRef: kind "Deployment" is not supported: `},
		{"other group", test.Pool("a/p", test.PickerKind("x.io", "Service", "epp")), nil, `False/InvalidExtensionRef: spec.endpointPickerRef: kind "x.io/Service" is not supported: `},
		{"no port", test.Pool("a/p", test.PickerKind("", "Service", "epp")), service(nil), "False/InvalidExtensionRef: spec.endpointPickerRef.port: is missing: "},
		{"no Service", test.Pool("a/p", test.Picker("epp", 9002)), nil, `False/InvalidExtensionRef: spec.endpointPickerRef.name: there is no Service "epp" in namespace "a": `},
		{"ExternalName", test.Pool("a/p", test.Picker("epp", 9002)), service(func(s *corev1.Service) { s.Spec.Type = corev1.ServiceTypeExternalName }),
			`False/InvalidExtensionRef: spec.endpointPickerRef.name: Service "epp" is of type ExternalName, `},
		{"unknown port", test.Pool("a/p", test.Picker("epp", 1)), service(nil), `False/InvalidExtensionRef: spec.endpointPickerRef.port: Service "epp" has no TCP port 1, its TCP ports are 9002: `},
		{"UDP port", test.Pool("a/p", test.Picker("epp", 9002)), service(func(s *corev1.Service) { s.Spec.Ports[0].Protocol = corev1.ProtocolUDP }),
			`False/InvalidExtensionRef: spec.endpointPickerRef.port: Service "epp" has no TCP port 9002, it has no TCP port: `},
	} {
		t.Run(c.name, func(t *testing.T) {
			c.pool.Generation = 7
			got := conditions(&facts{pool: c.pool, service: c.service})[1]
			if s := fmt.Sprintf("%s/%s: %s", got.Status, got.Reason, got.Message); got.Type != "ResolvedRefs" || !strings.HasPrefix(s, c.want) {
				t.Errorf("got %s %q, want %q", got.Type, s, c.want)
			}
			if got.ObservedGeneration != 7 {
				t.Errorf("observed generation %d", got.ObservedGeneration)
			}
		})
	}
}

func TestExported(t *testing.T) {
	p := test.Pool("a/p")
	if got := conditions(&facts{pool: p}); len(got) != 2 {
		t.Errorf("without a request: %+v", got)
	}
	p.Annotations = map[string]string{"inference.networking.x-k8s.io/export": "ClusterSet"}
	if got := conditions(&facts{pool: p}); len(got) != 3 || got[2].Type != "Exported" || got[2].Status != "False" || got[2].Reason != "NotSupported" {
		t.Errorf("with a request: %+v", got)
	}
}

// "Invalid kind" is about pools only when the route sends to nothing else that
// Envoy Gateway may not know.
func TestVerdict(t *testing.T) {
	c, err := New(nil, Options{})
	if err != nil {
		t.Fatal(err)
	}
	invalid := says("a/g", "", "True", "Accepted", "InvalidKind")
	foreign := accepts("a/g", "")
	foreign.ControllerName = "example.com/other"
	for _, tc := range []struct {
		name   string
		route  *gatewayv1.HTTPRoute
		status []gatewayv1.RouteParentStatus
		want   verdict
	}{
		{"nothing", test.Route("a/r", test.From("a/g"), test.To("a/p")), nil, undecided},
		{"no condition", test.Route("a/r", test.From("a/g"), test.To("a/p")), []gatewayv1.RouteParentStatus{{ParentRef: test.ParentRef("a/g", ""), ControllerName: EnvoyGateway}}, undecided},
		{"accepted", test.Route("a/r", test.From("a/g"), test.To("a/p")), []gatewayv1.RouteParentStatus{accepts("a/g", "")}, acceptedAsIs},
		{"by another controller", test.Route("a/r", test.From("a/g"), test.To("a/p")), []gatewayv1.RouteParentStatus{foreign}, undecided},
		{"by another Gateway", test.Route("a/r", test.From("a/g"), test.To("a/p")), []gatewayv1.RouteParentStatus{accepts("a/h", "")}, undecided},
		{"stale parentRef", test.Route("a/r", test.FromListener("a/g", "new"), test.To("a/p")), []gatewayv1.RouteParentStatus{accepts("a/g", "old")}, undecided},
		{"one of two listeners", test.Route("a/r", test.FromListener("a/g", "x"), test.FromListener("a/g", "y"), test.To("a/p")),
			[]gatewayv1.RouteParentStatus{accepts("a/g", "x"), says("a/g", "y", "False", "NoMatchingParent", "ResolvedRefs")}, acceptedAsIs},
		{"unknown kind", test.Route("a/r", test.From("a/g"), test.To("a/p"), test.ToKind("", "Service", "a/s")), []gatewayv1.RouteParentStatus{invalid}, unsupported},
		{"unknown kind, perhaps another", test.Route("a/r", test.From("a/g"), test.To("a/p"), test.ToKind("x.io", "Thing", "a/s")), []gatewayv1.RouteParentStatus{invalid}, acceptedAsIs},
	} {
		t.Run(tc.name, func(t *testing.T) {
			tc.route.Status.Parents = tc.status
			if got := c.verdict(tc.route, test.Name("a/g")); got != tc.want {
				t.Errorf("got %d, want %d", got, tc.want)
			}
		})
	}
}
