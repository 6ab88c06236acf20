package certs

import (
	"bytes"
	"crypto"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"errors"
	"fmt"
	"math/big"
	"time"
)

const (
	// authorityYears is how long an authority is valid, in years.
	authorityYears = 10
	// leafLife is how long a replica's certificate is valid.
	leafLife = 30 * 24 * time.Hour
	// skew is how much a client's clock may be behind.
	skew = time.Hour
	// maxBundle bounds the certificates of a bundle: those of a user's public key
	// infrastructure, and of every rotation, are far fewer.
	maxBundle = 64
	// maxPEM bounds what is read of one file or key of a Secret, in bytes.
	maxPEM = 1 << 20
)

// authority signs certificates, and knows whom else to trust.
type authority struct {
	cert *x509.Certificate
	key  crypto.Signer
	// cross is the authority's certificate as signed by its predecessor, nil for the
	// first one: whoever trusts only the predecessor still trusts what this one signs.
	cross *x509.Certificate
	// bundle are the authorities to trust: this one, then its predecessors.
	bundle []*x509.Certificate
}

// newAuthority makes an authority, as successor of old unless that is nil.
func newAuthority(old *authority, now time.Time) (*authority, error) {
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		return nil, fmt.Errorf("certificate authority: %w", err)
	}
	serial, err := newSerial()
	if err != nil {
		return nil, fmt.Errorf("certificate authority: %w", err)
	}
	template := &x509.Certificate{
		SerialNumber: serial,
		// The serial number in the name tells authorities apart while a chain is built.
		Subject:               pkix.Name{CommonName: "Fairway internal authority", SerialNumber: serial.Text(16)},
		NotBefore:             now.Add(-skew),
		NotAfter:              now.AddDate(authorityYears, 0, 0),
		KeyUsage:              x509.KeyUsageCertSign | x509.KeyUsageCRLSign,
		IsCA:                  true,
		BasicConstraintsValid: true,
	}
	cert, err := sign(template, template, key.Public(), key)
	if err != nil {
		return nil, fmt.Errorf("certificate authority: %w", err)
	}
	a := &authority{cert: cert, key: key, bundle: []*x509.Certificate{cert}}
	if old == nil {
		return a, nil
	}
	for _, c := range old.bundle {
		if now.Before(c.NotAfter) {
			a.bundle = append(a.bundle, c)
		}
	}
	if now.Before(old.cert.NotAfter) {
		template.NotAfter = old.cert.NotAfter
		if a.cross, err = sign(template, old.cert, key.Public(), old.key); err != nil {
			return nil, fmt.Errorf("certificate authority signed by its predecessor: %w", err)
		}
	}
	return a, nil
}

// aged reports whether less than a tenth of the authority's life is left.
func (a *authority) aged(now time.Time) bool {
	life := a.cert.NotAfter.Sub(a.cert.NotBefore)
	return a.cert.NotAfter.Sub(now) < life/10
}

// issue makes a server's certificate for names.
func (a *authority) issue(names []string, now time.Time) (*tls.Certificate, error) {
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		return nil, fmt.Errorf("server certificate: %w", err)
	}
	serial, err := newSerial()
	if err != nil {
		return nil, fmt.Errorf("server certificate: %w", err)
	}
	end := now.Add(leafLife)
	if end.After(a.cert.NotAfter) {
		end = a.cert.NotAfter
	}
	leaf, err := sign(&x509.Certificate{
		SerialNumber: serial,
		Subject:      pkix.Name{CommonName: "fairway"},
		DNSNames:     names,
		NotBefore:    now.Add(-skew),
		NotAfter:     end,
		KeyUsage:     x509.KeyUsageDigitalSignature,
		ExtKeyUsage:  []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth},
	}, a.cert, key.Public(), a.key)
	if err != nil {
		return nil, fmt.Errorf("server certificate: %w", err)
	}
	chain := [][]byte{leaf.Raw}
	if a.cross != nil && now.Before(a.cross.NotAfter) {
		chain = append(chain, a.cross.Raw)
	}
	return &tls.Certificate{Certificate: chain, PrivateKey: key, Leaf: leaf}, nil
}

// sign makes a certificate and reads it back.
func sign(template, parent *x509.Certificate, public crypto.PublicKey, key crypto.Signer) (*x509.Certificate, error) {
	der, err := x509.CreateCertificate(rand.Reader, template, parent, public, key)
	if err != nil {
		return nil, err
	}
	return x509.ParseCertificate(der)
}

func newSerial() (*big.Int, error) {
	return rand.Int(rand.Reader, new(big.Int).Lsh(big.NewInt(1), 127))
}

// parseAuthority reads an authority from PEM: its certificate, followed by older
// ones to trust; its key; and, unless empty, its certificate signed by its
// predecessor. Errors say what is wrong, and nothing of the key.
func parseAuthority(bundle, key, cross []byte) (*authority, error) {
	certs, err := parseCertificates(bundle)
	if err != nil {
		return nil, err
	}
	pair, err := tls.X509KeyPair(encode(certs[0]), key)
	if err != nil {
		return nil, errors.New("the key is unreadable, or is not that of the first certificate")
	}
	signer, ok := pair.PrivateKey.(crypto.Signer)
	if !ok {
		return nil, errors.New("the key cannot sign")
	}
	a := &authority{cert: certs[0], key: signer, bundle: certs}
	if !a.cert.IsCA || a.cert.KeyUsage != 0 && a.cert.KeyUsage&x509.KeyUsageCertSign == 0 {
		return nil, errors.New("the first certificate is not that of an authority")
	}
	if len(cross) > 0 {
		c, err := parseCertificates(cross)
		if err != nil {
			return nil, fmt.Errorf("certificate signed by the predecessor: %w", err)
		}
		// One that belongs to another authority, left behind by whoever replaced the
		// rest, vouches for nothing.
		if bytes.Equal(c[0].RawSubjectPublicKeyInfo, a.cert.RawSubjectPublicKeyInfo) && bytes.Equal(c[0].RawSubject, a.cert.RawSubject) {
			a.cross = c[0]
		}
	}
	return a, nil
}

// parseCertificates reads PEM certificates, at least one.
func parseCertificates(b []byte) ([]*x509.Certificate, error) {
	if len(b) > maxPEM {
		return nil, fmt.Errorf("more than %d bytes of certificates", maxPEM)
	}
	var certs []*x509.Certificate
	for len(b) > 0 {
		var block *pem.Block
		if block, b = pem.Decode(b); block == nil {
			break
		}
		if block.Type != "CERTIFICATE" {
			return nil, errors.New("among the certificates is something else")
		}
		c, err := x509.ParseCertificate(block.Bytes)
		if err != nil {
			return nil, fmt.Errorf("certificate %d cannot be read: %w", len(certs)+1, err)
		}
		if certs = append(certs, c); len(certs) > maxBundle {
			return nil, fmt.Errorf("more than %d certificates", maxBundle)
		}
	}
	if len(certs) == 0 {
		return nil, errors.New("no PEM certificate")
	}
	return certs, nil
}

// encode returns certificates as PEM.
func encode(certs ...*x509.Certificate) []byte {
	var b bytes.Buffer
	for _, c := range certs {
		_ = pem.Encode(&b, &pem.Block{Type: "CERTIFICATE", Bytes: c.Raw}) // a buffer takes all
	}
	return b.Bytes()
}

// encodeKey returns the authority's key as PEM.
func (a *authority) encodeKey() ([]byte, error) {
	der, err := x509.MarshalPKCS8PrivateKey(a.key)
	if err != nil {
		return nil, errors.New("the authority's key cannot be written")
	}
	return pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: der}), nil
}
