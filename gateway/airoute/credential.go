package airoute

import (
	"cmp"
	"net/url"
	"slices"
	"strings"

	"k8s.io/apimachinery/pkg/types"
	gatewayv1 "sigs.k8s.io/gateway-api/apis/v1"

	"github.com/fairway-ai/fairway/aibackend"
	"github.com/fairway-ai/fairway/aibackend/credentials"
	"github.com/fairway-ai/fairway/api/v1alpha1"
)

const atCredentials = "spec.credentials"

// usualHeader is where a schema wants a key, and what comes before it.
func usualHeader(s aibackend.Schema) (name, prefix string) {
	switch s {
	case aibackend.Anthropic:
		return "x-api-key", ""
	case aibackend.AzureOpenAI:
		return "api-key", ""
	case aibackend.GCPVertexAI:
		return "x-goog-api-key", ""
	}
	return "authorization", "Bearer "
}

func (m *backendBuilder) credentials() {
	in, schema := m.x.Spec.Credentials, m.out.Provider.Schema
	google := schema == aibackend.GCPVertexAI || schema == aibackend.GCPAnthropic
	if google && (in == nil || in.GCP == nil) {
		m.invalid(atCredentials, "schema %s needs type GCP, which names project and location", schema)
		return
	}
	if in == nil {
		return
	}
	for t, there := range map[v1alpha1.CredentialsType]bool{
		v1alpha1.CredentialsAPIKey: in.APIKey != nil, v1alpha1.CredentialsAWS: in.AWS != nil, v1alpha1.CredentialsAzure: in.Azure != nil,
		v1alpha1.CredentialsGCP: in.GCP != nil, v1alpha1.CredentialsFromRequestHeader: in.FromRequestHeader != nil,
	} {
		if there != (t == in.Type) {
			m.invalid(atCredentials+".type", "must be APIKey, AWS, Azure, GCP or FromRequestHeader, and just the part of that type must be there")
			return
		}
	}
	amazon := schema == aibackend.AWSBedrock || schema == aibackend.AWSAnthropic
	if in.AWS != nil && !amazon || in.Azure != nil && schema != aibackend.AzureOpenAI || in.GCP != nil && !google {
		m.invalid(atCredentials+".type", "%s does not go with schema %s", in.Type, shorten(string(schema)))
		return
	}
	out := &m.out.Credentials
	out.Type = credentials.Type(in.Type)
	switch {
	case in.APIKey != nil:
		out.APIKey = m.apiKey(in.APIKey)
	case in.AWS != nil:
		out.AWS = m.aws(in.AWS)
		m.out.Provider.Region = in.AWS.Region
	case in.Azure != nil:
		out.Azure = m.azure(in.Azure)
	case in.GCP != nil:
		out.GCP = m.gcp(in.GCP)
		m.out.Provider.Project, m.out.Provider.Region = in.GCP.Project, in.GCP.Location
	case in.FromRequestHeader != nil:
		out.FromRequestHeader = m.fromHeader(in.FromRequestHeader)
	}
}

func (m *backendBuilder) apiKey(in *v1alpha1.APIKeyCredentials) *credentials.APIKey {
	const at = atCredentials + ".apiKey"
	name, prefix := usualHeader(m.out.Provider.Schema)
	out := &credentials.APIKey{Header: name, Prefix: &prefix, Value: m.secret(at+".secretRef", in.SecretRef, "apiKey")}
	if in.Header != nil {
		out.Header, prefix = m.headerName(at+".header", *in.Header), ""
		if out.Header == "authorization" {
			out.Prefix = nil
		}
	}
	if in.Prefix != nil {
		out.Prefix = m.prefix(at+".prefix", *in.Prefix)
	}
	return out
}

func (m *backendBuilder) fromHeader(in *v1alpha1.HeaderCredentials) *credentials.FromRequestHeader {
	const at = atCredentials + ".fromRequestHeader"
	out := &credentials.FromRequestHeader{Header: m.headerName(at+".name", in.Name), TrimPrefix: "Bearer "}
	out.As, out.Prefix = usualHeader(m.out.Provider.Schema)
	if in.Header != nil {
		out.As, out.Prefix = m.headerName(at+".header", *in.Header), ""
	}
	if in.Prefix != nil {
		out.Prefix = *m.prefix(at+".prefix", *in.Prefix)
	}
	return out
}

func (m *backendBuilder) headerName(field string, name gatewayv1.HTTPHeaderName) string {
	lower := strings.ToLower(string(name))
	m.header(field, lower)
	return lower
}

func (m *backendBuilder) prefix(field, s string) *string {
	if len(s) > 64 || strings.ContainsFunc(s, func(c rune) bool { return c < ' ' || c > '~' }) {
		m.invalid(field, "must be one line of at most 64 characters")
	}
	return &s
}

func (m *backendBuilder) aws(in *v1alpha1.AWSCredentials) *credentials.AWS {
	const at = atCredentials + ".aws"
	a := &credentials.AWS{Region: in.Region, Profile: in.Profile}
	if in.Region == "" || !plain(in.Region) {
		m.invalid(at+".region", "must be a region as in eu-west-1")
	}
	if r := in.SecretRef; r != nil {
		a.SharedFile = &credentials.AWSSharedFile{Content: m.secret(at+".secretRef", *r, "credentials"), Profile: in.Profile}
		a.Profile = ""
	} else if in.OIDC == nil {
		m.ownIdentity(at)
	}
	switch {
	case in.OIDC != nil && (in.RoleARN == "" || in.SecretRef != nil || in.WebIdentityTokenFile != "" || in.Profile != "" || in.ExternalID != ""):
		m.invalid(at+".oidc", "needs roleARN, and goes without secretRef, profile, externalID and webIdentityTokenFile")
	case in.OIDC != nil:
		a.WebIdentity = &credentials.AWSWebIdentity{RoleARN: in.RoleARN, Token: m.oidc(at+".oidc", in.OIDC)}
	case in.WebIdentityTokenFile != "" && (in.RoleARN == "" || in.SecretRef != nil):
		m.invalid(at+".webIdentityTokenFile", "needs roleARN, and goes without secretRef")
	case in.WebIdentityTokenFile != "" && in.Profile != "":
		m.invalid(at+".profile", "goes without webIdentityTokenFile; remove one of them")
	case in.WebIdentityTokenFile != "":
		a.WebIdentity = &credentials.AWSWebIdentity{RoleARN: in.RoleARN, Token: credentials.IdentityToken{File: in.WebIdentityTokenFile}}
	case in.RoleARN != "":
		a.AssumeRole = []credentials.AWSRole{{RoleARN: in.RoleARN, ExternalID: in.ExternalID}}
	}
	return a
}

func (m *backendBuilder) azure(in *v1alpha1.AzureCredentials) *credentials.Azure {
	const at = atCredentials + ".azure"
	a := &credentials.Azure{TenantID: in.TenantID, ClientID: in.ClientID}
	if in.OIDC != nil {
		if in.TenantID == "" || in.ClientID == "" || in.SecretRef != nil {
			m.invalid(at+".oidc", "needs tenantID and clientID, and goes without secretRef")
		}
		token := m.oidc(at+".oidc", in.OIDC)
		a.Federated = &token
		return a
	}
	if in.SecretRef == nil {
		m.ownIdentity(at)
		return a
	}
	if in.TenantID == "" || in.ClientID == "" {
		m.invalid(at, "secretRef needs tenantID and clientID")
	}
	v := m.secret(at+".secretRef", *in.SecretRef, "client-secret")
	a.ClientSecret = &v
	return a
}

func (m *backendBuilder) gcp(in *v1alpha1.GCPCredentials) *credentials.GCP {
	const at = atCredentials + ".gcp"
	g := &credentials.GCP{Impersonate: in.Impersonate}
	if in.Project == "" || in.Location == "" || !plain(in.Project) || !plain(in.Location) {
		m.invalid(at, "project and location must be there, as in my-project and global")
	}
	if (in.OIDC != nil) != (in.WorkloadIdentityProvider != "") || in.OIDC != nil && in.SecretRef != nil {
		m.invalid(at+".oidc", "goes with workloadIdentityProvider, and without secretRef")
		return g
	}
	if in.OIDC != nil {
		g.WorkloadIdentity = &credentials.GCPWorkloadIdentity{
			Audience: "//iam.googleapis.com/" + in.WorkloadIdentityProvider, Token: m.oidc(at+".oidc", in.OIDC),
		}
		return g
	}
	if in.SecretRef == nil {
		m.ownIdentity(at)
		return g
	}
	v := m.secret(at+".secretRef", *in.SecretRef, "service_account.json")
	g.CredentialsJSON = &v
	return g
}

// ownIdentity checks that the namespace may use the identity that the gateway has: who
// may create AIBackends there could spend its money otherwise.
func (m *backendBuilder) ownIdentity(at string) {
	if !m.in.OwnIdentity(m.x.Namespace) {
		m.add(ReasonIdentity, at, "without secretRef, the gateway's own identity is used, and namespace %s may not use it; set secretRef, or add the namespace to the chart's value gateway.ownIdentityNamespaces", m.x.Namespace)
	}
}

// secret is an entry of a Secret in the backend's namespace, which must be there.
func (m *backendBuilder) secret(field string, r v1alpha1.SecretKey, usual string) credentials.Value {
	name, key := types.NamespacedName{Namespace: m.x.Namespace, Name: r.Name}, cmp.Or(r.Key, usual)
	keys, there := m.in.SecretKeys(name)
	switch {
	case !there && m.local:
		m.add(ReasonSecret, field+".name", "there is no Secret %s in this file", shorten(name.String()))
	case !there:
		m.add(ReasonSecret, field+".name", "there is no Secret %s; create it, with the entry %s", shorten(name.String()), shorten(key))
	case !slices.Contains(keys, key):
		m.add(ReasonSecret, field+".key", "Secret %s has no entry %s, or it is empty; add it, or name another one (the default is %s)", shorten(name.String()), shorten(key), usual)
	}
	return credentials.Value{SecretRef: &credentials.SecretRef{Namespace: name.Namespace, Name: name.Name, Key: key}}
}

// oidc is a token of an issuer, which the gateway asks itself. Where that may be is checked
// as for a destination, and again whenever it is asked.
func (m *backendBuilder) oidc(at string, in *v1alpha1.OIDC) credentials.IdentityToken {
	out := &credentials.OIDC{
		Issuer: in.Issuer, ClientID: in.ClientID, Scopes: slices.Clone(in.Scopes), Audience: in.Audience,
		ClientSecret: m.secret(at+".secretRef", in.SecretRef, "client-secret"),
	}
	u, err := url.Parse(in.Issuer)
	switch {
	case err != nil || u.Scheme != "https" || u.Hostname() == "" || u.User != nil || u.RawQuery != "" || u.Fragment != "":
		m.invalid(at+".issuer", "must be an https URL without user, password and query")
	case !m.local:
		out.Guard = &credentials.Guard{Domain: m.in.ClusterDomain}
		if strings.HasSuffix(strings.ToLower(u.Hostname()), ".svc") {
			m.invalid(at+".issuer", "must name the Service in full, as in name.namespace.svc.%s", m.in.ClusterDomain)
		} else {
			m.reachable(at+".issuer", u.Hostname(), "name a Service")
		}
	}
	if in.ClientID == "" {
		m.invalid(at+".clientID", "must be there")
	}
	return credentials.IdentityToken{OIDC: out}
}
