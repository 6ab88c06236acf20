package relay

import (
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"strings"
	"time"

	"google.golang.org/grpc/credentials"
	"google.golang.org/grpc/credentials/insecure"
)

// DefaultTimeout is Picker.Timeout when zero. Pickers with flow control hold requests
// while their pool is saturated, so it is generous.
const DefaultTimeout = 10 * time.Second

// Picker is a foreign endpoint picker and how a pool deals with it.
type Picker struct {
	// Address is where it serves ext_proc: "host:port", or a gRPC target.
	Address string
	// FailOpen sends a request on unpicked when the picker cannot be had; else the
	// client gets 503.
	FailOpen bool
	// TLS is how the connection is secured.
	TLS TLS
	// Timeout bounds the wait for the pick once the request is known whole;
	// DefaultTimeout when zero. It must be less than Envoy's max_message_timeout.
	Timeout time.Duration
}

// Security is how a connection to a picker is secured.
type Security uint8

const (
	// Unverified is TLS that accepts any certificate, as the protocol's reference
	// pickers sign their own at start.
	Unverified Security = iota
	// Plaintext is no TLS at all.
	Plaintext
	// Verified is TLS with a certificate that must be trusted.
	Verified
)

// TLS secures the connection to a picker; the zero value is TLS without
// verification.
type TLS struct {
	Security Security
	// CA are the trusted authorities for Verified, PEM; the system's when empty.
	CA string
	// ServerName is the name in the certificate for Verified; the address's host when
	// empty.
	ServerName string
}

func (p *Picker) validate() error {
	if p.Address == "" || strings.ContainsAny(p.Address, " \t\r\n\x00") {
		return fmt.Errorf("address %q: must be host:port or a gRPC target", p.Address)
	}
	if p.Timeout < 0 {
		return fmt.Errorf("timeout %v: must not be negative", p.Timeout)
	}
	return nil
}

// credentials returns how to secure a connection.
func (t *TLS) credentials() (credentials.TransportCredentials, error) {
	switch t.Security {
	case Plaintext:
		return insecure.NewCredentials(), nil
	case Unverified:
		return credentials.NewTLS(&tls.Config{
			MinVersion: tls.VersionTLS12,
			// Not by choice: pickers present certificates that they made themselves.
			InsecureSkipVerify: true, //nolint:gosec
		}), nil
	case Verified:
		c := &tls.Config{MinVersion: tls.VersionTLS12, ServerName: t.ServerName}
		if t.CA != "" {
			c.RootCAs = x509.NewCertPool()
			if !c.RootCAs.AppendCertsFromPEM([]byte(t.CA)) {
				return nil, errors.New("CA: holds no PEM certificate")
			}
		}
		return credentials.NewTLS(c), nil
	}
	return nil, fmt.Errorf("security %d: unknown", t.Security)
}
