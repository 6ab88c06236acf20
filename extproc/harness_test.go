package extproc

import (
	"context"
	"io"
	"log/slog"
	"net"
	"strings"
	"sync"
	"testing"
	"time"

	corev3 "github.com/envoyproxy/go-control-plane/envoy/config/core/v3"
	modev3 "github.com/envoyproxy/go-control-plane/envoy/extensions/filters/http/ext_proc/v3"
	extprocv3 "github.com/envoyproxy/go-control-plane/envoy/service/ext_proc/v3"
	"google.golang.org/grpc"
	"google.golang.org/grpc/credentials/insecure"
	"google.golang.org/grpc/health"
	healthpb "google.golang.org/grpc/health/grpc_health_v1"
	"google.golang.org/grpc/metadata"
	"google.golang.org/grpc/test/bufconn"
	"google.golang.org/protobuf/types/known/structpb"
)

const (
	none     = modev3.ProcessingMode_NONE
	streamed = modev3.ProcessingMode_STREAMED
	buffered = modev3.ProcessingMode_BUFFERED
	partial  = modev3.ProcessingMode_BUFFERED_PARTIAL
	duplex   = modev3.ProcessingMode_FULL_DUPLEX_STREAMED
)

var modes = []modev3.ProcessingMode_BodySendMode{none, streamed, buffered, partial, duplex}

const chatBody = `{"model":"llama","stream":true,"messages":[{"role":"user","content":"hi"}]}`

type (
	req  = extprocv3.ProcessingRequest
	resp = extprocv3.ProcessingResponse
)

// fakePicker picks 10.0.0.1:8000 unless told otherwise, and remembers.
type fakePicker struct {
	pick func(ctx context.Context, r *Request) (Pick, error)

	mu       sync.Mutex
	requests []Request // copies, with Body.Blocks cut off
	headers  map[string]string
}

func (p *fakePicker) Pick(ctx context.Context, r *Request) (Pick, error) {
	c := *r
	c.Body.Blocks = nil
	p.mu.Lock()
	p.requests = append(p.requests, c)
	p.headers = map[string]string{}
	for _, h := range r.headers.list {
		p.headers[h.Name] = h.Value
	}
	p.mu.Unlock()
	if p.pick != nil {
		return p.pick(ctx, r)
	}
	return Pick{Destinations: "10.0.0.1:8000,10.0.0.2:8000"}, nil
}

// last returns the last request seen.
func (p *fakePicker) last(t *testing.T) Request {
	t.Helper()
	p.mu.Lock()
	defer p.mu.Unlock()
	if len(p.requests) == 0 {
		t.Fatal("the picker was not asked")
	}
	return p.requests[len(p.requests)-1]
}

func (p *fakePicker) calls() int {
	p.mu.Lock()
	defer p.mu.Unlock()
	return len(p.requests)
}

// fakeObserver records its calls and fails the test on one after End.
type fakeObserver struct {
	t      testing.TB
	set    []Header
	status int
	served string
	first  int
	tokens int // parts with tokens
	ends   int
	out    Outcome
	done   chan struct{}
	panics string // the method to panic in
}

func newObserver(t testing.TB) *fakeObserver {
	return &fakeObserver{t: t, done: make(chan struct{})}
}

func (o *fakeObserver) check(method string) {
	if o.ends > 0 {
		o.t.Errorf("%s after End", method)
	}
	if o.panics == method {
		panic("observer panics in " + method)
	}
}

func (o *fakeObserver) ResponseHeaders(_ time.Time, status int, served string) []Header {
	o.check("ResponseHeaders")
	o.status, o.served = status, served
	return o.set
}

func (o *fakeObserver) FirstToken(time.Time) {
	o.check("FirstToken")
	o.first++
}

func (o *fakeObserver) Tokens(time.Time) {
	o.check("Tokens")
	if o.first == 0 {
		o.t.Error("tokens before the first one")
	}
	o.tokens++
}

func (o *fakeObserver) End(_ time.Time, out Outcome) {
	o.ends++
	o.out = out
	if o.ends == 1 {
		close(o.done)
	} else {
		o.t.Error("End called twice")
	}
	if o.panics == "End" {
		panic("observer panics in End")
	}
}

// wait returns the outcome once End was called.
func (o *fakeObserver) wait() Outcome {
	o.t.Helper()
	select {
	case <-o.done:
		return o.out
	case <-time.After(10 * time.Second):
		o.t.Fatal("End was not called")
		return Outcome{}
	}
}

type harness struct {
	t      *testing.T
	srv    *Server
	picker *fakePicker
	conn   *grpc.ClientConn
}

func newHarness(t *testing.T, opts Options) *harness {
	t.Helper()
	h := &harness{t: t, picker: &fakePicker{}}
	if opts.NewID == nil {
		opts.NewID = func() string { return "generated-id" }
	}
	if opts.Log == nil {
		opts.Log = slog.New(slog.DiscardHandler)
	}
	h.srv = New(h.picker, opts)
	g := grpc.NewServer(h.srv.ServerOptions()...)
	h.srv.Register(g)
	healthpb.RegisterHealthServer(g, health.NewServer())
	lis := bufconn.Listen(1 << 20)
	go func() { _ = g.Serve(lis) }()
	conn, err := grpc.NewClient("passthrough:///test",
		grpc.WithContextDialer(func(ctx context.Context, _ string) (net.Conn, error) { return lis.DialContext(ctx) }),
		grpc.WithTransportCredentials(insecure.NewCredentials()),
		grpc.WithDefaultCallOptions(grpc.MaxCallSendMsgSize(64<<20)))
	if err != nil {
		t.Fatal(err)
	}
	h.conn = conn
	t.Cleanup(func() {
		_ = conn.Close()
		// Handlers end before the test does, so that observers may use it.
		g.GracefulStop()
		if n := h.srv.held.Load(); n != 0 {
			t.Errorf("%d body bytes are still held", n)
		}
	})
	return h
}

type call struct {
	t      *testing.T
	s      extprocv3.ExternalProcessor_ProcessClient
	cancel context.CancelFunc
}

func (h *harness) open(md ...string) *call {
	h.t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), 20*time.Second)
	h.t.Cleanup(cancel)
	s, err := extprocv3.NewExternalProcessorClient(h.conn).Process(metadata.AppendToOutgoingContext(ctx, md...))
	if err != nil {
		h.t.Fatal(err)
	}
	return &call{t: h.t, s: s, cancel: cancel}
}

func (c *call) send(ms ...*req) {
	c.t.Helper()
	for _, m := range ms {
		if err := c.s.Send(m); err != nil {
			c.t.Fatalf("send: %v", err)
		}
	}
}

func (c *call) recv() *resp {
	c.t.Helper()
	m, err := c.s.Recv()
	if err != nil {
		c.t.Fatalf("receive: %v", err)
	}
	return m
}

// ask sends one message and returns its answer.
func (c *call) ask(m *req) *resp {
	c.t.Helper()
	c.send(m)
	return c.recv()
}

// finish half-closes and expects the end of the stream with nothing before it.
func (c *call) finish() {
	c.t.Helper()
	_ = c.s.CloseSend()
	if m, err := c.s.Recv(); err != io.EOF {
		c.t.Fatalf("want the end of the stream, got %v, %v", m, err)
	}
}

func headerMap(kv ...string) *corev3.HeaderMap {
	m := &corev3.HeaderMap{}
	for i := 0; i < len(kv); i += 2 {
		m.Headers = append(m.Headers, &corev3.HeaderValue{Key: kv[i], RawValue: []byte(kv[i+1])})
	}
	return m
}

// post is a request headers message; extra headers may follow.
func post(path string, request, response modev3.ProcessingMode_BodySendMode, kv ...string) *req {
	kv = append([]string{":method", "POST", ":path", path, ":authority", "example.com", "content-type", "application/json"}, kv...)
	return &req{
		Request:        &extprocv3.ProcessingRequest_RequestHeaders{RequestHeaders: &extprocv3.HttpHeaders{Headers: headerMap(kv...)}},
		ProtocolConfig: &extprocv3.ProtocolConfiguration{RequestBodyMode: request, ResponseBodyMode: response},
	}
}

func ended(m *req) *req {
	switch q := m.Request.(type) {
	case *extprocv3.ProcessingRequest_RequestHeaders:
		q.RequestHeaders.EndOfStream = true
	case *extprocv3.ProcessingRequest_ResponseHeaders:
		q.ResponseHeaders.EndOfStream = true
	}
	return m
}

func reqBody(b string, end bool) *req {
	return &req{Request: &extprocv3.ProcessingRequest_RequestBody{RequestBody: &extprocv3.HttpBody{Body: []byte(b), EndOfStream: end}}}
}

func respBody(b string, end bool) *req {
	return &req{Request: &extprocv3.ProcessingRequest_ResponseBody{ResponseBody: &extprocv3.HttpBody{Body: []byte(b), EndOfStream: end}}}
}

func reqTrailers() *req {
	return &req{Request: &extprocv3.ProcessingRequest_RequestTrailers{RequestTrailers: &extprocv3.HttpTrailers{Trailers: headerMap("a", "b")}}}
}

func respTrailers() *req {
	return &req{Request: &extprocv3.ProcessingRequest_ResponseTrailers{ResponseTrailers: &extprocv3.HttpTrailers{Trailers: headerMap("a", "b")}}}
}

func respHeaders(kv ...string) *req {
	return &req{Request: &extprocv3.ProcessingRequest_ResponseHeaders{ResponseHeaders: &extprocv3.HttpHeaders{Headers: headerMap(kv...)}}}
}

// withMetadata adds filter metadata: a namespace with one key.
func withMetadata(t testing.TB, m *req, namespace, key string, value any) *req {
	t.Helper()
	st, err := structpb.NewStruct(map[string]any{"other": 1.5, key: value})
	if err != nil {
		t.Fatal(err)
	}
	m.MetadataContext = &corev3.Metadata{FilterMetadata: map[string]*structpb.Struct{
		"unrelated": {Fields: map[string]*structpb.Value{key: structpb.NewStringValue("wrong")}},
		namespace:   st,
	}}
	return m
}

// setHeaders flattens a mutation; every header must overwrite and use raw_value.
func setHeaders(t testing.TB, m *extprocv3.HeaderMutation) map[string]string {
	t.Helper()
	out := map[string]string{}
	for _, o := range m.GetSetHeaders() {
		if o.GetAppendAction() != corev3.HeaderValueOption_OVERWRITE_IF_EXISTS_OR_ADD || o.GetHeader().GetValue() != "" {
			t.Errorf("header %v does not overwrite by raw_value", o)
		}
		if _, twice := out[o.GetHeader().GetKey()]; twice {
			t.Errorf("header %q is set twice", o.GetHeader().GetKey())
		}
		out[o.GetHeader().GetKey()] = string(o.GetHeader().GetRawValue())
	}
	return out
}

// wantPick checks that m answers with the fake picker's destinations.
func wantPick(t testing.TB, m *resp, common *extprocv3.CommonResponse) {
	t.Helper()
	const want = "10.0.0.1:8000,10.0.0.2:8000"
	if got := setHeaders(t, common.GetHeaderMutation())[DestinationHeader]; got != want {
		t.Errorf("destination header %q, want %q in %v", got, want, m)
	}
	if got := m.GetDynamicMetadata().GetFields()["envoy.lb"].GetStructValue().GetFields()[DestinationHeader].GetStringValue(); got != want {
		t.Errorf("destination metadata %q, want %q", got, want)
	}
	if !common.GetClearRouteCache() || common.GetStatus() != extprocv3.CommonResponse_CONTINUE || common.GetBodyMutation() != nil {
		t.Errorf("want clear_route_cache and nothing of the body in %v", common)
	}
}

func wantEmpty(t testing.TB, m *resp, want string) {
	t.Helper()
	if got := strings.Join(strings.Fields(m.String()), " "); got != want {
		t.Errorf("got answer %q, want %q", got, want)
	}
}
