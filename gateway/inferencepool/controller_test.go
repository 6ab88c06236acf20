package inferencepool

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"sync/atomic"
	"testing"

	corev1 "k8s.io/api/core/v1"
	eventsv1 "k8s.io/api/events/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	ctrl "sigs.k8s.io/controller-runtime"
	"sigs.k8s.io/controller-runtime/pkg/cache"
	"sigs.k8s.io/controller-runtime/pkg/client"
	inferencev1 "sigs.k8s.io/gateway-api-inference-extension/api/v1"
	gatewayv1 "sigs.k8s.io/gateway-api/apis/v1"

	"github.com/fairway-ai/fairway/gateway/internal/test"
)

const allGood = " Accepted=True/Accepted ResolvedRefs=True/ResolvedRefs"

// accepts is what Envoy Gateway says of a route that it serves.
func accepts(gateway, listener string) gatewayv1.RouteParentStatus {
	return says(gateway, listener, metav1.ConditionTrue, "Accepted", "ResolvedRefs")
}

func says(gateway, listener string, accepted metav1.ConditionStatus, reason, resolved string) gatewayv1.RouteParentStatus {
	ok := metav1.ConditionFalse
	if resolved == "ResolvedRefs" {
		ok = metav1.ConditionTrue
	}
	now := metav1.Now()
	return gatewayv1.RouteParentStatus{
		ParentRef: test.ParentRef(gateway, listener), ControllerName: EnvoyGateway,
		Conditions: []metav1.Condition{
			{Type: "Accepted", Status: accepted, Reason: reason, LastTransitionTime: now},
			{Type: "ResolvedRefs", Status: ok, Reason: resolved, LastTransitionTime: now},
		},
	}
}

// A pool has one parent per Gateway, for as long as a route leads there.
func TestParentsFollowRoutes(t *testing.T) {
	w := newWorld(t)
	one, two := w.in("one"), w.in("two")
	first := test.Route(w.in("first"), test.FromListener(one, "http"), test.To(w.in("p")))
	second := test.Route(w.in("second"), test.FromListener(two, "http"), test.To(w.in("p")))
	third := test.Route(w.in("third"), test.From(one), test.To(w.in("p")))
	w.create(test.Gateway(one, "envoy"), test.Gateway(two, "envoy"), test.Pool(w.in("p")), first, second, third)
	w.says("p", "one Accepted=Unknown/Pending ResolvedRefs=True/ResolvedRefs", "two Accepted=Unknown/Pending ResolvedRefs=True/ResolvedRefs")

	w.judge(first, accepts(one, "http"))
	w.judge(second, accepts(two, "http"))
	w.judge(third, says(one, "", metav1.ConditionFalse, "NoMatchingListenerHostname", "ResolvedRefs"))
	w.says("p", "one"+allGood, "two"+allGood)
	for _, p := range w.pool("p").Status.Parents {
		if r := p.ParentRef; *r.Group != gatewayv1.GroupName || r.Kind != "Gateway" || string(r.Namespace) != w.namespace {
			t.Errorf("parentRef %+v", r)
		}
		if c := p.Conditions[0]; c.ObservedGeneration != 1 || !strings.Contains(c.Message, "Fairway picks its endpoints itself") {
			t.Errorf("condition %+v", c)
		}
	}

	w.remove(first)
	w.says("p", "one Accepted=False/HTTPRouteNotAccepted ResolvedRefs=True/ResolvedRefs", "two"+allGood)
	w.remove(third)
	w.says("p", "two"+allGood)
	change(w, second, func(r *gatewayv1.HTTPRoute) { r.Spec.Rules[0].BackendRefs = nil })
	w.says("p")
	want := []string{
		"one Normal Accepted", "two Normal Accepted", "one Warning HTTPRouteNotAccepted", "one Normal Detached", "two Normal Detached",
	}
	slices.Sort(want)
	w.eventually(func() error { // an event comes after what it tells of
		got := w.events.of(w.in("p"))
		slices.Sort(got)
		if !slices.Equal(got, want) {
			return fmt.Errorf("events %q, want %q", got, want)
		}
		return nil
	})
}

// Events reach the API server, however long names are.
func TestEventsWithLongNamesReachTheServer(t *testing.T) {
	w := newWorld(t)
	long := strings.Repeat("long-name.", 25)
	route := test.Route(w.in("r"), test.From(w.in("g")), test.To(w.in("p")))
	w.create(test.Gateway(w.in("g"), "envoy"), test.Pool(w.in("p")), route)
	for i := range 3 {
		r := test.Route(w.in(fmt.Sprint(long, i)), test.From(w.in("g")), test.To(w.in("p")))
		w.create(r)
		w.judge(r, says(w.in("g"), "", metav1.ConditionFalse, "NoMatchingListenerHostname", "ResolvedRefs"))
	}
	w.says("p", "g Accepted=False/HTTPRouteNotAccepted ResolvedRefs=True/ResolvedRefs")
	w.judge(route, accepts(w.in("g"), ""))
	for _, want := range []string{"Warning HTTPRouteNotAccepted", "Normal Accepted"} {
		w.eventually(func() error {
			var list eventsv1.EventList
			if err := w.client.List(w.Context(), &list, client.InNamespace(w.namespace)); err != nil {
				return err
			}
			for _, e := range list.Items {
				if e.Type+" "+e.Reason == want && e.Regarding.Kind == "InferencePool" && e.Regarding.Name == "p" && e.Related.Kind == "Gateway" && e.Related.Name == "g" {
					return nil
				}
			}
			return fmt.Errorf("no event %s in %+v", want, list.Items)
		})
	}
}

// A route that waits for its finalizers leads nowhere any more.
func TestDeletedRoute(t *testing.T) {
	w := newWorld(t)
	route := test.Route(w.in("r"), test.From(w.in("g")), test.To(w.in("p")))
	route.Finalizers = []string{"example.com/slow"}
	w.create(test.Gateway(w.in("g"), "envoy"), test.Pool(w.in("p")), route)
	w.judge(route, accepts(w.in("g"), ""))
	w.says("p", "g"+allGood)
	w.remove(route)
	w.says("p")
	change(w, route, func(r *gatewayv1.HTTPRoute) { r.Finalizers = nil })
}

// Only Gateways of the configured controller's classes are parents, whatever is
// created or changed last.
func TestClasses(t *testing.T) {
	w := newWorld(t)
	late := w.namespace + "-late"
	g, h := test.Gateway(w.in("g"), "other"), test.Gateway(w.in("h"), late)
	w.create(test.Pool(w.in("p")), g, h)
	route := test.Route(w.in("r"), test.From(w.in("g")), test.From(w.in("h")), test.From(w.in("none")), test.To(w.in("p")))
	w.create(route)
	w.judge(route, accepts(w.in("g"), ""), accepts(w.in("h"), ""), accepts(w.in("none"), ""))
	class := test.Class(late, EnvoyGateway)
	w.create(class)
	t.Cleanup(func() { _ = w.client.Delete(context.Background(), class) })
	w.says("p", "h"+allGood)
	change(w, g, func(g *gatewayv1.Gateway) { g.Spec.GatewayClassName = "envoy" })
	w.says("p", "h"+allGood, "g"+allGood)
	w.remove(h)
	w.says("p", "g"+allGood)
}

// A route of another namespace counts while a grant lets it.
func TestGrants(t *testing.T) {
	w := newWorld(t)
	routes := w.namespace + "-routes"
	w.create(test.Namespace(routes), test.Gateway(w.in("g"), "envoy"), test.Gateway(w.in("local"), "envoy"), test.Pool(w.in("p")))
	route := test.Route(routes+"/r", test.From(w.in("g")), test.To(w.in("p")))
	local := test.Route(w.in("r"), test.From(w.in("local")), test.To(w.in("p")))
	w.create(route)
	w.judge(route, accepts(w.in("g"), ""))
	w.create(local)
	w.judge(local, accepts(w.in("local"), ""))
	w.says("p", "local"+allGood)
	grant := test.Grant(w.in("grant"), routes, "p")
	w.create(grant)
	w.says("p", "local"+allGood, "g"+allGood)
	w.remove(grant)
	w.says("p", "local"+allGood)
}

// ResolvedRefs follows the Service that endpointPickerRef names.
func TestPickerService(t *testing.T) {
	w := newWorld(t)
	route := test.Route(w.in("r"), test.From(w.in("g")), test.To(w.in("p")))
	w.create(test.Gateway(w.in("g"), "envoy"), test.Pool(w.in("p"), test.Picker("epp", 9002)), route)
	w.judge(route, accepts(w.in("g"), ""))
	const good, bad = "g" + allGood, "g Accepted=True/Accepted ResolvedRefs=False/InvalidExtensionRef"
	w.says("p", bad)
	service := test.Service(w.in("epp"), 9002)
	w.create(service)
	w.says("p", good)
	change(w, service, func(s *corev1.Service) { s.Spec.Ports[0].Port = 9003 })
	w.says("p", bad)
	pool := w.pool("p")
	change(w, pool, func(p *inferencev1.InferencePool) { p.Spec.EndpointPickerRef.Port.Number = 9003 })
	w.says("p", good)
	if p := w.pool("p"); p.Generation != 2 || p.Status.Parents[0].Conditions[0].ObservedGeneration != 2 || p.Status.Parents[0].Conditions[1].ObservedGeneration != 2 {
		t.Errorf("generation %d, observed %+v", p.Generation, p.Status.Parents[0].Conditions)
	}
	w.remove(service)
	w.says("p", bad)
}

// Looking without finding a change writes nothing; what somebody took away is
// written again.
func TestWritesOnlyChanges(t *testing.T) {
	w := newWorld(t)
	route := test.Route(w.in("r"), test.From(w.in("g")), test.To(w.in("p")), test.To(w.in("canary")))
	w.create(test.Gateway(w.in("g"), "envoy"), test.Pool(w.in("p")), test.Pool(w.in("canary")), route)
	w.judge(route, accepts(w.in("g"), ""))
	w.says("p", "g"+allGood)
	w.says("canary", "g"+allGood)
	writes := 0
	for i := range 11 {
		// The edit leads to both pools; that the canary's status is back shows that
		// the controller has looked since, at first with what it wrote in its cache.
		change(w, route, func(r *gatewayv1.HTTPRoute) { r.Annotations = map[string]string{"edit": fmt.Sprint(i)} })
		w.clear("canary")
		w.says("canary", "g"+allGood)
		if i == 0 {
			writes = w.writes.of(w.in("p"))
		}
	}
	if got := w.writes.of(w.in("p")); writes == 0 || got != writes {
		t.Errorf("%d writes, after %d that were needed", got, writes)
	}
}

// clear takes a pool's status away.
func (w *world) clear(pool string) {
	w.Helper()
	w.eventually(func() error {
		p := w.pool(pool)
		p.Status.Parents = nil
		return w.client.Status().Update(w.Context(), p)
	})
}

// A replica that does not lead writes nothing, and everything once it does.
func TestElected(t *testing.T) {
	w := newWorld(t)
	// A class of its own, so that the shared controller stays out of it.
	mine := "example.com/" + w.namespace
	class := test.Class(w.namespace, mine)
	w.create(class, test.Gateway(w.in("g"), w.namespace), test.Pool(w.in("p")),
		test.Route(w.in("r"), test.From(w.in("g")), test.To(w.in("p"))))
	t.Cleanup(func() { _ = w.client.Delete(context.Background(), class) })

	var leads atomic.Bool
	asked := make(chan struct{}, 100)
	o := Options{GatewayController: mine, Leads: func() bool {
		asked <- struct{}{}
		return leads.Load()
	}}
	m, c, err := w.manager(t.Context(), o, ctrl.Options{Cache: cache.Options{DefaultNamespaces: map[string]cache.Config{w.namespace: {}}}})
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	ended := make(chan error, 1)
	go func() { ended <- m.Start(ctx) }()
	<-asked // the pool has been looked at, and left alone
	if parents := w.pool("p").Status.Parents; len(parents) != 0 {
		t.Errorf("written without leading: %v", summary(parents))
	}
	leads.Store(true)
	c.Elected()
	c.Elected()
	w.says("p", "g Accepted=Unknown/Pending ResolvedRefs=True/ResolvedRefs")
	cancel()
	if err := <-ended; err != nil && !errors.Is(err, context.Canceled) {
		t.Error(err)
	}
}
