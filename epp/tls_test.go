package epp

import (
	"bytes"
	"crypto/tls"
	"crypto/x509"
	"encoding/pem"
	"log/slog"
	"os"
	"path/filepath"
	"testing"
	"time"
)

// pemOf is a key pair as the files of --cert-path hold it.
func pemOf(t *testing.T, pair *tls.Certificate) (crt, key []byte) {
	t.Helper()
	der, err := x509.MarshalPKCS8PrivateKey(pair.PrivateKey)
	if err != nil {
		t.Fatal(err)
	}
	return pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: pair.Certificate[0]}),
		pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: der})
}

// writeCert writes a fresh certificate and returns it.
func writeCert(t *testing.T, dir string) *x509.Certificate {
	t.Helper()
	c, err := SelfSignedTLS(time.Now())
	if err != nil {
		t.Fatal(err)
	}
	pair, _ := c.GetCertificate(nil)
	crt, key := pemOf(t, pair)
	for name, b := range map[string][]byte{"tls.crt": crt, "tls.key": key} {
		if err := os.WriteFile(filepath.Join(dir, name), b, 0o600); err != nil {
			t.Fatal(err)
		}
	}
	leaf, err := x509.ParseCertificate(pair.Certificate[0])
	if err != nil {
		t.Fatal(err)
	}
	return leaf
}

func TestCertificateReload(t *testing.T) {
	for _, reload := range []bool{true, false} {
		dir := t.TempDir()
		first := writeCert(t, dir)
		old := time.Now().Add(-time.Hour)
		_ = os.Chtimes(filepath.Join(dir, "tls.crt"), old, old)
		var log bytes.Buffer
		c, err := FileTLS(dir, reload, slog.New(slog.NewTextHandler(&log, nil)))
		if err != nil {
			t.Fatal(err)
		}
		serving := func() *x509.Certificate {
			pair, err := c.GetCertificate(nil)
			if err != nil {
				t.Fatal(err)
			}
			leaf, err := x509.ParseCertificate(pair.Certificate[0])
			if err != nil {
				t.Fatal(err)
			}
			return leaf
		}
		if !serving().Equal(first) {
			t.Error("another certificate than the file's")
		}
		second := writeCert(t, dir)
		want := first
		if reload {
			want = second
		}
		if !serving().Equal(want) {
			t.Errorf("reload %v: the wrong certificate after a change", reload)
		}
		if err := os.WriteFile(filepath.Join(dir, "tls.key"), []byte("garbage"), 0o600); err != nil {
			t.Fatal(err)
		}
		if !serving().Equal(want) {
			t.Errorf("reload %v: a broken key replaced the certificate in use", reload)
		}
	}
	if _, err := FileTLS(t.TempDir(), true, slog.Default()); err == nil {
		t.Error("no error without certificate files")
	}
}
