package airoute

import (
	"bytes"
	"crypto/x509"
	"encoding/pem"
	"fmt"

	"k8s.io/apimachinery/pkg/types"
	gatewayv1 "sigs.k8s.io/gateway-api/apis/v1"

	"github.com/fairway-ai/fairway/api/v1alpha1"
)

const (
	kindConfigMap  = "ConfigMap"
	certificateKey = "ca.crt"
)

func (m *backendBuilder) tls() {
	t := m.x.Spec.TLS
	if t == nil {
		return
	}
	out := &m.out.TLS
	switch t.Mode {
	case "", v1alpha1.TLSVerify:
	case v1alpha1.TLSInsecure:
		out.Insecure = true
	case v1alpha1.TLSNone:
		out.Off = true
	default:
		m.invalid("spec.tls.mode", "must be Verify, Insecure or None")
	}
	if !hostText(t.ServerName) {
		m.invalid("spec.tls.serverName", "must be a DNS name")
	}
	out.ServerName = t.ServerName
	if len(t.CACertificateRefs) > 0 && (out.Off || out.Insecure) {
		m.invalid("spec.tls.caCertificateRefs", "only mode Verify checks certificates")
		return
	}
	for i, ref := range t.CACertificateRefs {
		out.CA = append(out.CA, m.authority(fmt.Sprintf("spec.tls.caCertificateRefs[%d]", i), ref)...)
	}
}

// authority is what a ConfigMap or Secret has in ca.crt, as PEM with nothing else.
func (m *backendBuilder) authority(field string, ref gatewayv1.LocalObjectReference) []byte {
	name := types.NamespacedName{Namespace: m.x.Namespace, Name: string(ref.Name)}
	var ca []byte
	switch {
	case ref.Group != "" && ref.Group != "core":
		m.add(ReasonInvalidKind, field+".group", "must be empty")
		return nil
	case ref.Kind == kindSecret:
		ca = m.in.Certificate(name)
	case ref.Kind == kindConfigMap && m.local:
		m.add(ReasonInvalidKind, field+".kind", "must be Secret; ConfigMaps are not read from a file")
		return nil
	case ref.Kind == kindConfigMap:
		if c := m.in.ConfigMap(name); c != nil {
			if ca = []byte(c.Data[certificateKey]); len(ca) == 0 {
				ca = c.BinaryData[certificateKey]
			}
		}
	default:
		m.add(ReasonInvalidKind, field+".kind", "must be ConfigMap or Secret")
		return nil
	}
	if len(ca) == 0 {
		m.add(ReasonCertificate, field+".name", "there is no %s %s with an entry %s%s", ref.Kind, shorten(name.String()), certificateKey, m.here())
		return nil
	}
	clean, ok := certificates(ca)
	if !ok {
		m.add(ReasonCertificate, field+".name", "%s of %s %s must be certificates in PEM, and nothing else", certificateKey, ref.Kind, name)
	}
	return clean
}

// certificates is text without all that is between its certificates; false when one
// cannot be read, or there is none. Envoy refuses a cluster with such a text.
func certificates(text []byte) (clean []byte, ok bool) {
	for {
		block, rest := pem.Decode(text)
		if block == nil {
			return clean, len(clean) > 0 && !bytes.Contains(rest, []byte("-----BEGIN"))
		}
		if block.Type != "CERTIFICATE" {
			return nil, false
		}
		if _, err := x509.ParseCertificate(block.Bytes); err != nil {
			return nil, false
		}
		clean = append(clean, pem.EncodeToMemory(&pem.Block{Type: block.Type, Bytes: block.Bytes})...)
		text = rest
	}
}
