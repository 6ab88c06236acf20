package envoy

import (
	"bytes"
	"context"
	"fmt"
	"io"
	"net"
	"net/http"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"testing"

	"github.com/fairway-ai/fairway/internal/testkit"
	"github.com/fairway-ai/fairway/test/realenvoy"
)

// duplexBootstrap is somebody else's gateway, as the endpoint picker protocol wants
// it: bodies full duplex both ways, TLS to the picker, and the endpoint taken from
// the header alone.
const duplexBootstrap = `
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
              grpc_service: {envoy_grpc: {cluster_name: picker}, timeout: 10s}
              message_timeout: 10s
              processing_mode:
                request_header_mode: SEND
                response_header_mode: SEND
                request_body_mode: FULL_DUPLEX_STREAMED
                response_body_mode: FULL_DUPLEX_STREAMED
                request_trailer_mode: SEND
                response_trailer_mode: SEND
          - name: envoy.filters.http.router
            typed_config: {"@type": type.googleapis.com/envoy.extensions.filters.http.router.v3.Router}
          route_config:
            virtual_hosts:
            - {name: all, domains: ["*"], routes: [{match: {prefix: "/"}, route: {cluster: picked, timeout: 0s}}]}
  clusters:
  - name: picked
    type: ORIGINAL_DST
    lb_policy: CLUSTER_PROVIDED
    original_dst_lb_config: {use_http_header: true, http_header_name: x-gateway-destination-endpoint}
  - name: picker
    type: STATIC
    typed_extension_protocol_options:
      envoy.extensions.upstreams.http.v3.HttpProtocolOptions:
        "@type": type.googleapis.com/envoy.extensions.upstreams.http.v3.HttpProtocolOptions
        explicit_http_config: {http2_protocol_options: {}}
    transport_socket:
      name: envoy.transport_sockets.tls
      typed_config:
        "@type": type.googleapis.com/envoy.extensions.transport_sockets.tls.v3.UpstreamTlsContext
        common_tls_context: {alpn_protocols: [h2]}
    load_assignment:
      cluster_name: picker
      endpoints: [{lb_endpoints: [{endpoint: {address: {socket_address: {address: 127.0.0.1, port_value: %[2]s}}}}]}]
`

// freePort is a port that nobody listens on, and that stays the test's own.
func freePort(t *testing.T) string {
	t.Helper()
	return strconv.Itoa(testkit.FreePort(t))
}

// background runs a program until the end of the test.
func background(t *testing.T, path string, args ...string) {
	t.Helper()
	var out bytes.Buffer
	ctx, cancel := context.WithCancel(context.Background())
	cmd := exec.CommandContext(ctx, path, args...)
	cmd.Stdout, cmd.Stderr = &out, &out
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		cancel()
		_ = cmd.Wait() // killed
		if t.Failed() {
			t.Logf("%s printed:\n%s", filepath.Base(path), out.String())
		}
	})
}

// TestForeignGateway puts fairway epp, as it comes, behind a gateway that is
// configured as the protocol asks and knows nothing of Fairway.
func TestForeignGateway(t *testing.T) {
	envoy := realenvoy.Path(t)
	fairway, err := binary.build()
	if err != nil {
		t.Fatal(err)
	}
	sse := func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("content-type", "text/event-stream")
		for i := range 50 {
			fmt.Fprintf(w, "data: {\"choices\":[{\"delta\":{\"content\":\"t%d\"}}]}\n\n", i)
			w.(http.Flusher).Flush()
		}
		_, _ = io.WriteString(w, "data: [DONE]\n\n")
	}
	a, b := newBackend(t, sse), newBackend(t, sse)
	write := testkit.Files(t)
	endpoint := func(name, addr string) string {
		host, port, _ := net.SplitHostPort(addr) // of a listener
		return fmt.Sprintf("- {name: %s, address: %s, port: %q}\n", name, host, port)
	}
	endpoints := write("endpoints.yaml", "endpoints:\n"+endpoint("a", a.addr)+endpoint("b", b.addr))
	config := write("config.yaml", fmt.Sprintf(`
apiVersion: llm-d.ai/v1alpha1
kind: EndpointPickerConfig
plugins:
- type: file-discovery
  parameters: {path: %s, watchFile: true}
- type: prefix-cache-scorer
- type: queue-scorer
schedulingProfiles:
- name: default
  plugins:
  - {pluginRef: prefix-cache-scorer, weight: 3}
  - {pluginRef: queue-scorer, weight: 2}
dataLayer:
  discovery: {pluginRef: file-discovery}
`, endpoints))
	gateway, picker := freePort(t), freePort(t)
	background(t, fairway, "epp", "--config-file", config, "--grpc-port", picker, "--grpc-health-port", "0", "--metrics-port", "0")
	background(t, envoy, "--config-path", write("envoy.yaml", fmt.Sprintf(duplexBootstrap, gateway, picker)),
		"--disable-hot-restart", "--log-level", "error", "--concurrency", "1")
	url := "http://127.0.0.1:" + gateway + chat
	post := func(body string) (*http.Response, string, error) {
		ctx, cancel := context.WithTimeout(context.Background(), patience)
		defer cancel()
		req, err := http.NewRequestWithContext(ctx, http.MethodPost, url, strings.NewReader(body))
		if err != nil {
			return nil, "", err
		}
		req.Header.Set("content-type", "application/json")
		resp, err := http.DefaultClient.Do(req)
		if err != nil {
			return nil, "", err
		}
		defer resp.Body.Close()
		text, err := io.ReadAll(resp.Body)
		return resp, string(text), err
	}
	eventually(t, "the gateway answers", func() error {
		resp, text, err := post(`{"model":"m","messages":[]}`)
		if err != nil {
			return err
		}
		if resp.StatusCode != http.StatusOK {
			return fmt.Errorf("%s: %s", resp.Status, text)
		}
		return nil
	})
	for _, size := range []int{100, 62_000, 220 << 10, 3 << 20} {
		first := ""
		for range 3 {
			body := `{"model":"m","stream":true,"messages":[{"role":"user","content":"` + strings.Repeat("abcdefg ", size/8) + `"}]}`
			resp, text, err := post(body)
			if err != nil {
				t.Fatal(err)
			}
			served := a
			if resp.Header.Get("x-backend") == b.addr {
				served = b
			}
			if resp.StatusCode != http.StatusOK || !strings.HasSuffix(text, "\"t49\"}}]}\n\ndata: [DONE]\n\n") {
				t.Fatalf("%d bytes: %s, answer ends with %q", size, resp.Status, text[max(0, len(text)-60):])
			}
			if _, got, _ := served.last(); string(got) != body {
				t.Fatalf("%d bytes: the server got %d bytes, not those that were sent", size, len(got))
			}
			if first == "" {
				first = served.addr
			}
			if size > 62_000 && served.addr != first {
				t.Errorf("%d bytes: the same prompt went to %s, then to %s", size, first, served.addr)
			}
		}
	}
	resp, text, err := post(`{"model":`)
	if err != nil || resp.StatusCode != http.StatusBadRequest || !strings.Contains(text, "invalid_request_error") {
		t.Errorf("bad JSON: %v, %v: %s", resp, err, text)
	}
	get, err := http.Get("http://127.0.0.1:" + gateway + "/v1/models")
	if err != nil || get.StatusCode != http.StatusOK {
		t.Errorf("GET: %v, %v", get, err)
	}
}
