package bench

import (
	"context"
	"math/rand/v2"
	"net"
	"os"
	"path/filepath"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"google.golang.org/grpc"

	"github.com/fairway-ai/fairway/extproc"
)

// bodiesPicker notes what it is asked, and holds every request a little.
type bodiesPicker struct {
	models atomic.Int64
	none   bool
}

func (p *bodiesPicker) Pick(_ context.Context, r *extproc.Request) (extproc.Pick, error) {
	if r.Body.Model == "sim" {
		p.models.Add(1)
	}
	if err := r.Hold(time.Second); err != nil {
		return extproc.Pick{}, err
	}
	if p.none {
		return extproc.Pick{}, &extproc.Rejection{Status: 503, Message: "no endpoint left"}
	}
	return extproc.Pick{Destinations: "10.0.0.1:8000"}, nil
}

// connect connects to a socket with the client that measures.
func connect(t *testing.T, socket string) *grpc.ClientConn {
	t.Helper()
	conn, err := dialExtproc(socket)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = conn.Close() })
	return conn
}

func socketPath(t *testing.T) string {
	t.Helper()
	dir, err := os.MkdirTemp("", "bench") // t.TempDir can be too long for a socket
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = os.RemoveAll(dir) })
	return filepath.Join(dir, "s")
}

func servePicker(t *testing.T, p extproc.Picker) *grpc.ClientConn {
	t.Helper()
	s := extproc.New(p, extproc.Options{})
	g := grpc.NewServer(s.ServerOptions()...)
	s.Register(g)
	socket := socketPath(t)
	l, err := new(net.ListenConfig).Listen(t.Context(), "unix", socket)
	if err != nil {
		t.Fatal(err)
	}
	go func() { _ = g.Serve(l) }()
	t.Cleanup(g.Stop)
	return connect(t, socket)
}

func TestExchangeWithPicker(t *testing.T) {
	for _, size := range []int{1 << 10, 220 << 10} {
		for _, duplex := range []bool{false, true} {
			p := &bodiesPicker{}
			target := &target{conn: servePicker(t, p)}
			bodies := conversations(rand.New(rand.NewPCG(1, 1)), 4, size, false)
			var nonce atomic.Uint64
			l, err := newExtprocLoad(t.Context(), target, bodies, duplex, 2, &nonce)
			if err != nil {
				t.Fatalf("%d bytes, duplex %v: %v", size, duplex, err)
			}
			probes := p.models.Load()
			n, err := l.run(t.Context(), 20*time.Millisecond)
			if err != nil {
				t.Fatalf("%d bytes, duplex %v: %v", size, duplex, err)
			}
			if got := p.models.Load() - probes; got != int64(n) || n == 0 {
				t.Errorf("%d bytes, duplex %v: the picker saw %d requests, the load says %d", size, duplex, got, n)
			}
		}
	}
}

func TestExchangeNoticesRefusal(t *testing.T) {
	conn := servePicker(t, &bodiesPicker{none: true})
	x, err := newExchange(conversations(rand.New(rand.NewPCG(1, 1)), 1, 1024, false)[0], false, false)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := x.probe(t.Context(), conn, false); err == nil || !strings.Contains(err.Error(), "no endpoint left") {
		t.Errorf("got %v, want the picker's refusal", err)
	}
}

func TestExchangeWithEcho(t *testing.T) {
	for _, kind := range EchoKinds() {
		for _, duplex := range []bool{false, true} {
			socket := socketPath(t)
			ctx, stop := context.WithCancel(t.Context())
			done := make(chan error, 1)
			go func() { done <- ServeEcho(ctx, kind, socket, duplex) }()
			target := &target{conn: connect(t, socket), echo: true, early: true}
			var nonce atomic.Uint64
			l, err := newExtprocLoad(t.Context(), target, conversations(rand.New(rand.NewPCG(1, 1)), 2, 150<<10, false), duplex, 2, &nonce)
			if err != nil {
				t.Fatal(err)
			}
			if n, err := l.run(t.Context(), 10*time.Millisecond); err != nil || n == 0 {
				t.Errorf("%s, duplex %v: %d requests, %v", kind, duplex, n, err)
			}
			stop()
			if err := <-done; err != nil {
				t.Error(err)
			}
		}
	}
	if err := ServeEcho(t.Context(), "?", "", false); err == nil {
		t.Error("an unknown kind is served")
	}
}
