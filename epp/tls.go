package epp

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"fmt"
	"log/slog"
	"math/big"
	"os"
	"path/filepath"
	"sync"
	"time"
)

// SelfSignedTLS returns a TLS configuration with a certificate made for this
// process: Envoy encrypts to it without checking whose it is.
func SelfSignedTLS(now time.Time) (*tls.Config, error) {
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		return nil, fmt.Errorf("self-signed certificate: %w", err)
	}
	serial, err := rand.Int(rand.Reader, new(big.Int).Lsh(big.NewInt(1), 127))
	if err != nil {
		return nil, fmt.Errorf("self-signed certificate: %w", err)
	}
	template := &x509.Certificate{
		SerialNumber: serial,
		Subject:      pkix.Name{Organization: []string{"Fairway endpoint picker"}},
		DNSNames:     []string{"localhost"},
		NotBefore:    now.Add(-time.Hour),
		NotAfter:     now.AddDate(10, 0, 0),
		KeyUsage:     x509.KeyUsageDigitalSignature,
		ExtKeyUsage:  []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth},
	}
	der, err := x509.CreateCertificate(rand.Reader, template, template, &key.PublicKey, key)
	if err != nil {
		return nil, fmt.Errorf("self-signed certificate: %w", err)
	}
	return tlsConfig(func() *tls.Certificate {
		return &tls.Certificate{Certificate: [][]byte{der}, PrivateKey: key}
	}), nil
}

// FileTLS returns a TLS configuration with the certificate in dir/tls.crt and
// dir/tls.key. With reload it follows the files: each handshake looks whether
// they have changed, and keeps the certificate it had when they cannot be read.
func FileTLS(dir string, reload bool, log *slog.Logger) (*tls.Config, error) {
	f := &certFiles{dir: dir, log: log}
	if err := f.load(); err != nil {
		return nil, err
	}
	if !reload {
		return tlsConfig(func() *tls.Certificate { return f.cert }), nil
	}
	return tlsConfig(f.current), nil
}

func tlsConfig(cert func() *tls.Certificate) *tls.Config {
	return &tls.Config{
		MinVersion:     tls.VersionTLS12,
		GetCertificate: func(*tls.ClientHelloInfo) (*tls.Certificate, error) { return cert(), nil },
	}
}

// certFiles is a certificate and the files it came from.
type certFiles struct {
	dir string
	log *slog.Logger

	mu    sync.Mutex
	cert  *tls.Certificate
	stamp [2]fileStamp
}

// fileStamp tells whether a file has changed.
type fileStamp struct {
	modified time.Time
	size     int64
}

func (f *certFiles) paths() [2]string {
	return [2]string{filepath.Join(f.dir, "tls.crt"), filepath.Join(f.dir, "tls.key")}
}

func (f *certFiles) stat() (s [2]fileStamp, err error) {
	for i, p := range f.paths() {
		info, err := os.Stat(p) // follows links, as Kubernetes swaps them
		if err != nil {
			return s, err
		}
		s[i] = fileStamp{info.ModTime(), info.Size()}
	}
	return s, nil
}

func (f *certFiles) load() error {
	stamp, err := f.stat()
	if err != nil {
		return fmt.Errorf("certificate: %w", err)
	}
	p := f.paths()
	cert, err := tls.LoadX509KeyPair(p[0], p[1])
	if err != nil {
		return fmt.Errorf("certificate in %s: %w", f.dir, err)
	}
	f.cert, f.stamp = &cert, stamp
	return nil
}

func (f *certFiles) current() *tls.Certificate {
	f.mu.Lock()
	defer f.mu.Unlock()
	if s, err := f.stat(); err == nil && s == f.stamp {
		return f.cert
	}
	if err := f.load(); err != nil {
		f.log.Error("the certificate could not be read again, the one in use stays", "error", err)
	} else {
		f.log.Info("the certificate was read again", "dir", f.dir)
	}
	return f.cert
}
