package envoy

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/http"
	"net/http/httptest"
	"net/netip"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"google.golang.org/grpc"

	"github.com/fairway-ai/fairway/extproc"
	"github.com/fairway-ai/fairway/gateway/standalone"
	"github.com/fairway-ai/fairway/gateway/xds"
	"github.com/fairway-ai/fairway/test/realenvoy"
)

// patience bounds every wait; nothing waits that long unless it fails.
const patience = 60 * time.Second

// eventually waits until f returns nil.
func eventually(t *testing.T, what string, f func() error) {
	t.Helper()
	realenvoy.Eventually(t, patience, what, f)
}

// backend is a model server that records what it gets. A picker's own reading of
// /metrics, which may come at any time, is answered 404 and not recorded.
type backend struct {
	addr string

	mu      sync.Mutex
	headers []http.Header
	bodies  [][]byte
	protos  []string
	handle  http.HandlerFunc // nil answers 200 with the address
}

func newBackend(t *testing.T, handle http.HandlerFunc) *backend {
	b := &backend{handle: handle}
	srv := httptest.NewUnstartedServer(b)
	srv.Config.Protocols = new(http.Protocols)
	srv.Config.Protocols.SetHTTP1(true)
	srv.Config.Protocols.SetUnencryptedHTTP2(true)
	srv.Config.HTTP2 = &http.HTTP2Config{MaxConcurrentStreams: 20_000}
	srv.Start()
	t.Cleanup(func() { srv.CloseClientConnections(); srv.Close() })
	b.addr = srv.Listener.Addr().String()
	return b
}

func (b *backend) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	if r.URL.Path == "/metrics" {
		http.NotFound(w, r)
		return
	}
	body, err := io.ReadAll(r.Body)
	if err != nil {
		return
	}
	b.mu.Lock()
	b.headers = append(b.headers, r.Header.Clone())
	b.bodies = append(b.bodies, body)
	b.protos = append(b.protos, r.Proto)
	b.mu.Unlock()
	w.Header().Set("x-backend", b.addr)
	if b.handle != nil {
		b.handle(w, r)
		return
	}
	w.Header().Set("content-type", "application/json")
	_, _ = io.WriteString(w, `{"choices":[]}`)
}

func (b *backend) requests() int {
	b.mu.Lock()
	defer b.mu.Unlock()
	return len(b.bodies)
}

func (b *backend) last() (http.Header, []byte, string) {
	b.mu.Lock()
	defer b.mu.Unlock()
	n := len(b.bodies) - 1
	return b.headers[n], b.bodies[n], b.protos[n]
}

// stub picks what a test says.
type stub struct {
	mu       sync.Mutex
	pick     func(ctx context.Context, r *extproc.Request) (extproc.Pick, error)
	served   []string
	outcomes []extproc.Outcome
	seen     int
}

func (s *stub) Pick(ctx context.Context, r *extproc.Request) (extproc.Pick, error) {
	s.mu.Lock()
	s.seen++
	pick := s.pick
	s.mu.Unlock()
	p, err := pick(ctx, r)
	p.Observer = s
	return p, err
}

func (s *stub) to(pool string, destinations ...string) {
	s.set(func(context.Context, *extproc.Request) (extproc.Pick, error) {
		return pickOf(pool, destinations...), nil
	})
}

func (s *stub) set(f func(context.Context, *extproc.Request) (extproc.Pick, error)) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.pick = f
}

func pickOf(pool string, destinations ...string) extproc.Pick {
	return extproc.Pick{
		Destinations: strings.Join(destinations, ","),
		SetHeaders:   []extproc.Header{{Name: xds.PoolHeader, Value: pool}},
	}
}

func (s *stub) ResponseHeaders(_ time.Time, _ int, served string) []extproc.Header {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.served = append(s.served, served)
	return nil
}
func (s *stub) FirstToken(time.Time) {}
func (s *stub) End(_ time.Time, o extproc.Outcome) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.outcomes = append(s.outcomes, o)
}

func (s *stub) lastOutcome() (served string, o extproc.Outcome, n int) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if n = len(s.outcomes); n > 0 {
		o = s.outcomes[n-1]
	}
	if len(s.served) > 0 {
		served = s.served[len(s.served)-1]
	}
	return served, o, n
}

// rig is a gateway with a picker.
type rig struct {
	*standalone.Gateway
	t      *testing.T
	logs   *recorder
	access *recorder
	url    string
	picker *stub
	socket string
	server *grpc.Server
}

// rigLimit is the body limit of every rig, in bytes.
const rigLimit = 4 << 20

// newRig starts a picker and Envoy.
func newRig(t *testing.T, pools []xds.Pool, change ...func(*xds.Options)) *rig {
	t.Helper()
	path := realenvoy.Path(t)
	dir, err := os.MkdirTemp("", "fw")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = os.RemoveAll(dir) })
	r := &rig{t: t, logs: logging(t), access: &recorder{}, picker: &stub{}, socket: filepath.Join(dir, "picker.sock")}
	r.startPicker()
	t.Cleanup(func() { r.server.Stop() })
	o := xds.Options{
		Address: netip.MustParseAddrPort("127.0.0.1:0"), PickerSocket: r.socket, MaxBodyBytes: rigLimit,
		MessageTimeout: patience, // a busy machine's picker is slow, and is to be waited for
	}
	for _, f := range change {
		f(&o)
	}
	r.Gateway, err = standalone.Start(t.Context(), standalone.Options{
		XDS: o, Envoy: path, Concurrency: 1, DrainTimeout: patience,
		Log:    slog.New(slog.NewTextHandler(r.logs, &slog.HandlerOptions{Level: slog.LevelInfo})),
		Stdout: r.access,
	}, pools)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(r.Kill)
	addr, err := r.Ready(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	r.url = "http://" + addr.String()
	return r
}

func (r *rig) startPicker() {
	r.t.Helper()
	l, err := net.Listen("unix", r.socket)
	if err != nil {
		r.t.Fatal(err)
	}
	s := extproc.New(r.picker, extproc.Options{MaxBodyBytes: rigLimit, Log: slog.New(slog.DiscardHandler)})
	r.server = grpc.NewServer(s.ServerOptions()...)
	s.Register(r.server)
	go func() { _ = r.server.Serve(l) }()
}

// killPicker cuts every stream and leaves nobody on the socket.
func (r *rig) killPicker() { r.server.Stop() }

// recorder keeps what is written, and may show it in the test's log.
type recorder struct {
	mu   sync.Mutex
	t    *testing.T // nil: shows nothing
	text strings.Builder
}

// logging is a recorder that shows what is written until the test's end: what ends later
// may write still, which a test's log does not take.
func logging(t *testing.T) *recorder {
	r := &recorder{t: t}
	t.Cleanup(func() {
		r.mu.Lock()
		defer r.mu.Unlock()
		r.t = nil
	})
	return r
}

func (r *recorder) Write(p []byte) (int, error) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.t != nil {
		r.t.Log(strings.TrimSpace(string(p)))
	}
	return r.text.Write(p)
}

func (r *recorder) String() string {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.text.String()
}

const chat = "/v1/chat/completions"

const prompt = `{"model":"m","messages":[{"role":"user","content":"hello"}]}`

// answer is a response read to its end.
type answer struct {
	status int
	header http.Header
	body   string
}

// by is the address that served.
func (a *answer) by() string { return a.header.Get("x-backend") }

func (r *rig) post(path, body string, headers ...string) *answer {
	r.t.Helper()
	a, err := r.try(path, strings.NewReader(body), headers...)
	if err != nil {
		r.t.Fatal(err)
	}
	return a
}

func (r *rig) try(path string, body io.Reader, headers ...string) (*answer, error) {
	ctx, cancel := context.WithTimeout(r.t.Context(), patience)
	defer cancel()
	req, err := http.NewRequestWithContext(ctx, http.MethodPost, r.url+path, body)
	if err != nil {
		return nil, err
	}
	req.Header.Set("content-type", "application/json")
	for i := 0; i+1 < len(headers); i += 2 {
		req.Header.Set(headers[i], headers[i+1])
	}
	resp, err := http.DefaultClient.Do(req)
	if err != nil {
		return nil, err
	}
	defer resp.Body.Close()
	data, err := io.ReadAll(resp.Body)
	if err != nil {
		return nil, err
	}
	return &answer{resp.StatusCode, resp.Header, string(data)}, nil
}

func (r *rig) update(pools ...xds.Pool) {
	r.t.Helper()
	if err := r.Update(r.t.Context(), pools); err != nil {
		r.t.Fatal(err)
	}
}

func pool(name string, open bool, endpoints ...string) xds.Pool {
	return xds.Pool{Name: name, FailOpen: open, Endpoints: endpoints}
}

// servedBy waits until a request is served by the wanted backend.
func (r *rig) servedBy(b *backend) {
	r.t.Helper()
	eventually(r.t, "served by "+b.addr, func() error {
		a := r.post(chat, prompt)
		if a.status != 200 || a.by() != b.addr {
			return fmt.Errorf("status %d by %q: %s", a.status, a.by(), a.body)
		}
		return nil
	})
}

// largePrompt is a chat request of about n bytes.
func largePrompt(n int) string {
	return `{"model":"m","messages":[{"role":"user","content":"` + strings.Repeat("a", n) + `"}]}`
}

// chunked hides the length of a body.
type chunked struct{ io.Reader }

// stream is a response that is read by the line.
type stream struct {
	resp *http.Response
	buf  bytes.Buffer
}

func (r *rig) stream(headers ...string) *stream {
	r.t.Helper()
	req, err := http.NewRequestWithContext(r.t.Context(), http.MethodPost, r.url+chat,
		strings.NewReader(`{"model":"m","stream":true,"messages":[{"role":"user","content":"hello"}]}`))
	if err != nil {
		r.t.Fatal(err)
	}
	for i := 0; i+1 < len(headers); i += 2 {
		req.Header.Set(headers[i], headers[i+1])
	}
	resp, err := http.DefaultClient.Do(req)
	if err != nil {
		r.t.Fatal(err)
	}
	r.t.Cleanup(func() { _ = resp.Body.Close() })
	return &stream{resp: resp}
}

// until reads on until text has come.
func (s *stream) until(text string) error {
	one := make([]byte, 256)
	for !strings.Contains(s.buf.String(), text) {
		n, err := s.resp.Body.Read(one)
		s.buf.Write(one[:n])
		if err != nil && !(errors.Is(err, io.EOF) && strings.Contains(s.buf.String(), text)) {
			return fmt.Errorf("%w after %q", err, s.buf.String())
		}
	}
	return nil
}

// slowStream answers an event, and a second one when released.
func slowStream(release <-chan struct{}) http.HandlerFunc {
	return func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("content-type", "text/event-stream")
		_, _ = io.WriteString(w, "data: {\"choices\":[{\"delta\":{\"content\":\"first\"}}]}\n\n")
		w.(http.Flusher).Flush()
		select {
		case <-release:
		case <-r.Context().Done():
			return
		}
		_, _ = io.WriteString(w, "data: {\"choices\":[{\"delta\":{\"content\":\"second\"}}]}\n\ndata: [DONE]\n\n")
	}
}
