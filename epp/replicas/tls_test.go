package replicas

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"math/big"
	"testing"
	"time"

	"github.com/fairway-ai/fairway/scheduler"
)

// authority signs certificates in tests.
type authority struct {
	cert *x509.Certificate
	key  *ecdsa.PrivateKey
}

func newAuthority(t *testing.T) *authority {
	t.Helper()
	a := new(authority)
	c := a.sign(t, &x509.Certificate{
		Subject: pkix.Name{CommonName: "authority"}, IsCA: true, BasicConstraintsValid: true,
		KeyUsage: x509.KeyUsageCertSign,
	})
	a.cert, a.key = c.Leaf, c.PrivateKey.(*ecdsa.PrivateKey)
	return a
}

// sign makes a certificate, its own authority's while a has none.
func (a *authority) sign(t *testing.T, template *x509.Certificate) *tls.Certificate {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	template.SerialNumber = big.NewInt(time.Now().UnixNano())
	template.NotBefore, template.NotAfter = time.Now().Add(-time.Hour), time.Now().Add(time.Hour)
	parent, signer := template, key
	if a.cert != nil {
		parent, signer = a.cert, a.key
	}
	der, err := x509.CreateCertificate(rand.Reader, template, parent, &key.PublicKey, signer)
	if err != nil {
		t.Fatal(err)
	}
	leaf, err := x509.ParseCertificate(der)
	if err != nil {
		t.Fatal(err)
	}
	return &tls.Certificate{Certificate: [][]byte{der}, PrivateKey: key, Leaf: leaf}
}

// replica is the TLS of a replica with a certificate for name by a, that trusts by.
func (a *authority) replica(t *testing.T, name string, by *authority) *TLS {
	t.Helper()
	// As the gateway's own certificates are: made for servers.
	cert := a.sign(t, &x509.Certificate{DNSNames: []string{name}, ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth}})
	ca := pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: by.cert.Raw})
	return &TLS{Certificates: certificates{cert, ca}, Name: "fairway.ns.svc"}
}

func TestTLS(t *testing.T) {
	ours, theirs := newAuthority(t), newAuthority(t)
	with := func(c *TLS) func(*Options) { return func(o *Options) { o.TLS = c } }
	m := newMembers()
	b := start(t, "b", 1, newMembers(), 1, with(ours.replica(t, "fairway.ns.svc", ours)))
	m.set(b.address())
	for name, c := range map[string]*TLS{
		"plaintext":             nil,
		"another authority":     theirs.replica(t, "fairway.ns.svc", ours),
		"another name":          ours.replica(t, "web.ns.svc", ours),
		"trusts somebody else":  ours.replica(t, "fairway.ns.svc", theirs),
		"trusts nobody at all.": {Certificates: certificates{ours.sign(t, &x509.Certificate{}), nil}, Name: "fairway.ns.svc"},
	} {
		a := start(t, "stranger", 1, newMembers(), 1, with(c))
		conn, err := a.dial(b.address())
		if err != nil {
			t.Fatal(err)
		}
		if _, err := a.open(t.Context(), conn); err == nil {
			t.Errorf("%s: gets in", name)
		}
		_ = conn.Close()
	}
	if b.known() != 0 {
		t.Error("b counts a stranger")
	}
	a := start(t, "a", 1, m, 1, with(ours.replica(t, "fairway.ns.svc", ours)))
	var f scheduler.Flight
	f.Bind(a.picker.load(0), 1, 1)
	eventually(t, "b knows what a has", func() bool { return inFlight(b.picker.load(0)).Requests == 1 })
}

func TestOptionsAreChecked(t *testing.T) {
	if _, err := New(Options{Peers: Fixed{}, Listen: "127.0.0.1:0"}); err == nil {
		t.Error("a replica without an id is accepted")
	}
	if _, err := New(Options{ID: "a", Peers: Fixed{}, Listen: "nowhere:99999"}); err == nil {
		t.Error("a port that does not exist is accepted")
	}
}
