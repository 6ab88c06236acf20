package e2e

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/base64"
	"encoding/pem"
	"fmt"
	"math/big"
	"net/url"
	"strings"
	"testing"
	"time"
)

// authority issues certificates.
type authority struct {
	certificate *x509.Certificate
	key         *ecdsa.PrivateKey
}

func newAuthority(t *testing.T) *authority {
	t.Helper()
	a := &authority{}
	template := &x509.Certificate{
		Subject: pkix.Name{CommonName: "authority"}, IsCA: true, BasicConstraintsValid: true, KeyUsage: x509.KeyUsageCertSign,
		NotAfter: time.Now().Add(24 * time.Hour),
	}
	made := a.sign(t, template)
	var err error
	if a.certificate, err = x509.ParseCertificate(made.Certificate[0]); err != nil {
		t.Fatal(err)
	}
	a.key = made.PrivateKey.(*ecdsa.PrivateKey)
	return a
}

// sign makes a certificate and its key; before the authority has any, its own.
func (a *authority) sign(t *testing.T, template *x509.Certificate) tls.Certificate {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	parent, signer := a.certificate, a.key
	if parent == nil {
		parent, signer = template, key
	}
	if template.SerialNumber, err = rand.Int(rand.Reader, big.NewInt(1<<62)); err != nil {
		t.Fatal(err)
	}
	template.NotBefore = time.Now().Add(-time.Hour)
	der, err := x509.CreateCertificate(rand.Reader, template, parent, key.Public(), signer)
	if err != nil {
		t.Fatal(err)
	}
	return tls.Certificate{Certificate: [][]byte{der}, PrivateKey: key}
}

// issue makes a workload's certificate.
func (a *authority) issue(t *testing.T, ids ...string) tls.Certificate {
	t.Helper()
	return a.sign(t, workload(t, time.Now().Add(time.Hour), ids...))
}

func (a *authority) expired(t *testing.T, ids ...string) tls.Certificate {
	t.Helper()
	return a.sign(t, workload(t, time.Now().Add(-time.Minute), ids...))
}

func workload(t *testing.T, until time.Time, ids ...string) *x509.Certificate {
	t.Helper()
	c := &x509.Certificate{NotAfter: until, KeyUsage: x509.KeyUsageDigitalSignature, ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageClientAuth}}
	for _, id := range ids {
		u, err := url.Parse(id)
		if err != nil {
			t.Fatal(err)
		}
		c.URIs = append(c.URIs, u)
	}
	return c
}

func (a *authority) pool() *x509.CertPool {
	p := x509.NewCertPool()
	p.AddCert(a.certificate)
	return p
}

// server is the data of a Secret with a certificate for the Gateway.
func (a *authority) server(t *testing.T) string {
	t.Helper()
	made := a.sign(t, &x509.Certificate{
		NotAfter: time.Now().Add(time.Hour), DNSNames: []string{"*.example.com"}, ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth},
	})
	key, err := x509.MarshalPKCS8PrivateKey(made.PrivateKey)
	if err != nil {
		t.Fatal(err)
	}
	encode := func(kind string, der []byte) string {
		return base64.StdEncoding.EncodeToString(pem.EncodeToMemory(&pem.Block{Type: kind, Bytes: der}))
	}
	return "data: {tls.crt: " + encode("CERTIFICATE", made.Certificate[0]) + ", tls.key: " + encode("PRIVATE KEY", key) + "}\n"
}

// bundle is a SPIFFE bundle.
func bundle(all ...*authority) string {
	var keys []string
	for _, a := range all {
		keys = append(keys, fmt.Sprintf(`{"use":"x509-svid","kty":"EC","x5c":[%q]}`, base64.StdEncoding.EncodeToString(a.certificate.Raw)))
	}
	return `{"spiffe_sequence":1,"keys":[` + strings.Join(keys, ",") + `]}`
}
