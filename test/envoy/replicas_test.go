package envoy

import (
	"bufio"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/fairway-ai/fairway/sim/server"
	"github.com/fairway-ai/fairway/test/realenvoy"
)

// replicasBootstrap is a gateway that asks several pickers in turn, as through a
// Service, and soon leaves out one that is gone. A request whose picker cannot be asked
// fails with 500.
const replicasBootstrap = `
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
              grpc_service: {envoy_grpc: {cluster_name: picker}, timeout: 30s}
              message_timeout: 30s
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
    lb_policy: ROUND_ROBIN
    common_lb_config: {healthy_panic_threshold: {value: 0}}
    health_checks:
    - {timeout: 10s, interval: 0.1s, no_traffic_interval: 0.1s, unhealthy_threshold: 1, healthy_threshold: 1, tcp_health_check: {}}
    typed_extension_protocol_options:
      envoy.extensions.upstreams.http.v3.HttpProtocolOptions:
        "@type": type.googleapis.com/envoy.extensions.upstreams.http.v3.HttpProtocolOptions
        explicit_http_config: {http2_protocol_options: {}}
    load_assignment:
      cluster_name: picker
      endpoints:
      - lb_endpoints:
%[2]s`

// replicasConfig picks one endpoint, which is all that an original destination can be.
const replicasConfig = `{"kind":"EndpointPickerConfig","plugins":[{"type":"prefix-cache-scorer"},{"type":"queue-scorer"}],
"schedulingProfiles":[{"name":"default","plugins":[{"pluginRef":"prefix-cache-scorer","weight":3},{"pluginRef":"queue-scorer","weight":2}]}]}`

// epps are pickers of one pool behind one Envoy.
type epps struct {
	t        *testing.T
	fairway  string
	pool     string // the file of endpoints
	url      string
	grpc     []string // ports, by picker
	metrics  []string
	replicas []string
	running  []*exec.Cmd
	prompts  int
}

// startEPPs starts n pickers of four simulated servers, and Envoy.
func startEPPs(t *testing.T, n int) *epps {
	t.Helper()
	envoy := realenvoy.Path(t)
	fairway, err := binary.build()
	if err != nil {
		t.Fatal(err)
	}
	dir := t.TempDir()
	r := &epps{t: t, fairway: fairway, pool: filepath.Join(dir, "endpoints.yaml"), running: make([]*exec.Cmd, n)}
	endpoints := "endpoints:\n"
	for i := range 4 {
		host, port, _ := net.SplitHostPort(simServer(t, fmt.Sprintf("sim-%d", i))) // a listener's
		endpoints += fmt.Sprintf("- {name: sim-%d, address: %s, port: %q}\n", i, host, port)
	}
	write := func(path, text string) string {
		if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
		return path
	}
	write(r.pool, endpoints)
	var cluster strings.Builder
	for range n {
		r.grpc, r.metrics, r.replicas = append(r.grpc, freePort(t)), append(r.metrics, freePort(t)), append(r.replicas, freePort(t))
		fmt.Fprintf(&cluster, "        - endpoint: {address: {socket_address: {address: 127.0.0.1, port_value: %s}}}\n", r.grpc[len(r.grpc)-1])
	}
	for i := range n {
		r.start(i)
	}
	t.Cleanup(func() {
		for i := range r.running {
			r.kill(i)
		}
	})
	gateway := freePort(t)
	background(t, envoy, "--config-path", write(filepath.Join(dir, "envoy.yaml"), fmt.Sprintf(replicasBootstrap, gateway, cluster.String())),
		"--disable-hot-restart", "--log-level", "error", "--concurrency", "1")
	r.url = "http://127.0.0.1:" + gateway + chat
	r.peers(n - 1)
	eventually(t, "every picker is asked", func() error {
		if _, err := r.ask("are you there?"); err != nil {
			return err
		}
		for i := range n {
			if picks := r.metric(i, "llm_d_epp_scheduler_attempts_total"); picks == 0 {
				return fmt.Errorf("picker %d was not", i)
			}
		}
		return nil
	})
	return r
}

// simServer is the address of a simulated server that is ten times as fast as a real one.
func simServer(t *testing.T, name string) string {
	t.Helper()
	s, err := server.New(server.Config{Name: name, Model: "sim", Speed: 10})
	if err != nil {
		t.Fatal(err)
	}
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	ctx, stop := context.WithCancel(context.Background())
	ended := make(chan error, 1)
	go func() { ended <- s.Run(ctx, l) }()
	t.Cleanup(func() {
		stop()
		if err := <-ended; err != nil {
			t.Error(err)
		}
	})
	return l.Addr().String()
}

func (r *epps) start(i int) {
	r.t.Helper()
	args := []string{
		"epp", "-f", r.pool, "--config-text", replicasConfig, "--secure-serving=false", "--metrics-endpoint-auth=false",
		"--grpc-port", r.grpc[i], "--grpc-health-port", "0", "--metrics-port", r.metrics[i],
	}
	if len(r.replicas) > 1 {
		args = append(args, "--replica-insecure", "--replica-id", fmt.Sprintf("picker-%d", i),
			"--replica-port", r.replicas[i], "--replica-dns", "127.0.0.1:"+strings.Join(r.replicas, ",127.0.0.1:"))
	}
	cmd := exec.Command(r.fairway, args...)
	out := logging(r.t)
	cmd.Stdout, cmd.Stderr = out, out
	if err := cmd.Start(); err != nil {
		r.t.Fatal(err)
	}
	r.running[i] = cmd
}

// kill ends a picker as kill -9 does.
func (r *epps) kill(i int) {
	if cmd := r.running[i]; cmd != nil {
		_ = cmd.Process.Kill() // fails only when it has ended
		_ = cmd.Wait()         // it was killed
		r.running[i] = nil
	}
}

// metric is the sum of a picker's series of that name, 0 where it cannot be asked.
func (r *epps) metric(i int, name string) (sum float64) {
	resp, err := http.Get("http://127.0.0.1:" + r.metrics[i] + "/metrics")
	if err != nil {
		return 0
	}
	defer resp.Body.Close()
	lines := bufio.NewScanner(resp.Body)
	for lines.Scan() {
		rest, ok := strings.CutPrefix(lines.Text(), name)
		if !ok || !strings.HasPrefix(rest, "{") && !strings.HasPrefix(rest, " ") {
			continue
		}
		var v float64
		if _, err := fmt.Sscan(rest[strings.LastIndexByte(rest, ' ')+1:], &v); err == nil {
			sum += v
		}
	}
	return sum
}

// peers waits until each running picker shares with so many.
func (r *epps) peers(want int) {
	r.t.Helper()
	if len(r.replicas) == 1 {
		return
	}
	eventually(r.t, fmt.Sprintf("%d peers", want), func() error {
		for i, cmd := range r.running {
			if got := r.metric(i, "fairway_replica_peers"); cmd != nil && got != float64(want) {
				return fmt.Errorf("picker %d has %v", i, got)
			}
		}
		return nil
	})
}

// usage is what an answer says of its prompt.
type usage struct {
	Prompt  int `json:"prompt_tokens"`
	Details struct {
		Cached int `json:"cached_tokens"`
	} `json:"prompt_tokens_details"`
}

// ask sends a prompt. An error that has a status is a statusError.
func (r *epps) ask(text string) (usage, error) {
	ctx, cancel := context.WithTimeout(context.Background(), patience)
	defer cancel()
	body := fmt.Sprintf(`{"model":"sim","max_tokens":2,"messages":[{"role":"user","content":%q}]}`, text)
	req, err := http.NewRequestWithContext(ctx, http.MethodPost, r.url, strings.NewReader(body))
	if err != nil {
		return usage{}, err
	}
	req.Header.Set("content-type", "application/json")
	resp, err := http.DefaultClient.Do(req)
	if err != nil {
		return usage{}, err
	}
	defer resp.Body.Close()
	answer, err := io.ReadAll(resp.Body)
	if err != nil {
		return usage{}, err
	}
	if resp.StatusCode != http.StatusOK {
		return usage{}, statusError{resp.StatusCode, string(answer)}
	}
	var got struct{ Usage usage }
	return got.Usage, json.Unmarshal(answer, &got)
}

type statusError struct {
	status int
	body   string
}

func (e statusError) Error() string { return fmt.Sprintf("status %d: %s", e.status, e.body) }

// conversations asks about several long texts, some turns each, and returns which part
// of all prompts' tokens the servers had cached.
func (r *epps) conversations() float64 {
	r.t.Helper()
	const texts, turns = 12, 8
	var mu sync.Mutex
	var sum usage
	var wg sync.WaitGroup
	for i := range texts {
		r.prompts++
		text := strings.Repeat(fmt.Sprintf("text number %d of this test; ", r.prompts), 400)
		wg.Go(func() {
			for turn := range turns {
				u, err := r.ask(text + fmt.Sprintf("question %d", turn))
				if err != nil {
					r.t.Errorf("text %d, turn %d: %v", i, turn, err)
					return
				}
				mu.Lock()
				sum.Prompt += u.Prompt
				sum.Details.Cached += u.Details.Cached
				mu.Unlock()
			}
		})
	}
	wg.Wait()
	return float64(sum.Details.Cached) / float64(max(1, sum.Prompt))
}

// TestReplicasShare has Envoy ask three pickers in turn, which tell each other what they
// do: prompts find their caches as with one picker, also when one of them was killed and
// came back.
func TestReplicasShare(t *testing.T) {
	one := startEPPs(t, 1).conversations()
	r := startEPPs(t, 3)
	check := func(when string) {
		t.Helper()
		hits := r.conversations()
		t.Logf("%s: of the prompts %.3f were cached, with one picker %.3f", when, hits, one)
		if hits < one-0.1 {
			t.Errorf("%s: of the prompts %.3f were cached, with one picker %.3f", when, hits, one)
		}
	}
	check("three pickers")

	r.killUnderLoad(2)
	r.peers(1)
	check("two of three")

	r.start(2)
	r.peers(2)
	eventually(t, "the picker that came back is asked", func() error {
		if _, err := r.ask("are you there?"); err != nil {
			return err
		}
		if r.metric(2, "llm_d_epp_scheduler_attempts_total") == 0 {
			return fmt.Errorf("it is not yet")
		}
		return nil
	})
	check("three again")
}

// killUnderLoad kills a picker while requests are under way. Envoy fails those that the
// picker cannot answer any more, with 500, until it has seen that it is gone; no other.
func (r *epps) killUnderLoad(i int) {
	r.t.Helper()
	const clients = 6
	ctx, stop := context.WithCancel(context.Background())
	var mu sync.Mutex
	failed, good, last := 0, 0, time.Time{}
	var wg sync.WaitGroup
	defer func() { stop(); wg.Wait() }()
	for c := range clients {
		wg.Go(func() {
			for n := 0; ctx.Err() == nil; n++ {
				_, err := r.ask(fmt.Sprintf("client %d asks %d", c, n))
				mu.Lock()
				if e, ok := err.(statusError); ok && e.status == http.StatusInternalServerError {
					failed, good, last = failed+1, 0, time.Now()
				} else if err != nil {
					r.t.Errorf("a request failed otherwise: %v", err)
					stop()
				} else {
					good++
				}
				mu.Unlock()
			}
		})
	}
	served := func(what string) {
		r.t.Helper()
		mu.Lock()
		good = 0
		mu.Unlock()
		eventually(r.t, what, func() error {
			mu.Lock()
			defer mu.Unlock()
			if good < 60 {
				return fmt.Errorf("%d good ones in a row, %d failed", good, failed)
			}
			return nil
		})
	}
	served("steady traffic")
	if failed > 0 {
		r.t.Errorf("%d requests failed before", failed)
	}
	killed := time.Now()
	r.kill(i)
	served("steady traffic after the end of a picker")
	stop()
	wg.Wait()
	if failed > 0 {
		r.t.Logf("%d requests failed, the last one %v after the end of the picker", failed, last.Sub(killed).Round(time.Millisecond))
	}
}
