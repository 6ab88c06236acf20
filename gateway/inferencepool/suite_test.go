package inferencepool

import (
	"context"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	corev1 "k8s.io/api/core/v1"
	eventsv1 "k8s.io/api/events/v1"
	"k8s.io/apimachinery/pkg/runtime"
	utilruntime "k8s.io/apimachinery/pkg/util/runtime"
	ctrl "sigs.k8s.io/controller-runtime"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/config"
	"sigs.k8s.io/controller-runtime/pkg/envtest"
	"sigs.k8s.io/controller-runtime/pkg/log"
	"sigs.k8s.io/controller-runtime/pkg/manager"
	metricsserver "sigs.k8s.io/controller-runtime/pkg/metrics/server"
	inferencev1 "sigs.k8s.io/gateway-api-inference-extension/api/v1"
	gatewayv1 "sigs.k8s.io/gateway-api/apis/v1"
	gatewayv1beta1 "sigs.k8s.io/gateway-api/apis/v1beta1"

	"github.com/go-logr/logr"

	"github.com/fairway-ai/fairway/gateway/internal/test"
	"github.com/fairway-ai/fairway/gateway/refs"
)

// suite is one kube-apiserver with one running controller, which all tests of the
// package share; each works in namespaces of its own.
type suite struct {
	env      *envtest.Environment
	client   client.Client // reads the API server, not a cache
	scheme   *runtime.Scheme
	registry *prometheus.Registry
	events   *eventLog
	writes   *writeLog
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

func start() (_ *suite, stop func(), err error) {
	s := &suite{scheme: newScheme(), registry: prometheus.NewRegistry(), events: &eventLog{}, writes: &writeLog{n: make(map[string]int)}}
	gatewayAPI, err := moduleDir("sigs.k8s.io/gateway-api")
	if err != nil {
		return nil, nil, err
	}
	extension, err := moduleDir("sigs.k8s.io/gateway-api-inference-extension")
	if err != nil {
		return nil, nil, err
	}
	s.env = &envtest.Environment{
		CRDDirectoryPaths:     []string{filepath.Join(gatewayAPI, "config/crd/standard"), filepath.Join(extension, "config/crd/bases")},
		ErrorIfCRDPathMissing: true,
	}
	config, err := s.env.Start()
	if err != nil {
		return nil, nil, fmt.Errorf("start kube-apiserver: %w", err)
	}
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
	if s.client, err = client.New(config, client.Options{Scheme: s.scheme}); err != nil {
		return nil, nil, err
	}
	for name, controller := range map[string]string{"envoy": EnvoyGateway, "other": "example.com/other"} {
		if err := s.client.Create(ctx, test.Class(name, controller)); err != nil {
			return nil, nil, err
		}
	}
	m, _, err := s.manager(ctx, Options{Recorder: s.events, Metrics: s.registry}, ctrl.Options{})
	if err != nil {
		return nil, nil, err
	}
	s.events.to = m.GetEventRecorder("fairway")
	running.Go(func() {
		if err := m.Start(ctx); err != nil {
			fmt.Fprintln(os.Stderr, err)
		}
	})
	return s, stop, nil
}

// manager is a manager with the controller, not started.
func (s *suite) manager(ctx context.Context, o Options, mo ctrl.Options) (manager.Manager, *Controller, error) {
	mo.Scheme = s.scheme
	mo.Metrics = metricsserver.Options{BindAddress: "0"}
	mo.Controller = config.Controller{SkipNameValidation: new(true)}
	m, err := ctrl.NewManager(s.env.Config, mo)
	if err != nil {
		return nil, nil, err
	}
	if err := refs.SetupIndexes(ctx, m.GetFieldIndexer()); err != nil {
		return nil, nil, err
	}
	c, err := New(counted{m.GetClient(), s.writes}, o)
	if err != nil {
		return nil, nil, err
	}
	return m, c, c.SetupWithManager(m)
}

func newScheme() *runtime.Scheme {
	s := runtime.NewScheme()
	for _, add := range []func(*runtime.Scheme) error{corev1.AddToScheme, eventsv1.AddToScheme, gatewayv1.Install, gatewayv1beta1.Install, inferencev1.Install} {
		utilruntime.Must(add(s))
	}
	return s
}

func moduleDir(module string) (string, error) {
	out, err := exec.Command("go", "list", "-m", "-f", "{{.Dir}}", module).Output()
	if err != nil {
		return "", fmt.Errorf("find module %s: %w", module, err)
	}
	return strings.TrimSpace(string(out)), nil
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
	t.Parallel()
	// The name is generated, so that the same test can run again.
	ns := test.Namespace("")
	ns.GenerateName = strings.ToLower(t.Name()) + "-"
	w := &world{suite: shared, T: t}
	w.create(ns)
	w.namespace = ns.Name
	return w
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

// judge has the Gateway's controller judge the route.
func (w *world) judge(route *gatewayv1.HTTPRoute, parents ...gatewayv1.RouteParentStatus) {
	w.Helper()
	w.eventually(func() error {
		if err := w.client.Get(w.Context(), client.ObjectKeyFromObject(route), route); err != nil {
			return err
		}
		route.Status.Parents = parents
		return w.client.Status().Update(w.Context(), route)
	})
}

func (w *world) pool(name string) *inferencev1.InferencePool {
	w.Helper()
	var p inferencev1.InferencePool
	if err := w.client.Get(w.Context(), test.Name(w.in(name)), &p); err != nil {
		w.Fatal(err)
	}
	return &p
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

// says waits until the pool's status has exactly these lines, see [summary].
func (w *world) says(pool string, want ...string) {
	w.Helper()
	w.eventually(func() error {
		got := summary(w.pool(pool).Status.Parents)
		if strings.Join(got, "\n") != strings.Join(want, "\n") {
			return fmt.Errorf("status of %s:\n%s\nwant:\n%s", pool, strings.Join(got, "\n"), strings.Join(want, "\n"))
		}
		return nil
	})
}

// summary is a line per entry: whose, of what, and its conditions.
func summary(parents []inferencev1.ParentStatus) []string {
	var lines []string
	for _, p := range parents {
		line := string(p.ParentRef.Name)
		if p.ControllerName != ControllerName {
			line = string(p.ControllerName) + " " + line
		}
		for _, c := range p.Conditions {
			line += fmt.Sprintf(" %s=%s/%s", c.Type, c.Status, c.Reason)
		}
		lines = append(lines, line)
	}
	return lines
}
