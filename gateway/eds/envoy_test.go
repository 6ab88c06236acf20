package eds

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"testing"

	"google.golang.org/grpc"

	"github.com/fairway-ai/fairway/test/realenvoy"
)

// bootstrap has one cluster per form of the protocol, both of pool ns/p. Its places
// are the administration's and the EDS server's unix sockets.
const bootstrap = `
node: {id: test, cluster: test}
admin: {address: {pipe: {path: %q}}}
static_resources:
  clusters:
  - name: eds
    type: STATIC
    connect_timeout: 1s
    typed_extension_protocol_options:
      envoy.extensions.upstreams.http.v3.HttpProtocolOptions:
        "@type": type.googleapis.com/envoy.extensions.upstreams.http.v3.HttpProtocolOptions
        explicit_http_config: {http2_protocol_options: {}}
    load_assignment:
      cluster_name: eds
      endpoints: [{lb_endpoints: [{endpoint: {address: {pipe: {path: %q}}}}]}]
  - name: delta
    type: EDS
    eds_cluster_config:
      service_name: ns/p
      eds_config:
        resource_api_version: V3
        initial_fetch_timeout: 0s
        api_config_source: {api_type: DELTA_GRPC, transport_api_version: V3, grpc_services: [{envoy_grpc: {cluster_name: eds}}]}
  - name: state
    type: EDS
    eds_cluster_config:
      service_name: ns/p
      eds_config:
        resource_api_version: V3
        initial_fetch_timeout: 0s
        api_config_source: {api_type: GRPC, transport_api_version: V3, grpc_services: [{envoy_grpc: {cluster_name: eds}}]}
`

// rig is a real Envoy and the socket on which it looks for an EDS server.
type rig struct {
	*testing.T
	socket string
	admin  http.Client
}

func newRig(t *testing.T) *rig {
	t.Helper()
	path := realenvoy.Path(t)
	dir, err := os.MkdirTemp("", "eds") // short enough for a socket
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = os.RemoveAll(dir) })
	admin := filepath.Join(dir, "admin")
	r := &rig{T: t, socket: filepath.Join(dir, "eds")}
	r.admin.Transport = &http.Transport{DisableKeepAlives: true, DialContext: func(ctx context.Context, _, _ string) (net.Conn, error) {
		return new(net.Dialer).DialContext(ctx, "unix", admin)
	}}
	var out bytes.Buffer
	cmd := exec.Command(path, "--config-yaml", fmt.Sprintf(bootstrap, admin, r.socket), "--use-dynamic-base-id", "--concurrency", "1", "--log-level", "warning")
	cmd.Stdout, cmd.Stderr = &out, &out
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		_ = cmd.Process.Kill()
		_ = cmd.Wait() // killed
		if t.Failed() {
			t.Logf("envoy printed:\n%s", out.String())
		}
	})
	return r
}

// serve puts s on the socket, until stop.
func (r *rig) serve(s *Server) (stop func()) {
	r.Helper()
	l, err := net.Listen("unix", r.socket)
	if err != nil {
		r.Fatal(err)
	}
	g := grpc.NewServer()
	s.Register(g)
	go func() { _ = g.Serve(l) }()
	r.Cleanup(g.Stop)
	return g.Stop
}

// hosts are the endpoints that Envoy has for a cluster.
func (r *rig) hosts(cluster string) (hosts []string, err error) {
	response, err := r.admin.Get("http://envoy/clusters?format=json")
	if err != nil {
		return nil, err
	}
	defer response.Body.Close()
	var state struct {
		Clusters []struct {
			Name  string `json:"name"`
			Hosts []struct {
				Address struct {
					Socket struct {
						Address string `json:"address"`
						Port    int    `json:"port_value"`
					} `json:"socket_address"`
				} `json:"address"`
			} `json:"host_statuses"`
		} `json:"cluster_statuses"`
	}
	if err := json.NewDecoder(response.Body).Decode(&state); err != nil {
		return nil, err
	}
	for _, c := range state.Clusters {
		if c.Name != cluster {
			continue
		}
		for _, h := range c.Hosts {
			hosts = append(hosts, fmt.Sprintf("%s:%d", h.Address.Socket.Address, h.Address.Socket.Port))
		}
	}
	slices.Sort(hosts)
	return hosts, nil
}

// has waits until both clusters have the endpoints.
func (r *rig) has(want ...string) {
	r.Helper()
	for _, cluster := range []string{"delta", "state"} {
		realenvoy.Eventually(r.T, patience, cluster, func() error {
			got, err := r.hosts(cluster)
			if err == nil && !slices.Equal(got, want) {
				err = fmt.Errorf("has %v, want %v", got, want)
			}
			return err
		})
	}
}

// A real Envoy gets endpoints by both forms of the protocol, and keeps them while
// replicas come and go that know nothing, do not answer, or have forgotten the pool.
func TestRealEnvoy(t *testing.T) {
	r := newRig(t)
	first := New(Options{})
	stop := r.serve(first)
	first.Set("ns/p", assignment("ns/p"))
	first.Set("ns/p", assignment("ns/p", 1, 2))
	first.Ready()
	r.has("10.0.0.1:1", "10.0.0.1:2")
	first.Set("ns/p", assignment("ns/p"))
	r.has("127.0.0.1:1")
	first.Set("ns/p", assignment("ns/p", 3))
	r.has("10.0.0.1:3")
	first.Delete("ns/p")
	stop()

	second := New(Options{})
	stop = r.serve(second)
	second.Ready()
	// Both streams are waiting for the pool, so both have been looked at.
	realenvoy.Eventually(t, patience, "streams", func() error {
		if n := second.linear.NumWatches("ns/p"); n != 2 {
			return fmt.Errorf("%d streams wait, want 2", n)
		}
		return nil
	})
	r.has("10.0.0.1:3")
	second.Set("ns/p", assignment("ns/p", 4))
	r.has("10.0.0.1:4")
	stop()

	third := New(Options{})
	third.Set("ns/p", assignment("ns/p"))
	r.serve(third)
	r.has("10.0.0.1:4")
	third.Set("ns/p", assignment("ns/p", 5))
	third.Ready()
	r.has("10.0.0.1:5")
}
