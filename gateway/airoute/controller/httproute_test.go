package controller

import (
	"testing"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/equality"
	"k8s.io/apimachinery/pkg/types"
	inferencev1 "sigs.k8s.io/gateway-api-inference-extension/api/v1"
	gatewayv1 "sigs.k8s.io/gateway-api/apis/v1"

	"github.com/fairway-ai/fairway/api/v1alpha1"
	"github.com/fairway-ai/fairway/gateway/airoute"
	"github.com/fairway-ai/fairway/gateway/internal/test"
)

// The API server takes the HTTPRoute of what the real compiler makes, and adds nothing
// to its spec: otherwise there would be something to write each time.
func TestSpecIsComplete(t *testing.T) {
	w := newWorld(t)
	for name, matches := range map[string][]v1alpha1.AIRouteMatch{
		"none":  nil,
		"model": {{Model: &v1alpha1.ModelMatch{Value: "m"}}},
		"paths": {{Path: &v1alpha1.PathMatch{}}, {Path: &v1alpha1.PathMatch{Value: new("/v1/chat")}},
			{Path: &v1alpha1.PathMatch{Type: new(gatewayv1.PathMatchRegularExpression), Value: new("/v[0-9]/.*")}}},
	} {
		a := newRoute(w.in(name), []string{w.in("g"), w.in("h.http")}, w.in("b"))
		a.Generation, a.UID = 1, "uid"
		a.Spec.Hostnames = []gatewayv1.Hostname{"*.example.com"}
		a.Spec.Rules[0].Matches = matches
		r := airoute.Compile(&airoute.Input{
			Routes: []*v1alpha1.AIRoute{a}, Backends: []*v1alpha1.AIBackend{newBackend(w.in("b"), "")},
			Pool:        func(types.NamespacedName) *inferencev1.InferencePool { return nil },
			Service:     func(types.NamespacedName) *corev1.Service { return nil },
			ConfigMap:   func(types.NamespacedName) *corev1.ConfigMap { return nil },
			SecretKeys:  func(types.NamespacedName) ([]string, bool) { return nil, false },
			Certificate: func(types.NamespacedName) []byte { return nil },
			Granted:     func(airoute.Reference, airoute.Reference) bool { return true },
			OwnIdentity: func(string) bool { return false },
		}).Routes[test.Name(w.in(name))]
		if r == nil || len(r.Problems) > 0 {
			t.Fatalf("%s: %+v", name, r)
		}
		for _, more := range []bool{false, true} {
			if more { // what no compiler makes today
				r.Matches = append(r.Matches, gatewayv1.HTTPRouteMatch{
					Headers:     []gatewayv1.HTTPHeaderMatch{{Name: "a", Value: "b"}},
					QueryParams: []gatewayv1.HTTPQueryParamMatch{{Name: "a", Value: "b"}},
				})
			}
			h := test.Route(w.in(name))
			complete(h, a, r)
			want := h.DeepCopy()
			w.create(h)
			if !equality.Semantic.DeepEqual(want.Spec, h.Spec) {
				t.Errorf("%s: sent %+v\ngot %+v", name, want.Spec, h.Spec)
			}
			again := h.DeepCopy()
			if complete(again, a, r); !equality.Semantic.DeepEqual(again, h) {
				t.Errorf("%s: there is something to change at once: %+v", name, again)
			}
			w.remove(h)
		}
	}
}
