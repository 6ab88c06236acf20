package airoute

import (
	"bytes"
	"cmp"
	"encoding/pem"
	"fmt"
	"strings"

	gatewayv1 "sigs.k8s.io/gateway-api/apis/v1"

	"github.com/fairway-ai/fairway/aibackend"
	"github.com/fairway-ai/fairway/aibackend/credentials"
	"github.com/fairway-ai/fairway/api/v1alpha1"
)

// backend makes a Backend of an AIBackend.
func (b *builder) backend(x *backendObject) {
	name := x.Namespace + "/" + x.Name
	if b.c.Backend(name) != nil {
		b.fail(x.source, "metadata.name", "AIBackend %s is there twice", name)
		return
	}
	before := len(b.errs)
	s := &x.Spec
	out := Backend{
		Name: name, Label: name, Models: s.Models,
		Provider: aibackend.Backend{
			Schema: aibackend.Schema(s.Schema.Name), Version: s.Schema.Version, PathPrefix: s.Schema.PathPrefix,
		},
	}
	if !aibackend.CanTranslate("/v1/chat/completions", out.Provider.Schema) {
		b.fail(x.source, "spec.schema.name", "must be OpenAI, AzureOpenAI, Anthropic, AWSBedrock, AWSAnthropic, GCPVertexAI or GCPAnthropic")
	}
	if s.Schema.PathPrefix != "" && (s.Schema.PathPrefix[0] != '/' || strings.ContainsAny(s.Schema.PathPrefix, "?# \r\n")) {
		b.fail(x.source, "spec.schema.pathPrefix", "must be a path as in /v1")
	}
	if s.Body != nil {
		b.fail(x.source, "spec.body", "is not supported outside of a cluster yet; remove it")
	}
	b.tls(x, &out)
	b.destination(x, &out)
	b.headers(x, &out)
	b.credentials(x, &out)
	if len(b.errs) > before {
		return
	}
	b.c.Backends = append(b.c.Backends, out)
	b.made[name] = &out
}

func (b *builder) destination(x *backendObject, out *Backend) {
	d := &x.Spec.Destination
	switch h := d.Hostname; {
	case d.Type == v1alpha1.DestinationService:
		b.fail(x.source, "spec.destination.type", "there are no Services outside of a cluster; use type Hostname")
	case d.Type == v1alpha1.DestinationInferencePool:
		b.fail(x.source, "spec.destination.type", "name the InferencePool in the AIRoute's backendRefs instead; as an AIBackend it is not supported yet")
	case d.Type != v1alpha1.DestinationHostname:
		b.fail(x.source, "spec.destination.type", "must be Hostname")
	case h == nil || d.Service != nil || d.InferencePool != nil:
		b.fail(x.source, "spec.destination.hostname", "must be set for type Hostname, and nothing else")
	case h.Host == "" || len(h.Host) > 253 || strings.ContainsFunc(h.Host, func(c rune) bool {
		return !strings.ContainsRune("-.:", c) && (c < '0' || c > '9') && (c < 'a' || c > 'z') && (c < 'A' || c > 'Z')
	}):
		b.fail(x.source, "spec.destination.hostname.host", "must be a DNS name or an IP address, without scheme, port and path")
	default:
		out.Host, out.Port = h.Host, 443
		if out.TLS.Off {
			out.Port = 80
		}
		if p := h.Port; p != nil {
			if *p < 1 || *p > 65535 {
				b.fail(x.source, "spec.destination.hostname.port", "must be 1 to 65535")
				return
			}
			out.Port = uint16(*p)
		}
	}
}

func (b *builder) tls(x *backendObject, out *Backend) {
	t := x.Spec.TLS
	if t == nil {
		return
	}
	switch t.Mode {
	case "", v1alpha1.TLSVerify:
	case v1alpha1.TLSInsecure:
		out.TLS.Insecure = true
	case v1alpha1.TLSNone:
		out.TLS.Off = true
	default:
		b.fail(x.source, "spec.tls.mode", "must be Verify, Insecure or None")
	}
	out.TLS.ServerName = t.ServerName
	if len(t.CACertificateRefs) > 0 && (out.TLS.Off || out.TLS.Insecure) {
		b.fail(x.source, "spec.tls.caCertificateRefs", "only mode Verify checks certificates")
	}
	for i, ref := range t.CACertificateRefs {
		field := fmt.Sprintf("spec.tls.caCertificateRefs[%d]", i)
		ca := b.objects.Secrets.Read(x.Namespace, string(ref.Name))["ca.crt"]
		switch block, _ := pem.Decode(ca); {
		case ref.Kind != kindSecret:
			b.fail(x.source, field+".kind", "must be Secret; ConfigMaps are not read from a file")
		case ca == nil:
			b.fail(x.source, field+".name", "there is no Secret %s/%s with ca.crt in this file", x.Namespace, shorten(string(ref.Name)))
		case block == nil || block.Type != "CERTIFICATE":
			b.fail(x.source, field+".name", "ca.crt is not a certificate in PEM")
		default:
			out.TLS.CA = append(bytes.TrimRight(append(out.TLS.CA, ca...), "\n"), '\n')
		}
	}
}

func (b *builder) headers(x *backendObject, out *Backend) {
	h := x.Spec.Headers
	if h == nil {
		return
	}
	read := func(field string, all []gatewayv1.HTTPHeader) (list []aibackend.Header) {
		for i, h := range all {
			name := strings.ToLower(string(h.Name))
			if !b.headerName(x, fmt.Sprintf("spec.headers.%s[%d].name", field, i), name) {
				continue
			}
			if strings.ContainsAny(h.Value, "\r\n\x00") {
				b.fail(x.source, fmt.Sprintf("spec.headers.%s[%d].value", field, i), "must be one line")
				continue
			}
			list = append(list, aibackend.Header{Name: name, Value: h.Value})
		}
		return list
	}
	out.SetHeaders, out.AddHeaders = read("set", h.Set), read("add", h.Add)
	for i, name := range h.Remove {
		if name = strings.ToLower(name); b.headerName(x, fmt.Sprintf("spec.headers.remove[%d]", i), name) {
			out.RemoveHeaders = append(out.RemoveHeaders, name)
		}
	}
}

func (b *builder) headerName(x *backendObject, field, name string) bool {
	ok := name != "" && len(name) <= 256 && name != "host" && name != "content-length" && name != "transfer-encoding" && !strings.HasPrefix(name, "x-fairway-") &&
		!strings.ContainsFunc(name, func(c rune) bool { return c != '-' && c != '_' && (c < 'a' || c > 'z') && (c < '0' || c > '9') })
	if !ok {
		b.fail(x.source, field, "is not the name of a header that can be changed")
	}
	return ok
}

// usualHeader is where a schema wants a key, and what comes before it.
func usualHeader(s aibackend.Schema) (name string, prefix *string) {
	none := ""
	switch s {
	case aibackend.Anthropic:
		return "x-api-key", &none
	case aibackend.AzureOpenAI:
		return "api-key", &none
	case aibackend.GCPVertexAI:
		return "x-goog-api-key", &none
	}
	bearer := "Bearer "
	return "authorization", &bearer
}

func (b *builder) credentials(x *backendObject, out *Backend) {
	in := x.Spec.Credentials
	schema := out.Provider.Schema
	google := schema == aibackend.GCPVertexAI || schema == aibackend.GCPAnthropic
	if google && (in == nil || in.GCP == nil) {
		b.fail(x.source, "spec.credentials", "schema %s needs type GCP, which names project and location", schema)
		return
	}
	if in == nil {
		out.Credentials = credentials.Config{Type: credentials.TypeNone}
		return
	}
	const at = "spec.credentials"
	set := map[v1alpha1.CredentialsType]bool{
		v1alpha1.CredentialsAPIKey: in.APIKey != nil, v1alpha1.CredentialsAWS: in.AWS != nil, v1alpha1.CredentialsAzure: in.Azure != nil,
		v1alpha1.CredentialsGCP: in.GCP != nil, v1alpha1.CredentialsFromRequestHeader: in.FromRequestHeader != nil,
	}
	for t, there := range set {
		if there != (t == in.Type) {
			b.fail(x.source, at+".type", "must be APIKey, AWS, Azure, GCP or FromRequestHeader, and just the part of that type must be there")
			return
		}
	}
	amazon := schema == aibackend.AWSBedrock || schema == aibackend.AWSAnthropic
	if in.AWS != nil && !amazon || in.Azure != nil && schema != aibackend.AzureOpenAI || in.GCP != nil && !google {
		b.fail(x.source, at+".type", "%s does not go with schema %s", in.Type, schema)
		return
	}
	out.Credentials.Type = credentials.Type(in.Type)
	name, prefix := usualHeader(schema)
	switch {
	case in.APIKey != nil:
		k := &credentials.APIKey{Header: name, Prefix: prefix, Value: b.secret(x, at+".apiKey.secretRef", in.APIKey.SecretRef, "apiKey")}
		if h := in.APIKey.Header; h != nil {
			none := ""
			k.Header, k.Prefix = strings.ToLower(string(*h)), &none
			if k.Header == "authorization" {
				k.Prefix = nil
			}
		}
		if in.APIKey.Prefix != nil {
			k.Prefix = in.APIKey.Prefix
		}
		out.Credentials.APIKey = k
	case in.AWS != nil:
		out.Credentials.AWS = b.aws(x, in.AWS)
		out.Provider.Region = in.AWS.Region
	case in.Azure != nil:
		a := &credentials.Azure{TenantID: in.Azure.TenantID, ClientID: in.Azure.ClientID}
		if r := in.Azure.SecretRef; r != nil {
			v := b.secret(x, at+".azure.secretRef", *r, "client-secret")
			a.ClientSecret = &v
		}
		out.Credentials.Azure = a
	case in.GCP != nil:
		g := &credentials.GCP{Impersonate: in.GCP.Impersonate}
		if r := in.GCP.SecretRef; r != nil {
			v := b.secret(x, at+".gcp.secretRef", *r, "service_account.json")
			g.CredentialsJSON = &v
		}
		if in.GCP.Project == "" || in.GCP.Location == "" {
			b.fail(x.source, at+".gcp", "project and location must be there")
		}
		out.Credentials.GCP = g
		out.Provider.Project, out.Provider.Region = in.GCP.Project, in.GCP.Location
	case in.FromRequestHeader != nil:
		f := &credentials.FromRequestHeader{Header: strings.ToLower(string(in.FromRequestHeader.Name)), As: name, Prefix: *prefix}
		f.TrimPrefix = "Bearer "
		if h := in.FromRequestHeader.Header; h != nil {
			f.As, f.Prefix = strings.ToLower(string(*h)), ""
		}
		if p := in.FromRequestHeader.Prefix; p != nil {
			f.Prefix = *p
		}
		out.Credentials.FromRequestHeader = f
	}
}

func (b *builder) aws(x *backendObject, in *v1alpha1.AWSCredentials) *credentials.AWS {
	const at = "spec.credentials.aws"
	a := &credentials.AWS{Region: in.Region, Profile: in.Profile}
	if in.Region == "" {
		b.fail(x.source, at+".region", "is missing")
	}
	if r := in.SecretRef; r != nil {
		a.SharedFile = &credentials.AWSSharedFile{Content: b.secret(x, at+".secretRef", *r, "credentials"), Profile: in.Profile}
		a.Profile = ""
	}
	switch {
	case in.WebIdentityTokenFile != "" && (in.RoleARN == "" || in.SecretRef != nil):
		b.fail(x.source, at+".webIdentityTokenFile", "needs roleARN, and goes without secretRef")
	case in.WebIdentityTokenFile != "":
		a.WebIdentity = &credentials.AWSWebIdentity{RoleARN: in.RoleARN, Token: credentials.IdentityToken{File: in.WebIdentityTokenFile}}
	case in.RoleARN != "":
		a.AssumeRole = []credentials.AWSRole{{RoleARN: in.RoleARN, ExternalID: in.ExternalID}}
	}
	return a
}

// secret is an entry of a Secret in the backend's namespace, which must be there.
func (b *builder) secret(x *backendObject, field string, r v1alpha1.SecretKey, usual string) credentials.Value {
	key := cmp.Or(r.Key, usual)
	switch all := b.objects.Secrets.Read(x.Namespace, r.Name); {
	case all == nil:
		b.fail(x.source, field+".name", "there is no Secret %s/%s in this file", x.Namespace, shorten(r.Name))
	case len(all[key]) == 0:
		b.fail(x.source, field+".key", "Secret %s/%s has no entry %s, or it is empty", x.Namespace, shorten(r.Name), shorten(key))
	}
	return credentials.Value{SecretRef: &credentials.SecretRef{Namespace: x.Namespace, Name: r.Name, Key: key}}
}
