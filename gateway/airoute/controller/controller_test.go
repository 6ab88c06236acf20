package controller

import (
	"fmt"
	"strings"
	"testing"

	"github.com/prometheus/client_golang/prometheus/testutil"
	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	gatewayv1 "sigs.k8s.io/gateway-api/apis/v1"
	gatewayv1beta1 "sigs.k8s.io/gateway-api/apis/v1beta1"

	"github.com/fairway-ai/fairway/api/v1alpha1"
	"github.com/fairway-ai/fairway/gateway/internal/test"
)

// An AIRoute has an HTTPRoute as long as it is served, and its status follows what the
// Gateway says of that.
func TestRouteLife(t *testing.T) {
	w := newWorld(t)
	a := newRoute(w.in("r"), []string{w.in("g")}, w.in("b"))
	a.Spec.Hostnames = []gatewayv1.Hostname{"ai.example.com"}
	a.Spec.Rules[0].Matches = []v1alpha1.AIRouteMatch{{Path: &v1alpha1.PathMatch{Type: new(gatewayv1.PathMatchExact), Value: new("/v1/x")}}}
	w.create(newBackend(w.in("b"), ""), a)
	w.says("r", "g Accepted ResolvedRefs -Pending")
	h := w.httpRoute("r")
	if o := metav1.GetControllerOf(h); o == nil || o.UID != a.UID || o.Kind != "AIRoute" || o.APIVersion != "fairway.dev/v1alpha1" {
		t.Errorf("owners %+v", h.OwnerReferences)
	}
	if h.Labels["app.kubernetes.io/managed-by"] != "fairway" || h.Annotations["gateway.envoyproxy.io/fairway-hash"] != "h1" {
		t.Errorf("labels %v, annotations %v", h.Labels, h.Annotations)
	}
	if len(h.Spec.Rules) != 1 || len(h.Spec.Rules[0].BackendRefs) != 1 || len(h.Spec.Rules[0].Matches) != 1 ||
		*h.Spec.Rules[0].Matches[0].Path.Value != "/v1/x" || h.Spec.Hostnames[0] != "ai.example.com" || len(h.Spec.ParentRefs) != 1 {
		t.Errorf("spec %+v", h.Spec)
	}
	if b := h.Spec.Rules[0].BackendRefs[0]; *b.Group != "fairway.dev" || *b.Kind != "AIRoute" || b.Name != "r" || b.Namespace != nil {
		t.Errorf("backendRef %+v", b)
	}

	w.judge("r", w.accepts(w.in("g"), ""))
	w.says("r", "g Accepted ResolvedRefs Programmed")

	// A new state of a backend is a new hash, and the same generation.
	change(w, newBackend(w.in("b"), ""), func(b *v1alpha1.AIBackend) { b.Spec.Models = []string{"m"} })
	w.eventually(func() error {
		if got := w.httpRoute("r").Annotations[HashAnnotation]; got != "h2" {
			return fmt.Errorf("hash %s", got)
		}
		return nil
	})
	w.says("r", "g Accepted ResolvedRefs Programmed")

	// A new spec must be judged again.
	change(w, a, func(a *v1alpha1.AIRoute) { a.Spec.Hostnames = []gatewayv1.Hostname{"other.example.com"} })
	w.says("r", "g Accepted ResolvedRefs -Pending")
	if got := w.httpRoute("r").Spec.Hostnames[0]; got != "other.example.com" {
		t.Errorf("hostname %s", got)
	}
	w.judge("r", w.accepts(w.in("g"), ""))
	w.says("r", "g Accepted ResolvedRefs Programmed")

	// What somebody changes is put right, and what he adds stays.
	change(w, w.httpRoute("r"), func(h *gatewayv1.HTTPRoute) {
		h.Spec.Hostnames = nil
		h.Labels["team"] = "a"
	})
	w.eventually(func() error {
		if h := w.httpRoute("r"); len(h.Spec.Hostnames) != 1 || h.Labels["team"] != "a" {
			return fmt.Errorf("%+v, labels %v", h.Spec, h.Labels)
		}
		return nil
	})
	w.remove(w.httpRoute("r"))
	w.judge("r", w.accepts(w.in("g"), ""))
	w.says("r", "g Accepted ResolvedRefs Programmed")

	// What is not accepted is not served.
	change(w, a, func(a *v1alpha1.AIRoute) { a.Spec.Rules[0].Name = new(gatewayv1.SectionName("invalid")) })
	w.says("r", "g -Invalid ResolvedRefs -NotAccepted")
	w.noHTTPRoute("r")
	if c := meta.FindStatusCondition(get(w, a).Status.Parents[0].Conditions, Accepted); c.Message != "spec.rules[0].name: must not be invalid" {
		t.Errorf("message %q", c.Message)
	}
	change(w, a, func(a *v1alpha1.AIRoute) { a.Spec.Rules[0].Name = nil })
	w.httpRoute("r")
	w.says("r", "g Accepted ResolvedRefs -Pending")
	w.eventsAre("r", "Normal Accepted", "g Normal Programmed", "g Normal Programmed", "g Normal Programmed", "Warning Invalid", "Normal Accepted")
}

// An AIRoute that waits for somebody's finalizer is not served.
func TestDeletedRoute(t *testing.T) {
	w := newWorld(t)
	a := newRoute(w.in("r"), []string{w.in("g")}, w.in("b"))
	a.Finalizers = []string{"example.com/wait"}
	w.create(newBackend(w.in("b"), ""), a)
	w.httpRoute("r")
	w.remove(a)
	w.noHTTPRoute("r")
	change(w, a, func(a *v1alpha1.AIRoute) { a.Finalizers = nil })
	w.noHTTPRoute("r")
}

// An AIRoute without parents is valid, and served by nobody.
func TestRouteWithoutParents(t *testing.T) {
	w := newWorld(t)
	a := newRoute(w.in("r"), []string{w.in("g")}, w.in("b"))
	w.create(newBackend(w.in("b"), ""), a)
	w.says("r", "g Accepted ResolvedRefs -Pending")
	change(w, a, func(a *v1alpha1.AIRoute) { a.Spec.ParentRefs = nil })
	w.says("r")
	w.noHTTPRoute("r")
}

// An HTTPRoute of the AIRoute's name stays as it is.
func TestConflict(t *testing.T) {
	w := newWorld(t)
	foreign := test.Route(w.in("r"), test.From(w.in("g")), test.ToKind("", "Service", w.in("s")))
	w.create(foreign)
	before := get(w, foreign).ResourceVersion
	w.create(newBackend(w.in("b"), ""), newRoute(w.in("r"), []string{w.in("g")}, w.in("b")))
	w.says("r", "g -HTTPRouteConflict ResolvedRefs -NotAccepted")
	w.judge("r", w.accepts(w.in("g"), "")) // nobody's business here
	w.says("r", "g -HTTPRouteConflict ResolvedRefs -NotAccepted")
	if h := get(w, foreign); len(h.OwnerReferences) > 0 || h.Generation != 1 || h.ResourceVersion == before {
		t.Errorf("the foreign HTTPRoute: %+v", h.ObjectMeta)
	}
	w.remove(foreign)
	w.says("r", "g Accepted ResolvedRefs -Pending")
	w.eventsAre("r", "Warning HTTPRouteConflict", "Normal Accepted")
}

// An AIRoute that takes the place of a deleted one takes over its HTTPRoute.
func TestAdoption(t *testing.T) {
	w := newWorld(t)
	old := newRoute(w.in("r"), []string{w.in("g")}, w.in("b"))
	w.create(newBackend(w.in("b"), ""), old)
	h := w.httpRoute("r")
	w.remove(old) // nobody collects garbage here
	a := newRoute(w.in("r"), []string{w.in("g")}, w.in("b"))
	w.create(a)
	w.eventually(func() error {
		if now := w.httpRoute("r"); !metav1.IsControlledBy(now, a) || now.UID != h.UID || len(now.OwnerReferences) != 1 {
			return fmt.Errorf("owners %+v", now.OwnerReferences)
		}
		return nil
	})
	w.says("r", "g Accepted ResolvedRefs -Pending")
}

// Each parent has its entry, by what its own Gateway says, and those of other
// controllers stay.
func TestParents(t *testing.T) {
	w := newWorld(t)
	a := newRoute(w.in("r"), []string{w.in("one"), w.in("two.http"), w.in("two.https")}, w.in("b"))
	w.create(newBackend(w.in("b"), ""), a)
	w.says("r", "one Accepted ResolvedRefs -Pending", "two.http Accepted ResolvedRefs -Pending", "two.https Accepted ResolvedRefs -Pending")
	w.judge("r", w.accepts(w.in("one"), ""), w.accepts(w.in("two"), "http"), func(g int64) gatewayv1.RouteParentStatus {
		return parentStatus(w.in("two"), "https", EnvoyGateway, g, "NotAllowedByListeners", ResolvedRefs)
	})
	w.says("r", "one Accepted ResolvedRefs Programmed", "two.http Accepted ResolvedRefs Programmed", "two.https Accepted ResolvedRefs -NotAllowedByListeners")

	w.eventually(func() error {
		a := get(w, a)
		a.Status.Parents = append([]gatewayv1.RouteParentStatus{parentStatus(w.in("one"), "", "example.com/other", 1, Accepted, "Mine")}, a.Status.Parents[1:]...)
		a.Status.Parents[0].Conditions = a.Status.Parents[0].Conditions[1:]
		a.Status.Parents[0].Conditions[0].ObservedGeneration = a.Generation
		return w.client.Status().Update(w.Context(), a)
	})
	const other = "example.com/other one -Mine"
	w.says("r", other, "two.http Accepted ResolvedRefs Programmed", "two.https Accepted ResolvedRefs -NotAllowedByListeners", "one Accepted ResolvedRefs Programmed")
	change(w, a, func(a *v1alpha1.AIRoute) { a.Spec.ParentRefs = a.Spec.ParentRefs[:1] })
	w.says("r", other+"(old)", "one Accepted ResolvedRefs -Pending")
	w.eventsAre("r", "Normal Accepted", "one Normal Programmed", "two Normal Programmed", "two Warning NotAllowedByListeners", "one Normal Programmed")
}

// References into other namespaces are resolved while a ReferenceGrant is there.
func TestGrants(t *testing.T) {
	w := newWorld(t)
	elsewhere := w.newNamespace()
	w.create(newBackend(elsewhere+"/b", ""), newRoute(w.in("r"), []string{w.in("g")}, elsewhere+"/b"))
	w.judge("r", w.accepts(w.in("g"), ""))
	w.says("r", "g Accepted -RefNotPermitted -NoBackends")
	grant := test.Grant(elsewhere+"/g", w.namespace, "")
	grant.Spec.From[0] = gatewayv1beta1.ReferenceGrantFrom{Group: "fairway.dev", Kind: "AIRoute", Namespace: gatewayv1.Namespace(w.namespace)}
	grant.Spec.To[0] = gatewayv1beta1.ReferenceGrantTo{Group: "fairway.dev", Kind: "AIBackend"}
	w.create(grant)
	w.says("r", "g Accepted ResolvedRefs Programmed")
	w.remove(grant)
	w.says("r", "g Accepted -RefNotPermitted -NoBackends")
	w.eventsAre("r", "Normal Accepted", "Warning RefNotPermitted", "g Warning NoBackends", "Normal ResolvedRefs", "g Normal Programmed", "Warning RefNotPermitted", "g Warning NoBackends")
}

// An AIBackend's status says what it lacks.
func TestBackend(t *testing.T) {
	w := newWorld(t)
	w.create(newBackend(w.in("b"), "key"))
	w.backendSays("b", "Accepted -SecretNotFound -NotUsed -SecretNotFound")
	secret := &corev1.Secret{ObjectMeta: metav1.ObjectMeta{Namespace: w.namespace, Name: "key"}, StringData: map[string]string{"apiKey": "k"}}
	w.create(secret)
	w.backendSays("b", "Accepted ResolvedRefs -NotUsed -Pending")
	w.create(newRoute(w.in("r"), []string{w.in("g")}, w.in("b")))
	w.backendSays("b", "Accepted ResolvedRefs Programmed -Pending")
	w.credentials.set(w.in("b"), credentialState{true, "Ready", "", true})
	w.controller.CredentialsChanged(w.in("b"))
	w.backendSays("b", "Accepted ResolvedRefs Programmed Ready")
	w.credentials.set(w.in("b"), credentialState{false, "TokenRefused", "no", true})
	w.controller.CredentialsChanged(w.in("b"))
	w.controller.CredentialsChanged("nobody")
	w.backendSays("b", "Accepted ResolvedRefs Programmed -TokenRefused")
	w.eventually(func() error {
		b := get(w, newBackend(w.in("b"), ""))
		b.Status.Conditions = append([]metav1.Condition{{Type: "Other", Status: "True", Reason: "Mine", LastTransitionTime: metav1.Now()}}, b.Status.Conditions[1:]...)
		return w.client.Status().Update(t.Context(), b)
	})
	w.backendSays("b", "Mine ResolvedRefs Programmed -TokenRefused Accepted")
	w.remove(secret)
	w.backendSays("b", "Mine -SecretNotFound Programmed -SecretNotFound Accepted")
}

// The problems of an HTTPRoute's AIBackends are events, each once, and what they come to
// is an annotation, which comes back when somebody takes it away.
func TestDirect(t *testing.T) {
	w := newWorld(t)
	h := test.Route(w.in("h"), test.From(w.in("g")), test.ToKind("fairway.dev", "AIBackend", w.in("b")))
	w.create(h)
	w.eventsAre("h", "Warning BackendNotFound")
	change(w, h, func(h *gatewayv1.HTTPRoute) { h.Spec.Hostnames = []gatewayv1.Hostname{"a.example.com"} })
	w.create(newBackend(w.in("b"), ""))
	w.eventsAre("h", "Warning BackendNotFound", "Normal ResolvedRefs")
	marked := func() error {
		var now gatewayv1.HTTPRoute
		if err := w.client.Get(t.Context(), test.Name(w.in("h")), &now); err != nil {
			return err
		}
		if got := now.Annotations[HashAnnotation]; got != "of 1" {
			return fmt.Errorf("hash %q", got)
		}
		return nil
	}
	w.eventually(marked)
	change(w, h, func(h *gatewayv1.HTTPRoute) { delete(h.Annotations, HashAnnotation) })
	w.eventually(marked)
	w.remove(newBackend(w.in("b"), ""))
	w.eventsAre("h", "Warning BackendNotFound", "Normal ResolvedRefs", "Warning BackendNotFound")
}

// Nothing is written when nothing changed, and nothing by a replica that does not
// lead.
func TestWrites(t *testing.T) {
	w := newWorld(t)
	a := newRoute(w.in("r"), []string{w.in("g")}, w.in("b"))
	a.Spec.Rules[0].Matches = []v1alpha1.AIRouteMatch{{Path: &v1alpha1.PathMatch{Value: new("/v1")}}}
	w.create(newBackend(w.in("b"), ""), a)
	w.judge("r", w.accepts(w.in("g"), ""))
	w.says("r", "g Accepted ResolvedRefs Programmed")
	w.backendSays("b", "Accepted ResolvedRefs Programmed NotRequired")
	// A look at what is not in the cache yet tries to write it again.
	w.cached(a)
	w.cached(newBackend(w.in("b"), ""))
	w.cached(&gatewayv1.HTTPRoute{ObjectMeta: a.ObjectMeta})
	before := w.writes.in(w.namespace, "")
	if before > 8 { // one HTTPRoute, and a few states of the two objects
		t.Errorf("%d writes", before)
	}
	reconciles := func() float64 {
		return testutil.ToFloat64(w.controller.metrics.reconciles.WithLabelValues("airoute", "success"))
	}
	for range 5 {
		n := reconciles()
		w.controller.Elected()
		w.eventually(func() error {
			if reconciles() <= n {
				return fmt.Errorf("nothing was looked at")
			}
			return nil
		})
	}
	// Another object's change says that all before it was looked at.
	w.create(newBackend(w.in("last"), ""))
	w.backendSays("last", "Accepted ResolvedRefs -NotUsed NotRequired")
	if n := w.writes.in(w.namespace, "last") - before; n != 0 {
		t.Errorf("%d writes of what did not change", n)
	}

	w.leads.set(false)
	w.create(newRoute(w.in("late"), []string{w.in("g")}, w.in("b")))
	if !w.source.WaitFor(t.Context(), test.Name(w.in("late")), "") {
		t.Fatal("no result")
	}
	if n, err := testutil.GatherAndCount(w.registry, "fairway_airoute_status"); err != nil || n > 0 {
		t.Errorf("a replica that does not lead reports %d states, %v", n, err)
	}
	w.leads.set(true)
	w.controller.Elected()
	w.says("late", "g Accepted ResolvedRefs -Pending")
	for _, name := range []string{"fairway_airoute_status", "fairway_aibackend_status", "fairway_airoute_reconciles_total", "fairway_airoute_writes_total"} {
		if n, err := testutil.GatherAndCount(w.registry, name); err != nil || n == 0 {
			t.Errorf("%s: %d series, %v", name, n, err)
		}
	}
}

// What the API server does not take is said in the status.
func TestInvalidHTTPRoute(t *testing.T) {
	w := newWorld(t)
	a := newRoute(w.in("r"), []string{w.in("g")}, w.in("b"))
	for i := range 65 { // an HTTPRoute's rule has at most 64 matches
		if i%60 == 0 {
			a.Spec.Rules = append(a.Spec.Rules, *a.Spec.Rules[0].DeepCopy())
		}
		rule := &a.Spec.Rules[len(a.Spec.Rules)-1]
		rule.Matches = append(rule.Matches, v1alpha1.AIRouteMatch{Path: &v1alpha1.PathMatch{Value: new(fmt.Sprint("/", i))}})
	}
	w.create(newBackend(w.in("b"), ""), a)
	w.says("r", "g Accepted ResolvedRefs -HTTPRouteInvalid")
	if c := meta.FindStatusCondition(get(w, a).Status.Parents[0].Conditions, Programmed); !strings.Contains(c.Message, "matches") || len(c.Message) > maxMessage {
		t.Errorf("message %q", c.Message)
	}
}
