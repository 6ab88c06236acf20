package certs

import (
	"context"
	"crypto/tls"
	"time"
)

// Source has the certificate to serve with and the authorities that vouch for it.
// It is safe for concurrent use.
type Source interface {
	// TLSConfig is a server's configuration: TLS 1.2 at least, HTTP/2, and at each
	// handshake the certificate that is current then.
	TLSConfig() *tls.Config
	// CA is what a client must trust, as PEM certificates. The slice must not be
	// changed.
	CA() []byte
	// Start follows changes until ctx ends, which is no error. On a change of CA it
	// calls the OnChange it was made with.
	Start(ctx context.Context) error
}

// ServerNames are the names under which a Service of a cluster can be called, the
// fully qualified one last.
func ServerNames(service, namespace, clusterDomain string) []string {
	short := service + "." + namespace
	return []string{service, short, short + ".svc", short + ".svc." + clusterDomain}
}

// serverConfig returns a server's configuration that asks current for the
// certificate of each handshake.
func serverConfig(current func() (*tls.Certificate, error)) *tls.Config {
	return &tls.Config{
		MinVersion:     tls.VersionTLS12,
		NextProtos:     []string{"h2"},
		GetCertificate: func(*tls.ClientHelloInfo) (*tls.Certificate, error) { return current() },
	}
}

// every calls f each d until ctx ends.
func every(ctx context.Context, d time.Duration, f func()) {
	t := time.NewTicker(d)
	defer t.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case <-t.C:
			f()
		}
	}
}
