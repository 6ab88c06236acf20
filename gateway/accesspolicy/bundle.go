package accesspolicy

import (
	"bytes"
	"crypto/x509"
	"encoding/base64"
	"encoding/json"
	"encoding/pem"
	"errors"
	"fmt"
	"slices"
	"time"
)

const (
	// maxBundle bounds a trust bundle, in bytes, and maxAuthorities its certificates.
	maxBundle      = 512 << 10
	maxAuthorities = 64
)

// Bundle is the authorities of a trust domain.
type Bundle struct {
	// PEM has those that are not expired, each once.
	PEM []byte
	// Valid is how many of them are valid now. Expires is when the last one will not be
	// any more, and Next when the first of several will not.
	Valid         int
	Expires, Next time.Time
}

// spiffeBundle is a SPIFFE bundle as far as it is read.
type spiffeBundle struct {
	Keys []struct {
		Use string   `json:"use"`
		X5C []string `json:"x5c"`
	} `json:"keys"`
}

// ParseBundle reads a SPIFFE bundle in JSON, of which the keys of use x509-svid count, or
// certificates in PEM. The error never has any of the data in it.
func ParseBundle(data []byte, now time.Time) (*Bundle, error) {
	if len(data) > maxBundle {
		return nil, fmt.Errorf("is longer than %d bytes", maxBundle)
	}
	ders, err := fromPEM(data)
	if trimmed := bytes.TrimSpace(data); len(trimmed) > 0 && trimmed[0] == '{' {
		ders, err = fromJSON(trimmed)
	}
	if err != nil {
		return nil, err
	}
	if len(ders) > maxAuthorities {
		return nil, fmt.Errorf("has more than %d certificates", maxAuthorities)
	}
	b := &Bundle{}
	var seen []*x509.Certificate
	for i, der := range ders {
		c, err := x509.ParseCertificate(der)
		switch {
		case err != nil:
			return nil, fmt.Errorf("certificate %d cannot be read", i+1)
		case !c.BasicConstraintsValid || !c.IsCA:
			return nil, fmt.Errorf("certificate %d is not one of an authority", i+1)
		case !now.Before(c.NotAfter) || slices.ContainsFunc(seen, c.Equal):
			continue
		}
		seen = append(seen, c)
		b.PEM = append(b.PEM, pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der})...)
		if now.Before(c.NotBefore) {
			continue // one that will take over
		}
		b.Valid++
		if c.NotAfter.After(b.Expires) {
			b.Expires = c.NotAfter
		}
		if b.Next.IsZero() || c.NotAfter.Before(b.Next) {
			b.Next = c.NotAfter
		}
	}
	if b.Valid == 0 {
		return nil, errors.New("has no certificate of an authority that is valid now")
	}
	return b, nil
}

func fromJSON(data []byte) (ders [][]byte, err error) {
	var in spiffeBundle
	if json.Unmarshal(data, &in) != nil {
		return nil, errors.New("is not a SPIFFE bundle in JSON")
	}
	for i, k := range in.Keys {
		if k.Use != "x509-svid" {
			continue
		}
		if len(k.X5C) != 1 {
			return nil, fmt.Errorf("keys[%d] must have one certificate in x5c", i)
		}
		der, err := base64.StdEncoding.DecodeString(k.X5C[0])
		if err != nil {
			return nil, fmt.Errorf("keys[%d].x5c[0] is not base64", i)
		}
		ders = append(ders, der)
	}
	if len(ders) == 0 {
		return nil, errors.New("has no key of use x509-svid")
	}
	return ders, nil
}

func fromPEM(data []byte) (ders [][]byte, err error) {
	for {
		var block *pem.Block
		if block, data = pem.Decode(data); block == nil {
			break
		}
		if block.Type != "CERTIFICATE" {
			return nil, errors.New("has something in PEM that is not a certificate")
		}
		ders = append(ders, block.Bytes)
	}
	if len(ders) == 0 {
		return nil, errors.New("is neither a SPIFFE bundle in JSON nor certificates in PEM")
	}
	return ders, nil
}
