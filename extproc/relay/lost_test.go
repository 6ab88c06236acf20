package relay

import (
	"encoding/binary"
	"io"
	"net"
	"sync/atomic"
	"testing"

	extprocv3 "github.com/envoyproxy/go-control-plane/envoy/service/ext_proc/v3"
	"google.golang.org/grpc"
	"google.golang.org/grpc/metadata"
)

// HTTP/2 frame types and error codes.
const (
	frameData, frameHeaders, frameReset, frameSettings, frameGoAway = 0, 1, 3, 4, 7

	refusedStream = 7
)

// frames is one HTTP/2 connection, as its server.
type frames struct{ net.Conn }

func (f frames) write(kind byte, stream uint32, payload ...uint32) {
	b := []byte{0, 0, byte(4 * len(payload)), kind, 0}
	b = binary.BigEndian.AppendUint32(b, stream)
	for _, v := range payload {
		b = binary.BigEndian.AppendUint32(b, v)
	}
	_, _ = f.Write(b)
}

// until reads frames until one of a kind, and returns its stream.
func (f frames) until(kind byte) (stream uint32, err error) {
	for {
		var head [9]byte
		if _, err := io.ReadFull(f, head[:]); err != nil {
			return 0, err
		}
		n := int64(head[0])<<16 | int64(head[1])<<8 | int64(head[2])
		if _, err := io.CopyN(io.Discard, f, n); err != nil {
			return 0, err
		}
		if head[3] == kind {
			return binary.BigEndian.Uint32(head[5:]), nil
		}
	}
}

// broken are ways in which a connection that stands does not serve a request.
var broken = map[string]func(f frames){
	"closed": func(f frames) { _, _ = f.until(frameData) },
	"reset": func(f frames) {
		_, _ = f.until(frameData)
		_ = f.Conn.(*net.TCPConn).SetLinger(0)
	},
	"closed with GOAWAY": func(f frames) {
		stream, _ := f.until(frameData)
		f.write(frameGoAway, 0, stream, 0) // as if the stream would be served
	},
	"not served, with GOAWAY": func(f frames) {
		_, _ = f.until(frameData)
		f.write(frameGoAway, 0, 0, 0)
		_, _ = f.until(frameSettings) // never
	},
}

// refuses refuses a stream, and what gRPC by itself tries instead.
func refuses(f frames) {
	stream, _ := f.until(frameHeaders)
	f.write(frameReset, stream, refusedStream)
	_, _ = f.until(frameHeaders)
	f.write(frameGoAway, 0, 0, 0)
	_, _ = f.until(frameSettings) // never
}

// breaks serves the first connection as f says, and the others as d.
func breaks(t *testing.T, f func(frames), d dialect) (addr string) {
	t.Helper()
	addr, first, others := inTurn(t)
	go func() {
		c, err := first.Accept()
		if err != nil {
			return
		}
		defer func() { _ = c.Close() }()
		if _, err := io.CopyN(io.Discard, c, int64(len("PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"))); err == nil {
			served := frames{c}
			served.write(frameSettings, 0)
			f(served)
		}
	}()
	t.Cleanup(func() { _ = first.Close() })
	g := grpc.NewServer(grpc.MaxRecvMsgSize(4 << 20))
	registerDialect(g, d)
	go func() { _ = g.Serve(others) }()
	t.Cleanup(g.Stop)
	return addr
}

// TestLostConnection: a connection that breaks before the picker has answered is
// replaced, and the request is sent again whole.
func TestLostConnection(t *testing.T) {
	for name, f := range broken {
		for _, size := range []int{100, 3 << 20} {
			t.Run(name+"/"+itoa(size), func(t *testing.T) {
				t.Parallel()
				d, seen := watched(dialect{streams: true})
				r := newRig(t)
				r.set(breaks(t, f, d), false)
				wantPick(t, r.open().request(buffered, prompt(size)), picked)
				r.wantOutcome("picked")
				wantWhole(t, seen(), prompt(size))
			})
		}
	}
}

// TestRefusedStream: gRPC tries a stream that was refused again at once, and no more.
func TestRefusedStream(t *testing.T) {
	d, seen := watched(dialect{streams: true})
	r := newRig(t)
	r.set(breaks(t, refuses, d), false)
	wantPick(t, r.open().request(buffered, prompt(100)), picked)
	wantWhole(t, seen(), prompt(100))
}

// TestLostMidBody: what was sent is sent again, and the rest once.
func TestLostMidBody(t *testing.T) {
	d, seen := watched(dialect{streams: true})
	gone := make(chan struct{})
	r := newRig(t)
	r.set(breaks(t, func(f frames) {
		_, _ = f.until(frameData)
		_, _ = f.until(frameData)
		close(gone)
	}, d), false)
	body := prompt(200_000)
	c := r.open()
	c.send(post(duplex, streamed))
	c.send(reqBody(body[:70_000], false))
	<-gone
	c.send(reqBody(body[70_000:150_000], false))
	c.send(reqBody(body[150_000:], true))
	wantPick(t, c.recv(), picked)
	wantWhole(t, seen(), body)
}

// TestLostTwice: there is one second try.
func TestLostTwice(t *testing.T) {
	var streams atomic.Int64
	addr, first, others := inTurn(t)
	for _, l := range []*given{first, others} {
		conns := make(chan net.Conn, 10)
		g := grpc.NewServer()
		extprocv3.RegisterExternalProcessorServer(g, &service{process: func(f foreign) error {
			streams.Add(1)
			_ = (<-conns).Close()
			<-f.Context().Done()
			return nil
		}})
		go func() { _ = g.Serve(noting{l, conns}) }()
		t.Cleanup(g.Stop)
	}
	r := newRig(t)
	r.set(addr, false)
	wantClosed(t, ask2(r))
	r.wantOutcome("fail_closed unavailable")
	if n := streams.Load(); n != 2 {
		t.Errorf("the picker was asked %d times, want 2", n)
	}
}

// noting tells of the connections that it accepts.
type noting struct {
	net.Listener
	conns chan net.Conn
}

func (n noting) Accept() (net.Conn, error) {
	c, err := n.Listener.Accept()
	if err == nil {
		n.conns <- c
	}
	return c, err
}

// TestAnsweredIsNotAskedAgain: a picker that has answered anything has taken the
// request on.
func TestAnsweredIsNotAskedAgain(t *testing.T) {
	d := dialect{streams: true}
	for name, answer := range map[string]func(f foreign) error{
		"the headers": func(f foreign) error { return f.Send(d.pickAnswer(0)) },
		"HTTP alone":  func(f foreign) error { return f.SendHeader(metadata.Pairs("x-a", "b")) },
	} {
		t.Run(name, func(t *testing.T) {
			addr, first, others := inTurn(t)
			conns, read := make(chan net.Conn, 1), make(chan struct{})
			dying := grpc.NewServer()
			extprocv3.RegisterExternalProcessorServer(dying, &service{process: func(f foreign) error {
				if err := answer(f); err != nil {
					return err
				}
				<-read
				_ = (<-conns).Close()
				<-f.Context().Done()
				return nil
			}})
			go func() { _ = dying.Serve(noting{first, conns}) }()
			t.Cleanup(dying.Stop)
			d, seen := watched(d)
			g := grpc.NewServer()
			registerDialect(g, d)
			go func() { _ = g.Serve(others) }()
			t.Cleanup(g.Stop)

			r := newRig(t)
			r.set(addr, false)
			c := r.open()
			c.ask(post(buffered, streamed))
			c.send(reqBody(prompt(100), true))
			// Time for the answer to be read, which shows nowhere if it is none.
			m, err := c.s.Recv()
			if err != nil || m.GetOverrideMessageTimeout() == nil {
				t.Fatalf("got %v, %v", m, err)
			}
			close(read)
			wantClosed(t, c.recv())
			r.wantOutcome("fail_closed unavailable")
			if n := len(seen()); n != 0 {
				t.Errorf("the picker was asked again, with %d messages", n)
			}
		})
	}
}
