package zmtp

import (
	"bytes"
	"encoding/binary"
	"errors"
	"io"
	"net"
	"runtime"
	"strings"
	"testing"
	"time"
)

// pair is two ends of a connection of the given socket types, greeted.
func pair(t *testing.T, a, b SocketType) (*Conn, *Conn) {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	type result struct {
		c   *Conn
		err error
	}
	done := make(chan result, 1)
	shake := func(nc net.Conn, own SocketType) (*Conn, error) {
		t.Cleanup(func() { _ = nc.Close() })
		if err := nc.SetDeadline(time.Now().Add(10 * time.Second)); err != nil {
			return nil, err
		}
		return Handshake(nc, own, Limits{Message: 1 << 20})
	}
	go func() {
		nc, err := l.Accept()
		if err != nil {
			done <- result{err: err}
			return
		}
		c, err := shake(nc, b)
		done <- result{c, err}
	}()
	nc, err := net.Dial("tcp", l.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	c, err := shake(nc, a)
	if err != nil {
		t.Fatal(err)
	}
	r := <-done
	if r.err != nil {
		t.Fatal(r.err)
	}
	return c, r.c
}

func TestMessagesArriveAsTheyWereSent(t *testing.T) {
	pub, sub := pair(t, Pub, Sub)
	long := bytes.Repeat([]byte("x"), 300_000)
	var m Message
	for _, frames := range [][][]byte{{{}}, {[]byte("a"), {}, []byte("b")}, {long, []byte("end")}, {bytes.Repeat([]byte("y"), 255)}, {bytes.Repeat([]byte("z"), 256)}} {
		if err := pub.Write(frames...); err != nil {
			t.Fatal(err)
		}
		if err := sub.Read(&m); err != nil {
			t.Fatal(err)
		}
		if len(m.Frames) != len(frames) {
			t.Fatalf("%d frames, want %d", len(m.Frames), len(frames))
		}
		for i := range frames {
			if !bytes.Equal(m.Frames[i], frames[i]) {
				t.Errorf("frame %d differs", i)
			}
		}
	}
}

func TestSubscription(t *testing.T) {
	pub, sub := pair(t, Pub, Sub)
	if err := sub.Subscribe("kv@"); err != nil {
		t.Fatal(err)
	}
	var m Message
	if err := pub.Read(&m); err != nil {
		t.Fatal(err)
	}
	prefix, wanted, ok := Subscription(m.Frames[0])
	if string(prefix) != "kv@" || !wanted || !ok {
		t.Errorf("%q %v %v", prefix, wanted, ok)
	}
	if _, _, ok := Subscription([]byte{7}); ok {
		t.Error("a frame of another kind is a subscription")
	}
}

func TestPingIsAnsweredAndNotDelivered(t *testing.T) {
	a, b := pair(t, Pub, Sub)
	ping := append(appendShort(nil, "PING"), 0, 1, 'c', 't', 'x')
	if _, err := a.nc.Write(append([]byte{flagCommand, byte(len(ping))}, ping...)); err != nil {
		t.Fatal(err)
	}
	if err := a.Write([]byte("after")); err != nil {
		t.Fatal(err)
	}
	var m Message
	if err := b.Read(&m); err != nil || string(m.Frames[0]) != "after" {
		t.Fatalf("%q %v", m.Frames, err)
	}
	var pong Message
	command, _, err := a.frame(&pong)
	if err != nil || !command || string(pong.buf) != "\x04PONGctx" {
		t.Errorf("%v %q %v", command, pong.buf, err)
	}
}

// hello is what a peer of the given type sends first.
func hello(t SocketType) []byte {
	g := greeting()
	body := ready(t)
	return append(append(g[:], flagCommand, byte(len(body))), body...)
}

// script is a connection from which a peer's bytes can be read.
type script struct {
	net.Conn
	r io.Reader
}

func (s *script) Read(b []byte) (int, error)       { return s.r.Read(b) }
func (s *script) Write(b []byte) (int, error)      { return len(b), nil }
func (s *script) SetWriteDeadline(time.Time) error { return nil }

func listen(b []byte) (*Conn, error) {
	return Handshake(&script{r: bytes.NewReader(b)}, Sub, Limits{Message: 1 << 20, Frames: 4})
}

func TestHandshakeRefuses(t *testing.T) {
	change := func(at int, b byte) []byte {
		h := hello(Pub)
		h[at] = b
		return h
	}
	for name, b := range map[string][]byte{
		"another protocol": []byte("GET / HTTP/1.1\r\nHost: a\r\n\r\n" + strings.Repeat("x", 100)),
		"ZMTP 2":           change(10, 1),
		"CURVE":            append(change(12, 'C')[:64], hello(Pub)[64:]...),
		"a subscriber":     hello(Sub),
		"no type":          append(hello(Pub)[:64], flagCommand, 6, 5, 'R', 'E', 'A', 'D', 'Y'),
		"an end":           hello(Pub)[:70],
		"a message":        append(hello(Pub)[:64], 0, 1, 'x'),
		"a huge command":   append(hello(Pub)[:64], flagCommand|flagLong, 0x7f, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff),
		"a refusal":        append(hello(Pub)[:64], flagCommand, 7, 5, 'E', 'R', 'R', 'O', 'R', 0),
		"a torn property":  append(hello(Pub)[:64], flagCommand, 11, 5, 'R', 'E', 'A', 'D', 'Y', 200, 1, 2, 3, 4),
	} {
		if _, err := listen(b); err == nil {
			t.Errorf("%s: accepted", name)
		}
	}
	if _, err := listen(hello(Pub)); err != nil {
		t.Errorf("a publisher: %v", err)
	}
}

func TestAClaimAllocatesNothing(t *testing.T) {
	for name, claim := range map[string]uint64{"beyond every limit": 1 << 62, "within the limit": 1 << 30} {
		b := append(hello(Pub), flagLong)
		b = binary.BigEndian.AppendUint64(b, claim)
		c, err := Handshake(&script{r: bytes.NewReader(append(b, "tiny"...))}, Sub, Limits{Message: 1 << 31})
		if err != nil {
			t.Fatal(err)
		}
		var before, after runtime.MemStats
		runtime.ReadMemStats(&before)
		var m Message
		err = c.Read(&m)
		runtime.ReadMemStats(&after)
		if err == nil {
			t.Errorf("%s: no error", name)
		}
		if grown := after.TotalAlloc - before.TotalAlloc; grown > 1<<20 {
			t.Errorf("%s: %d bytes allocated", name, grown)
		}
	}
}

func TestReadLimits(t *testing.T) {
	for name, c := range map[string]struct {
		b    []byte
		want error
	}{
		"many frames":     {bytes.Repeat([]byte{flagMore, 0}, 100), ErrTooLarge},
		"large in sum":    {AppendMessage(nil, make([]byte, 1<<19), make([]byte, 1<<19), []byte("x")), ErrTooLarge},
		"unknown flags":   {[]byte{0x80, 0}, errFlags},
		"command in half": {[]byte{flagMore, 0, flagCommand, 2, 1, 'x'}, errFlags},
		"end in a frame":  {[]byte{0, 5, 'a'}, io.ErrUnexpectedEOF},
		"end in a message": {
			[]byte{flagMore, 1, 'a'}, io.ErrUnexpectedEOF},
		"a clean end":   {nil, io.EOF},
		"empty command": {[]byte{flagCommand, 0}, errCommand},
	} {
		conn, err := listen(append(hello(Pub), c.b...))
		if err != nil {
			t.Fatal(err)
		}
		var m Message
		if err := conn.Read(&m); !errors.Is(err, c.want) {
			t.Errorf("%s: %v, want %v", name, err, c.want)
		}
	}
}

// FuzzRead has a peer send anything, first in place of the greeting, then after it.
func FuzzRead(f *testing.F) {
	f.Add(true, AppendMessage(nil, []byte("kv@a@m"), make([]byte, 8), []byte("payload")))
	f.Add(false, hello(Pub))
	f.Add(true, []byte{flagCommand, 9, 4, 'P', 'I', 'N', 'G', 0, 1, 'c', 't'})
	f.Add(true, []byte{flagLong, 0x40, 0, 0, 0, 0, 0, 0, 0})
	f.Fuzz(func(t *testing.T, greeted bool, b []byte) {
		if greeted {
			b = append(hello(Pub), b...)
		}
		c, err := Handshake(&script{r: bytes.NewReader(b)}, Sub, Limits{Message: 1 << 16, Frames: 4})
		if err != nil {
			return
		}
		var m Message
		for c.Read(&m) == nil {
			total := 0
			for _, fr := range m.Frames {
				total += len(fr)
			}
			if len(m.Frames) == 0 || len(m.Frames) > 4 || total > 1<<16 {
				t.Fatalf("%d frames of %d bytes", len(m.Frames), total)
			}
		}
	})
}
