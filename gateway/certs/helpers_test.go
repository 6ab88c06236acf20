package certs

import (
	"bytes"
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"log/slog"
	"net"
	"sync"
	"testing"
	"time"
)

// clock is a time that tests set.
type clock struct {
	mu  sync.Mutex
	now time.Time
}

func newClock() *clock {
	return &clock{now: time.Date(2026, 3, 1, 12, 0, 0, 0, time.UTC)}
}

func (c *clock) Now() time.Time {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.now
}

func (c *clock) advance(d time.Duration) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.now = c.now.Add(d)
}

const day = 24 * time.Hour

// years is n authority-sized years.
func years(n int) time.Duration { return time.Duration(n) * 365 * day }

// names are those of the server under test.
func names() []string { return ServerNames("fairway-gateway", "fairway-system", "cluster.local") }

// shake has a client that trusts ca call a server of s under name, and returns the
// certificate it saw.
func shake(s Source, ca []byte, name string, now time.Time) (*x509.Certificate, error) {
	roots := x509.NewCertPool()
	if !roots.AppendCertsFromPEM(ca) {
		return nil, errors.New("no authority to trust")
	}
	a, b := net.Pipe()
	defer func() { _, _ = a.Close(), b.Close() }()
	server := tls.Server(a, s.TLSConfig())
	done := make(chan error, 1)
	go func() { done <- server.Handshake() }()
	client := tls.Client(b, &tls.Config{
		RootCAs: roots, ServerName: name, NextProtos: []string{"h2"},
		Time: func() time.Time { return now },
	})
	if err := client.Handshake(); err != nil {
		return nil, err
	}
	if err := <-done; err != nil {
		return nil, err
	}
	state := client.ConnectionState()
	if state.NegotiatedProtocol != "h2" {
		return nil, errors.New("not HTTP/2")
	}
	return state.PeerCertificates[0], nil
}

// mustShake is shake under the name that Envoy uses.
func mustShake(t *testing.T, s Source, ca []byte, now time.Time) *x509.Certificate {
	t.Helper()
	cert, err := shake(s, ca, names()[3], now)
	if err != nil {
		t.Fatalf("handshake: %v", err)
	}
	return cert
}

// logbook keeps what is logged.
type logbook struct {
	mu sync.Mutex
	b  bytes.Buffer
}

func (l *logbook) Write(p []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.b.Write(p)
}

func (l *logbook) String() string {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.b.String()
}

func (l *logbook) logger() *slog.Logger {
	return slog.New(slog.NewTextHandler(l, &slog.HandlerOptions{Level: slog.LevelDebug}))
}

// eventually waits until ok.
func eventually(t *testing.T, what string, ok func() bool) {
	t.Helper()
	deadline := time.After(20 * time.Second)
	for !ok() {
		select {
		case <-deadline:
			t.Fatalf("never happened: %s", what)
		case <-time.After(2 * time.Millisecond):
		}
	}
}

// started runs s until the test ends.
func started(t *testing.T, s Source) {
	t.Helper()
	ctx, stop := context.WithCancel(context.Background())
	done := make(chan error, 1)
	go func() { done <- s.Start(ctx) }()
	t.Cleanup(func() {
		stop()
		if err := <-done; err != nil {
			t.Errorf("Start: %v", err)
		}
	})
}
