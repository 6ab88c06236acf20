package epp

import (
	"context"
	"crypto/tls"
	"encoding/json"
	"io"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	corev3 "github.com/envoyproxy/go-control-plane/envoy/config/core/v3"
	modev3 "github.com/envoyproxy/go-control-plane/envoy/extensions/filters/http/ext_proc/v3"
	extprocv3 "github.com/envoyproxy/go-control-plane/envoy/service/ext_proc/v3"
	"google.golang.org/grpc"
	"google.golang.org/grpc/credentials"
	"google.golang.org/grpc/credentials/insecure"
	healthgrpc "google.golang.org/grpc/health/grpc_health_v1"

	"github.com/fairway-ai/fairway/epp/explain"
	"github.com/fairway-ai/fairway/epp/metrics"
	"github.com/fairway-ai/fairway/extproc"
	"github.com/fairway-ai/fairway/pool"
)

// running is a server on the loopback, for a pool of three endpoints.
type running struct {
	*Server
	pool *fakePool
	stop context.CancelFunc
	done chan error
	conn *grpc.ClientConn
	base string // of the metrics port
}

func start(t *testing.T, change func(*Options, *ServerOptions)) *running {
	t.Helper()
	tc, err := SelfSignedTLS(time.Now())
	if err != nil {
		t.Fatal(err)
	}
	r := &running{pool: newFakePool(3), done: make(chan error, 1)}
	m, ring := metrics.New(metrics.Options{}), explain.NewRing(16)
	po := Options{Pools: onePool(r.pool), Hold: true, Metrics: m, Explain: ring, ExplainHeader: true}
	so := ServerOptions{
		GRPCAddr: "127.0.0.1:0", TLS: tc, HealthAddr: "127.0.0.1:0", MetricsAddr: "127.0.0.1:0", HealthOnGRPC: true,
		DrainTimeout: 5 * time.Second, Metrics: m, Explain: ring,
		UnixSocket: filepath.Join(t.TempDir(), "epp.sock"),
	}
	if change != nil {
		change(&po, &so)
	}
	so.Picker = newPicker(t, po)
	if r.Server, err = NewServer(so); err != nil {
		t.Fatal(err)
	}
	var ctx context.Context
	ctx, r.stop = context.WithCancel(context.Background())
	go func() { r.done <- r.Run(ctx) }()
	t.Cleanup(func() {
		r.stop()
		if err := <-r.done; err != nil {
			t.Errorf("Run: %v", err)
		}
		r.done <- nil
	})
	g, _, a := r.Addrs()
	r.conn = dial(t, g.String(), credentials.NewTLS(&tls.Config{InsecureSkipVerify: true}))
	r.base = "http://" + a.String()
	return r
}

func dial(t *testing.T, target string, c credentials.TransportCredentials) *grpc.ClientConn {
	t.Helper()
	conn, err := grpc.NewClient(target, grpc.WithTransportCredentials(c))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = conn.Close() })
	return conn
}

func headerMap(kv ...string) *extprocv3.HttpHeaders {
	m := &corev3.HeaderMap{}
	for i := 0; i < len(kv); i += 2 {
		m.Headers = append(m.Headers, &corev3.HeaderValue{Key: kv[i], RawValue: []byte(kv[i+1])})
	}
	return &extprocv3.HttpHeaders{Headers: m}
}

// exchange is one request's ext_proc stream.
type exchange struct {
	t *testing.T
	extprocv3.ExternalProcessor_ProcessClient
}

func open(t *testing.T, conn *grpc.ClientConn) exchange {
	t.Helper()
	s, err := extprocv3.NewExternalProcessorClient(conn).Process(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	return exchange{t, s}
}

func (x exchange) ask(m *extprocv3.ProcessingRequest) *extprocv3.ProcessingResponse {
	x.t.Helper()
	if err := x.Send(m); err != nil {
		x.t.Fatal(err)
	}
	a, err := x.Recv()
	if err != nil {
		x.t.Fatal(err)
	}
	return a
}

const chat = `{"model":"llama","stream":true,"messages":[{"role":"user","content":"hello"}]}`

// request sends a chat request and returns the headers set on it, by name.
func (x exchange) request(id string) map[string]string {
	x.t.Helper()
	h := headerMap(":method", "POST", ":path", "/v1/chat/completions", "x-request-id", id, "content-type", "application/json", HeaderExplain, "1")
	x.ask(&extprocv3.ProcessingRequest{
		Request: &extprocv3.ProcessingRequest_RequestHeaders{RequestHeaders: h},
		ProtocolConfig: &extprocv3.ProtocolConfiguration{
			RequestBodyMode: modev3.ProcessingMode_BUFFERED, ResponseBodyMode: modev3.ProcessingMode_STREAMED,
		},
	})
	a := x.ask(&extprocv3.ProcessingRequest{Request: &extprocv3.ProcessingRequest_RequestBody{
		RequestBody: &extprocv3.HttpBody{Body: []byte(chat), EndOfStream: true},
	}})
	got := map[string]string{}
	for _, o := range a.GetRequestBody().GetResponse().GetHeaderMutation().GetSetHeaders() {
		got[o.Header.Key] = string(o.Header.RawValue) + o.Header.Value
	}
	if r := a.GetImmediateResponse(); r != nil {
		got[":status"] = r.Status.String()
	}
	return got
}

func (x exchange) responseHeaders() map[string]string {
	x.t.Helper()
	a := x.ask(&extprocv3.ProcessingRequest{Request: &extprocv3.ProcessingRequest_ResponseHeaders{
		ResponseHeaders: headerMap(":status", "200", "content-type", "text/event-stream"),
	}})
	got := map[string]string{}
	for _, o := range a.GetResponseHeaders().GetResponse().GetHeaderMutation().GetSetHeaders() {
		got[o.Header.Key] = string(o.Header.RawValue) + o.Header.Value
	}
	return got
}

func (x exchange) responseBody(body string, end bool) {
	x.t.Helper()
	x.ask(&extprocv3.ProcessingRequest{Request: &extprocv3.ProcessingRequest_ResponseBody{
		ResponseBody: &extprocv3.HttpBody{Body: []byte(body), EndOfStream: end},
	}})
}

func get(t *testing.T, url string) (int, string) {
	t.Helper()
	resp, err := http.Get(url)
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = resp.Body.Close() }()
	b, err := io.ReadAll(resp.Body)
	if err != nil {
		t.Fatal(err)
	}
	return resp.StatusCode, string(b)
}

// eventually polls until ok.
func eventually(t *testing.T, what string, ok func() bool) {
	t.Helper()
	for deadline := time.Now().Add(30 * time.Second); !ok(); time.Sleep(time.Millisecond) {
		if time.Now().After(deadline) {
			t.Fatalf("never: %s", what)
		}
	}
}

func TestServesARequest(t *testing.T) {
	r := start(t, nil)
	x := open(t, r.conn)
	got := x.request("req-1")
	first, rest, _ := strings.Cut(got[extproc.DestinationHeader], ",")
	if r.pool.Snapshot().IndexOf(first) < 0 || strings.Count(rest, ",") != 1 {
		t.Fatalf("destinations %q, want the three endpoints", got[extproc.DestinationHeader])
	}
	hs := x.responseHeaders()
	var l struct{ Endpoint, Why string }
	if err := json.Unmarshal([]byte(hs[HeaderExplanation]), &l); err != nil || l.Endpoint == "" || l.Why == "" {
		t.Errorf("%s: %q, want the decision", HeaderExplanation, hs[HeaderExplanation])
	}
	x.responseBody("data: {\"choices\":[{\"delta\":{\"content\":\"hi\"}}]}\n\n", false)
	x.responseBody("data: {\"choices\":[],\"usage\":{\"prompt_tokens\":20,\"completion_tokens\":3,\"total_tokens\":23}}\n\ndata: [DONE]\n\n", true)
	if err := x.CloseSend(); err != nil {
		t.Fatal(err)
	}
	if _, err := x.Recv(); err != io.EOF {
		t.Fatalf("stream ended with %v, want EOF", err)
	}
	drained(t, r.pool.Snapshot().Endpoints)

	code, body := get(t, r.base+explain.Path+"/req-1")
	var d explain.Decision
	if err := json.Unmarshal([]byte(body), &d); err != nil || code != 200 || d.Outcome == nil || d.Outcome.Status != 200 || !d.Outcome.Complete {
		t.Errorf("decision: %d %s", code, body)
	}
	if code, body := get(t, r.base+"/metrics"); code != 200 || !strings.Contains(body, `llm_d_epp_request_total{fairness_id="default-flow",model_name="llama"`) || !strings.Contains(body, `llm_d_epp_extproc_streams_total{code="OK"} 1`) {
		t.Errorf("metrics: %d %s", code, body)
	}
	if code, _ := get(t, r.base+"/debug/pprof/"); code != 404 {
		t.Errorf("pprof answers %d without being enabled", code)
	}
}

func TestServesOnAUnixSocket(t *testing.T) {
	r := start(t, nil)
	conn := dial(t, "unix:"+r.o.UnixSocket, insecure.NewCredentials())
	x := open(t, conn)
	if got := x.request("r"); got[extproc.DestinationHeader] == "" {
		t.Errorf("headers %v, want a destination", got)
	}
	info, err := os.Stat(r.o.UnixSocket)
	if err != nil || info.Mode().Perm() != 0o600 {
		t.Errorf("socket %v %v, want mode 0600", info.Mode(), err)
	}
	if _, err := NewServer(ServerOptions{Picker: r.o.Picker, UnixSocket: r.o.UnixSocket}); err == nil {
		t.Error("a second server took over a socket in use")
	}
}

func TestUnixSocketLeftBehind(t *testing.T) {
	path := filepath.Join(t.TempDir(), "s")
	l, err := net.ListenUnix("unix", &net.UnixAddr{Name: path})
	if err != nil {
		t.Fatal(err)
	}
	l.SetUnlinkOnClose(false)
	_ = l.Close()
	got, err := listenUnix(path)
	if err != nil {
		t.Fatalf("a socket nobody listens on was not replaced: %v", err)
	}
	_ = got.Close()
	file := filepath.Join(t.TempDir(), "f")
	if err := os.WriteFile(file, []byte("precious"), 0o600); err != nil {
		t.Fatal(err)
	}
	if _, err := listenUnix(file); err == nil {
		t.Error("a file was replaced by a socket")
	}
}

func TestRejectionReachesTheClient(t *testing.T) {
	r := start(t, func(o *Options, _ *ServerOptions) { o.Pools = onePool(newFakePool(0)) })
	if got := open(t, r.conn).request("r"); !strings.Contains(got[":status"], "503") && !strings.Contains(got[":status"], "ServiceUnavailable") {
		t.Errorf("answer %v, want 503", got)
	}
}

func checkHealth(t *testing.T, conn *grpc.ClientConn, service string) healthgrpc.HealthCheckResponse_ServingStatus {
	t.Helper()
	a, err := healthgrpc.NewHealthClient(conn).Check(t.Context(), &healthgrpc.HealthCheckRequest{Service: service})
	if err != nil {
		t.Fatalf("health of %q: %v", service, err)
	}
	return a.Status
}

func TestHealth(t *testing.T) {
	r := start(t, nil)
	_, h, _ := r.Addrs()
	for _, conn := range []*grpc.ClientConn{dial(t, h.String(), insecure.NewCredentials()), r.conn} {
		for _, ready := range []bool{false, true} {
			r.SetReady(ready)
			want := healthgrpc.HealthCheckResponse_NOT_SERVING
			code := 503
			if ready {
				want, code = healthgrpc.HealthCheckResponse_SERVING, 200
			}
			for _, service := range []string{"", "readiness", "envoy.service.ext_proc.v3.ExternalProcessor", "inference-extension"} {
				if got := checkHealth(t, conn, service); got != want {
					t.Errorf("ready %v: %q is %v, want %v", ready, service, got, want)
				}
			}
			if got := checkHealth(t, conn, "liveness"); got != healthgrpc.HealthCheckResponse_SERVING {
				t.Errorf("ready %v: liveness is %v", ready, got)
			}
			if got, _ := get(t, r.base+"/readyz"); got != code {
				t.Errorf("ready %v: /readyz %d, want %d", ready, got, code)
			}
			if got, _ := get(t, r.base+"/healthz"); got != 200 {
				t.Errorf("ready %v: /healthz %d", ready, got)
			}
		}
	}
}

func TestShutdownLetsRequestsEnd(t *testing.T) {
	r := start(t, nil)
	r.SetReady(true)
	_, h, _ := r.Addrs()
	probe := dial(t, h.String(), insecure.NewCredentials())
	x := open(t, r.conn)
	x.request("r")
	r.stop()
	eventually(t, "not ready while draining", func() bool {
		return checkHealth(t, probe, "readiness") == healthgrpc.HealthCheckResponse_NOT_SERVING
	})
	r.SetReady(true)
	if got := checkHealth(t, probe, "readiness"); got != healthgrpc.HealthCheckResponse_NOT_SERVING {
		t.Errorf("ready again (%v) in the middle of a drain", got)
	}
	x.responseHeaders()
	x.responseBody("data: {}\n\n", true)
	_ = x.CloseSend()
	if _, err := x.Recv(); err != io.EOF {
		t.Errorf("the stream was cut: %v", err)
	}
	if err := <-r.done; err != nil {
		t.Errorf("Run: %v", err)
	}
	r.done <- nil
	drained(t, r.pool.Snapshot().Endpoints)
}

func TestShutdownDoesNotWaitForEver(t *testing.T) {
	r := start(t, func(_ *Options, o *ServerOptions) { o.DrainTimeout = 50 * time.Millisecond })
	open(t, r.conn).request("r")
	r.stop()
	if err := <-r.done; err != nil {
		t.Errorf("Run: %v", err)
	}
	r.done <- nil
	drained(t, r.pool.Snapshot().Endpoints)
}

func TestPortInUse(t *testing.T) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = l.Close() }()
	if _, err := NewServer(ServerOptions{Picker: newPicker(t, Options{}), GRPCAddr: "127.0.0.1:0", MetricsAddr: l.Addr().String()}); err == nil || !strings.Contains(err.Error(), "metrics listener") {
		t.Errorf("error %v, want one that names the metrics listener", err)
	}
}

// TestPoolIsAPool: what package pool makes is what a Picker takes.
func TestPoolIsAPool(t *testing.T) {
	real := pool.New("ns/pool", pool.Options{})
	p := newPicker(t, Options{Pools: onePool(real), Hold: true})
	real.Set([]pool.Spec{{ID: "ns/a", Address: "10.0.0.1:8000"}, {ID: "ns/b", Address: "10.0.0.2:8000"}})
	req := prompt("r", "m", 100)
	pick := mustPick(t, p, req)
	if !strings.Contains(pick.Destinations, "10.0.0.1:8000") {
		t.Errorf("destinations %q", pick.Destinations)
	}
	pick.Observer.End(time.Now(), extproc.Outcome{})
	drained(t, real.Snapshot().Endpoints)
}
