package cluster

import (
	"context"
	"fmt"
	"io"
	"log/slog"
	"net/http"
	"os/exec"
	"path/filepath"
	"runtime"
	"slices"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	corev3 "github.com/envoyproxy/go-control-plane/envoy/config/core/v3"
	endpointv3 "github.com/envoyproxy/go-control-plane/envoy/config/endpoint/v3"
	discoveryv3 "github.com/envoyproxy/go-control-plane/envoy/service/discovery/v3"
	edsv3 "github.com/envoyproxy/go-control-plane/envoy/service/endpoint/v3"
	extprocv3 "github.com/envoyproxy/go-control-plane/envoy/service/ext_proc/v3"
	"google.golang.org/grpc"
	"google.golang.org/grpc/credentials/insecure"
	"google.golang.org/grpc/metadata"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/rest"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/envtest"
	inferencev1 "sigs.k8s.io/gateway-api-inference-extension/api/v1"

	"github.com/fairway-ai/fairway/extproc"
	"github.com/fairway-ai/fairway/internal/testkit"
	"github.com/fairway-ai/fairway/pool/kube/kubetest"
)

// patience bounds every wait; nothing waits that long unless it fails.
const patience = 60 * time.Second

func eventually(t testing.TB, what string, f func() error) {
	t.Helper()
	deadline := time.Now().Add(patience)
	for {
		err := f()
		if err == nil {
			return
		}
		if time.Now().After(deadline) {
			t.Fatalf("%s: %v", what, err)
		}
		time.Sleep(2 * time.Millisecond)
	}
}

// process is a running gateway and the API server that it follows.
type process struct {
	t       testing.TB
	o       Options
	cluster client.Client
	conn    *grpc.ClientConn
	stop    context.CancelFunc
	ended   chan error
}

func startProcess(t testing.TB, change ...func(*Options)) *process {
	t.Helper()
	env := kubetest.Start(t)
	kubetest.InstallInferencePool(t, env.Config)
	dir, err := exec.Command("go", "list", "-m", "-f", "{{.Dir}}", "sigs.k8s.io/gateway-api").Output()
	if err != nil {
		t.Fatalf("go list: %v", err)
	}
	_, err = envtest.InstallCRDs(env.Config, envtest.CRDInstallOptions{
		Paths: []string{filepath.Join(strings.TrimSpace(string(dir)), "config/crd/standard")}, ErrorIfPathMissing: true,
	})
	if err != nil {
		t.Fatal(err)
	}
	p := &process{t: t, ended: make(chan error, 1), o: Options{
		// The API server, not the client, is what is measured.
		Config: unlimited(env.Config), Namespace: "default", Service: "fairway-gateway", Identity: "a", LeaderElect: true,
		GatewayController: "gateway.envoyproxy.io/gatewayclass-controller", TLS: TLSOptions{Insecure: true},
		GRPCPort: testkit.FreePort(t), ExtensionPort: testkit.FreePort(t), MetricsPort: testkit.FreePort(t),
		DrainTimeout: 5 * time.Second, MaxHold: time.Second, MaxBodyBytes: 1 << 20,
		Log: slog.New(slog.DiscardHandler),
	}}
	for _, f := range change {
		f(&p.o)
	}
	if p.o.Egress.Enabled {
		_, err := envtest.InstallCRDs(env.Config, envtest.CRDInstallOptions{
			Paths: []string{filepath.Join("..", "..", "charts", "fairway", "files", "crds")}, ErrorIfPathMissing: true,
		})
		if err != nil {
			t.Fatal(err)
		}
	}
	m, err := newManager(&p.o)
	if err != nil {
		t.Fatal(err)
	}
	if p.cluster, err = client.New(p.o.Config, client.Options{Scheme: m.GetScheme()}); err != nil {
		t.Fatal(err)
	}
	ctx, stop := context.WithCancel(context.Background())
	p.stop = stop
	go func() { p.ended <- Run(ctx, p.o) }()
	t.Cleanup(stop)
	eventually(t, "the gateway becomes ready", func() error {
		select {
		case err := <-p.ended:
			t.Fatalf("the process ended with %v", err)
		default:
		}
		r, err := http.Get(fmt.Sprintf("http://127.0.0.1:%d/readyz", p.o.MetricsPort))
		if err != nil {
			return err
		}
		defer func() { _ = r.Body.Close() }()
		if r.StatusCode != http.StatusOK {
			return fmt.Errorf("status %d", r.StatusCode)
		}
		return nil
	})
	p.conn, err = grpc.NewClient("127.0.0.1:"+strconv.Itoa(p.o.GRPCPort), grpc.WithTransportCredentials(insecure.NewCredentials()))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = p.conn.Close() })
	return p
}

func unlimited(c *rest.Config) *rest.Config {
	c = rest.CopyConfig(c)
	c.QPS = -1
	return c
}

// pool creates InferencePool default/NAME over the pods with label app=NAME.
func (p *process) pool(name string) {
	p.t.Helper()
	err := p.cluster.Create(p.t.Context(), &inferencev1.InferencePool{
		ObjectMeta: metav1.ObjectMeta{Namespace: "default", Name: name},
		Spec: inferencev1.InferencePoolSpec{
			Selector:    inferencev1.LabelSelector{MatchLabels: map[inferencev1.LabelKey]inferencev1.LabelValue{"app": inferencev1.LabelValue(name)}},
			TargetPorts: []inferencev1.Port{{Number: 8000}},
		},
	})
	if err != nil {
		p.t.Fatal(err)
	}
}

// pods creates n ready pods of a pool, from address 10.1.HIGH.0 on.
func (p *process) pods(pool string, n, high int) {
	p.t.Helper()
	var group sync.WaitGroup
	for i := range n {
		group.Go(func() {
			pod := &corev1.Pod{
				ObjectMeta: metav1.ObjectMeta{Namespace: "default", Name: fmt.Sprintf("%s-%d", pool, i), Labels: map[string]string{"app": pool}},
				Spec:       corev1.PodSpec{Containers: []corev1.Container{{Name: "server", Image: "server"}}},
			}
			if err := p.cluster.Create(p.t.Context(), pod); err != nil {
				p.t.Error(err)
				return
			}
			pod.Status.PodIP = podIP(high, i)
			pod.Status.PodIPs = []corev1.PodIP{{IP: pod.Status.PodIP}}
			p.setReady(pod, true)
		})
	}
	group.Wait()
}

func podIP(high, i int) string { return fmt.Sprintf("10.%d.%d.%d", high, i/250, i%250+1) }

func (p *process) setReady(pod *corev1.Pod, ready bool) {
	status := corev1.ConditionFalse
	if ready {
		status = corev1.ConditionTrue
	}
	pod.Status.Phase = corev1.PodRunning
	pod.Status.Conditions = []corev1.PodCondition{{Type: corev1.PodReady, Status: status}}
	if err := p.cluster.Status().Update(p.t.Context(), pod); err != nil {
		p.t.Error(err)
	}
}

// watched is what Envoy would know of one pool.
type watched struct {
	mu        sync.Mutex
	addresses []string
}

func (w *watched) get() []string {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.addresses
}

// watchEndpoints subscribes to a pool's endpoints as Envoy does.
func (p *process) watchEndpoints(pool string) *watched {
	p.t.Helper()
	stream, err := edsv3.NewEndpointDiscoveryServiceClient(p.conn).StreamEndpoints(p.t.Context())
	if err != nil {
		p.t.Fatal(err)
	}
	request := &discoveryv3.DiscoveryRequest{
		Node: &corev3.Node{Id: "envoy"}, ResourceNames: []string{pool}, TypeUrl: "type.googleapis.com/envoy.config.endpoint.v3.ClusterLoadAssignment",
	}
	if err := stream.Send(request); err != nil {
		p.t.Fatal(err)
	}
	w := &watched{}
	go func() {
		for {
			response, err := stream.Recv()
			if err != nil {
				return
			}
			request.VersionInfo, request.ResponseNonce = response.VersionInfo, response.Nonce
			_ = stream.Send(request)
			var now []string
			for _, r := range response.Resources {
				var a endpointv3.ClusterLoadAssignment
				if r.UnmarshalTo(&a) != nil {
					continue
				}
				for _, l := range a.Endpoints {
					for _, e := range l.LbEndpoints {
						now = append(now, e.GetEndpoint().GetAddress().GetSocketAddress().GetAddress())
					}
				}
			}
			w.mu.Lock()
			w.addresses = now
			w.mu.Unlock()
		}
	}()
	return w
}

// pick asks where a request to the pool should go.
func (p *process) pick(pool string) (string, error) {
	ctx, cancel := context.WithTimeout(metadata.AppendToOutgoingContext(p.t.Context(), extproc.PoolMetadata, pool), patience)
	defer cancel()
	stream, err := extprocv3.NewExternalProcessorClient(p.conn).Process(ctx)
	if err != nil {
		return "", err
	}
	header := func(k, v string) *corev3.HeaderValue { return &corev3.HeaderValue{Key: k, RawValue: []byte(v)} }
	err = stream.Send(&extprocv3.ProcessingRequest{Request: &extprocv3.ProcessingRequest_RequestHeaders{RequestHeaders: &extprocv3.HttpHeaders{
		Headers:     &corev3.HeaderMap{Headers: []*corev3.HeaderValue{header(":method", "GET"), header(":path", "/v1/models"), header(":authority", "a")}},
		EndOfStream: true,
	}}})
	if err != nil {
		return "", err
	}
	answer, err := stream.Recv()
	if err != nil {
		return "", err
	}
	_ = stream.CloseSend()
	if i := answer.GetImmediateResponse(); i != nil {
		return "", fmt.Errorf("status %d: %s", i.Status.Code, i.Body)
	}
	for _, h := range answer.GetRequestHeaders().GetResponse().GetHeaderMutation().GetSetHeaders() {
		if h.Header.Key == extproc.DestinationHeader {
			return string(h.Header.RawValue), nil
		}
	}
	return "", fmt.Errorf("no endpoint in %v", answer)
}

// TestAPodIsPickedWhileItIsReady follows pods of a pool of 100 from ready to not, in
// what Envoy is told and in what is picked, and ends the process in good order.
func TestAPodIsPickedWhileItIsReady(t *testing.T) {
	p := startProcess(t)
	p.pool("llama")
	envoy := p.watchEndpoints("default/llama")
	eventually(t, "an empty pool has an endpoint where nobody listens", func() error {
		if got := envoy.get(); len(got) != 1 || got[0] != "127.0.0.1" {
			return fmt.Errorf("Envoy has %v", got)
		}
		return nil
	})
	if got, err := p.pick("default/llama"); err == nil || !strings.Contains(err.Error(), "503") {
		t.Errorf("a pick of an empty pool: %q, %v", got, err)
	}
	const pods = 100
	p.pods("llama", pods, 1)
	eventually(t, "all pods are endpoints", func() error {
		if n := len(envoy.get()); n != pods {
			return fmt.Errorf("Envoy has %d", n)
		}
		return nil
	})
	var pod corev1.Pod
	if err := p.cluster.Get(t.Context(), client.ObjectKey{Namespace: "default", Name: "llama-42"}, &pod); err != nil {
		t.Fatal(err)
	}
	address := podIP(1, 42)
	picked := func() bool {
		for range 3 * pods {
			got, err := p.pick("default/llama")
			if err != nil {
				t.Fatal(err)
			}
			if first, _, _ := strings.Cut(got, ","); first == address+":8000" {
				return true
			}
		}
		return false
	}
	for _, ready := range []bool{false, true} {
		start := time.Now()
		p.setReady(&pod, ready)
		eventually(t, fmt.Sprintf("Envoy knows that ready is %v", ready), func() error {
			if slices.Contains(envoy.get(), address) != ready {
				return fmt.Errorf("Envoy has %d endpoints", len(envoy.get()))
			}
			return nil
		})
		t.Logf("ready=%v was in Envoy after %v", ready, time.Since(start).Round(time.Millisecond))
		if ready {
			eventually(t, "the pod is picked", func() error {
				if !picked() {
					return fmt.Errorf("it is not")
				}
				return nil
			})
		} else if picked() {
			t.Error("a pod that is not ready was picked")
		}
	}
	p.stop()
	select {
	case err := <-p.ended:
		if err != nil {
			t.Errorf("the process ended with %v", err)
		}
	case <-time.After(patience):
		t.Fatal("the process does not end")
	}
}

// BenchmarkPods reports the memory of a process that follows 1,000 pods in 10 pools.
func BenchmarkPods(b *testing.B) {
	p := startProcess(b)
	var before runtime.MemStats
	runtime.GC()
	runtime.ReadMemStats(&before)
	for i := range 10 {
		name := fmt.Sprintf("pool-%d", i)
		p.pool(name)
		p.pods(name, 100, i)
		envoy := p.watchEndpoints("default/" + name)
		eventually(b, name, func() error {
			if n := len(envoy.get()); n != 100 {
				return fmt.Errorf("Envoy has %d", n)
			}
			return nil
		})
	}
	runtime.GC()
	var after runtime.MemStats
	runtime.ReadMemStats(&after)
	for b.Loop() {
		if _, err := p.pick("default/pool-0"); err != nil && err != io.EOF {
			b.Fatal(err)
		}
	}
	b.ReportMetric(float64(after.HeapAlloc)/(1<<20), "heap-MB")
	b.ReportMetric(float64(after.HeapAlloc-before.HeapAlloc)/1000, "B/pod")
}
