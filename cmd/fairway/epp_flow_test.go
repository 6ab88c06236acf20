package main

import (
	"context"
	"fmt"
	"io"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	corev3 "github.com/envoyproxy/go-control-plane/envoy/config/core/v3"
	modev3 "github.com/envoyproxy/go-control-plane/envoy/extensions/filters/http/ext_proc/v3"
	extprocv3 "github.com/envoyproxy/go-control-plane/envoy/service/ext_proc/v3"
	"google.golang.org/grpc"
	"google.golang.org/grpc/credentials/insecure"

	"github.com/fairway-ai/fairway/epp"
	"github.com/fairway-ai/fairway/epp/flowcontrol"
	"github.com/fairway-ai/fairway/epp/metrics"
	"github.com/fairway-ai/fairway/epp/run"
	"github.com/fairway-ai/fairway/gateway/cluster"
	"github.com/fairway-ai/fairway/internal/testkit"
)

// flowConfig lets one request at a time through, and one wait for a moment.
const flowConfig = `
featureGates: [flowControl]
plugins:
- type: concurrency-detector
  parameters: {maxConcurrency: 1}
flowControl:
  maxRequests: 1
  defaultRequestTTL: 2s
  enableEviction: true
  saturationDetector: {pluginRef: concurrency-detector}
dataLayer: {injectDefaults: false}
`

// proxy speaks to a picker as a proxy does.
type proxy struct {
	t      *testing.T
	client extprocv3.ExternalProcessorClient
}

func newProxy(t *testing.T, socket string) *proxy {
	t.Helper()
	conn, err := grpc.NewClient("unix:"+socket, grpc.WithTransportCredentials(insecure.NewCredentials()))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = conn.Close() })
	return &proxy{t, extprocv3.NewExternalProcessorClient(conn)}
}

// begin sends a request with an objective, and returns where the answer comes.
func (p *proxy) begin(objective string) (extprocv3.ExternalProcessor_ProcessClient, context.CancelFunc) {
	p.t.Helper()
	ctx, cancel := context.WithTimeout(p.t.Context(), 20*time.Second)
	p.t.Cleanup(cancel)
	s, err := p.client.Process(ctx, grpc.WaitForReady(true))
	if err != nil {
		p.t.Fatal(err)
	}
	header := func(k, v string) *corev3.HeaderValue { return &corev3.HeaderValue{Key: k, RawValue: []byte(v)} }
	for _, m := range []*extprocv3.ProcessingRequest{
		{
			Request: &extprocv3.ProcessingRequest_RequestHeaders{RequestHeaders: &extprocv3.HttpHeaders{Headers: &corev3.HeaderMap{Headers: []*corev3.HeaderValue{
				header(":method", "POST"), header(":path", "/v1/chat/completions"), header("x-llm-d-inference-objective", objective),
			}}}},
			ProtocolConfig: &extprocv3.ProtocolConfiguration{
				RequestBodyMode: modev3.ProcessingMode_FULL_DUPLEX_STREAMED, ResponseBodyMode: modev3.ProcessingMode_FULL_DUPLEX_STREAMED,
			},
		},
		{Request: &extprocv3.ProcessingRequest_RequestBody{RequestBody: &extprocv3.HttpBody{Body: []byte(`{"model":"m","messages":[]}`), EndOfStream: true}}},
	} {
		if err := s.Send(m); err != nil {
			p.t.Fatal(err)
		}
	}
	return s, cancel
}

// answer is the pick's destination, or the status and the reason of a refusal.
func (p *proxy) answer(s extprocv3.ExternalProcessor_ProcessClient) (destination string, status int, reason string) {
	p.t.Helper()
	for {
		m, err := s.Recv()
		if err != nil {
			p.t.Fatal(err)
		}
		if i := m.GetImmediateResponse(); i != nil {
			for _, h := range i.GetHeaders().GetSetHeaders() {
				if h.GetHeader().GetKey() == epp.HeaderDropped {
					reason = string(h.GetHeader().GetRawValue())
				}
			}
			return "", int(i.GetStatus().GetCode()), reason
		}
		for _, h := range m.GetRequestHeaders().GetResponse().GetHeaderMutation().GetSetHeaders() {
			if h.GetHeader().GetKey() == "x-gateway-destination-endpoint" {
				return string(h.GetHeader().GetRawValue()), 0, ""
			}
		}
	}
}

// saturates has a picker with flowConfig refuse, and serve when there is room.
func (p *proxy) saturates(log fmt.Stringer, page func() string) {
	p.t.Helper()
	first, leave := p.begin("")
	if to, status, reason := p.answer(first); to != "127.0.0.1:20100" {
		p.t.Fatalf("sent to %q, status %d %s\n%s", to, status, reason, log)
	}
	waiting, _ := p.begin("")
	eventually(p.t, "a request waits", log, func() bool {
		return strings.Contains(page(), `llm_d_epp_flow_control_global_capacity_utilization_requests{inference_pool="llama"} 1`)
	})
	full, _ := p.begin("")
	if _, status, reason := p.answer(full); status != 429 || reason != "rejected-saturated" {
		p.t.Errorf("no room to wait: status %d %s", status, reason)
	}
	if _, status, reason := p.answer(waiting); status != 429 || reason != "rejected-ttl-expired" {
		p.t.Errorf("waited too long: status %d %s", status, reason)
	}
	leave()
	again, _ := p.begin("")
	if to, status, reason := p.answer(again); to == "" {
		p.t.Errorf("there is room, but status %d %s", status, reason)
	}
	_ = again.CloseSend()
	got := page()
	for _, line := range []string{
		`llm_d_epp_flow_control_requests_total{inference_pool="llama",outcome="RejectedCapacity",priority="0"} 1`,
		`llm_d_epp_flow_control_requests_total{inference_pool="llama",outcome="EvictedTTL",priority="0"} 1`,
		`llm_d_epp_flow_control_pool_saturation{inference_pool="llama",stage="effective"}`,
		`llm_d_epp_flow_control_dispatch_cycle_duration_seconds_count`,
		`llm_d_epp_flow_control_reclaim_target{inference_pool="llama"}`,
	} {
		if !strings.Contains(got, line) {
			p.t.Errorf("no %s in\n%s", line, got)
		}
	}
}

// TestEPPFlowControl: what a configuration says of flow control counts in fairway epp,
// and the objectives beside the endpoints, too.
func TestEPPFlowControl(t *testing.T) {
	dir := t.TempDir()
	endpoints, socket := filepath.Join(dir, "endpoints.yaml"), filepath.Join(dir, "epp.sock")
	writeEndpoints(t, endpoints, "a")
	f, err := os.OpenFile(endpoints, os.O_APPEND|os.O_WRONLY, 0)
	if err != nil {
		t.Fatal(err)
	}
	_, err = f.WriteString(`---
apiVersion: llm-d.ai/v1alpha2
kind: InferenceObjective
metadata: {name: batch, namespace: prod}
spec: {priority: -1, poolRef: {name: llama}}
`)
	if err != nil || f.Close() != nil {
		t.Fatal(err)
	}
	port := testkit.FreePort(t)
	ctx, stop := context.WithCancel(t.Context())
	defer stop()
	var log testkit.Log
	cmd := newEPPCommand()
	cmd.SetErr(&log)
	cmd.SetArgs([]string{
		"--endpoints-file", endpoints, "--pool-name", "llama", "--pool-namespace", "prod", "--config-text", flowConfig,
		"--grpc-port", "0", "--grpc-uds", socket, "--secure-serving=false", "--metrics-endpoint-auth=false",
		"--metrics-port", fmt.Sprint(port), "--grpc-health-port", "0", "--drain-timeout", "1s",
	})
	done := make(chan error, 1)
	go func() { done <- cmd.ExecuteContext(ctx) }()
	page := func(path string) string {
		resp, err := http.Get(fmt.Sprintf("http://127.0.0.1:%d%s", port, path))
		if err != nil {
			return ""
		}
		defer func() { _ = resp.Body.Close() }()
		b, _ := io.ReadAll(resp.Body)
		return string(b)
	}
	eventually(t, "ready", &log, func() bool { return page("/readyz") == "ok\n" })
	p := newProxy(t, socket)
	p.saturates(&log, func() string { return page("/metrics") })

	// A request of the batch objective makes room for another one.
	eventually(t, "the pool is idle", &log, func() bool {
		return strings.Contains(page("/metrics"), `llm_d_epp_inflight_requests{endpoint_name="a",fairness_id="",namespace="prod",priority="",producer_name="inflight-load-producer"} 0`)
	})
	batch, _ := p.begin("batch")
	if to, status, reason := p.answer(batch); to == "" {
		t.Fatalf("status %d %s\n%s", status, reason, &log)
	}
	urgent, _ := p.begin("")
	if _, status, reason := p.answer(batch); status != 429 || reason != "evicted" {
		t.Errorf("the batch request: status %d %s", status, reason)
	}
	_ = batch.CloseSend()
	if to, status, reason := p.answer(urgent); to == "" {
		t.Errorf("status %d %s, want that it has the room", status, reason)
	}
	stop()
	if err := <-done; err != nil {
		t.Errorf("epp: %v\n%s", err, &log)
	}
}

// TestRunFlowControl: the same for a program with a picker in it.
func TestRunFlowControl(t *testing.T) {
	dir := t.TempDir()
	endpoints, socket := filepath.Join(dir, "endpoints.yaml"), filepath.Join(dir, "epp.sock")
	err := os.WriteFile(endpoints, []byte(`
apiVersion: inference.networking.k8s.io/v1
kind: InferencePool
metadata: {name: llama, namespace: prod}
spec: {targetPorts: [{number: 20100}], selector: {matchLabels: {app: llama}}}
---
endpoints: [{name: a, namespace: prod, address: 127.0.0.1, port: 20100, labels: {app: llama}}]
`), 0o600)
	if err != nil {
		t.Fatal(err)
	}
	ctx, stop := context.WithCancel(t.Context())
	defer stop()
	var log testkit.Log
	m := metrics.New(metrics.Options{BareNames: true})
	done := make(chan error, 1)
	go func() {
		done <- run.Run(ctx, run.Options{
			Config: []byte(flowConfig), Endpoints: endpoints, Picker: epp.Options{Metrics: m},
			Server: epp.ServerOptions{UnixSocket: socket}, Log: slog.New(slog.NewTextHandler(&log, nil)),
		})
	}()
	newProxy(t, socket).saturates(&log, func() string {
		w := httptest.NewRecorder()
		m.Handler().ServeHTTP(w, httptest.NewRequest(http.MethodGet, "/metrics", nil))
		return w.Body.String()
	})
	stop()
	if err := <-done; err != nil {
		t.Errorf("run: %v\n%s", err, &log)
	}
}

// TestGatewayFlowControl: fairway gateway hands it to its picker, too.
func TestGatewayFlowControl(t *testing.T) {
	file := filepath.Join(t.TempDir(), "config.yaml")
	if err := os.WriteFile(file, []byte(flowConfig), 0o600); err != nil {
		t.Fatal(err)
	}
	o := cluster.Options{Log: slog.New(slog.DiscardHandler)}
	if err := gatewayArgs(t, "--config-file", file).policy(&o); err != nil {
		t.Fatal(err)
	}
	if o.Flow == nil || !o.Flow.Evict || o.Flow.MaxRequests != 1 {
		t.Fatalf("flow control %+v", o.Flow)
	}
	if d, ok := o.Flow.Detector.(*flowcontrol.Concurrency); !ok || d.MaxRequests != 1 {
		t.Errorf("detector %v", o.Flow.Detector)
	}
}
