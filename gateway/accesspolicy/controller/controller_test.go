package controller

import (
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/x509"
	"encoding/base64"
	"encoding/pem"
	"fmt"
	"math/big"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/testutil"
	corev1 "k8s.io/api/core/v1"
	apiext "k8s.io/apiextensions-apiserver/pkg/apis/apiextensions/v1"
	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/types"
	clocktesting "k8s.io/utils/clock/testing"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/envtest"
	gatewayv1 "sigs.k8s.io/gateway-api/apis/v1"

	"github.com/fairway-ai/fairway/api/v1alpha1"
	"github.com/fairway-ai/fairway/gateway/accesspolicy"
	"github.com/fairway-ai/fairway/gateway/airoute"
	"github.com/fairway-ai/fairway/gateway/airoute/kube"
)

// world is a real API server with a Gateway and a controller.
type world struct {
	*testing.T
	client.Client
	controller *Controller
	clock      *clocktesting.FakePassiveClock
	metrics    *prometheus.Registry
	events     []string
	mu         sync.Mutex
}

// Result implements Source: what the policies come to that are there.
func (w *world) Result() *airoute.Result {
	var list v1alpha1.AIAccessPolicyList
	if err := w.List(w.Context(), &list); err != nil {
		w.Fatal(err)
	}
	var all []*v1alpha1.AIAccessPolicy
	for i := range list.Items {
		all = append(all, &list.Items[i])
	}
	r := &airoute.Result{}
	_, r.Policies = accesspolicy.Compile(all)
	return r
}

func (*world) Subscribe(func(*airoute.Result))                        {}
func (*world) SubscribeObjects(func(kube.Kind, types.NamespacedName)) {}
func (w *world) Eventf(_, _ runtime.Object, kind, reason, _, note string, args ...any) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.events = append(w.events, kind+" "+reason+" "+fmt.Sprintf(note, args...))
}

// trafficPolicies is the definition of Envoy Gateway's kind, as far as it matters.
func trafficPolicies() *apiext.CustomResourceDefinition {
	return &apiext.CustomResourceDefinition{
		ObjectMeta: metav1.ObjectMeta{Name: "clienttrafficpolicies.gateway.envoyproxy.io"},
		Spec: apiext.CustomResourceDefinitionSpec{
			Group: trafficPolicy.Group, Scope: apiext.NamespaceScoped,
			Names: apiext.CustomResourceDefinitionNames{Kind: trafficPolicy.Kind, ListKind: trafficPolicy.Kind + "List", Plural: "clienttrafficpolicies", Singular: "clienttrafficpolicy"},
			Versions: []apiext.CustomResourceDefinitionVersion{{
				Name: trafficPolicy.Version, Served: true, Storage: true, Subresources: &apiext.CustomResourceSubresources{Status: &apiext.CustomResourceSubresourceStatus{}},
				Schema: &apiext.CustomResourceValidation{OpenAPIV3Schema: &apiext.JSONSchemaProps{Type: "object", XPreserveUnknownFields: new(true)}},
			}},
		},
	}
}

func newWorld(t *testing.T) *world {
	t.Helper()
	if os.Getenv("KUBEBUILDER_ASSETS") == "" {
		const text = "needs kube-apiserver and etcd; name their folder in KUBEBUILDER_ASSETS"
		if os.Getenv("CI") != "" {
			t.Fatal(text)
		}
		t.Skip(text)
	}
	out, err := exec.CommandContext(t.Context(), "go", "list", "-m", "-f", "{{.Dir}}", "sigs.k8s.io/gateway-api").Output()
	if err != nil {
		t.Fatal(err)
	}
	env := &envtest.Environment{
		CRDDirectoryPaths:     []string{"../../../charts/fairway/files/crds", filepath.Join(strings.TrimSpace(string(out)), "config/crd/standard")},
		CRDs:                  []*apiext.CustomResourceDefinition{trafficPolicies()},
		ErrorIfCRDPathMissing: true, ControlPlaneStartTimeout: time.Minute,
	}
	config, err := env.Start()
	t.Cleanup(func() { _ = env.Stop() })
	if err != nil {
		t.Fatal(err)
	}
	s := runtime.NewScheme()
	for _, add := range []func(*runtime.Scheme) error{corev1.AddToScheme, gatewayv1.Install, v1alpha1.AddToScheme} {
		if err := add(s); err != nil {
			t.Fatal(err)
		}
	}
	w := &world{T: t, clock: clocktesting.NewFakePassiveClock(time.Now().Truncate(time.Second)), metrics: prometheus.NewRegistry()}
	if w.Client, err = client.New(config, client.Options{Scheme: s}); err != nil {
		t.Fatal(err)
	}
	if w.controller, err = New(w.Client, w, Options{Clock: w.clock, Recorder: w, Metrics: w.metrics}); err != nil {
		t.Fatal(err)
	}
	w.create(&gatewayv1.GatewayClass{ObjectMeta: metav1.ObjectMeta{Name: "eg"}, Spec: gatewayv1.GatewayClassSpec{ControllerName: EnvoyGateway}})
	return w
}

func (w *world) create(all ...client.Object) {
	w.Helper()
	for _, o := range all {
		if err := w.Create(w.Context(), o); err != nil {
			w.Fatal(err)
		}
	}
}

func (w *world) update(o client.Object, change func()) {
	w.Helper()
	if err := w.Get(w.Context(), client.ObjectKeyFromObject(o), o); err != nil {
		w.Fatal(err)
	}
	change()
	if err := w.Update(w.Context(), o); err != nil {
		w.Fatal(err)
	}
}

// gateway is a Gateway with an HTTPS listener and one without TLS.
func gateway(name string) *gatewayv1.Gateway {
	return &gatewayv1.Gateway{
		ObjectMeta: metav1.ObjectMeta{Namespace: "default", Name: name, Labels: map[string]string{"team": "red"}},
		Spec: gatewayv1.GatewaySpec{GatewayClassName: "eg", Listeners: []gatewayv1.Listener{
			{Name: "https", Port: 443, Protocol: gatewayv1.HTTPSProtocolType, TLS: &gatewayv1.ListenerTLSConfig{
				CertificateRefs: []gatewayv1.SecretObjectReference{{Name: "cert"}},
			}},
			{Name: "http", Port: 80, Protocol: gatewayv1.HTTPProtocolType},
		}},
	}
}

func policyFor(name, gateway string) *v1alpha1.AIAccessPolicy {
	x := &v1alpha1.AIAccessPolicy{ObjectMeta: metav1.ObjectMeta{Namespace: "default", Name: name}}
	x.Spec.TargetRef.Group, x.Spec.TargetRef.Kind, x.Spec.TargetRef.Name = gatewayv1.GroupName, "Gateway", gatewayv1.ObjectName(gateway)
	x.Spec.Trust = v1alpha1.AccessTrust{TrustDomain: "d", BundleRef: v1alpha1.AccessBundleRef{Kind: "ConfigMap", Name: "bundle-" + name, Key: "bundle.spiffe"}}
	return x
}

// certificate is an authority's in DER.
func (w *world) certificate(until time.Duration) []byte {
	w.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		w.Fatal(err)
	}
	now := w.clock.Now()
	c := &x509.Certificate{SerialNumber: big.NewInt(1), NotBefore: now.Add(-time.Hour), NotAfter: now.Add(until), IsCA: true, BasicConstraintsValid: true}
	der, err := x509.CreateCertificate(rand.Reader, c, c, key.Public(), key)
	if err != nil {
		w.Fatal(err)
	}
	return der
}

func spiffe(der []byte) string {
	return `{"keys": [{"use": "x509-svid", "x5c": ["` + base64.StdEncoding.EncodeToString(der) + `"]}]}`
}

func bundle(name, text string) *corev1.ConfigMap {
	return &corev1.ConfigMap{ObjectMeta: metav1.ObjectMeta{Namespace: "default", Name: "bundle-" + name}, Data: map[string]string{"bundle.spiffe": text}}
}

// look reconciles a policy and wants conditions, as in "Accepted=True/Accepted".
func (w *world) look(name string, want ...string) *v1alpha1.AIAccessPolicy {
	w.Helper()
	at := types.NamespacedName{Namespace: "default", Name: name}
	if _, err := w.controller.Reconcile(w.Context(), at); err != nil {
		w.Fatal(err)
	}
	var p v1alpha1.AIAccessPolicy
	if err := w.Get(w.Context(), at, &p); err != nil {
		w.Fatal(err)
	}
	for _, s := range want {
		kind, rest, _ := strings.Cut(s, "=")
		c := meta.FindStatusCondition(p.Status.Conditions, kind)
		if c == nil || string(c.Status)+"/"+c.Reason != rest || c.ObservedGeneration != p.Generation {
			w.Errorf("%s: %+v, want %s", name, c, s)
		}
	}
	return &p
}

func (w *world) traffic(name string) *unstructured.Unstructured {
	w.Helper()
	u := new(unstructured.Unstructured)
	u.SetGroupVersionKind(trafficPolicy)
	if err := w.Get(w.Context(), types.NamespacedName{Namespace: "default", Name: name}, u); err != nil {
		if client.IgnoreNotFound(err) != nil {
			w.Fatal(err)
		}
		return nil
	}
	return u
}

// taken is what Envoy Gateway says of a ClientTrafficPolicy.
func (w *world) taken(u *unstructured.Unstructured, gateway, status string) {
	w.Helper()
	u.Object["status"] = map[string]any{"ancestors": []any{map[string]any{
		"ancestorRef": map[string]any{"name": gateway}, "controllerName": EnvoyGateway,
		"conditions": []any{map[string]any{"type": "Accepted", "status": status, "observedGeneration": u.GetGeneration(), "reason": "Said", "message": "as it is", "lastTransitionTime": "2026-01-02T03:04:05Z"}},
	}}}
	if err := w.Status().Update(w.Context(), u); err != nil {
		w.Fatal(err)
	}
}

func TestController(t *testing.T) {
	w := newWorld(t)
	t.Run("a policy's life", func(t *testing.T) { w.T = t; w.life() })
	t.Run("what is missing", func(t *testing.T) { w.T = t; w.missing() })
	t.Run("others' ClientTrafficPolicies", func(t *testing.T) { w.T = t; w.foreign() })
	t.Run("not the leader", func(t *testing.T) { w.T = t; w.following() })
	t.Run("what is counted", func(t *testing.T) { w.T = t; w.counted() })
}

func (w *world) life() {
	der := w.certificate(24 * time.Hour)
	w.create(gateway("life"), bundle("life", spiffe(der)), policyFor("life", "life"))
	w.look("life", "Accepted=True/Accepted", "ResolvedRefs=True/ResolvedRefs", "BundleReady=True/BundleReady", "GatewayBound=True/GatewayBound", "Programmed=False/Pending")
	var m corev1.ConfigMap
	if err := w.Get(w.Context(), types.NamespacedName{Namespace: "default", Name: "life-client-ca"}, &m); err != nil {
		w.Fatal(err)
	}
	if want := string(pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der})); m.Data["ca.crt"] != want || len(m.OwnerReferences) != 1 {
		w.Errorf("%+v", m)
	}
	u := w.traffic("life")
	if got := fmt.Sprint(u.Object["spec"]); got != "map[headers:map[xForwardedClientCert:map[certDetailsToAdd:[URI] mode:SanitizeSet]] "+
		"targetRefs:[map[group:gateway.networking.k8s.io kind:Gateway name:life]] tls:map[clientValidation:map[caCertificateRefs:[map[group: kind:ConfigMap name:life-client-ca]]]]]" ||
		len(u.GetOwnerReferences()) != 1 {
		w.Errorf("%s", got)
	}
	w.taken(u, "life", "True")
	p := w.look("life", "Programmed=True/Programmed")
	if c := meta.FindStatusCondition(p.Status.Conditions, GatewayBound); !strings.Contains(c.Message, "refused there: http.") {
		w.Errorf("nothing is said of the listener without TLS: %s", c.Message)
	}
	version := p.ResourceVersion
	if again := w.look("life"); again.ResourceVersion != version {
		w.Error("a look without news writes")
	}
	// What somebody else changed is put right.
	u = w.traffic("life")
	w.update(u, func() {
		_ = unstructured.SetNestedField(u.Object, "AppendForward", "spec", "headers", "xForwardedClientCert", "mode")
	})
	w.look("life", "Programmed=False/Pending")
	u = w.traffic("life")
	if mode, _, _ := unstructured.NestedString(u.Object, "spec", "headers", "xForwardedClientCert", "mode"); mode != "SanitizeSet" {
		w.Errorf("clients may write the header: %s", mode)
	}
	w.taken(u, "life", "False")
	w.look("life", "Programmed=False/Conflict")
	// A new bundle is passed on, a bad one is not.
	b := bundle("life", "")
	next := w.certificate(48 * time.Hour)
	w.update(b, func() { b.Data["bundle.spiffe"] = spiffe(next) })
	w.look("life", "BundleReady=True/BundleReady")
	good := string(pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: next}))
	w.update(b, func() { b.Data["bundle.spiffe"] = "nothing" })
	w.look("life", "BundleReady=False/InvalidBundle", "Programmed=False/NotBound")
	if err := w.Get(w.Context(), client.ObjectKeyFromObject(&m), &m); err != nil || m.Data["ca.crt"] != good {
		w.Errorf("the last good bundle is gone: %v", err)
	}
	w.update(b, func() { b.Data["bundle.spiffe"] = spiffe(w.certificate(time.Hour)) })
	w.look("life", "BundleReady=True/ExpiringSoon")
	if !slices.ContainsFunc(w.events, func(s string) bool { return strings.HasPrefix(s, "Warning ExpiringSoon BundleReady is True") }) {
		w.Errorf("no warning among %q", w.events)
	}
	// A listener of its own.
	x := policyFor("life", "life")
	w.update(x, func() { x.Spec.TargetRef.SectionName = new(gatewayv1.SectionName("https")) })
	w.look("life", "Accepted=True/Accepted")
	if u = w.traffic("life"); !strings.Contains(fmt.Sprint(u.Object["spec"]), "sectionName:https") {
		w.Errorf("%v", u.Object["spec"])
	}
}

func (w *world) missing() {
	x := policyFor("missing", "missing")
	w.create(x)
	w.look("missing", "Accepted=True/Accepted", "ResolvedRefs=False/BundleNotFound", "BundleReady=False/BundleNotFound", "GatewayBound=False/GatewayNotFound", "Programmed=False/NotBound")
	w.create(&corev1.Secret{ObjectMeta: metav1.ObjectMeta{Namespace: "default", Name: "bundle-missing"}, Data: map[string][]byte{"other": []byte("x")}})
	w.update(x, func() { x.Spec.Trust.BundleRef.Kind = "Secret" })
	w.look("missing", "ResolvedRefs=False/BundleNotFound")
	w.update(x, func() { x.Spec.Trust.BundleRef.Key = "other" })
	w.look("missing", "ResolvedRefs=False/GatewayNotFound", "BundleReady=False/InvalidBundle")
	g := gateway("missing")
	g.Spec.GatewayClassName = "nobodys"
	w.create(g)
	w.look("missing", "ResolvedRefs=True/ResolvedRefs", "GatewayBound=False/GatewayNotManaged")
	w.update(g, func() { g.Spec.GatewayClassName = "eg" })
	w.look("missing", "GatewayBound=True/GatewayBound")
	w.update(x, func() { x.Spec.TargetRef.SectionName = new(gatewayv1.SectionName("http")) })
	w.look("missing", "GatewayBound=False/NoTLSListener")
	w.update(x, func() {
		x.Spec.Rules = []v1alpha1.AccessRule{{Identities: []v1alpha1.IdentityMatch{{Value: "spiffe://other/a"}}, Models: []v1alpha1.ModelMatch{{Value: "m"}}}}
	})
	w.look("missing", "Accepted=False/Invalid")
	if w.traffic("missing") != nil {
		w.Error("something was written for a policy that is not complete")
	}
}

func (w *world) foreign() {
	w.create(gateway("foreign"), bundle("foreign", spiffe(w.certificate(24*time.Hour))), policyFor("foreign", "foreign"))
	theirs := func(name string, spec map[string]any) *unstructured.Unstructured {
		u := &unstructured.Unstructured{Object: map[string]any{"spec": spec}}
		u.SetGroupVersionKind(trafficPolicy)
		u.SetNamespace("default")
		u.SetName(name)
		return u
	}
	target := map[string]any{"group": gatewayGroup, "kind": "Gateway", "name": "foreign"}
	elsewhere := theirs("elsewhere", map[string]any{"targetRef": map[string]any{"group": gatewayGroup, "kind": "Gateway", "name": "other"}})
	u := theirs("theirs", map[string]any{"targetSelectors": []any{map[string]any{"kind": "Gateway", "matchLabels": map[string]any{"team": "red"}}}})
	w.create(elsewhere, u)
	p := w.look("foreign", "GatewayBound=False/Conflict", "Programmed=False/NotBound")
	advice := meta.FindStatusCondition(p.Status.Conditions, GatewayBound).Message
	if !strings.Contains(advice, "ClientTrafficPolicy theirs") || !strings.Contains(advice, "name: foreign-client-ca") || w.traffic("foreign") != nil {
		w.Errorf("%s", advice)
	}
	// It does what it is told to, and is believed when it has been taken.
	enough := map[string]any{
		"targetRefs": []any{target},
		"tls":        map[string]any{"clientValidation": map[string]any{"caCertificateRefs": []any{map[string]any{"group": "", "kind": "ConfigMap", "name": "foreign-client-ca"}}}},
		"headers":    map[string]any{"xForwardedClientCert": map[string]any{"mode": "SanitizeSet", "certDetailsToAdd": []any{"Subject", "URI"}}},
	}
	w.update(u, func() { u.Object["spec"] = runtime.DeepCopyJSON(enough) })
	w.look("foreign", "GatewayBound=True/ForeignPolicy", "Programmed=False/Pending")
	w.taken(u, "foreign", "True")
	w.look("foreign", "Programmed=True/Programmed")
	for what, change := range map[string]func(){
		"optional": func() { _ = unstructured.SetNestedField(u.Object, true, "spec", "tls", "clientValidation", "optional") },
		"any": func() {
			_ = unstructured.SetNestedField(u.Object, "RequireAny", "spec", "tls", "clientValidation", "mode")
		},
		"expired": func() {
			_ = unstructured.SetNestedField(u.Object, true, "spec", "tls", "clientValidation", "allowExpiredCertificate")
		},
		"the client's": func() {
			_ = unstructured.SetNestedField(u.Object, "AppendForward", "spec", "headers", "xForwardedClientCert", "mode")
		},
		"no URI": func() {
			_ = unstructured.SetNestedSlice(u.Object, []any{"Subject"}, "spec", "headers", "xForwardedClientCert", "certDetailsToAdd")
		},
		"no authorities": func() { unstructured.RemoveNestedField(u.Object, "spec", "tls") },
	} {
		w.update(u, change)
		p := w.look("foreign")
		if c := meta.FindStatusCondition(p.Status.Conditions, GatewayBound); c.Reason != ReasonConflict {
			w.Errorf("%s: %+v", what, c)
		}
		w.update(u, func() { u.Object["spec"] = runtime.DeepCopyJSON(enough) })
	}
	// One of the name that ours would have.
	w.create(gateway("named"), bundle("named", spiffe(w.certificate(24*time.Hour))), policyFor("named", "named"),
		theirs("named", map[string]any{"targetRef": map[string]any{"group": gatewayGroup, "kind": "Gateway", "name": "other"}}))
	if err := w.Delete(w.Context(), u); err != nil { // it selects all Gateways of the team
		w.Fatal(err)
	}
	w.look("named", "GatewayBound=False/NameTaken", "Programmed=False/NotBound")
	w.create(gateway("ca"), bundle("ca", spiffe(w.certificate(24*time.Hour))), policyFor("ca", "ca"),
		&corev1.ConfigMap{ObjectMeta: metav1.ObjectMeta{Namespace: "default", Name: "ca-client-ca"}, Data: map[string]string{"ca.crt": "theirs"}})
	w.look("ca", "GatewayBound=False/NameTaken")
}

func (w *world) following() {
	w.create(gateway("following"), bundle("following", spiffe(w.certificate(24*time.Hour))), policyFor("following", "following"))
	follower := prometheus.NewRegistry()
	c, err := New(w.Client, w, Options{Leads: func() bool { return false }, Metrics: follower})
	if err != nil {
		w.Fatal(err)
	}
	if n, err := testutil.GatherAndCount(follower); n != 0 || err != nil {
		w.Errorf("a replica that does not lead reports %d conditions, %v", n, err)
	}
	if _, err := c.Reconcile(context.Background(), types.NamespacedName{Namespace: "default", Name: "following"}); err != nil || w.traffic("following") != nil {
		w.Errorf("a replica that does not lead writes: %v", err)
	}
	if r, err := w.controller.Reconcile(w.Context(), types.NamespacedName{Namespace: "default", Name: "gone"}); err != nil || r.RequeueAfter != 0 {
		w.Errorf("a policy that is gone: %v, %v", r, err)
	}
}
