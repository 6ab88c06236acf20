package relay

import (
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"log/slog"
	"math/big"
	"net"
	"strings"
	"testing"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/credentials"

	"github.com/fairway-ai/fairway/internal/testkit"
)

// certificate makes one for a name, and its PEM.
func certificate(t *testing.T, name string) (tls.Certificate, string) {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	template := &x509.Certificate{
		SerialNumber: big.NewInt(1), Subject: pkix.Name{CommonName: name}, DNSNames: []string{name},
		NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().Add(time.Hour),
		IsCA: true, BasicConstraintsValid: true,
	}
	der, err := x509.CreateCertificate(rand.Reader, template, template, &key.PublicKey, key)
	if err != nil {
		t.Fatal(err)
	}
	return tls.Certificate{Certificate: [][]byte{der}, PrivateKey: key},
		string(pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der}))
}

func TestTLS(t *testing.T) {
	cert, ca := certificate(t, "picker.example")
	_, otherCA := certificate(t, "picker.example")
	d := dialect{streams: true}
	addr, _ := serve(t, d.serve, grpc.Creds(credentials.NewServerTLSFromCert(&cert)))
	for _, tt := range []struct {
		name string
		tls  TLS
		ok   bool
	}{
		{"default", TLS{}, true},
		{"verified", TLS{Security: Verified, CA: ca, ServerName: "picker.example"}, true},
		{"another name", TLS{Security: Verified, CA: ca, ServerName: "other.example"}, false},
		{"another authority", TLS{Security: Verified, CA: otherCA, ServerName: "picker.example"}, false},
		{"plaintext", TLS{Security: Plaintext}, false},
	} {
		t.Run(tt.name, func(t *testing.T) {
			r := newRig(t)
			r.set(addr, true, func(p *Picker) { p.TLS = tt.tls }, func(p *Picker) {
				if !tt.ok {
					briefly(p)
				}
			})
			m := r.open().request(buffered, prompt(100))
			if tt.ok {
				wantPick(t, m, picked)
			} else {
				wantOpen(t, m)
			}
		})
	}
}

func TestSet(t *testing.T) {
	r := New(Options{Log: slog.New(slog.DiscardHandler)})
	defer r.Close()
	client := func(pool string) *client {
		t.Helper()
		p := (*r.pools.Load())[pool]
		if p == nil {
			t.Fatalf("nobody answers for %s", pool)
		}
		return p.client
	}
	set := func(pool string, p Picker) {
		t.Helper()
		if err := r.Set(pool, p); err != nil {
			t.Fatal(err)
		}
	}
	for _, p := range []Picker{
		{}, {Address: "a b"}, {Address: "a:1", Timeout: -1}, {Address: "a:1", TLS: TLS{Security: 9}},
		{Address: "a:1", TLS: TLS{Security: Verified, CA: "nonsense"}},
	} {
		if err := r.Set("ns/p", p); err == nil || !strings.Contains(err.Error(), "ns/p") {
			t.Errorf("%+v: error %v, want one that names the pool", p, err)
		}
	}
	one := Picker{Address: "127.0.0.1:1"}
	set("ns/a", one)
	a := client("ns/a")
	set("ns/a", one)
	set("ns/b", Picker{Address: "127.0.0.1:1", FailOpen: true})
	set("ns/a", Picker{Address: "127.0.0.1:1", Timeout: time.Minute})
	if client("ns/a") != a || client("ns/b") != a {
		t.Error("the same picker has several connections")
	}
	set("ns/a", Picker{Address: "127.0.0.1:2"})
	if client("ns/a") == a || a.ctx.Err() != nil {
		t.Error("the other pool's connection was closed")
	}
	r.Delete("ns/b")
	r.Delete("ns/none")
	if a.ctx.Err() == nil {
		t.Error("a connection that no pool uses stays open")
	}
	if r.Consult(context.Background(), "ns/b") != nil {
		t.Error("a deleted pool is consulted")
	}
	r.Close()
	if err := r.Set("ns/a", one); err == nil {
		t.Error("a closed registry takes pickers")
	}
}

// TestClosedWhileConsulted: requests under way go by their failure mode.
func TestClosedWhileConsulted(t *testing.T) {
	arrived := make(chan struct{})
	addr, _ := serve(t, func(f foreign) error {
		close(arrived)
		<-f.Context().Done()
		return nil
	})
	r := newRig(t)
	r.set(addr, true)
	c := r.open()
	c.ask(post(buffered, streamed))
	c.send(reqBody(prompt(100), true))
	<-arrived
	r.registry.Close()
	wantOpen(t, c.recv())
	c.finish()
}

// TestRetire: a replaced picker ends what it began.
func TestRetire(t *testing.T) {
	gate, arrived := make(chan struct{}), make(chan struct{}, 8)
	d := dialect{streams: true}
	slow, _ := serve(t, func(f foreign) error {
		arrived <- struct{}{}
		<-gate
		return d.serve(f)
	})
	r := newRig(t)
	r.set(slow, false)
	c := r.open()
	c.ask(post(buffered, streamed))
	c.send(reqBody(prompt(100), true))
	<-arrived
	old := (*r.registry.pools.Load())["ns/p"].client
	r.set(testkit.Refused(t), true)
	wantOpen(t, r.open().request(buffered, prompt(100)))
	close(gate)
	wantPick(t, c.recv(), picked)
	c.ask(respHeaders())
	c.ask(respBody("{}", true))
	c.finish()
	select {
	case <-old.ctx.Done():
	case <-time.After(patience):
		t.Error("the old connection stays open")
	}
}

// TestReconnect: a picker that comes back is used again soon.
func TestReconnect(t *testing.T) {
	d := dialect{streams: true}
	addr, kill := serve(t, d.serve)
	r := newRig(t)
	r.set(addr, true)
	wantPick(t, r.open().request(buffered, prompt(100)), picked)
	kill()
	wantOpen(t, r.open().request(buffered, prompt(100)))
	l, err := net.Listen("tcp", addr)
	if err != nil {
		t.Skip("the port is taken: ", err)
	}
	g := grpc.NewServer()
	registerDialect(g, d)
	go func() { _ = g.Serve(l) }()
	t.Cleanup(g.Stop)
	eventually(t, "picked again", func() error {
		if m := r.open().request(buffered, prompt(100)); header(m, "x-gateway-destination-endpoint") != picked {
			return errNoPick
		}
		return nil
	})
}
