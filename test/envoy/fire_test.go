package envoy

import (
	"bytes"
	"context"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/http"
	"net/netip"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/fairway-ai/fairway/gateway/standalone"
	"github.com/fairway-ai/fairway/gateway/xds"
	"github.com/fairway-ai/fairway/sim/server"
)

// fire is a gateway whose picker is a process of its own, fairway epp, to be killed,
// in front of simulated model servers.
type fire struct {
	t       *testing.T
	fairway string
	dir     string
	url     string
	admin   string
	servers []*simulated
	others  []string // further endpoints' addresses
	picker  *exec.Cmd
	out     bytes.Buffer
}

type simulated struct {
	addr string
	stop context.CancelFunc
}

// newFire starts n simulated servers and, beside them, the given endpoints.
func newFire(t *testing.T, open bool, n int, others ...string) *fire {
	t.Helper()
	return newFireAs(t, xds.Pool{Name: "default/default", FailOpen: open}, n, others...)
}

func newFireAs(t *testing.T, p xds.Pool, n int, others ...string) *fire {
	t.Helper()
	envoy := envoyPath(t)
	fairway, err := binary.build()
	if err != nil {
		t.Fatal(err)
	}
	dir, err := os.MkdirTemp("", "fw") // a socket's path is short
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = os.RemoveAll(dir) })
	f := &fire{t: t, fairway: fairway, dir: dir, admin: freePort(t), others: others}
	list := "endpoints:\n"
	for i := range n {
		f.servers = append(f.servers, simulate(t, fmt.Sprintf("sim-%d", i)))
		others = append(others, f.servers[i].addr)
	}
	for i, addr := range others {
		host, port, _ := net.SplitHostPort(addr) // of a listener
		list += fmt.Sprintf("- {name: e%d, address: %s, port: %q}\n", i, host, port)
		p.Endpoints = append(p.Endpoints, addr)
	}
	if err := os.WriteFile(filepath.Join(dir, "endpoints.yaml"), []byte(list), 0o600); err != nil {
		t.Fatal(err)
	}
	f.start()
	t.Cleanup(f.kill)
	g, err := standalone.Start(t.Context(), standalone.Options{
		XDS: xds.Options{
			Address: netip.MustParseAddrPort("127.0.0.1:0"), PickerSocket: filepath.Join(dir, "picker.sock"), MaxBodyBytes: rigLimit,
			// A busy machine is no dead picker.
			MessageTimeout: 15 * time.Second,
		},
		Envoy: envoy, Concurrency: 1, DrainTimeout: patience, Log: slog.New(slog.DiscardHandler),
	}, []xds.Pool{p})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(g.Kill)
	addr, err := g.Ready(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	f.url = "http://" + addr.String()
	return f
}

// simulate starts a model server that is ten times as fast as it should be.
func simulate(t *testing.T, name string) *simulated {
	t.Helper()
	s, err := server.New(server.Config{Name: name, Speed: 10, ShutdownTimeout: time.Millisecond})
	if err != nil {
		t.Fatal(err)
	}
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	ctx, stop := context.WithCancel(context.Background())
	done := make(chan struct{})
	go func() { defer close(done); _ = s.Run(ctx, l) }()
	t.Cleanup(func() { stop(); <-done })
	return &simulated{l.Addr().String(), stop}
}

// start starts the picker and waits until it listens.
func (f *fire) start() {
	f.t.Helper()
	f.picker = exec.Command(f.fairway, "epp", "-f", filepath.Join(f.dir, "endpoints.yaml"),
		"--grpc-port", "0", "--grpc-health-port", "0", "--metrics-port", f.admin,
		"--grpc-uds", filepath.Join(f.dir, "picker.sock"), "--max-body-bytes", fmt.Sprint(rigLimit))
	f.picker.Stdout, f.picker.Stderr = &f.out, &f.out
	if err := f.picker.Start(); err != nil {
		f.t.Fatal(err)
	}
	eventually(f.t, "the picker is ready", func() error {
		resp, err := http.Get("http://127.0.0.1:" + f.admin + "/readyz")
		if err != nil {
			return err
		}
		defer resp.Body.Close()
		if resp.StatusCode != http.StatusOK {
			return fmt.Errorf("readyz: %s", resp.Status)
		}
		return nil
	})
}

// kill ends the picker as kill -9 does.
func (f *fire) kill() {
	if f.picker == nil {
		return
	}
	_ = f.picker.Process.Kill() // fails only when it has ended
	_ = f.picker.Wait()         // killed
	f.picker = nil
}

// metric is the sum of a metric's series.
func (f *fire) metric(name string) float64 {
	f.t.Helper()
	resp, err := http.Get("http://127.0.0.1:" + f.admin + "/metrics")
	if err != nil {
		f.t.Fatal(err)
	}
	defer resp.Body.Close()
	page, err := io.ReadAll(resp.Body)
	if err != nil {
		f.t.Fatal(err)
	}
	sum := 0.0
	for line := range strings.Lines(string(page)) {
		series, value, _ := strings.Cut(strings.TrimSpace(line), " ")
		if series == name || strings.HasPrefix(series, name+"{") {
			if open, end := strings.LastIndexByte(line, '}'), len(line); open > 0 {
				value = strings.TrimSpace(line[open+1 : end])
			}
			var v float64
			if _, err := fmt.Sscan(value, &v); err == nil {
				sum += v
			}
		}
	}
	return sum
}

// idle waits until nothing is in flight in the picker's books.
func (f *fire) idle() {
	f.t.Helper()
	eventually(f.t, "nothing is in flight", func() error {
		for _, name := range []string{"llm_d_epp_inflight_requests", "llm_d_epp_inflight_tokens", "llm_d_epp_request_running", "llm_d_epp_extproc_streams_inflight"} {
			if v := f.metric(name); v != 0 {
				return fmt.Errorf("%s is %v", name, v)
			}
		}
		return nil
	})
}

// chat asks for a stream of tokens and returns what is wrong with the answer.
func (f *fire) chat(client *http.Client, i, tokens int) (status int, err error) {
	body := fmt.Sprintf(`{"model":"sim","stream":true,"max_tokens":%d,"messages":[{"role":"user","content":"question %d: %s"}]}`,
		tokens, i, strings.Repeat("why is that so? ", 20+i%50))
	ctx, cancel := context.WithTimeout(context.Background(), 2*patience)
	defer cancel()
	req, err := http.NewRequestWithContext(ctx, http.MethodPost, f.url+chat, strings.NewReader(body))
	if err != nil {
		return 0, err
	}
	req.Header.Set("content-type", "application/json")
	resp, err := client.Do(req)
	if err != nil {
		return 0, err
	}
	defer resp.Body.Close()
	text, err := io.ReadAll(resp.Body)
	switch {
	case err != nil:
		return resp.StatusCode, fmt.Errorf("after %d bytes: %w", len(text), err)
	case resp.StatusCode != http.StatusOK:
		return resp.StatusCode, fmt.Errorf("status %d: %s", resp.StatusCode, text)
	case !bytes.HasSuffix(text, []byte("data: [DONE]\n\n")):
		return resp.StatusCode, fmt.Errorf("the stream was cut after %d bytes", len(text))
	case bytes.Count(text, []byte("data: ")) < tokens:
		return resp.StatusCode, fmt.Errorf("%d events for %d tokens", bytes.Count(text, []byte("data: ")), tokens)
	}
	return resp.StatusCode, nil
}

// load is clients that ask without pause until stop.
type load struct {
	wg      sync.WaitGroup
	over    atomic.Bool
	answers atomic.Int64
	mu      sync.Mutex
	errs    map[int][]error // by status
}

func (f *fire) load(clients, tokens int) *load {
	l := &load{errs: map[int][]error{}}
	client := &http.Client{Transport: &http.Transport{MaxIdleConnsPerHost: clients}}
	f.t.Cleanup(client.CloseIdleConnections)
	for c := range clients {
		l.wg.Go(func() {
			for i := 0; !l.over.Load(); i++ {
				status, err := f.chat(client, c*1000+i, tokens)
				l.answers.Add(1)
				if err != nil {
					l.mu.Lock()
					l.errs[status] = append(l.errs[status], err)
					l.mu.Unlock()
					time.Sleep(10 * time.Millisecond) // not to spin on errors
				}
			}
		})
	}
	return l
}

// more waits until n further requests have been answered.
func (l *load) more(t *testing.T, n int64) {
	t.Helper()
	target := l.answers.Load() + n
	eventually(t, "requests are answered", func() error {
		if have := l.answers.Load(); have < target {
			return fmt.Errorf("%d of %d", have, target)
		}
		return nil
	})
}

func (l *load) stop() { l.over.Store(true); l.wg.Wait() }

func TestPickerKilledFailOpen(t *testing.T) {
	f := newFire(t, true, 3)
	l := f.load(24, 30)
	l.more(t, 50)
	for range 3 {
		f.kill()
		l.more(t, 100)
		f.start()
		l.more(t, 100)
	}
	if n := f.metric("llm_d_epp_scheduler_attempts_total"); n == 0 {
		t.Error("the picker that was started again picks nothing")
	}
	l.stop()
	for status, errs := range l.errs {
		t.Errorf("%d requests lost or cut with status %d, such as: %v", len(errs), status, errs[0])
	}
	f.idle()
}

func TestPickerKilledFailClose(t *testing.T) {
	f := newFire(t, false, 3)
	// Long streams, running when the picker dies.
	var running sync.WaitGroup
	var begun atomic.Int64
	errs := make([]error, 12)
	for i := range errs {
		running.Go(func() {
			begun.Add(1)
			_, errs[i] = f.chat(http.DefaultClient, i, 1500)
		})
	}
	eventually(t, "all streams run", func() error {
		if n := f.metric("llm_d_epp_extproc_streams_inflight"); n < float64(len(errs)) {
			return fmt.Errorf("%v of %d", n, len(errs))
		}
		return nil
	})
	time.Sleep(300 * time.Millisecond) // into the answers; too early only makes the test weaker
	f.kill()
	for path, want := range map[string]string{chat: `"error"`, "/v1/messages": `"overloaded_error"`} {
		resp, err := http.Post(f.url+path, "application/json", strings.NewReader(`{"model":"sim","max_tokens":5,"messages":[{"role":"user","content":"x"}]}`))
		if err != nil {
			t.Fatal(err)
		}
		text, err := io.ReadAll(resp.Body)
		resp.Body.Close()
		if err != nil || resp.StatusCode != http.StatusServiceUnavailable || !strings.Contains(string(text), want) {
			t.Errorf("%s without a picker: %s, %v: %s", path, resp.Status, err, text)
		}
	}
	running.Wait()
	for i, err := range errs {
		if err != nil {
			t.Errorf("stream %d: %v", i, err)
		}
	}
	f.start()
	eventually(t, "the picker picks again", func() error {
		_, err := f.chat(http.DefaultClient, 1, 5)
		return err
	})
	f.idle()
}

func TestServerKilled(t *testing.T) {
	f := newFire(t, true, 3)
	l := f.load(24, 30)
	l.more(t, 50)
	f.servers[0].stop()
	l.more(t, 200)
	l.stop()
	cut := 0
	for status, errs := range l.errs {
		// A stream with an answered byte cannot be repeated, and may be cut.
		if status != http.StatusOK {
			t.Errorf("%d requests lost with status %d, such as: %v", len(errs), status, errs[0])
		}
		cut += len(errs)
	}
	if cut > 24 {
		t.Errorf("%d streams were cut, more than were running", cut)
	}
	f.idle()
}

func TestBadServersHurtNobody(t *testing.T) {
	page := strings.Repeat("# "+strings.Repeat("x", 1021)+"\n", 1024)
	huge := newBackend(t, func(w http.ResponseWriter, r *http.Request) {
		if r.URL.Path == "/metrics" {
			for range 100 {
				if _, err := io.WriteString(w, page); err != nil {
					return
				}
			}
			return
		}
		http.Error(w, `{"error":{"message":"full"}}`, http.StatusServiceUnavailable)
	})
	garbage := newBackend(t, func(w http.ResponseWriter, r *http.Request) {
		if r.URL.Path == "/metrics" {
			_, _ = w.Write(bytes.Repeat([]byte{0xff, 0, '{', '"'}, 50_000))
			return
		}
		http.Error(w, `{"error":{"message":"full"}}`, http.StatusTooManyRequests)
	})
	gone := refused(t)
	f := newFire(t, true, 2, huge.addr, garbage.addr, gone)
	l := f.load(12, 10)
	l.more(t, 300)
	l.stop()
	for status, errs := range l.errs {
		t.Errorf("%d requests with status %d, such as: %v", len(errs), status, errs[0])
	}
	f.idle()
}

func TestHangingServer(t *testing.T) {
	release := make(chan struct{})
	hang := newBackend(t, func(http.ResponseWriter, *http.Request) { <-release })
	defer close(release)
	f := newFire(t, true, 2, hang.addr)
	var answered atomic.Int64
	ctx, cancel := context.WithCancel(context.Background())
	var wg sync.WaitGroup
	// Some requests are picked for the server that hangs; they are abandoned at the
	// end. The others must be answered all the same.
	for i := range 60 {
		wg.Go(func() {
			req, err := http.NewRequestWithContext(ctx, http.MethodPost, f.url+chat,
				strings.NewReader(fmt.Sprintf(`{"model":"sim","max_tokens":5,"messages":[{"role":"user","content":"%d %s"}]}`, i, strings.Repeat("word ", 400))))
			if err != nil {
				t.Error(err)
				return
			}
			resp, err := http.DefaultClient.Do(req)
			if err != nil {
				return // abandoned
			}
			defer resp.Body.Close()
			if resp.StatusCode == http.StatusOK {
				answered.Add(1)
			}
		})
	}
	eventually(t, "all but those that hang are answered", func() error {
		if n := answered.Load(); n < 36 {
			return fmt.Errorf("%d of 60", n)
		}
		return nil
	})
	cancel()
	wg.Wait()
	f.idle()
}

func TestClientsThatLeaveOrStall(t *testing.T) {
	f := newFire(t, true, 2)
	addr := strings.TrimPrefix(f.url, "http://")
	body := `{"model":"sim","stream":true,"max_tokens":100000,"messages":[{"role":"user","content":"go on"}]}`
	var stalled []net.Conn
	for i := range 20 {
		c, err := net.Dial("tcp", addr)
		if err != nil {
			t.Fatal(err)
		}
		defer c.Close()
		switch i % 3 {
		case 0: // asks for a long stream and never reads
			fmt.Fprintf(c, "POST %s HTTP/1.1\r\nhost: x\r\ncontent-type: application/json\r\ncontent-length: %d\r\n\r\n%s", chat, len(body), body)
		case 1: // begins a header
			fmt.Fprintf(c, "POST %s HTTP/1.1\r\nhost: x\r\nx-slow: ", chat)
		case 2: // begins a body
			fmt.Fprintf(c, "POST %s HTTP/1.1\r\nhost: x\r\ncontent-type: application/json\r\ncontent-length: 100000\r\n\r\n{\"model\":", chat)
		}
		stalled = append(stalled, c)
	}
	l := f.load(8, 10)
	l.more(t, 100)
	l.stop()
	for status, errs := range l.errs {
		t.Errorf("%d requests with status %d, such as: %v", len(errs), status, errs[0])
	}
	for _, c := range stalled {
		c.Close()
	}
	f.idle()
}

// TestTenThousandStreams has ten thousand streams open at once.
func TestTenThousandStreams(t *testing.T) {
	const streams, perClient = 10_000, 100
	release := make(chan struct{})
	var open atomic.Int64
	hold := func(w http.ResponseWriter, r *http.Request) {
		if r.Method == http.MethodGet {
			return // the metrics page
		}
		w.Header().Set("content-type", "text/event-stream")
		_, _ = io.WriteString(w, "data: {\"choices\":[{\"delta\":{\"content\":\"a\"}}]}\n\n")
		w.(http.Flusher).Flush()
		open.Add(1)
		select {
		case <-release:
		case <-r.Context().Done():
		}
		_, _ = io.WriteString(w, "data: {\"choices\":[{\"delta\":{\"content\":\"b\"}}]}\n\ndata: [DONE]\n\n")
	}
	a, b := newBackend(t, hold), newBackend(t, hold)
	f := newFireAs(t, xds.Pool{Name: "default/default", FailOpen: true, HTTP2: true}, 0, a.addr, b.addr)
	protocols := new(http.Protocols)
	protocols.SetUnencryptedHTTP2(true)
	var wg sync.WaitGroup
	var lost atomic.Int64
	for c := range streams / perClient {
		// Not all at once: how many this machine takes in a second is not the question.
		eventually(t, "streams open", func() error {
			if n := open.Load(); n < int64((c-2)*perClient) {
				return fmt.Errorf("%d of %d", n, c*perClient)
			}
			return nil
		})
		client := &http.Client{Transport: &http.Transport{Protocols: protocols}}
		t.Cleanup(client.CloseIdleConnections)
		for i := range perClient {
			wg.Go(func() {
				if _, err := f.chat(client, c*perClient+i, 2); err != nil && lost.Add(1) < 5 {
					t.Error(err)
				}
			})
		}
	}
	eventually(t, "all streams are open", func() error {
		if n := open.Load(); n < streams {
			return fmt.Errorf("%d of %d", n, streams)
		}
		return nil
	})
	if n := f.metric("llm_d_epp_extproc_streams_inflight"); n != streams {
		t.Errorf("the picker has %v streams, want %d", n, streams)
	}
	close(release)
	wg.Wait()
	if n := lost.Load(); n > 0 {
		t.Errorf("%d streams were lost or cut", n)
	}
	f.idle()
}
