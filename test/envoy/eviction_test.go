package envoy

import (
	"bufio"
	"context"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
	"time"

	"google.golang.org/grpc"

	"github.com/fairway-ai/fairway/epp"
	"github.com/fairway-ai/fairway/epp/flowcontrol"
	"github.com/fairway-ai/fairway/epp/metrics"
	"github.com/fairway-ai/fairway/extproc"
	"github.com/fairway-ai/fairway/gateway/xds"
	pools "github.com/fairway-ai/fairway/pool"
	"github.com/fairway-ai/fairway/sim/server"
	"github.com/fairway-ai/fairway/test/realenvoy"
)

// evictionRig is Envoy and a picker in front of a simulated model server that may have
// two requests.
type evictionRig struct {
	t       *testing.T
	url     string
	sim     string
	pool    *pools.Pool
	metrics *metrics.Metrics
}

const evictionPool = "ns/pool"

// newEvictionRig starts all but Envoy, and returns where the picker listens.
func newEvictionRig(t *testing.T, network string) (r *evictionRig, picker string) {
	t.Helper()
	s, err := server.New(server.Config{Model: "m"})
	if err != nil {
		t.Fatal(err)
	}
	web := httptest.NewServer(s)
	t.Cleanup(func() { web.CloseClientConnections(); web.Close(); s.Close() })
	r = &evictionRig{t: t, sim: web.Listener.Addr().String(), metrics: metrics.New(metrics.Options{})}
	r.pool = pools.New(evictionPool, pools.Options{Logger: slog.New(slog.DiscardHandler)})
	r.pool.Set([]pools.Spec{{ID: "ns/sim", Address: r.sim}})
	c := flowcontrol.DefaultConfig()
	c.Evict, c.Detector = true, &flowcontrol.Concurrency{Mode: flowcontrol.ByRequests, MaxRequests: 2, MaxTokens: 1}
	p, err := epp.New(epp.Options{
		Pools: []epp.Pool{{Name: evictionPool, Endpoints: r.pool}}, Flow: c, Metrics: r.metrics, PoolHeader: true,
		Priority: func(_, objective string) (int, bool) {
			n, err := strconv.Atoi(objective)
			return n, err == nil
		},
	})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(p.Close)
	picker = "127.0.0.1:0"
	if network == "unix" {
		dir, err := os.MkdirTemp("", "fw")
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { _ = os.RemoveAll(dir) })
		picker = filepath.Join(dir, "epp.sock")
	}
	l, err := net.Listen(network, picker)
	if err != nil {
		t.Fatal(err)
	}
	x := extproc.New(p, extproc.Options{Log: slog.New(slog.DiscardHandler)})
	g := grpc.NewServer(x.ServerOptions()...)
	x.Register(g)
	go func() { _ = g.Serve(l) }()
	t.Cleanup(g.Stop)
	return r, l.Addr().String()
}

// asked is a request under way.
type asked struct {
	cancel context.CancelFunc
	done   chan struct{}
	answer *answer
	err    error
}

// ask sends a request of a priority that is answered in one piece.
func (r *evictionRig) ask(path string, priority, tokens int) *asked {
	ctx, cancel := context.WithCancel(r.t.Context())
	r.t.Cleanup(cancel)
	a := &asked{cancel: cancel, done: make(chan struct{})}
	go func() {
		defer close(a.done)
		resp, err := r.send(ctx, path, priority, tokens, false)
		if err != nil {
			a.err = err
			return
		}
		defer resp.Body.Close()
		body, err := io.ReadAll(resp.Body)
		a.answer, a.err = &answer{resp.StatusCode, resp.Header, string(body)}, err
	}()
	return a
}

func (r *evictionRig) send(ctx context.Context, path string, priority, tokens int, stream bool) (*http.Response, error) {
	body := fmt.Sprintf(`{"model":"m","stream":%t,"max_tokens":%d,"messages":[{"role":"user","content":"hello"}]}`, stream, tokens)
	req, err := http.NewRequestWithContext(ctx, http.MethodPost, r.url+path, strings.NewReader(body))
	if err != nil {
		return nil, err
	}
	req.Header.Set("content-type", "application/json")
	req.Header.Set("x-llm-d-inference-objective", strconv.Itoa(priority))
	return http.DefaultClient.Do(req)
}

// wait returns the answer.
func (a *asked) wait(t *testing.T) *answer {
	t.Helper()
	select {
	case <-a.done:
	case <-time.After(patience):
		t.Fatal("no answer")
	}
	if a.err != nil {
		t.Fatal(a.err)
	}
	return a.answer
}

// shows waits until a page of metrics has a line.
func (r *evictionRig) shows(page func() string, line string) {
	r.t.Helper()
	eventually(r.t, line, func() error {
		text := page()
		if strings.Contains("\n"+text, "\n"+line+"\n") {
			return nil
		}
		name, _, _ := strings.Cut(line, "{")
		var found []string
		for l := range strings.SplitSeq(text, "\n") {
			if strings.HasPrefix(l, name) {
				found = append(found, l)
			}
		}
		return fmt.Errorf("there is %q", found)
	})
}

func (r *evictionRig) picker() string {
	w := httptest.NewRecorder()
	r.metrics.Handler().ServeHTTP(w, httptest.NewRequest(http.MethodGet, "/metrics", nil))
	return w.Body.String()
}

func (r *evictionRig) server() string {
	resp, err := http.Get("http://" + r.sim + "/metrics")
	if err != nil {
		return err.Error()
	}
	defer resp.Body.Close()
	text, _ := io.ReadAll(resp.Body)
	return string(text)
}

// runs waits until the model server works on n requests.
func (r *evictionRig) runs(n int) {
	r.t.Helper()
	r.shows(r.server, fmt.Sprintf(`vllm:num_requests_running{engine="0",model_name="m"} %d.0`, n))
}

// long is more tokens than the simulator makes in the time of a test.
const long = 8000

// TestEviction: where a sheddable request runs and another one waits, the sheddable one
// is told so in its API's schema, the model server stops working on it, and the other
// goes; but not when its response has begun. That is so however Envoy sends bodies.
func TestEviction(t *testing.T) {
	for _, mode := range []string{"BUFFERED", "STREAMED", "FULL_DUPLEX_STREAMED", "ours"} {
		t.Run(mode, func(t *testing.T) {
			if mode == "ours" {
				r, picker := newEvictionRig(t, "unix")
				r.url = newRig(t, []xds.Pool{pool(evictionPool, false, r.sim)}, func(o *xds.Options) { o.PickerSocket = picker }).url
				r.evicts()
				return
			}
			r, picker := newEvictionRig(t, "tcp")
			r.url = startDuplex(t, mode, picker)
			r.evicts()
		})
	}
}

// startDuplex starts somebody else's gateway with a request body mode.
func startDuplex(t *testing.T, mode, picker string) (url string) {
	t.Helper()
	_, port, _ := net.SplitHostPort(picker) // of a listener
	gateway := freePort(t)
	text := fmt.Sprintf(duplexBootstrap, gateway, port)
	from, rest, _ := strings.Cut(text, "    transport_socket:\n")
	_, to, _ := strings.Cut(rest, "[h2]}\n")
	text = from + to
	if mode != "FULL_DUPLEX_STREAMED" {
		text = strings.NewReplacer("request_body_mode: FULL_DUPLEX_STREAMED", "request_body_mode: "+mode,
			"response_body_mode: FULL_DUPLEX_STREAMED", "response_body_mode: STREAMED").Replace(text)
	}
	if mode == "STREAMED" {
		text = strings.Replace(text, "              processing_mode:\n", "              send_body_without_waiting_for_header_response: true\n              processing_mode:\n", 1)
	}
	path := filepath.Join(t.TempDir(), "envoy.yaml")
	if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	background(t, realenvoy.Path(t), "--config-path", path, "--disable-hot-restart", "--log-level", "error", "--concurrency", "1")
	return "http://127.0.0.1:" + gateway
}

func (r *evictionRig) evicts() {
	t := r.t
	eventually(t, "the gateway answers", func() error {
		resp, err := r.send(t.Context(), chat, 0, 1, false)
		if err != nil {
			return err
		}
		defer resp.Body.Close()
		if resp.StatusCode != http.StatusOK {
			return fmt.Errorf("%s", resp.Status)
		}
		return nil
	})
	r.runs(0)

	// Two sheddable requests run; the later one goes first.
	first := r.ask(chat, -1, long)
	r.runs(1)
	second := r.ask("/v1/messages", -1, long)
	r.runs(2)
	if a := r.ask(chat, 0, 3).wait(t); a.status != http.StatusOK {
		t.Fatalf("the request that waited: %d %s", a.status, a.body)
	}
	r.refused(second.wait(t), `{"type":"error","error":{"type":"rate_limit_error",`)
	r.runs(1)
	r.shows(r.picker, `llm_d_epp_flow_control_revocations_total{inference_pool="ns/pool",outcome="confirmed"} 1`)
	r.shows(r.picker, `llm_d_epp_flow_control_revocations_issued_total{inference_pool="ns/pool",priority="0"} 1`)

	// A stream that has begun stays, and so does one that is not sheddable.
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	batch, lines := r.begin(ctx, -3)
	defer batch.Body.Close()
	streaming, others := r.begin(t.Context(), 0) // for which the first one is evicted
	defer streaming.Body.Close()
	r.refused(first.wait(t), `{"error":{"message":`)
	r.runs(2)
	waiting := r.ask(chat, 5, 3)
	r.shows(r.picker, `llm_d_epp_flow_control_queue_size{fairness_id="default-flow",inference_pool="ns/pool",model_name="",priority="5",target_model_name=""} 1`)
	for range 20 {
		if !lines.Scan() || !others.Scan() {
			t.Fatalf("a stream was ended: %v, %v", lines.Err(), others.Err())
		}
	}
	select {
	case <-waiting.done:
		t.Fatalf("served although nobody was to make room: %+v, %v", waiting.answer, waiting.err)
	default:
	}
	cancel() // its client leaves
	if a := waiting.wait(t); a.status != http.StatusOK {
		t.Fatalf("the request that waited: %d %s", a.status, a.body)
	}
	_ = streaming.Body.Close()
	r.runs(0)
	eventually(t, "nothing is in flight", func() error {
		if v := r.pool.Snapshot().Endpoints[0].Load.View(); v.Requests != 0 || v.Context != 0 || v.Prefilling != 0 {
			return fmt.Errorf("%+v", v)
		}
		return nil
	})
	r.shows(r.picker, `llm_d_epp_flow_control_revocations_total{inference_pool="ns/pool",outcome="confirmed"} 2`)
}

// begin starts a stream of a priority and reads its first line.
func (r *evictionRig) begin(ctx context.Context, priority int) (*http.Response, *bufio.Scanner) {
	r.t.Helper()
	resp, err := r.send(ctx, chat, priority, long, true)
	if err != nil {
		r.t.Fatal(err)
	}
	s := bufio.NewScanner(resp.Body)
	if resp.StatusCode != http.StatusOK || !s.Scan() {
		r.t.Fatalf("%s: %v", resp.Status, s.Err())
	}
	return resp, s
}

// refused checks what the client of an evicted request is told.
func (r *evictionRig) refused(a *answer, schema string) {
	r.t.Helper()
	if a.status != http.StatusTooManyRequests || a.header.Get(epp.HeaderDropped) != "evicted" {
		r.t.Errorf("status %d, %s %q, want 429 and evicted", a.status, epp.HeaderDropped, a.header.Get(epp.HeaderDropped))
	}
	if !strings.HasPrefix(a.body, schema) || a.header.Get("content-type") != "application/json" || a.header.Get("x-request-id") == "" {
		r.t.Errorf("%v %s, want %s…", a.header, a.body, schema)
	}
}
