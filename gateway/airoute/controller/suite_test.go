package controller

import (
	"context"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/go-logr/logr"
	"github.com/prometheus/client_golang/prometheus"
	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/types"
	utilruntime "k8s.io/apimachinery/pkg/util/runtime"
	ctrl "sigs.k8s.io/controller-runtime"
	"sigs.k8s.io/controller-runtime/pkg/cache"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/config"
	"sigs.k8s.io/controller-runtime/pkg/envtest"
	"sigs.k8s.io/controller-runtime/pkg/log"
	metricsserver "sigs.k8s.io/controller-runtime/pkg/metrics/server"
	inferencev1 "sigs.k8s.io/gateway-api-inference-extension/api/v1"
	gatewayv1 "sigs.k8s.io/gateway-api/apis/v1"
	gatewayv1beta1 "sigs.k8s.io/gateway-api/apis/v1beta1"

	"github.com/fairway-ai/fairway/api/v1alpha1"
	"github.com/fairway-ai/fairway/gateway/airoute"
	"github.com/fairway-ai/fairway/gateway/airoute/kube"
	"github.com/fairway-ai/fairway/gateway/internal/test"
)

// suite is one kube-apiserver with one running source and controller, which all tests
// of the package share; each works in namespaces of its own.
type suite struct {
	env         *envtest.Environment
	client      client.Client // reads the API server, not a cache
	scheme      *runtime.Scheme
	registry    *prometheus.Registry
	events      *eventLog
	writes      *writeLog
	controller  *Controller
	source      *kube.Source
	credentials *credentials
	leads       *switchable
}

var shared *suite

func TestMain(m *testing.M) {
	log.SetLogger(logr.Discard())
	os.Exit(run(m))
}

func run(m *testing.M) int {
	if os.Getenv("KUBEBUILDER_ASSETS") != "" {
		s, stop, err := start()
		if err != nil {
			fmt.Fprintln(os.Stderr, err)
			return 1
		}
		defer stop()
		shared = s
	}
	return m.Run()
}

func newScheme() *runtime.Scheme {
	s := runtime.NewScheme()
	for _, add := range []func(*runtime.Scheme) error{corev1.AddToScheme, gatewayv1.Install, gatewayv1beta1.Install, inferencev1.Install, v1alpha1.AddToScheme} {
		utilruntime.Must(add(s))
	}
	return s
}

// definitions are the folders with those of all kinds.
func definitions() ([]string, error) {
	paths := []string{filepath.Join("..", "..", "..", "charts", "fairway", "files", "crds")}
	for module, path := range map[string]string{
		"sigs.k8s.io/gateway-api":                     "config/crd/standard",
		"sigs.k8s.io/gateway-api-inference-extension": "config/crd/bases",
	} {
		out, err := exec.Command("go", "list", "-m", "-f", "{{.Dir}}", module).Output()
		if err != nil {
			return nil, fmt.Errorf("find module %s: %w", module, err)
		}
		paths = append(paths, filepath.Join(strings.TrimSpace(string(out)), path))
	}
	return paths, nil
}

func start() (_ *suite, stop func(), err error) {
	s := &suite{
		scheme: newScheme(), registry: prometheus.NewRegistry(), events: &eventLog{}, writes: &writeLog{n: make(map[string]int)},
		credentials: &credentials{all: map[string]credentialState{}}, leads: &switchable{on: true},
	}
	paths, err := definitions()
	if err != nil {
		return nil, nil, err
	}
	s.env = &envtest.Environment{CRDDirectoryPaths: paths, ErrorIfCRDPathMissing: true, ControlPlaneStartTimeout: time.Minute}
	c, err := s.env.Start()
	if err != nil {
		return nil, nil, fmt.Errorf("start kube-apiserver: %w", err)
	}
	c.QPS = -1
	ctx, cancel := context.WithCancel(context.Background())
	var running sync.WaitGroup
	stop = func() {
		cancel()
		running.Wait() // or the API server would wait for its watches
		if err := s.env.Stop(); err != nil {
			fmt.Fprintln(os.Stderr, err)
		}
	}
	defer func() {
		if err != nil {
			stop()
		}
	}()
	if s.client, err = client.New(c, client.Options{Scheme: s.scheme}); err != nil {
		return nil, nil, err
	}
	m, err := ctrl.NewManager(c, ctrl.Options{
		Scheme: s.scheme, Metrics: metricsserver.Options{BindAddress: "0"}, Controller: config.Controller{SkipNameValidation: new(true)},
		Cache: cache.Options{ByObject: kube.CacheOptions()},
	})
	if err != nil {
		return nil, nil, err
	}
	if s.source, err = kube.New(m.GetCache(), kube.Options{Live: m.GetAPIReader(), Debounce: 5 * time.Millisecond, Compile: compile}); err != nil {
		return nil, nil, err
	}
	s.controller, err = New(counted{m.GetClient(), s.writes}, s.source, Options{
		Recorder: s.events, Metrics: s.registry, Credentials: s.credentials, Leads: s.leads.get,
	})
	if err != nil {
		return nil, nil, err
	}
	if err = s.controller.SetupWithManager(m); err != nil {
		return nil, nil, err
	}
	for _, f := range []func(context.Context) error{m.Start, s.source.Run} {
		running.Go(func() {
			if err := f(ctx); err != nil {
				fmt.Fprintln(os.Stderr, err)
			}
		})
	}
	return s, stop, nil
}

// compile is a small compiler: a rule named "invalid" is an Accepted problem, an
// AIBackend that is not there or not granted one of ResolvedRefs. The hash is that of
// the backends' generations.
func compile(in *airoute.Input) *airoute.Result {
	r := &airoute.Result{
		Config: &airoute.Config{}, Routes: map[types.NamespacedName]*airoute.RouteResult{},
		Backends: map[types.NamespacedName]*airoute.BackendResult{}, Direct: map[types.NamespacedName]*airoute.DirectResult{},
	}
	for _, b := range in.Backends {
		x := &airoute.BackendResult{Name: b.Namespace + "/" + b.Name, Generation: b.Generation}
		if c := b.Spec.Credentials; c != nil && c.APIKey != nil {
			if _, ok := in.SecretKeys(types.NamespacedName{Namespace: b.Namespace, Name: c.APIKey.SecretRef.Name}); !ok {
				x.Problems = append(x.Problems, problem(ResolvedRefs, airoute.ReasonSecret, "spec.credentials", "there is no Secret"))
			}
		}
		r.Backends[client.ObjectKeyFromObject(b)] = x
	}
	resolve := func(from airoute.Reference, namespace *gatewayv1.Namespace, name string) (*airoute.BackendResult, *airoute.Problem) {
		n := types.NamespacedName{Namespace: from.Namespace, Name: name}
		if namespace != nil {
			n.Namespace = string(*namespace)
		}
		b := r.Backends[n]
		if !in.Granted(from, airoute.Reference{Group: v1alpha1.GroupName, Kind: "AIBackend", NamespacedName: n}) {
			return nil, new(problem(ResolvedRefs, airoute.ReasonNotPermitted, "spec.rules[0]", "no ReferenceGrant allows "+n.String()))
		}
		if b == nil {
			return nil, new(problem(ResolvedRefs, airoute.ReasonNotFound, "spec.rules[0]", "there is no AIBackend "+n.String()))
		}
		b.Used = true
		return b, nil
	}
	for _, a := range in.Routes {
		x := &airoute.RouteResult{Name: a.Namespace + "/" + a.Name, Generation: a.Generation, Hostnames: a.Spec.Hostnames, Hash: "h"}
		from := airoute.Reference{Group: v1alpha1.GroupName, Kind: "AIRoute", NamespacedName: client.ObjectKeyFromObject(a)}
		for i, rule := range a.Spec.Rules {
			y := airoute.Rule{Name: fmt.Sprint(x.Name, "/", i)}
			if rule.Name != nil && *rule.Name == "invalid" {
				x.Problems = append(x.Problems, problem(Accepted, airoute.ReasonInvalid, fmt.Sprintf("spec.rules[%d].name", i), "must not be invalid"))
			}
			for _, m := range rule.Matches {
				if m.Path != nil {
					x.Matches = append(x.Matches, gatewayv1.HTTPRouteMatch{Path: (*gatewayv1.HTTPPathMatch)(m.Path)})
				}
			}
			for _, ref := range rule.BackendRefs {
				b, p := resolve(from, ref.Namespace, ref.Name)
				if p != nil {
					x.Problems = append(x.Problems, *p)
					continue
				}
				x.Hash += fmt.Sprint(b.Generation)
				y.Groups = append(y.Groups, []airoute.Target{{Backend: b.Name, Weight: 1}})
			}
			x.Rules = append(x.Rules, y.Name)
			r.Config.Rules = append(r.Config.Rules, y)
		}
		r.Routes[from.NamespacedName] = x
	}
	for _, h := range in.HTTPRoutes {
		x := &airoute.DirectResult{}
		from := airoute.Reference{Group: gatewayv1.GroupName, Kind: "HTTPRoute", NamespacedName: client.ObjectKeyFromObject(h)}
		for _, ref := range h.Spec.Rules[0].BackendRefs {
			b, p := resolve(from, ref.Namespace, string(ref.Name))
			if p != nil {
				x.Problems = append(x.Problems, *p)
				continue
			}
			x.Hash += fmt.Sprint("of ", b.Generation)
		}
		r.Direct[from.NamespacedName] = x
	}
	return r
}

// world is the shared suite in one test.
type world struct {
	*suite
	*testing.T
	namespace string
}

// newWorld gives the test a namespace of its own.
func newWorld(t *testing.T) *world {
	t.Helper()
	if shared == nil {
		if os.Getenv("CI") != "" {
			t.Fatal("needs a kube-apiserver: set KUBEBUILDER_ASSETS")
		}
		t.Skip("needs a kube-apiserver: set KUBEBUILDER_ASSETS")
	}
	w := &world{suite: shared, T: t}
	w.namespace = w.newNamespace()
	return w
}

// newNamespace makes one. Its name is generated, so that the same test can run again.
func (w *world) newNamespace() string {
	w.Helper()
	ns := test.Namespace("")
	ns.GenerateName = strings.ToLower(w.Name()) + "-"
	w.create(ns)
	return ns.Name
}

// in is the name in the test's namespace.
func (w *world) in(name string) string { return w.namespace + "/" + name }

func (w *world) create(objects ...client.Object) {
	w.Helper()
	for _, o := range objects {
		if err := w.client.Create(w.Context(), o); err != nil {
			w.Fatalf("create %T %s: %v", o, o.GetName(), err)
		}
	}
}

func (w *world) remove(o client.Object) {
	w.Helper()
	if err := w.client.Delete(w.Context(), o); err != nil {
		w.Fatal(err)
	}
}

// get reads the object of o's name anew.
func get[T client.Object](w *world, o T) T {
	w.Helper()
	if err := w.client.Get(w.Context(), client.ObjectKeyFromObject(o), o); err != nil {
		w.Fatal(err)
	}
	return o
}

// cached waits until the controller's cache has the object as it is.
func (w *world) cached(o client.Object) {
	w.Helper()
	key, seen := client.ObjectKeyFromObject(o), o.DeepCopyObject().(client.Object)
	w.eventually(func() error {
		if err := w.client.Get(w.Context(), key, o); err != nil {
			return err
		}
		if err := w.controller.client.Get(w.Context(), key, seen); err != nil {
			return err
		}
		if seen.GetResourceVersion() != o.GetResourceVersion() {
			return fmt.Errorf("%s is not in the cache as it is", key)
		}
		return nil
	})
}

// change reads the object, changes it and writes it, until nobody else was faster.
func change[T client.Object](w *world, o T, f func(T)) {
	w.Helper()
	w.eventually(func() error {
		if err := w.client.Get(w.Context(), client.ObjectKeyFromObject(o), o); err != nil {
			return err
		}
		f(o)
		return w.client.Update(w.Context(), o)
	})
}

// judge has Gateways' controllers judge the HTTPRoute of that name as it is now.
func (w *world) judge(name string, parents ...func(generation int64) gatewayv1.RouteParentStatus) {
	w.Helper()
	w.eventually(func() error {
		h := test.Route(w.in(name))
		if err := w.client.Get(w.Context(), client.ObjectKeyFromObject(h), h); err != nil {
			return err
		}
		h.Status.Parents = nil
		for _, p := range parents {
			h.Status.Parents = append(h.Status.Parents, p(h.Generation))
		}
		return w.client.Status().Update(w.Context(), h)
	})
}

func (w *world) accepts(gateway, listener string) func(int64) gatewayv1.RouteParentStatus {
	return func(g int64) gatewayv1.RouteParentStatus {
		return parentStatus(gateway, listener, EnvoyGateway, g, Accepted, ResolvedRefs)
	}
}

// patience is far longer than anything takes.
const patience = 30 * time.Second

// eventually waits until f returns nil.
func (w *world) eventually(f func() error) {
	w.Helper()
	deadline := time.Now().Add(patience)
	for {
		err := f()
		if err == nil {
			return
		}
		if time.Now().After(deadline) {
			w.Fatal(err)
		}
		time.Sleep(10 * time.Millisecond)
	}
}

// says waits until the AIRoute's status has exactly these lines: whose, of what, and
// the reasons of Accepted, ResolvedRefs and Programmed, "-" before those not true.
func (w *world) says(route string, want ...string) {
	w.Helper()
	w.eventually(func() error {
		a := airouteNamed(w.in(route))
		if err := w.client.Get(w.Context(), client.ObjectKeyFromObject(a), a); err != nil {
			return err
		}
		var got []string
		for _, p := range a.Status.Parents {
			line := string(p.ParentRef.Name)
			if p.ParentRef.SectionName != nil {
				line += "." + string(*p.ParentRef.SectionName)
			}
			if p.ControllerName != ControllerName {
				line = string(p.ControllerName) + " " + line
			}
			for _, c := range p.Conditions {
				line += map[bool]string{true: " ", false: " -"}[c.Status == "True"] + c.Reason
				if c.ObservedGeneration != a.Generation {
					line += "(old)"
				}
			}
			got = append(got, line)
		}
		if !slices.Equal(got, want) {
			return fmt.Errorf("status of %s:\n%s\nwant:\n%s", route, strings.Join(got, "\n"), strings.Join(want, "\n"))
		}
		return nil
	})
}

// backendSays waits until the AIBackend's status has these reasons, see says.
func (w *world) backendSays(backend, want string) {
	w.Helper()
	w.eventually(func() error {
		b := &v1alpha1.AIBackend{}
		if err := w.client.Get(w.Context(), test.Name(w.in(backend)), b); err != nil {
			return err
		}
		var got []string
		for _, c := range b.Status.Conditions {
			got = append(got, map[bool]string{true: "", false: "-"}[c.Status == "True"]+c.Reason)
		}
		if s := strings.Join(got, " "); s != want {
			return fmt.Errorf("status of %s: %s, want %s", backend, s, want)
		}
		return nil
	})
}

// httpRoute waits for the HTTPRoute of that name.
func (w *world) httpRoute(name string) *gatewayv1.HTTPRoute {
	w.Helper()
	h := test.Route(w.in(name))
	w.eventually(func() error { return w.client.Get(w.Context(), client.ObjectKeyFromObject(h), h) })
	return h
}

// noHTTPRoute waits until there is none of that name.
func (w *world) noHTTPRoute(name string) {
	w.Helper()
	w.eventually(func() error {
		h := test.Route(w.in(name))
		if err := w.client.Get(w.Context(), client.ObjectKeyFromObject(h), h); client.IgnoreNotFound(err) != nil {
			return err
		} else if err == nil {
			return fmt.Errorf("HTTPRoute %s is there", name)
		}
		return nil
	})
}

func airouteNamed(name string) *v1alpha1.AIRoute {
	a := &v1alpha1.AIRoute{}
	n := test.Name(name)
	a.Namespace, a.Name = n.Namespace, n.Name
	return a
}

// newRoute is an AIRoute to AIBackends, with one rule.
func newRoute(name string, gateways []string, backends ...string) *v1alpha1.AIRoute {
	a := airouteNamed(name)
	for _, g := range gateways {
		gateway, listener, _ := strings.Cut(g, ".")
		a.Spec.ParentRefs = append(a.Spec.ParentRefs, test.ParentRef(gateway, listener))
	}
	rule := v1alpha1.AIRouteRule{}
	for _, b := range backends {
		n := test.Name(b)
		rule.BackendRefs = append(rule.BackendRefs, v1alpha1.AIBackendRef{Name: n.Name, Namespace: new(gatewayv1.Namespace(n.Namespace))})
	}
	a.Spec.Rules = []v1alpha1.AIRouteRule{rule}
	return a
}

// newBackend is an AIBackend with a key, or none.
func newBackend(name, secret string) *v1alpha1.AIBackend {
	n := test.Name(name)
	b := &v1alpha1.AIBackend{Spec: v1alpha1.AIBackendSpec{
		Schema:      v1alpha1.BackendSchema{Name: v1alpha1.SchemaOpenAI},
		Destination: v1alpha1.Destination{Type: v1alpha1.DestinationHostname, Hostname: &v1alpha1.HostnameDestination{Host: "api.example.com"}},
	}}
	b.Namespace, b.Name = n.Namespace, n.Name
	if secret != "" {
		b.Spec.Credentials = &v1alpha1.Credentials{Type: v1alpha1.CredentialsAPIKey, APIKey: &v1alpha1.APIKeyCredentials{SecretRef: v1alpha1.SecretKey{Name: secret}}}
	}
	return b
}
