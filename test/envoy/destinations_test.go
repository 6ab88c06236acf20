package envoy

import (
	"fmt"
	"net/http"
	"os"
	"strings"
	"testing"
	"time"

	"github.com/fairway-ai/fairway/internal/testkit"
	"github.com/fairway-ai/fairway/test/realenvoy"
)

// overrideHost is a cluster that tries the endpoints of a list in turn and says which
// one served, as the endpoint picker protocol wants it.
const overrideHost = `  - name: picked
    type: STATIC
    load_assignment:
      cluster_name: picked
      endpoints: [{lb_endpoints: [%s]}]
    load_balancing_policy:
      policies:
      - typed_extension_config:
          name: envoy.load_balancing_policies.override_host
          typed_config:
            "@type": type.googleapis.com/envoy.extensions.load_balancing_policies.override_host.v3.OverrideHost
            override_host_sources: [{header: x-gateway-destination-endpoint}]
            selected_host_key: {key: envoy.lb, path: [{key: x-gateway-destination-endpoint-served}]}
            fallback_policy:
              policies:
              - typed_extension_config:
                  name: envoy.load_balancing_policies.round_robin
                  typed_config: {"@type": type.googleapis.com/envoy.extensions.load_balancing_policies.round_robin.v3.RoundRobin}
`

// originalDestination is the cluster of examples/prefill-decode/envoy.yaml.
const originalDestination = `  - name: picked
    type: ORIGINAL_DST
    lb_policy: CLUSTER_PROVIDED
    original_dst_lb_config: {use_http_header: true, http_header_name: x-gateway-destination-endpoint}
`

// TestNamedEndpoints puts fairway epp with its default policy, without any flag for it,
// behind Envoys of both kinds: one whose cluster is ORIGINAL_DST takes one endpoint, and
// 503 is what comes of a list; one that tries a list in turn gets one.
func TestNamedEndpoints(t *testing.T) {
	envoy := realenvoy.Path(t)
	fairway, err := binary.build()
	if err != nil {
		t.Fatal(err)
	}
	example, err := os.ReadFile("../../examples/prefill-decode/envoy.yaml")
	if err != nil {
		t.Fatal(err)
	}
	if !strings.Contains(string(example), originalDestination) {
		t.Fatal("the example has another cluster")
	}
	write := testkit.Files(t)
	endpoints, hosts := "endpoints:\n", make([]string, 3)
	var servers [3]*backend
	for i := range servers {
		servers[i] = newBackend(t, nil)
		host, port, _ := strings.Cut(servers[i].addr, ":")
		endpoints += fmt.Sprintf("- {name: server-%d, address: %s, port: %q}\n", i, host, port)
		hosts[i] = fmt.Sprintf("{endpoint: {address: {socket_address: {address: %s, port_value: %s}}}}", host, port)
	}
	file := write("endpoints.yaml", endpoints)
	tried := fmt.Sprintf(overrideHost, strings.Join(hosts, ", "))
	for _, test := range []struct {
		name    string
		args    []string
		cluster string
		status  int
		named   int // in the end
	}{
		{"one", nil, originalDestination, http.StatusOK, 1},
		{"one, a list by the flag", []string{"--max-destinations=2"}, originalDestination, http.StatusServiceUnavailable, 0},
		{"a list", nil, tried, http.StatusOK, 3},
		{"a list, one by the flag", []string{"--max-destinations=1"}, tried, http.StatusOK, 1},
	} {
		t.Run(test.name, func(t *testing.T) {
			gateway, picker := freePort(t), freePort(t)
			text := strings.NewReplacer(originalDestination, test.cluster, "port_value: 8080", "port_value: "+gateway, "port_value: 9002", "port_value: "+picker,
				"message_timeout: 10s", "message_timeout: 10s\n              metadata_options: {forwarding_namespaces: {untyped: [envoy.lb]}}",
				"cluster: picked,", "cluster: picked, retry_policy: {num_retries: 2, retry_on: 5xx},").Replace(string(example))
			background(t, fairway, append([]string{"epp", "--endpoints-file", file, "--secure-serving=false", "--grpc-port", picker, "--grpc-health-port", "0", "--metrics-port", "0"}, test.args...)...)
			background(t, envoy, "--config-path", write("envoy"+picker+".yaml", text), "--disable-hot-restart", "--log-level", "error", "--concurrency", "1")
			ask := func() error {
				c := http.Client{Timeout: 10 * time.Second}
				resp, err := c.Post("http://127.0.0.1:"+gateway+chat, "application/json", strings.NewReader(`{"model":"m","messages":[{"role":"user","content":"hi"}]}`))
				if err != nil {
					return err
				}
				defer resp.Body.Close()
				if resp.StatusCode != test.status {
					return fmt.Errorf("status %d, want %d", resp.StatusCode, test.status)
				}
				if test.named == 0 {
					return nil
				}
				for _, s := range servers {
					if s.addr != resp.Header.Get("x-backend") {
						continue
					}
					h, _, _ := s.last()
					if named := strings.Split(h.Get("x-gateway-destination-endpoint"), ","); len(named) != test.named {
						return fmt.Errorf("%d endpoints named, want %d: %s", len(named), test.named, named)
					}
					return nil
				}
				return fmt.Errorf("served by %q", resp.Header.Get("x-backend"))
			}
			// Before both are up the gateway refuses connections, or answers 500; and what it
			// can do is learned from its first answer.
			eventually(t, test.name, ask)
			for range 5 {
				if err := ask(); err != nil {
					t.Fatal(err)
				}
			}
		})
	}
}
