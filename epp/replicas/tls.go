package replicas

import (
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"time"

	"google.golang.org/grpc/credentials"
	"google.golang.org/grpc/credentials/insecure"
)

// Certificates has a replica's certificate and the authorities that vouch for the
// others'; gateway/certs.Source is one.
type Certificates interface {
	// TLSConfig is a server's configuration, whose GetCertificate is the replica's
	// certificate as it is now.
	TLSConfig() *tls.Config
	// CA is whom to trust now, as PEM certificates.
	CA() []byte
}

// TLS certifies replicas to each other: both sides of a connection show the same kind
// of certificate, valid for Name and signed by the common authority.
type TLS struct {
	Certificates Certificates
	// Name is the DNS name that every replica's certificate has, and nobody else's by
	// the same authority.
	Name string
	// Now is the clock; nil means time.Now.
	Now func() time.Time
}

// server asks who connects for a certificate, and trusts whom the authorities of that
// moment vouch for.
func (t *TLS) server() *tls.Config {
	return &tls.Config{
		MinVersion: tls.VersionTLS13,
		NextProtos: []string{"h2"},
		GetCertificate: func(h *tls.ClientHelloInfo) (*tls.Certificate, error) {
			return t.Certificates.TLSConfig().GetCertificate(h)
		},
		ClientAuth:       tls.RequireAnyClientCert,
		VerifyConnection: t.verify,
		// Each connection is verified as of now.
		SessionTicketsDisabled: true,
	}
}

// client is for connections to other replicas; a nil TLS is plaintext.
func (t *TLS) client() credentials.TransportCredentials {
	if t == nil {
		return insecure.NewCredentials()
	}
	return credentials.NewTLS(&tls.Config{
		MinVersion: tls.VersionTLS13,
		NextProtos: []string{"h2"},
		ServerName: t.Name,
		GetClientCertificate: func(*tls.CertificateRequestInfo) (*tls.Certificate, error) {
			return t.Certificates.TLSConfig().GetCertificate(&tls.ClientHelloInfo{ServerName: t.Name})
		},
		// The authorities change; verify looks at those of the moment.
		InsecureSkipVerify: true,
		VerifyConnection:   t.verify,
	})
}

// verify checks the other side's certificate. It is the one that replica serves with,
// whichever side it is on, so that of what it is made for only the name is asked.
func (t *TLS) verify(s tls.ConnectionState) error {
	if len(s.PeerCertificates) == 0 {
		return errors.New("the other replica shows no certificate")
	}
	roots, between := x509.NewCertPool(), x509.NewCertPool()
	if !roots.AppendCertsFromPEM(t.Certificates.CA()) {
		return errors.New("no authority is known that could vouch for the other replica")
	}
	for _, c := range s.PeerCertificates[1:] {
		between.AddCert(c)
	}
	o := x509.VerifyOptions{
		Roots: roots, Intermediates: between, DNSName: t.Name,
		KeyUsages: []x509.ExtKeyUsage{x509.ExtKeyUsageAny},
	}
	if t.Now != nil {
		o.CurrentTime = t.Now()
	}
	if _, err := s.PeerCertificates[0].Verify(o); err != nil {
		return fmt.Errorf("the other replica's certificate: %w", err)
	}
	return nil
}
