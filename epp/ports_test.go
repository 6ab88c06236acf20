package epp

import (
	"crypto/tls"
	"log/slog"
	"net"
	"strconv"
	"strings"
	"testing"

	extprocv3 "github.com/envoyproxy/go-control-plane/envoy/service/ext_proc/v3"
	"google.golang.org/grpc"
	"google.golang.org/grpc/credentials"

	"github.com/fairway-ai/fairway/internal/testkit"
	"github.com/fairway-ai/fairway/scheduler"
)

// answerAt is what a request without a body gets at a port: a destination, or the
// body of a refusal.
func answerAt(t *testing.T, conn *grpc.ClientConn) string {
	t.Helper()
	x := open(t, conn)
	r := x.ask(&extprocv3.ProcessingRequest{Request: &extprocv3.ProcessingRequest_RequestHeaders{
		RequestHeaders: func() *extprocv3.HttpHeaders {
			h := headerMap(":method", "GET", ":path", "/", ":authority", "x")
			h.EndOfStream = true
			return h
		}(),
	}})
	_ = x.CloseSend()
	if i := r.GetImmediateResponse(); i != nil {
		return string(i.Body)
	}
	for _, h := range r.GetRequestHeaders().GetResponse().GetHeaderMutation().GetSetHeaders() {
		if h.Header.Key == "x-gateway-destination-endpoint" {
			return strings.Split(string(h.Header.RawValue), ",")[0]
		}
	}
	return ""
}

func TestPortsNameThePool(t *testing.T) {
	b := newFakePool(0)
	b.set([]scheduler.Endpoint{endpoint(9)})
	var log testkit.Log
	s := start(t, func(o *Options, so *ServerOptions) {
		o.Pools = append(o.Pools, Pool{Name: "ns/b", Endpoints: b})
		so.Log = slog.New(slog.NewTextHandler(&log, nil))
	})
	busy, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = busy.Close() }()
	first, second := testkit.FreePort(t), testkit.FreePort(t)
	dialPort := func(port int) *grpc.ClientConn {
		return dial(t, net.JoinHostPort("127.0.0.1", strconv.Itoa(port)), credentials.NewTLS(&tls.Config{InsecureSkipVerify: true}))
	}
	s.SetPorts(map[int]string{first: "ns/b", second: "ns/none", busy.Addr().(*net.TCPAddr).Port: "ns/b"})
	if !strings.Contains(log.String(), "a pool's port cannot be served") {
		t.Errorf("a port in use is not reported:\n%s", &log)
	}
	conn := dialPort(first)
	want := b.Snapshot().Endpoints[0].Address
	if got := answerAt(t, conn); got != want {
		t.Errorf("the pool's port: %q, want %q", got, want)
	}
	if got := answerAt(t, dialPort(second)); !strings.Contains(got, "not served here") {
		t.Errorf("a port whose pool is unknown: %q", got)
	}
	if got := answerAt(t, s.conn); strings.Contains(got, want) {
		t.Errorf("the main port picked from the pool of another: %q", got)
	}
	// The main port may be a pool's, too.
	s.SetPorts(map[int]string{s.mainPort(): "ns/b"})
	if got := answerAt(t, s.conn); got != want {
		t.Errorf("the main port, made the pool's: %q, want %q", got, want)
	}
	if got := answerAt(t, conn); got != want {
		t.Errorf("a connection to a closed port: %q, want its pool still", got)
	}
	if c, err := net.Dial("tcp", net.JoinHostPort("127.0.0.1", strconv.Itoa(first))); err == nil {
		_ = c.Close()
		t.Error("a port that is no longer wanted is open")
	}
	s.SetPorts(map[int]string{first: ""})
	if got := answerAt(t, dialPort(first)); strings.Contains(got, want) {
		t.Errorf("a port of two pools picked one: %q", got)
	}
}

func TestPortsCloseWithTheServer(t *testing.T) {
	s := start(t, nil)
	port := testkit.FreePort(t)
	s.SetPorts(map[int]string{port: "ns/p"})
	s.stop()
	if err := <-s.done; err != nil {
		t.Error(err)
	}
	s.done <- nil
	if c, err := net.Dial("tcp", net.JoinHostPort("127.0.0.1", strconv.Itoa(port))); err == nil {
		_ = c.Close()
		t.Error("the port is open after the end")
	}
	s.SetPorts(map[int]string{port: "ns/p"})
	if c, err := net.Dial("tcp", net.JoinHostPort("127.0.0.1", strconv.Itoa(port))); err == nil {
		_ = c.Close()
		t.Error("a port was opened after the end")
	}
}
