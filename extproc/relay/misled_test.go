package relay

import (
	"net"
	"net/http"
	"sync"
	"sync/atomic"
	"testing"

	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
)

// given is a listener of connections that somebody else accepts.
type given struct {
	net.Listener
	conns chan net.Conn
	done  chan struct{}
	once  sync.Once
}

func (g *given) Accept() (net.Conn, error) {
	select {
	case c := <-g.conns:
		return c, nil
	case <-g.done:
		return nil, net.ErrClosed
	}
}

func (g *given) Close() error {
	g.once.Do(func() { close(g.done) })
	return nil
}

// inTurn is an address whose first connection goes to one listener, and all others to
// another.
func inTurn(t *testing.T) (addr string, first, others *given) {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	share := func() *given { return &given{Listener: l, conns: make(chan net.Conn, 10), done: make(chan struct{})} }
	first, others = share(), share()
	go func() {
		for to := first; ; to = others {
			c, err := l.Accept()
			if err != nil {
				return
			}
			to.conns <- c
		}
	}()
	t.Cleanup(func() { _ = l.Close() })
	return l.Addr().String(), first, others
}

// TestAConnectionThatLedElsewhereIsReplaced: the first connection reaches a web
// server, as a Service's address may before the cluster knows it.
func TestAConnectionThatLedElsewhereIsReplaced(t *testing.T) {
	addr, web, picker := inTurn(t)
	elsewhere := &http.Server{Protocols: new(http.Protocols), Handler: http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		w.Header()["Content-Type"] = nil
		w.WriteHeader(http.StatusNotFound)
	})}
	elsewhere.Protocols.SetUnencryptedHTTP2(true)
	go func() { _ = elsewhere.Serve(web) }()
	t.Cleanup(func() { _ = elsewhere.Close() })
	g := grpc.NewServer()
	registerDialect(g, dialect{streams: true})
	go func() { _ = g.Serve(picker) }()
	t.Cleanup(g.Stop)

	r := newRig(t)
	r.set(addr, true)
	wantOpen(t, r.open().request(buffered, prompt(100)))
	eventually(t, "picked over another connection", func() error {
		if m := r.open().request(buffered, prompt(100)); header(m, "x-gateway-destination-endpoint") != picked {
			return errNoPick
		}
		return nil
	})
}

// TestRefusalsDoNotOpenTheBreaker: a picker that ends streams with an error of its own
// is alive, and other requests are none of that one's business.
func TestRefusalsDoNotOpenTheBreaker(t *testing.T) {
	var refuse atomic.Bool
	refuse.Store(true)
	d := dialect{streams: true}
	addr, _ := serve(t, func(f foreign) error {
		if refuse.Load() {
			_, _ = f.Recv()
			return status.Error(codes.ResourceExhausted, "no endpoint for this one")
		}
		return d.serve(f)
	})
	r := newRig(t)
	r.set(addr, true)
	for range 3 * tripAfter {
		wantOpen(t, r.open().request(buffered, prompt(100)))
	}
	refuse.Store(false)
	wantPick(t, r.open().request(buffered, prompt(100)), picked)
}
