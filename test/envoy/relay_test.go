package envoy

import (
	"bytes"
	"context"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	corev3 "github.com/envoyproxy/go-control-plane/envoy/config/core/v3"
	extprocv3 "github.com/envoyproxy/go-control-plane/envoy/service/ext_proc/v3"
	"google.golang.org/grpc"
	"sigs.k8s.io/gateway-api-inference-extension/pkg/lwepp/datastore"
	"sigs.k8s.io/gateway-api-inference-extension/pkg/lwepp/handlers"

	"github.com/fairway-ai/fairway/extproc"
	"github.com/fairway-ai/fairway/extproc/relay"
	"github.com/fairway-ai/fairway/test/realenvoy"
)

// relayBootstrap is our gateway's arrangement, with the pool named by the route's
// gRPC metadata. The arguments are the listener's port, the request's body mode, our
// server's port, and two endpoints' ports.
const relayBootstrap = `
static_resources:
  listeners:
  - name: main
    address: {socket_address: {address: 127.0.0.1, port_value: %[1]s}}
    filter_chains:
    - filters:
      - name: envoy.filters.network.http_connection_manager
        typed_config:
          "@type": type.googleapis.com/envoy.extensions.filters.network.http_connection_manager.v3.HttpConnectionManager
          stat_prefix: main
          http_filters:
          - name: envoy.filters.http.ext_proc
            typed_config:
              "@type": type.googleapis.com/envoy.extensions.filters.http.ext_proc.v3.ExternalProcessor
              grpc_service:
                envoy_grpc: {cluster_name: fairway}
                initial_metadata: [{key: x-fairway-pool, value: ns/p}]
              failure_mode_allow: true
              message_timeout: 3s
              max_message_timeout: 120s
              allow_mode_override: true
              allow_content_length_header: true
              processing_mode: %[2]s
              metadata_options: {receiving_namespaces: {untyped: [envoy.lb]}, forwarding_namespaces: {untyped: [envoy.lb, envoy.lb.subset_hint]}}
          - name: envoy.filters.http.router
            typed_config: {"@type": type.googleapis.com/envoy.extensions.filters.http.router.v3.Router}
          route_config:
            virtual_hosts:
            - name: all
              domains: ["*"]
              routes: [{match: {prefix: "/"}, request_body_buffer_limit: 8388608, route: {cluster: pool, timeout: 0s}}]
  clusters:
  - name: pool
    type: STATIC
    load_balancing_policy:
      policies:
      - typed_extension_config:
          name: envoy.load_balancing_policies.override_host
          typed_config:
            "@type": type.googleapis.com/envoy.extensions.load_balancing_policies.override_host.v3.OverrideHost
            override_host_sources:
            - metadata: {key: envoy.lb, path: [{key: x-gateway-destination-endpoint}]}
            - header: x-gateway-destination-endpoint
            selected_host_key: {key: envoy.lb, path: [{key: x-gateway-destination-endpoint-served}]}
            fallback_policy:
              policies:
              - typed_extension_config:
                  name: envoy.load_balancing_policies.round_robin
                  typed_config: {"@type": type.googleapis.com/envoy.extensions.load_balancing_policies.round_robin.v3.RoundRobin}
    load_assignment:
      cluster_name: pool
      endpoints:
      - lb_endpoints:
        - endpoint: {address: {socket_address: {address: 127.0.0.1, port_value: %[4]s}}}
        - endpoint: {address: {socket_address: {address: 127.0.0.1, port_value: %[5]s}}}
  - name: fairway
    type: STATIC
    typed_extension_protocol_options:
      envoy.extensions.upstreams.http.v3.HttpProtocolOptions:
        "@type": type.googleapis.com/envoy.extensions.upstreams.http.v3.HttpProtocolOptions
        explicit_http_config: {http2_protocol_options: {}}
    load_assignment:
      cluster_name: fairway
      endpoints: [{lb_endpoints: [{endpoint: {address: {socket_address: {address: 127.0.0.1, port_value: %[3]s}}}}]}]
`

var relayModes = map[string]string{
	"buffered": "{request_body_mode: BUFFERED, response_body_mode: STREAMED}",
	"duplex": "{request_body_mode: FULL_DUPLEX_STREAMED, response_body_mode: FULL_DUPLEX_STREAMED, " +
		"request_trailer_mode: SEND, response_trailer_mode: SEND}",
}

// foreignPicker is a picker that follows the protocol: it holds the headers' answer
// until the body is there and streams bodies back, changed when they hold "llama".
type foreignPicker struct {
	extprocv3.UnimplementedExternalProcessorServer
	mu      sync.Mutex
	pick    string
	served  string
	respond func(extprocv3.ExternalProcessor_ProcessServer, []byte, bool) error // nil streams back
}

func (p *foreignPicker) lastServed() string {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.served
}

func (p *foreignPicker) chunks(b []byte, end bool, answer func(*extprocv3.BodyResponse) error) error {
	b = bytes.ReplaceAll(b, []byte("llama"), []byte("mixtral-8x7b"))
	for {
		n := min(len(b), 62000)
		err := answer(&extprocv3.BodyResponse{Response: &extprocv3.CommonResponse{BodyMutation: &extprocv3.BodyMutation{
			Mutation: &extprocv3.BodyMutation_StreamedResponse{StreamedResponse: &extprocv3.StreamedBodyResponse{
				Body: b[:n], EndOfStream: end && n == len(b),
			}},
		}}})
		if b = b[n:]; err != nil || len(b) == 0 {
			return err
		}
	}
}

func set(kv ...string) *extprocv3.CommonResponse {
	m := &extprocv3.HeaderMutation{}
	for i := 0; i < len(kv); i += 2 {
		m.SetHeaders = append(m.SetHeaders, &corev3.HeaderValueOption{Header: &corev3.HeaderValue{Key: kv[i], RawValue: []byte(kv[i+1])}})
	}
	return &extprocv3.CommonResponse{HeaderMutation: m, ClearRouteCache: true}
}

func (p *foreignPicker) Process(s extprocv3.ExternalProcessor_ProcessServer) error {
	var body []byte
	picks := func() error {
		return s.Send(&extprocv3.ProcessingResponse{Response: &extprocv3.ProcessingResponse_RequestHeaders{
			RequestHeaders: &extprocv3.HeadersResponse{Response: set("x-gateway-destination-endpoint", p.pick,
				"content-length", strconv.Itoa(len(body)), "x-picked-by", "theirs")},
		}})
	}
	for {
		m, err := s.Recv()
		if err != nil {
			return nil
		}
		switch q := m.Request.(type) {
		case *extprocv3.ProcessingRequest_RequestHeaders:
			if q.RequestHeaders.EndOfStream {
				err = picks()
			}
		case *extprocv3.ProcessingRequest_RequestBody:
			if body = append(body, q.RequestBody.Body...); !q.RequestBody.EndOfStream {
				continue
			}
			if err = picks(); err == nil {
				err = p.chunks(body, true, func(b *extprocv3.BodyResponse) error {
					return s.Send(&extprocv3.ProcessingResponse{Response: &extprocv3.ProcessingResponse_RequestBody{RequestBody: b}})
				})
			}
		case *extprocv3.ProcessingRequest_ResponseHeaders:
			p.mu.Lock()
			p.served = m.GetMetadataContext().GetFilterMetadata()["envoy.lb"].GetFields()["x-gateway-destination-endpoint-served"].GetStringValue()
			p.mu.Unlock()
			err = s.Send(&extprocv3.ProcessingResponse{Response: &extprocv3.ProcessingResponse_ResponseHeaders{
				ResponseHeaders: &extprocv3.HeadersResponse{Response: set("x-theirs", "yes")}}})
		case *extprocv3.ProcessingRequest_ResponseBody:
			answer := func(b *extprocv3.BodyResponse) error {
				return s.Send(&extprocv3.ProcessingResponse{Response: &extprocv3.ProcessingResponse_ResponseBody{ResponseBody: b}})
			}
			if p.respond != nil {
				err = p.respond(s, q.ResponseBody.Body, q.ResponseBody.EndOfStream)
			} else {
				err = p.chunks(q.ResponseBody.Body, q.ResponseBody.EndOfStream, answer)
			}
		}
		if err != nil {
			return err
		}
	}
}

// relayRig is Envoy, our server with the relay, and two model servers.
type relayRig struct {
	t        *testing.T
	url      string
	registry *relay.Registry
	a, b     *backend
	picker   string // where a foreign picker listens
	asked    *consultations
}

// consultations counts the requests that a foreign picker is asked about.
type consultations struct {
	extproc.Foreign
	n atomic.Int64
}

func (c *consultations) Consult(ctx context.Context, pool string) extproc.Exchange {
	c.n.Add(1)
	return c.Foreign.Consult(ctx, pool)
}

func newRelayRig(t *testing.T, mode string, handle http.HandlerFunc, change ...func(*relay.Options)) *relayRig {
	path := realenvoy.Path(t)
	r := &relayRig{t: t, a: newBackend(t, handle), b: newBackend(t, handle)}
	o := relay.Options{Log: slog.New(slog.NewTextHandler(logging(t), nil)), MaxBodyBytes: 8 << 20, ResponseTimeout: patience}
	for _, f := range change {
		f(&o)
	}
	r.registry = relay.New(o)
	t.Cleanup(r.registry.Close)
	r.asked = &consultations{Foreign: r.registry}
	s := extproc.New(&stub{}, extproc.Options{Foreign: r.asked, MaxBodyBytes: 8 << 20, Log: slog.New(slog.DiscardHandler)})
	g := grpc.NewServer(s.ServerOptions()...)
	s.Register(g)
	ours := serveGRPC(t, g, "127.0.0.1:0")
	_, ourPort, _ := net.SplitHostPort(ours)
	_, aPort, _ := net.SplitHostPort(r.a.addr)
	_, bPort, _ := net.SplitHostPort(r.b.addr)
	gateway := freePort(t)
	config := filepath.Join(t.TempDir(), "envoy.yaml")
	if err := os.WriteFile(config, fmt.Appendf(nil, relayBootstrap, gateway, relayModes[mode], ourPort, aPort, bPort), 0o600); err != nil {
		t.Fatal(err)
	}
	background(t, path, "--config-path", config, "--disable-hot-restart", "--log-level", "error", "--concurrency", "1")
	r.url = "http://127.0.0.1:" + gateway
	eventually(t, "Envoy listens", func() error {
		c, err := net.Dial("tcp", "127.0.0.1:"+gateway)
		if err == nil {
			_ = c.Close()
		}
		return err
	})
	return r
}

func serveGRPC(t *testing.T, g *grpc.Server, addr string) string {
	t.Helper()
	l, err := net.Listen("tcp", addr)
	if err != nil {
		t.Fatal(err)
	}
	done := make(chan struct{})
	go func() { defer close(done); _ = g.Serve(l) }()
	t.Cleanup(func() { g.Stop(); <-done })
	return l.Addr().String()
}

// consult makes a foreign picker answer for the pool, and returns how to kill it.
func (r *relayRig) consult(p extprocv3.ExternalProcessorServer, open bool) (kill func()) {
	r.t.Helper()
	g := grpc.NewServer()
	extprocv3.RegisterExternalProcessorServer(g, p)
	r.picker = serveGRPC(r.t, g, "127.0.0.1:0")
	if err := r.registry.Set("ns/p", relay.Picker{Address: r.picker, FailOpen: open, TLS: relay.TLS{Security: relay.Plaintext}}); err != nil {
		r.t.Fatal(err)
	}
	return g.Stop
}

func (r *relayRig) post(body string, headers ...string) *answer {
	r.t.Helper()
	a, err := (&rig{t: r.t, url: r.url}).try(chat, strings.NewReader(body), headers...)
	if err != nil {
		r.t.Fatal(err)
	}
	return a
}

func modelPrompt(n int, model string) string {
	return `{"model":"` + model + `","messages":[{"role":"user","content":"` + strings.Repeat("abcdefg ", n/8) + `"}]}`
}

// TestRelayConformant: a picker that follows the protocol picks, changes bodies both
// ways, and learns who served.
func TestRelayConformant(t *testing.T) {
	for mode := range relayModes {
		t.Run(mode, func(t *testing.T) {
			large := strings.Repeat(`{"model":"llama"}`, 30_000)
			r := newRelayRig(t, mode, func(w http.ResponseWriter, q *http.Request) {
				w.Header().Set("content-type", "application/json")
				if q.Header.Get("x-large") != "" {
					_, _ = io.WriteString(w, large)
					return
				}
				_, _ = io.WriteString(w, `{"model":"llama","choices":[]}`)
			})
			p := &foreignPicker{pick: r.b.addr}
			r.consult(p, false)
			for _, size := range []int{100, 62_000, 220 << 10, 3 << 20} {
				for _, model := range []string{"same", "llama"} {
					body := modelPrompt(size, model)
					got := r.post(body)
					if got.status != 200 || got.by() != r.b.addr || got.header.Get("x-theirs") != "yes" {
						t.Fatalf("%d bytes: got %d by %q %v: %s", size, got.status, got.by(), got.header, got.body)
					}
					if want := `{"model":"mixtral-8x7b","choices":[]}`; got.body != want {
						t.Errorf("answer %q, want %q", got.body, want)
					}
					want := strings.ReplaceAll(body, "llama", "mixtral-8x7b")
					header, served, _ := r.b.last()
					if string(served) != want || header.Get("x-picked-by") != "theirs" || header.Get("x-gateway-destination-endpoint") != r.b.addr {
						t.Errorf("%d bytes: the server got %d bytes, want %d; headers %v", size, len(served), len(want), header)
					}
					if l := header.Get("content-length"); mode == "buffered" && l != "" && l != strconv.Itoa(len(want)) {
						t.Errorf("content-length %s, want %d", l, len(want))
					}
					if s := p.lastServed(); s != r.b.addr {
						t.Errorf("served %q, want %q", s, r.b.addr)
					}
				}
			}
			// Names that a chunk's end cuts stay, so both are compared by the old one.
			if got := r.post(modelPrompt(100, "same"), "x-large", "1"); strings.ReplaceAll(got.body, "mixtral-8x7b", "llama") != large {
				t.Errorf("a large answer has %d bytes, changed from %d", len(got.body), len(large))
			}
			// A body whose length was not known before.
			body := modelPrompt(100_000, "llama")
			got, err := (&rig{t: t, url: r.url}).try(chat, chunked{strings.NewReader(body)})
			if err != nil || got.status != 200 {
				t.Fatalf("got %v, %v", got, err)
			}
			if _, served, _ := r.b.last(); string(served) != strings.ReplaceAll(body, "llama", "mixtral-8x7b") {
				t.Errorf("the server got %d bytes", len(served))
			}
			// A body that vanishes.
			r.consult(&emptying{&foreignPicker{pick: r.a.addr}}, false)
			if got := r.post(body); got.status != 200 || got.by() != r.a.addr {
				t.Errorf("got %d by %s: %s", got.status, got.by(), got.body)
			}
			if _, served, _ := r.a.last(); len(served) != 0 {
				t.Errorf("the server got %d bytes, want none", len(served))
			}
		})
	}
}

// emptying takes request bodies away.
type emptying struct{ *foreignPicker }

func (e *emptying) Process(s extprocv3.ExternalProcessor_ProcessServer) error {
	return e.foreignPicker.Process(emptied{s})
}

type emptied struct {
	extprocv3.ExternalProcessor_ProcessServer
}

func (e emptied) Recv() (*extprocv3.ProcessingRequest, error) {
	m, err := e.ExternalProcessor_ProcessServer.Recv()
	if b := m.GetRequestBody(); b != nil {
		b.Body = nil
	}
	return m, err
}

// pods is what lwepp picks from.
type pods []*datastore.Endpoint

func (p pods) PoolGet() (*datastore.EndpointPool, error)                    { return &datastore.EndpointPool{}, nil }
func (p pods) PodList(func(*datastore.Endpoint) bool) []*datastore.Endpoint { return p }

func podsOf(backends ...*backend) (p pods) {
	for _, b := range backends {
		host, port, _ := net.SplitHostPort(b.addr)
		p = append(p, &datastore.Endpoint{Address: host, Port: port})
	}
	return p
}

// TestRelayLWEPP: the conformance suite's picker, which only acknowledges bodies,
// works in both arrangements, its answer to the response included.
func TestRelayLWEPP(t *testing.T) {
	for mode := range relayModes {
		t.Run(mode, func(t *testing.T) {
			r := newRelayRig(t, mode, nil)
			r.consult(handlers.NewStreamingServer(podsOf(r.a, r.b)), false)
			for i, b := range []*backend{r.a, r.b, r.b, r.a} {
				body := modelPrompt(1<<(10+3*i), "m")
				got := r.post(body, "test-epp-endpoint-selection", b.addr)
				if got.status != 200 || got.by() != b.addr || got.body != `{"choices":[]}` {
					t.Fatalf("got %d by %s: %s", got.status, got.by(), got.body)
				}
				if h := got.header["X-Conformance-Test-Served-Endpoint"]; len(h) != 1 || h[0] != b.addr {
					t.Errorf("served %q, want %q once", h, b.addr)
				}
				if h := got.header["Content-Type"]; len(h) != 1 || h[0] != "application/json" {
					t.Errorf("content-type %q", h)
				}
				if _, served, _ := b.last(); string(served) != body {
					t.Errorf("the server got %d bytes, want %d", len(served), len(body))
				}
			}
		})
	}
}

// TestRelayPickerDies: a running response is untouched, and what comes after goes by
// the failure mode, at once.
func TestRelayPickerDies(t *testing.T) {
	for mode := range relayModes {
		for _, open := range []bool{true, false} {
			t.Run(fmt.Sprintf("%s/open=%v", mode, open), func(t *testing.T) {
				release := make(chan struct{})
				slow := slowStream(release)
				r := newRelayRig(t, mode, func(w http.ResponseWriter, q *http.Request) {
					if q.Header.Get("x-slow") != "" {
						slow(w, q)
						return
					}
					_, _ = io.WriteString(w, "ok")
				})
				kill := r.consult(&foreignPicker{pick: r.a.addr}, open)
				s := (&rig{t: t, url: r.url}).stream("x-slow", "1")
				if err := s.until("first"); err != nil {
					t.Fatal(err)
				}
				kill()
				for _, size := range []int{100, 2 << 20} {
					body := modelPrompt(size, "m")
					for range 5 {
						began := time.Now()
						got := r.post(body)
						if d := time.Since(began); d >= relay.DefaultTimeout {
							t.Errorf("took %v", d)
						}
						if open && (got.status != 200 || got.body != "ok") {
							t.Errorf("got %d: %s", got.status, got.body)
						}
						if !open && (got.status != 503 || errorCode(t, got) != "picker_unavailable") {
							t.Errorf("got %d: %s", got.status, got.body)
						}
						if open {
							served := r.a
							if got.by() == r.b.addr {
								served = r.b
							}
							if _, b, _ := served.last(); string(b) != body {
								t.Errorf("the server got %d bytes, want %d", len(b), len(body))
							}
						}
					}
				}
				close(release)
				if err := s.until("[DONE]"); err != nil {
					t.Errorf("the running response was cut: %v", err)
				}
			})
		}
	}
}

// TestRelayHangs: a picker that says nothing in the response phase delays it once and
// cuts nothing off, and one that holds a request is waited for.
func TestRelayHangs(t *testing.T) {
	r := newRelayRig(t, "buffered", func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("content-type", "text/event-stream")
		for i := range 20 {
			_, _ = fmt.Fprintf(w, "data: %d\n\n", i)
			w.(http.Flusher).Flush()
		}
	}, func(o *relay.Options) { o.ResponseTimeout = time.Second })
	p := &foreignPicker{pick: r.a.addr, respond: func(extprocv3.ExternalProcessor_ProcessServer, []byte, bool) error { return nil }}
	r.consult(p, false)
	got := r.post(modelPrompt(100, "m"))
	if got.status != 200 || !strings.HasPrefix(got.body, "data: 0\n\n") || !strings.HasSuffix(got.body, "data: 19\n\n") {
		t.Errorf("got %d: %q", got.status, got.body)
	}
	held := &holding{foreignPicker: &foreignPicker{pick: r.b.addr}, d: 4 * time.Second} // Envoy waits 3 s
	r.consult(held, false)
	if got := r.post(modelPrompt(100, "m")); got.status != 200 || got.by() != r.b.addr {
		t.Errorf("held: got %d by %s, want the picked endpoint", got.status, got.by())
	}
}

// holding holds every request for a while.
type holding struct {
	*foreignPicker
	d time.Duration
}

func (h *holding) Process(s extprocv3.ExternalProcessor_ProcessServer) error {
	time.Sleep(h.d)
	return h.foreignPicker.Process(s)
}
