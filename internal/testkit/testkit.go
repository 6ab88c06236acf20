// Package testkit is what tests of several packages share. Only tests import it, and it
// must never import the product.
package testkit

import (
	"bytes"
	"fmt"
	"math/rand/v2"
	"net"
	"sync"
	"testing"
)

// FreePort is a port that nobody listens on, on any address, and that stays the test's
// own until its end: no other call gives it, in any process.
func FreePort(t testing.TB) int {
	t.Helper()
	return FreePorts(t, 1)
}

// FreePorts is the first of n such ports in a row.
//
// A port that the system gave a moment ago is soon given again, to a listener on port 0 or
// to an outgoing connection: it has some 7000 for those. These are others.
func FreePorts(t testing.TB, n int) int {
	t.Helper()
	const first, end = 20_000, 30_000
	for range 1000 {
		port := first + rand.IntN(end-first-n)
		held, ok := reserve(port, n)
		if ok {
			t.Cleanup(func() { release(held) })
			return port
		}
		release(held)
	}
	t.Fatalf("no %d ports in a row are free", n)
	return 0
}

// reserve holds ports for UDP, which no test needs, so that nobody else is given them, and
// leaves them to TCP.
func reserve(port, n int) (held []net.PacketConn, ok bool) {
	for p := port; p < port+n; p++ {
		c, err := net.ListenPacket("udp4", fmt.Sprintf("127.0.0.1:%d", p))
		if err != nil {
			return held, false
		}
		held = append(held, c)
		l, err := net.Listen("tcp", fmt.Sprintf(":%d", p))
		if err != nil {
			return held, false
		}
		_ = l.Close()
	}
	return held, true
}

func release(held []net.PacketConn) {
	for _, c := range held {
		_ = c.Close()
	}
}

// Refused is an address of a port as FreePort's: connections to it are refused.
func Refused(t testing.TB) string {
	t.Helper()
	return fmt.Sprintf("127.0.0.1:%d", FreePort(t))
}

// Log is a log that may be read while it is written. Its zero value is empty.
type Log struct {
	mu sync.Mutex
	b  bytes.Buffer
}

func (l *Log) Write(p []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.b.Write(p)
}

func (l *Log) String() string {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.b.String()
}
