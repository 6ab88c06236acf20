package epp

import (
	"crypto/tls"
	"strings"
	"testing"
)

func TestTLSNames(t *testing.T) {
	for name, want := range map[string]uint16{"VersionTLS12": tls.VersionTLS12, "VersionTLS13": tls.VersionTLS13, "VersionTLS10": 0, "1.2": 0, "": 0} {
		if got, err := MinTLSVersion(name); got != want || (err == nil) != (want != 0) {
			t.Errorf("%q: %d %v", name, got, err)
		}
	}
	ids, err := CipherSuites([]string{"TLS_ECDHE_RSA_WITH_AES_128_GCM_SHA256", "TLS_ECDHE_ECDSA_WITH_CHACHA20_POLY1305_SHA256"})
	if err != nil || len(ids) != 2 || ids[0] != tls.TLS_ECDHE_RSA_WITH_AES_128_GCM_SHA256 {
		t.Errorf("%v %v", ids, err)
	}
	for name, want := range map[string]string{
		"TLS_RSA_WITH_RC4_128_SHA": "is not secure", "TLS_AES_128_GCM_SHA256": "must be one of TLS_ECDHE", "nonsense": "must be one of",
	} {
		if _, err := CipherSuites([]string{name}); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%s: %v, want %q", name, err, want)
		}
	}
}
