package inferencepool

import (
	"context"
	"fmt"
	"slices"
	"testing"

	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"sigs.k8s.io/controller-runtime/pkg/client"
	inferencev1 "sigs.k8s.io/gateway-api-inference-extension/api/v1"
	gatewayv1 "sigs.k8s.io/gateway-api/apis/v1"

	"github.com/fairway-ai/fairway/gateway/internal/test"
)

// Two controllers that write the same atomic list lose nothing of each other's.
func TestSharedStatus(t *testing.T) {
	w := newWorld(t)
	route := test.Route(w.in("r"), test.From(w.in("g")), test.To(w.in("p")))
	w.create(test.Gateway(w.in("g"), "envoy"), test.Pool(w.in("p")), route)
	w.judge(route, accepts(w.in("g"), ""))
	w.says("p", "g"+allGood)

	const rounds = 40
	other := func(name, message string) inferencev1.ParentStatus {
		return inferencev1.ParentStatus{ControllerName: "example.com/other", ParentRef: inferencev1.ParentReference{Name: inferencev1.ObjectName(name)},
			Conditions: []metav1.Condition{{Type: "Accepted", Status: "True", Reason: "Mine", Message: message, LastTransitionTime: metav1.Now()}}}
	}
	is := func(p inferencev1.ParentStatus) bool { return p.ControllerName == "example.com/other" }
	done := make(chan error, 1)
	go func() { done <- w.flap(route, rounds) }()
	for i := range rounds {
		w.eventually(func() error {
			p := w.pool("p")
			at := slices.IndexFunc(p.Status.Parents, is)
			if i > 0 && (at != 0 || p.Status.Parents[0].Conditions[0].Message != fmt.Sprint(i-1)) {
				t.Fatalf("round %d: an entry was lost, moved or changed: %+v", i, p.Status.Parents)
			}
			p.Status.Parents = slices.DeleteFunc(p.Status.Parents, is)
			p.Status.Parents = append([]inferencev1.ParentStatus{other("first", fmt.Sprint(i))}, p.Status.Parents...)
			return w.client.Status().Update(w.Context(), p)
		})
	}
	if err := <-done; err != nil {
		t.Fatal(err)
	}
	w.says("p", "example.com/other first Accepted=True/Mine", "g"+allGood)
}

// flap has a route rejected and accepted in turns, accepted in the end.
func (w *world) flap(route *gatewayv1.HTTPRoute, rounds int) error {
	r := route.DeepCopy()
	for i := 0; i <= rounds; {
		if err := w.client.Get(context.Background(), client.ObjectKeyFromObject(r), r); err != nil {
			return err
		}
		r.Status.Parents = []gatewayv1.RouteParentStatus{says(w.in("g"), "", metav1.ConditionFalse, "NotAllowedByListeners", "ResolvedRefs")}
		if i%2 == 0 {
			r.Status.Parents = []gatewayv1.RouteParentStatus{accepts(w.in("g"), "")}
		}
		switch err := w.client.Status().Update(context.Background(), r); {
		case err == nil:
			i++
		case !apierrors.IsConflict(err):
			return err
		}
	}
	return nil
}
