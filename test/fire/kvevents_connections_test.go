package fire

import (
	"bytes"
	"fmt"
	"net"
	"testing"
	"time"

	"github.com/fairway-ai/fairway/internal/zmtp"
)

// kvGreeting is the beginning of ZeroMQ's protocol, with a mechanism.
func kvGreeting(mechanism string) []byte {
	g := make([]byte, 64)
	g[0], g[9], g[10] = 0xff, 0x7f, 3
	copy(g[12:], mechanism)
	return g
}

// TestKVEventsConnections: connections that say nothing, little, or something else hold
// up nobody, and end with the subscriber.
func TestKVEventsConnections(t *testing.T) {
	// text says something and waits.
	text := func(b []byte) func(*kvLiar, net.Conn) {
		return func(l *kvLiar, nc net.Conn) {
			_, _ = nc.Write(b) // the rest is the other side's
			l.did.Add(1)
			l.holds(nc)
		}
	}
	ready := func(typ string) []byte {
		b := append([]byte("\x05READY\x0bSocket-Type\x00\x00\x00"), byte(len(typ)))
		b = append(b, typ...)
		return append(append(kvGreeting("NULL"), 4, byte(len(b))), b...)
	}
	runKVAttacks(t, []kvAttack{
		{name: "that say nothing", conn: text(nil), enough: 1},
		{name: "that greet and stop", conn: text(kvGreeting("NULL")), enough: 1},
		{name: "that greet byte by byte", enough: 20, conn: func(l *kvLiar, nc net.Conn) {
			l.slowly(nc, kvGreeting("NULL"), 10*time.Millisecond)
		}},
		{name: "that ask for secrecy", conn: text(kvGreeting("CURVE")), enough: 1},
		{name: "of another kind of socket", conn: text(ready("PUSH")), enough: 1},
		{name: "of no kind of socket", conn: text(ready("")), enough: 1},
		{name: "of HTTP", conn: text([]byte("GET / HTTP/1.1\r\nHost: x\r\n\r\n")), enough: 1},
		{name: "of TLS", conn: text([]byte{0x16, 3, 1, 2, 0, 1, 0, 1, 0xfc, 3, 3}), enough: 1},
		{name: "of a handshake that never ends", enough: 3, conn: func(l *kvLiar, nc net.Conn) {
			_, _ = nc.Write(kvGreeting("NULL")) // as below
			for {
				if _, err := nc.Write(commands()); err != nil {
					return
				}
				l.did.Add(1)
			}
		}},
		{name: "that are greeted and are silent", enough: 1, conn: func(l *kvLiar, nc net.Conn) {
			l.greeted(nc)
			l.did.Add(1)
			l.holds(nc)
		}, own: noLie},
		{name: "that send byte by byte", enough: 20, conn: func(l *kvLiar, nc net.Conn) {
			if _, ok := l.greeted(nc); ok {
				l.slowly(nc, zmtp.AppendMessage(nil, l.topic(), kvNumber(0), bytes.Repeat([]byte{0x91}, 1000)), 10*time.Millisecond)
			}
		}},
		{name: "that stop within a large message", enough: 1, parallel: 16, conn: func(l *kvLiar, nc net.Conn) {
			if _, ok := l.greeted(nc); ok {
				b := zmtp.AppendMessage(nil, l.topic(), kvNumber(0), make([]byte, kvMaxMessage-100))
				_, _ = nc.Write(b[:len(b)-1]) // as above
				l.did.Add(1)
				l.holds(nc)
			}
		}},
		{name: "that read nothing", enough: 1, conn: func(l *kvLiar, nc net.Conn) {
			_, _ = nc.Write(ready("PUB")) // as above
			l.did.Add(1)
			<-l.ctx.Done()
		}},
	})
	t.Run("that come and go", func(t *testing.T) {
		// 1000 a second, until there were some more than a listener's queue.
		churn := kvAttack{parallel: 8, enough: 2000, conn: func(l *kvLiar, _ net.Conn) { l.did.Add(1) }}
		runKVAttack(t, true, churn)
		churn.enough = 6 // it is we who dial, ever less often
		runKVAttack(t, false, churn)
	})
	t.Run("that are greeted and go", func(t *testing.T) {
		churn := kvAttack{parallel: 8, enough: 300, conn: func(l *kvLiar, nc net.Conn) {
			if c, ok := l.greeted(nc); ok {
				_ = l.says(c, 0) // the next one is another
				l.did.Add(1)
			}
		}}
		runKVAttack(t, true, churn)
	})
}

// TestKVEventsConnectionsAreShared: an address that takes as many connections as it can
// leaves room for others, who may come and come back.
func TestKVEventsConnectionsAreShared(t *testing.T) {
	a := kvAttack{parallel: 2 * kvMaxConns, conn: func(l *kvLiar, nc net.Conn) {
		l.greeted(nc)
		l.holds(nc)
	}}
	r := newKVRig(t, true, &a)
	r.honest.begin()
	r.liars[0].begin()
	// refused waits until the liar has asked for so many more connections in vain that it
	// has had every place that was free meanwhile.
	refused := func() {
		t.Helper()
		from := r.sub.Stats().Refused
		eventually(t, "connections are refused", func() error {
			if st := r.sub.Stats(); st.Refused < from+4*kvMaxConns {
				return fmt.Errorf("%+v", st)
			}
			return nil
		})
	}
	refused()
	for range 3 {
		r.honest.end()
		eventually(t, "the honest endpoint is lost", func() error {
			if r.index.Exact(kvHonestSlot) {
				return fmt.Errorf("it is not")
			}
			return nil
		})
		refused()
		r.honest = newKVHonest(r, nil, nil)
		r.honest.begin()
		r.honest.step()
	}
}
