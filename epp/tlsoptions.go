package epp

import (
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"os"
	"slices"
	"strings"
)

// MinTLSVersion reads a TLS version by Kubernetes' name for it. Versions that Envoy no
// longer speaks are refused.
func MinTLSVersion(name string) (uint16, error) {
	if i := slices.Index(TLSVersions(), name); i >= 0 {
		return tls.VersionTLS12 + uint16(i), nil
	}
	return 0, fmt.Errorf("%.40q must be %s", name, strings.Join(TLSVersions(), " or "))
}

// TLSVersions are the names that MinTLSVersion reads, the oldest first.
func TLSVersions() []string { return []string{"VersionTLS12", "VersionTLS13"} }

// CipherSuiteNames are the names that CipherSuites reads.
func CipherSuiteNames() []string {
	var known []string
	for _, c := range tls.CipherSuites() {
		if slices.Contains(c.SupportedVersions, tls.VersionTLS12) {
			known = append(known, c.Name)
		}
	}
	return known
}

// CipherSuites reads the names of TLS 1.2 cipher suites. Those with known weaknesses are
// refused.
func CipherSuites(names []string) ([]uint16, error) {
	var ids []uint16
	known := CipherSuiteNames()
	for _, name := range names {
		i := slices.IndexFunc(tls.CipherSuites(), func(c *tls.CipherSuite) bool {
			return c.Name == name && slices.Contains(known, name)
		})
		if i < 0 {
			if slices.ContainsFunc(tls.InsecureCipherSuites(), func(c *tls.CipherSuite) bool { return c.Name == name }) {
				return nil, fmt.Errorf("%s is not secure; choose of %s", name, strings.Join(known, ", "))
			}
			return nil, fmt.Errorf("%.60q must be one of %s", name, strings.Join(known, ", "))
		}
		ids = append(ids, tls.CipherSuites()[i].ID)
	}
	return ids, nil
}

// ClientCA has c ask its clients for a certificate of an authority in file, a PEM.
func ClientCA(c *tls.Config, file string) error {
	pem, err := os.ReadFile(file)
	if err != nil {
		return err
	}
	c.ClientCAs = x509.NewCertPool()
	if !c.ClientCAs.AppendCertsFromPEM(pem) {
		return errors.New(file + ": has no certificate")
	}
	c.ClientAuth = tls.RequireAndVerifyClientCert
	return nil
}
