package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	corev3 "github.com/envoyproxy/go-control-plane/envoy/config/core/v3"
	extprocv3 "github.com/envoyproxy/go-control-plane/envoy/service/ext_proc/v3"
	"google.golang.org/grpc"
	"google.golang.org/grpc/credentials/insecure"
	healthgrpc "google.golang.org/grpc/health/grpc_health_v1"
	coordinationv1 "k8s.io/api/coordination/v1"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/types"
	"sigs.k8s.io/controller-runtime/pkg/client"
	inferencev1 "sigs.k8s.io/gateway-api-inference-extension/api/v1"

	"github.com/fairway-ai/fairway/epp"
	"github.com/fairway-ai/fairway/internal/testkit"
	"github.com/fairway-ai/fairway/pool/file"
	"github.com/fairway-ai/fairway/pool/kube"
	"github.com/fairway-ai/fairway/pool/kube/kubetest"
)

// kubeCluster is an API server with the InferencePool definition.
type kubeCluster struct {
	client.Client
	kubeconfig string
}

func startCluster(t *testing.T) *kubeCluster {
	t.Helper()
	env := kubetest.Start(t)
	kubetest.InstallInferencePool(t, env.Config)
	scheme := runtime.NewScheme()
	if err := kube.AddToScheme(scheme); err != nil {
		t.Fatal(err)
	}
	c, err := client.New(env.Config, client.Options{Scheme: scheme})
	if err != nil {
		t.Fatal(err)
	}
	k := &kubeCluster{Client: c, kubeconfig: filepath.Join(t.TempDir(), "kubeconfig")}
	if err := os.WriteFile(k.kubeconfig, env.KubeConfig, 0o600); err != nil {
		t.Fatal(err)
	}
	return k
}

func (k *kubeCluster) create(t *testing.T, objects ...client.Object) {
	t.Helper()
	for _, o := range objects {
		if err := k.Create(t.Context(), o); err != nil {
			t.Fatal(err)
		}
	}
}

func (k *kubeCluster) readyPod(t *testing.T, namespace, name, ip, app string) {
	t.Helper()
	p := &corev1.Pod{ObjectMeta: metav1.ObjectMeta{Namespace: namespace, Name: name, Labels: map[string]string{"app": app}}}
	p.Spec.Containers = []corev1.Container{{Name: "c", Image: "none"}}
	k.create(t, p)
	p.Status.Phase, p.Status.PodIP, p.Status.PodIPs = corev1.PodRunning, ip, []corev1.PodIP{{IP: ip}}
	p.Status.Conditions = []corev1.PodCondition{{Type: corev1.PodReady, Status: corev1.ConditionTrue}}
	if err := k.Status().Update(t.Context(), p); err != nil {
		t.Fatal(err)
	}
}

func clusterPool(namespace, name, app, service string, port int) *inferencev1.InferencePool {
	p := &inferencev1.InferencePool{ObjectMeta: metav1.ObjectMeta{Namespace: namespace, Name: name}}
	p.Spec.Selector.MatchLabels = map[inferencev1.LabelKey]inferencev1.LabelValue{"app": inferencev1.LabelValue(app)}
	p.Spec.TargetPorts = []inferencev1.Port{{Number: 8000}}
	if service != "" {
		p.Spec.EndpointPickerRef = &inferencev1.EndpointPickerRef{Name: inferencev1.ObjectName(service), Kind: "Service"}
		p.Spec.EndpointPickerRef.Port = &inferencev1.Port{Number: inferencev1.PortNumber(port)}
	}
	return p
}

// runningEPP is fairway epp in this process.
type runningEPP struct {
	grpc, health int
	log          *testkit.Log
	stop         context.CancelFunc
	done         chan error
}

func startEPP(t *testing.T, args ...string) *runningEPP {
	t.Helper()
	r := &runningEPP{grpc: testkit.FreePort(t), health: testkit.FreePort(t), log: &testkit.Log{}, done: make(chan error, 1)}
	var ctx context.Context
	ctx, r.stop = context.WithCancel(context.Background())
	// Not by the command, which sets the libraries' logger of the whole process.
	f := parsed(t, append([]string{
		"--grpc-port", strconv.Itoa(r.grpc), "--grpc-health-port", strconv.Itoa(r.health),
		"--metrics-port", "0", "--secure-serving=false", "--drain-timeout", "1s",
	}, args...)...)
	log, err := f.log.logger(r.log)
	if err != nil {
		t.Fatal(err)
	}
	go func() { r.done <- runEPP(ctx, f, log) }()
	t.Cleanup(func() { r.end(t) })
	return r
}

func (r *runningEPP) end(t *testing.T) {
	t.Helper()
	r.stop()
	if err := <-r.done; err != nil {
		t.Errorf("epp: %v\n%s", err, r.log)
	}
	r.done <- nil
}

// ready is what gRPC health checks say.
func (r *runningEPP) ready(t *testing.T) bool {
	t.Helper()
	conn := plain(t, r.health)
	for _, s := range []string{"", "readiness", "envoy.service.ext_proc.v3.ExternalProcessor", "inference-extension"} {
		h, err := healthgrpc.NewHealthClient(conn).Check(t.Context(), &healthgrpc.HealthCheckRequest{Service: s})
		if err != nil || h.Status != healthgrpc.HealthCheckResponse_SERVING {
			return false
		}
	}
	return true
}

func (r *runningEPP) eventually(t *testing.T, what string, ok func() bool) {
	t.Helper()
	for deadline := time.Now().Add(60 * time.Second); !ok(); time.Sleep(20 * time.Millisecond) {
		if time.Now().After(deadline) {
			t.Fatalf("never: %s\n%s", what, r.log)
		}
	}
}

func plain(t *testing.T, port int) *grpc.ClientConn {
	t.Helper()
	conn, err := grpc.NewClient(net.JoinHostPort("127.0.0.1", strconv.Itoa(port)), grpc.WithTransportCredentials(insecure.NewCredentials()))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = conn.Close() })
	return conn
}

// pickAt asks the picker at a port where a request without a body should go, and
// returns the endpoints, sorted, or the refusal.
func pickAt(t *testing.T, port int, headers ...string) string {
	t.Helper()
	s, err := extprocv3.NewExternalProcessorClient(plain(t, port)).Process(t.Context())
	if err != nil {
		return err.Error()
	}
	m := &corev3.HeaderMap{}
	for _, kv := range append([]string{":method=GET", ":path=/", ":authority=x"}, headers...) {
		k, v, _ := strings.Cut(kv, "=")
		m.Headers = append(m.Headers, &corev3.HeaderValue{Key: k, RawValue: []byte(v)})
	}
	err = s.Send(&extprocv3.ProcessingRequest{Request: &extprocv3.ProcessingRequest_RequestHeaders{RequestHeaders: &extprocv3.HttpHeaders{Headers: m, EndOfStream: true}}})
	if err != nil && !errors.Is(err, io.EOF) {
		return err.Error()
	}
	r, err := s.Recv()
	_ = s.CloseSend()
	if err != nil {
		return err.Error()
	}
	if i := r.GetImmediateResponse(); i != nil {
		return fmt.Sprint(int(i.Status.Code))
	}
	for _, h := range r.GetRequestHeaders().GetResponse().GetHeaderMutation().GetSetHeaders() {
		if h.Header.Key == "x-gateway-destination-endpoint" {
			all := strings.Split(string(h.Header.RawValue), ",")
			slices.Sort(all)
			return strings.Join(all, ",")
		}
	}
	return ""
}

func TestEPPInACluster(t *testing.T) {
	k := startCluster(t)
	for _, n := range []string{"a", "b", "c"} {
		k.create(t, &corev1.Namespace{ObjectMeta: metav1.ObjectMeta{Name: n}})
	}
	t.Run("one pool", func(t *testing.T) { k.onePool(t) })
	t.Run("many pools", func(t *testing.T) { k.manyPools(t) })
	t.Run("selector", func(t *testing.T) { k.selector(t) })
	t.Run("leader election", func(t *testing.T) { k.leaderElection(t) })
}

// onePool runs with the arguments of the conformance suite's picker.
func (k *kubeCluster) onePool(t *testing.T) {
	e := startEPP(t, "--kubeconfig", k.kubeconfig, "--pool-name", "p", "--pool-namespace", "a", "--zap-encoder", "json", "--config-text",
		`{"kind":"EndpointPickerConfig","plugins":[{"type":"header-based-testing-filter"},{"type":"destination-endpoint-served-verifier"},{"type":"random-picker"}],"schedulingProfiles":[{"name":"d","plugins":[{"pluginRef":"header-based-testing-filter"},{"pluginRef":"random-picker"}]}]}`)
	e.eventually(t, "the missing pool is reported", func() bool { return strings.Contains(e.log.String(), "the pool does not exist") })
	if e.ready(t) {
		t.Error("ready without its pool")
	}
	k.readyPod(t, "a", "x", "127.1.0.1", "a")
	k.readyPod(t, "a", "y", "127.1.0.2", "a")
	p := clusterPool("a", "p", "a", "whoever", 9002)
	k.create(t, p)
	e.eventually(t, "ready", func() bool { return e.ready(t) })
	for _, ip := range []string{"127.1.0.1", "127.1.0.2"} {
		// That the pool is known does not say that both pods are.
		e.eventually(t, ip+" is picked, which is asked for", func() bool {
			return pickAt(t, e.grpc, "test-epp-endpoint-selection="+ip) == ip+":8000"
		})
	}
	if err := k.Delete(t.Context(), p); err != nil {
		t.Fatal(err)
	}
	e.eventually(t, "not ready without the pool", func() bool { return !e.ready(t) })
	k.create(t, clusterPool("a", "p", "a", "", 0))
	e.eventually(t, "ready again", func() bool { return e.ready(t) })
	if !strings.Contains(e.log.String(), `"msg":`) {
		t.Errorf("the log is no JSON:\n%s", e.log)
	}
}

func (k *kubeCluster) manyPools(t *testing.T) {
	first, second := testkit.FreePort(t), testkit.FreePort(t)
	k.readyPod(t, "b", "x", "127.2.0.1", "x")
	k.readyPod(t, "b", "y", "127.2.0.2", "y")
	k.readyPod(t, "c", "x", "127.3.0.1", "x")
	e := startEPP(t, "--kubeconfig", k.kubeconfig, "--all-pools", "--service-name", "fairway")
	e.eventually(t, "ready without any pool", func() bool { return e.ready(t) })
	bx, by, cx := clusterPool("b", "x", "x", "fairway", first), clusterPool("b", "y", "y", "other", first), clusterPool("c", "x", "x", "fairway", second)
	cx.Annotations = map[string]string{file.ModelsAnnotation: "m"}
	k.create(t, bx, by, cx)
	gets := func(port int, want string) {
		t.Helper()
		got := ""
		e.eventually(t, fmt.Sprintf("port %d picks %s", port, want), func() bool { got = pickAt(t, port); return got == want })
	}
	gets(first, "127.2.0.1:8000")
	gets(second, "127.3.0.1:8000")
	// The other picker's pool becomes ours, on a port that is taken.
	by.Spec.EndpointPickerRef.Name = "fairway"
	if err := k.Update(t.Context(), by); err != nil {
		t.Fatal(err)
	}
	gets(first, "400") // which of two cannot be known
	e.eventually(t, "the clash is reported", func() bool { return strings.Contains(e.log.String(), "pools name the same port") })
	third := testkit.FreePort(t)
	by.Spec.EndpointPickerRef.Port.Number = inferencev1.PortNumber(third)
	if err := k.Update(t.Context(), by); err != nil {
		t.Fatal(err)
	}
	gets(third, "127.2.0.2:8000")
	gets(first, "127.2.0.1:8000")
	if err := k.Delete(t.Context(), cx); err != nil {
		t.Fatal(err)
	}
	e.eventually(t, "the port is closed", func() bool {
		c, err := net.Dial("tcp", net.JoinHostPort("127.0.0.1", strconv.Itoa(second)))
		if err == nil {
			_ = c.Close()
		}
		return err != nil
	})
}

func (k *kubeCluster) selector(t *testing.T) {
	e := startEPP(t, "--kubeconfig", k.kubeconfig, "--endpoint-selector", "app in (x)", "--endpoint-target-ports", "8000,8001", "--pool-namespace", "c", "--max-destinations", "2")
	e.eventually(t, "ready", func() bool { return e.ready(t) })
	e.eventually(t, "both ports", func() bool { return pickAt(t, e.grpc) == "127.3.0.1:8000,127.3.0.1:8001" })
}

func (k *kubeCluster) leaderElection(t *testing.T) {
	args := []string{"--kubeconfig", k.kubeconfig, "--pool-name", "x", "--pool-namespace", "b", "--ha-enable-leader-election"}
	one := startEPP(t, args...)
	one.eventually(t, "the first one leads", func() bool { return one.ready(t) })
	two := startEPP(t, args...)
	two.eventually(t, "the second one sees the first", func() bool { return strings.Contains(two.log.String(), "the pools are known") })
	lease := types.NamespacedName{Namespace: "b", Name: "fairway-epp-x"}
	if err := k.Get(t.Context(), lease, &coordinationv1.Lease{}); err != nil {
		t.Errorf("the lease: %v", err)
	}
	if two.ready(t) {
		t.Error("both are ready")
	}
	one.end(t)
	two.eventually(t, "the second one takes over", func() bool { return two.ready(t) })
}

func TestReadiness(t *testing.T) {
	var mu sync.Mutex
	got := false
	r := &readiness{set: func(b bool) { mu.Lock(); defer mu.Unlock(); got = b }}
	for _, step := range []struct {
		f    func()
		want bool
	}{
		{func() { r.synced = true }, false},
		{func() { r.leading = true }, true},
		{func() { r.missing = true }, false},
		{func() { r.missing = false }, true},
		{func() { r.leading = false }, false},
	} {
		if r.change(step.f); got != step.want {
			t.Errorf("%+v: ready %v", r, got)
		}
	}
}

func TestBadModelsAreReportedOnce(t *testing.T) {
	var log testkit.Log
	p, err := epp.New(epp.Options{})
	if err != nil {
		t.Fatal(err)
	}
	e := newEPPPools(epp.NewPoolSet(epp.PoolSetOptions{Picker: p}), &readiness{set: func(bool) {}}, slog.New(slog.NewTextHandler(&log, nil)))
	e.synced()
	o := clusterPool("ns", "p", "a", "", 0)
	o.Annotations = map[string]string{file.ModelsAnnotation: "a,,b"}
	for range 3 {
		e.SetPool(kube.Pool{Name: types.NamespacedName{Namespace: "ns", Name: "p"}, Object: o})
	}
	if n := strings.Count(log.String(), "models are ignored"); n != 1 {
		t.Errorf("%d warnings, want 1:\n%s", n, &log)
	}
}

func TestLibraryLogs(t *testing.T) {
	var log testkit.Log
	now := time.Unix(0, 0)
	h := &libraryHandler{Handler: slog.NewTextHandler(&log, &slog.HandlerOptions{Level: slog.LevelInfo}), now: func() time.Time { return now }, said: &saidOnce{at: map[string]time.Time{}}}
	l := slog.New(h).With("from", "library")
	l.Info("chatter")
	for range 5 {
		l.Error("trouble", "n", 1)
		now = now.Add(15 * time.Second)
	}
	if got := log.String(); strings.Contains(got, "chatter") || strings.Count(got, "level=WARN msg=trouble from=library") != 2 {
		t.Errorf("log:\n%s", got)
	}
}

func TestCommandArgs(t *testing.T) {
	for _, tt := range []struct{ argv, want string }{
		{"/usr/bin/fairway run -f x", "run -f x"}, {"/fairway epp --pool-name x", "epp --pool-name x"},
		{"/app/epp --pool-name x", "epp --pool-name x"}, {"lwepp", "epp"},
		{"/fairway --pool-name x -v 4", "epp --pool-name x -v 4"}, {"fairway --help", "--help"}, {"fairway", ""}, {"fairway --version", "version"},
	} {
		if got := strings.Join(commandArgs(strings.Fields(tt.argv)), " "); got != tt.want {
			t.Errorf("%s: %q, want %q", tt.argv, got, tt.want)
		}
	}
	if newRootCommand().Name() != "fairway" {
		t.Error("the command changed its name")
	}
}
