package relay

import (
	"context"
	"fmt"
	"io"
	"log/slog"
	"net"
	"strings"
	"sync"
	"testing"
	"time"

	modev3 "github.com/envoyproxy/go-control-plane/envoy/extensions/filters/http/ext_proc/v3"
	extprocv3 "github.com/envoyproxy/go-control-plane/envoy/service/ext_proc/v3"
	"google.golang.org/grpc"
	"google.golang.org/grpc/credentials/insecure"
	"google.golang.org/grpc/metadata"

	"github.com/fairway-ai/fairway/extproc"
)

type (
	req  = extprocv3.ProcessingRequest
	resp = extprocv3.ProcessingResponse
	// foreign is a foreign picker's side of one stream.
	foreign = extprocv3.ExternalProcessor_ProcessServer
)

const (
	patience = 20 * time.Second
	chat     = "/v1/chat/completions"
	picked   = "10.0.0.1:8000,10.0.0.2:8000"

	streamed = modev3.ProcessingMode_STREAMED
	buffered = modev3.ProcessingMode_BUFFERED
	duplex   = modev3.ProcessingMode_FULL_DUPLEX_STREAMED
)

// ours is the server's own picker, which foreign pools must not reach.
type ours struct{}

func (ours) Pick(context.Context, *extproc.Request) (extproc.Pick, error) {
	return extproc.Pick{Destinations: "9.9.9.9:9"}, nil
}

// outcomes records what the registry reports.
type outcomes struct {
	mu   sync.Mutex
	list []string
}

func (o *outcomes) add(s string) {
	o.mu.Lock()
	defer o.mu.Unlock()
	o.list = append(o.list, s)
}
func (o *outcomes) Consulted(_, _ string, out Outcome, r Reason, _ time.Duration) {
	o.add(strings.TrimSuffix(string(out)+" "+string(r), " "))
}
func (o *outcomes) ResponseLeft(_, _ string, r Reason) { o.add("left " + string(r)) }
func (o *outcomes) last() string {
	o.mu.Lock()
	defer o.mu.Unlock()
	if len(o.list) == 0 {
		return ""
	}
	return o.list[len(o.list)-1]
}

// service is a foreign picker that does what process says.
type service struct {
	extprocv3.UnimplementedExternalProcessorServer
	process func(foreign) error
}

func (s *service) Process(f foreign) error { return s.process(f) }

// serve serves process and returns its address and a way to kill it.
func serve(t testing.TB, process func(foreign) error, opts ...grpc.ServerOption) (addr string, kill func()) {
	t.Helper()
	g := grpc.NewServer(append(opts, grpc.MaxRecvMsgSize(4<<20))...)
	extprocv3.RegisterExternalProcessorServer(g, &service{process: process})
	return listen(t, g)
}

func listen(t testing.TB, g *grpc.Server) (addr string, kill func()) {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	done := make(chan struct{})
	go func() { defer close(done); _ = g.Serve(l) }()
	kill = sync.OnceFunc(func() { g.Stop(); <-done })
	t.Cleanup(kill)
	return l.Addr().String(), kill
}

// rig is our server, as Envoy sees it, with foreign pickers behind it.
type rig struct {
	t        *testing.T
	registry *Registry
	outcomes *outcomes
	conn     *grpc.ClientConn
	srv      *extproc.Server
}

func newRig(t *testing.T, change ...func(*Options)) *rig {
	t.Helper()
	r := &rig{t: t, outcomes: &outcomes{}}
	o := Options{Metrics: r.outcomes, Log: slog.New(slog.DiscardHandler), MaxBodyBytes: 8 << 20}
	for _, f := range change {
		f(&o)
	}
	r.registry = New(o)
	r.srv = extproc.New(ours{}, extproc.Options{
		Foreign: r.registry, Log: slog.New(slog.DiscardHandler), MaxBodyBytes: 8 << 20,
		NewID: func() string { return "generated-id" },
	})
	g := grpc.NewServer(r.srv.ServerOptions()...)
	r.srv.Register(g)
	addr, _ := listen(t, g)
	conn, err := grpc.NewClient(addr, grpc.WithTransportCredentials(insecure.NewCredentials()),
		grpc.WithDefaultCallOptions(grpc.MaxCallSendMsgSize(64<<20), grpc.MaxCallRecvMsgSize(64<<20)))
	if err != nil {
		t.Fatal(err)
	}
	r.conn = conn
	t.Cleanup(func() {
		_ = conn.Close()
		ctx, cancel := context.WithTimeout(context.Background(), patience)
		defer cancel()
		if err := r.srv.Drain(ctx); err != nil {
			t.Errorf("streams do not end: %v", err)
		}
		for _, p := range *r.registry.pools.Load() {
			if n, m := p.client.held.Load(), p.client.streams.Load(); n != 0 || m != 0 {
				t.Errorf("%d bytes and %d places are still taken", n, m)
			}
		}
		r.registry.Close()
	})
	return r
}

// set makes a plaintext picker answer for pool "ns/p".
func (r *rig) set(addr string, failOpen bool, change ...func(*Picker)) {
	r.t.Helper()
	p := Picker{Address: addr, FailOpen: failOpen, TLS: TLS{Security: Plaintext}, Timeout: patience}
	for _, f := range change {
		f(&p)
	}
	if err := r.registry.Set("ns/p", p); err != nil {
		r.t.Fatal(err)
	}
}

// briefly has a request wait little for a picker that cannot be reached.
func briefly(p *Picker) { p.Timeout = time.Second / 2 }

// call is one request as Envoy sends it.
type call struct {
	t      *testing.T
	s      extprocv3.ExternalProcessor_ProcessClient
	held   int // override_message_timeout messages seen
	cancel context.CancelFunc
}

func (r *rig) open() *call {
	r.t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), patience)
	r.t.Cleanup(cancel)
	s, err := extprocv3.NewExternalProcessorClient(r.conn).Process(metadata.AppendToOutgoingContext(ctx, extproc.PoolMetadata, "ns/p"))
	if err != nil {
		r.t.Fatal(err)
	}
	return &call{t: r.t, s: s, cancel: cancel}
}

func (c *call) send(m *req) {
	c.t.Helper()
	if err := c.s.Send(m); err != nil {
		c.t.Fatalf("send: %v", err)
	}
}

func (c *call) recv() *resp {
	c.t.Helper()
	for {
		m, err := c.s.Recv()
		if err != nil {
			c.t.Fatalf("receive: %v", err)
		}
		if m.GetOverrideMessageTimeout() == nil {
			return m
		}
		c.held++
	}
}

func (c *call) ask(m *req) *resp {
	c.t.Helper()
	c.send(m)
	return c.recv()
}

// request sends a whole request, and returns the answer that has the pick.
func (c *call) request(mode modev3.ProcessingMode_BodySendMode, body string, kv ...string) *resp {
	c.t.Helper()
	head := post(mode, streamed, kv...)
	if body == "" {
		head.GetRequestHeaders().EndOfStream = true
		return c.ask(head)
	}
	if mode == buffered {
		if m := c.ask(head); m.GetRequestHeaders() == nil || m.GetRequestHeaders().GetResponse().GetHeaderMutation() != nil {
			c.t.Fatalf("headers were answered with %v", m)
		}
		return c.ask(reqBody(body, true))
	}
	c.send(head)
	for len(body) > 0 {
		n := min(len(body), 100_000)
		c.send(reqBody(body[:n], false))
		body = body[n:]
	}
	return c.ask(reqBody("", true))
}

// finish half-closes and expects the end of the stream with nothing before it.
func (c *call) finish() {
	c.t.Helper()
	_ = c.s.CloseSend()
	if m, err := c.s.Recv(); err != io.EOF {
		c.t.Fatalf("want the end of the stream, got %v, %v", m, err)
	}
}

// eventually waits until f returns nil.
func eventually(t testing.TB, what string, f func() error) {
	t.Helper()
	var err error
	for end := time.Now().Add(patience); time.Now().Before(end); time.Sleep(2 * time.Millisecond) {
		if err = f(); err == nil {
			return
		}
	}
	t.Fatalf("%s: %v", what, err)
}

func (r *rig) wantOutcome(want string) {
	r.t.Helper()
	eventually(r.t, "outcome", func() error {
		if got := r.outcomes.last(); got != want {
			return fmt.Errorf("%q, want %q", got, want)
		}
		return nil
	})
}

func registerDialect(g *grpc.Server, d dialect) {
	extprocv3.RegisterExternalProcessorServer(g, &service{process: d.serve})
}
