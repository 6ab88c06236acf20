package convert

import (
	gatewayv1 "sigs.k8s.io/gateway-api/apis/v1"

	"github.com/fairway-ai/fairway/api/v1alpha1"
)

// attachPolicies finds what policies are for.
func (c *converter) attachPolicies() {
	attach := func(all map[key]*object, x *object, to key, path string) {
		if other := all[to]; other != nil && other != x {
			c.check(x, path, "%s %s has another one already, %s, which was taken", to.kind, shorten(to.name), shorten(other.name))
			return
		}
		all[to] = x
	}
	for _, x := range c.objects {
		switch x.kind {
		case kindServiceBackend:
			// Version 0.2 names the policy here.
			if ref := x.root.child("backendSecurityPolicyRef"); ref != nil {
				ref.skip("group", "kind")
				name := ref.str("name")
				p := c.byName[key{kindSecurityPolicy, x.namespace, name}]
				if p == nil {
					c.lost(x, ref.at("name"), "BackendSecurityPolicy %s is not in the input; give the AIBackend credentials", shorten(name))
					continue
				}
				attach(c.policies, p, key{kindServiceBackend, x.namespace, x.name}, "")
			}
		case kindSecurityPolicy:
			for _, ref := range x.root.list("targetRefs") {
				ref.skip("group")
				to := key{ref.str("kind"), x.namespace, ref.str("name")}
				if to.kind == kindServiceBackend && c.byName[to] == nil {
					c.check(x, ref.path, "AIServiceBackend %s is not in the input", shorten(to.name))
					continue
				}
				attach(c.policies, x, to, ref.path)
			}
		case kindTLSPolicy:
			refs := x.root.list("targetRefs")
			if one := x.root.child("targetRef"); one != nil { // v1alpha2
				refs = append(refs, one)
			}
			for _, ref := range refs {
				ref.skip("group")
				if s := ref.str("sectionName"); s != "" {
					c.check(x, ref.at("sectionName"), "an AIBackend has one port, so that the policy is for all of it")
				}
				attach(c.tls, x, key{ref.str("kind"), x.namespace, ref.str("name")}, ref.path)
			}
		}
	}
}

// policyTLS reads the BackendTLSPolicy of a Backend or Service.
func (c *converter) policyTLS(x *object, spec *v1alpha1.AIBackendSpec, of key, host string) {
	p := c.tls[of]
	if p == nil {
		return
	}
	p.used = true
	v := p.root.child("validation")
	if v == nil { // v1alpha2
		v = p.root.child("tls")
	}
	t := &v1alpha1.BackendTLS{Mode: v1alpha1.TLSVerify}
	if name := v.str("hostname"); name != host {
		t.ServerName = name
	}
	c.authorities(x, p, v, t)
	if v.has("subjectAltNames") {
		v.skip("subjectAltNames")
		c.lost(p, v.at("subjectAltNames"), "the certificate is checked for one name, that of the server; if it has another one, name that in the AIBackend's tls.serverName")
	}
	if p.root.has("options") {
		p.root.child("options").ignore()
		c.lost(p, "spec.options", "have no counterpart; Envoy's usual versions and ciphers are used")
	}
	spec.TLS = t
}

// authorities reads which certificate authorities are trusted.
func (c *converter) authorities(x, from *object, n *node, t *v1alpha1.BackendTLS) {
	if w := n.str("wellKnownCACertificates"); w != "" && w != "System" {
		c.lost(from, n.at("wellKnownCACertificates"), "must be System")
	}
	for i, ref := range n.list("caCertificateRefs") {
		r := gatewayv1.LocalObjectReference{Group: gatewayv1.Group(ref.str("group")), Kind: gatewayv1.Kind(ref.str("kind")), Name: gatewayv1.ObjectName(ref.str("name"))}
		if r.Kind == "" {
			r.Kind = "ConfigMap"
		}
		switch {
		case i >= 8 || r.Group != "" || r.Kind != "ConfigMap" && r.Kind != "Secret" || r.Name == "":
			c.lost(from, ref.path, "must be one of at most 8 ConfigMaps or Secrets")
			continue
		case from.namespace != x.namespace:
			c.lost(from, ref.path, "%s is in another namespace; copy %s %s there", x.title(), r.Kind, shorten(string(r.Name)))
		}
		t.CACertificateRefs = append(t.CACertificateRefs, r)
	}
}

// backendTLS reads what a Backend says of TLS itself, which goes before a policy.
func (c *converter) backendTLS(x, b *object, spec *v1alpha1.AIBackendSpec, host string) {
	n := b.root.child("tls")
	if n == nil {
		return
	}
	t := spec.TLS
	if t == nil {
		t = &v1alpha1.BackendTLS{Mode: v1alpha1.TLSVerify}
	}
	if name := n.str("sni"); name != "" && name != host {
		t.ServerName = name
	}
	n.flag("autoSNIFromEndpointHostname", true) // the usual here
	own := &v1alpha1.BackendTLS{}
	if c.authorities(x, b, n, own); len(own.CACertificateRefs) > 0 {
		t.CACertificateRefs = own.CACertificateRefs
	}
	if n.flag("insecureSkipVerify", false) {
		t.Mode, t.CACertificateRefs = v1alpha1.TLSInsecure, nil
	}
	if n.has("clientCertificateRef") {
		n.child("clientCertificateRef").ignore()
		c.lost(b, n.at("clientCertificateRef"), "no client certificate is sent to backends; use another kind of credentials")
	}
	spec.TLS = t
}
