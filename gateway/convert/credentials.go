package convert

import (
	"regexp"

	gatewayv1 "sigs.k8s.io/gateway-api/apis/v1"

	"github.com/fairway-ai/fairway/api/v1alpha1"
)

var roleARN = regexp.MustCompile(`^arn:[-a-z]+:iam::[0-9]{12}:role/.+$`)

const (
	ownIdentity  = "; the namespace must be one of the chart's gateway.ownIdentityNamespaces"
	mustFit      = "%s does not go with schema %s; the AIBackend has no credentials"
	secretName   = "must have the Secret's name; the AIBackend has no credentials"
	copySecret   = "AIBackends read Secrets of their own namespace alone; copy Secret %s to namespace %s"
	notOverruled = "credentials do not come from %s; where the configured ones do not do, make an AIBackend for each kind of client"
)

// credentials converts a BackendSecurityPolicy; nil when there is nothing to send.
func (c *converter) credentials(p *object, schema v1alpha1.SchemaName) *v1alpha1.Credentials {
	p.used = true
	p.root.skip("targetRefs")
	kind := p.root.str("type")
	var out *v1alpha1.Credentials
	switch kind {
	case "APIKey":
		out = c.apiKey(p, "apiKey", schema, "Authorization")
	case "AzureAPIKey":
		out = c.apiKey(p, "azureAPIKey", schema, "api-key")
	case "AnthropicAPIKey":
		out = c.apiKey(p, "anthropicAPIKey", schema, "x-api-key")
	case "AWSCredentials":
		out = c.aws(p, schema)
	case "AzureCredentials":
		out = c.azure(p, schema)
	case "GCPCredentials":
		out = c.gcp(p, schema)
	default:
		c.lost(p, "spec.type", "%q is not a type of credentials; the AIBackend has none", shorten(kind))
	}
	return c.overridden(p, kind, schema, out)
}

// usual is the header in which a schema's key goes unless told otherwise.
func usual(s v1alpha1.SchemaName) string {
	switch s {
	case v1alpha1.SchemaAnthropic:
		return "x-api-key"
	case v1alpha1.SchemaAzureOpenAI:
		return "api-key"
	}
	return "Authorization"
}

func (c *converter) apiKey(p *object, field string, schema v1alpha1.SchemaName, header string) *v1alpha1.Credentials {
	ref := c.secret(p, p.root.child(field))
	if ref == nil {
		return nil
	}
	if google(schema) {
		c.lost(p, "spec.type", mustFit, p.root.str("type"), schema)
		return nil
	}
	k := &v1alpha1.APIKeyCredentials{SecretRef: *ref}
	if header != usual(schema) {
		h := gatewayv1.HTTPHeaderName(header)
		k.Header = &h
		if header == "Authorization" {
			bearer := "Bearer "
			k.Prefix = &bearer
		}
	}
	return &v1alpha1.Credentials{Type: v1alpha1.CredentialsAPIKey, APIKey: k}
}

// secret reads n.secretRef. Its entries have the names that AIBackends look for.
func (c *converter) secret(p *object, n *node) *v1alpha1.SecretKey {
	return c.secretAt(p, n, "secretRef")
}

func (c *converter) secretAt(p *object, n *node, field string) *v1alpha1.SecretKey {
	ref := n.child(field)
	ref.skip("group", "kind")
	name := ref.str("name")
	if name == "" || len(name) > 253 {
		path := "spec"
		if n != nil {
			path = n.at(field)
		}
		c.lost(p, path, secretName)
		return nil
	}
	if ns := ref.str("namespace"); ns != "" && ns != p.namespace {
		c.find(p, ref.at("namespace"), p.namespace != "", copySecret, shorten(ns+"/"+name), shorten(p.namespace))
	}
	return &v1alpha1.SecretKey{Name: name}
}

func (c *converter) aws(p *object, schema v1alpha1.SchemaName) *v1alpha1.Credentials {
	n := p.root.child("awsCredentials")
	a := &v1alpha1.AWSCredentials{Region: n.str("region")}
	if f := n.child("credentialsFile"); f != nil {
		a.SecretRef = c.secret(p, f)
		if profile := f.str("profile"); profile != "default" {
			a.Profile = clip(profile, 128)
		}
	}
	if o := n.child("oidcExchangeToken"); o != nil {
		a.RoleARN = o.str("awsRoleArn")
		if !roleARN.MatchString(a.RoleARN) || len(a.RoleARN) > 2048 {
			c.lost(p, o.at("awsRoleArn"), "is not the name of a role")
			a.RoleARN = ""
		}
		a.OIDC = c.oidc(p, o)
		if a.OIDC == nil || a.RoleARN == "" {
			c.lost(p, o.path, "has no usable client or role; the AIBackend has no credentials")
			return nil
		}
	} else if a.SecretRef == nil {
		c.check(p, n0(n, "awsCredentials"), "the gateway's own identity is used"+ownIdentity)
	}
	switch {
	case schema != v1alpha1.SchemaAWSBedrock && schema != v1alpha1.SchemaAWSAnthropic:
		c.lost(p, "spec.type", mustFit, "AWSCredentials", schema)
		return nil
	case a.Region == "" || len(a.Region) > 64:
		c.lost(p, "spec.awsCredentials.region", "is missing; the AIBackend has no credentials")
		return nil
	}
	return &v1alpha1.Credentials{Type: v1alpha1.CredentialsAWS, AWS: a}
}

// n0 is the path of a node that may not be there.
func n0(n *node, field string) string {
	if n == nil {
		return "spec." + field
	}
	return n.path
}

func (c *converter) azure(p *object, schema v1alpha1.SchemaName) *v1alpha1.Credentials {
	n := p.root.child("azureCredentials")
	a := &v1alpha1.AzureCredentials{TenantID: n.str("tenantID"), ClientID: n.str("clientID")}
	if n.has("clientSecretRef") {
		a.SecretRef = c.secretAt(p, n, "clientSecretRef")
	}
	if o := n.child("oidcExchangeToken"); o != nil {
		if a.OIDC = c.oidc(p, o); a.OIDC == nil {
			c.lost(p, o.path, "has no usable client; the AIBackend has no credentials")
			return nil
		}
	}
	switch {
	case schema != v1alpha1.SchemaAzureOpenAI:
		c.lost(p, "spec.type", mustFit, "AzureCredentials", schema)
		return nil
	case len(a.TenantID) > 64 || len(a.ClientID) > 64 || (a.SecretRef != nil || a.OIDC != nil) && (a.TenantID == "" || a.ClientID == ""):
		c.lost(p, n0(n, "azureCredentials"), "must have tenantID and clientID; the AIBackend has no credentials")
		return nil
	}
	return &v1alpha1.Credentials{Type: v1alpha1.CredentialsAzure, Azure: a}
}

func (c *converter) gcp(p *object, schema v1alpha1.SchemaName) *v1alpha1.Credentials {
	n := p.root.child("gcpCredentials")
	g := &v1alpha1.GCPCredentials{Project: n.str("projectName"), Location: n.str("region")}
	if f := n.child("credentialsFile"); f != nil {
		g.SecretRef = c.secret(p, f)
	}
	if w := n.child("workloadIdentityFederationConfig"); w != nil {
		if !c.federated(p, w, g) {
			c.lost(p, w.path, "has no usable client, pool or provider; the AIBackend has no credentials")
			return nil
		}
	} else if g.SecretRef == nil {
		c.check(p, n0(n, "gcpCredentials"), "the gateway's own identity is used"+ownIdentity)
	}
	if n.flag("isPassthrough", false) {
		c.lost(p, n.at("isPassthrough"), "project, location and token do not come from headers of the request; make an AIBackend for each project")
	}
	switch {
	case !google(schema):
		c.lost(p, "spec.type", mustFit, "GCPCredentials", schema)
		return nil
	case g.Project == "" || len(g.Project) > 128 || g.Location == "" || len(g.Location) > 64:
		c.lost(p, n0(n, "gcpCredentials"), "must have projectName and region; the AIBackend has no credentials")
		return nil
	}
	return &v1alpha1.Credentials{Type: v1alpha1.CredentialsGCP, GCP: g}
}

// overridden converts a credentialOverride over the configured credentials.
func (c *converter) overridden(p *object, kind string, schema v1alpha1.SchemaName, configured *v1alpha1.Credentials) *v1alpha1.Credentials {
	o := p.root.child("credentialOverride")
	if o == nil {
		return configured
	}
	if o.has("fromDynamicMetadata") {
		o.child("fromDynamicMetadata").ignore()
		c.lost(p, o.at("fromDynamicMetadata"), notOverruled, "dynamic metadata")
	}
	h := o.child("fromRequestHeaders")
	if h == nil {
		return configured
	}
	name, falls := h.str("header"), h.flag("fallbackToConfigured", true)
	header, fits := map[string]string{"APIKey": "Authorization", "AnthropicAPIKey": "x-api-key", "AzureAPIKey": "api-key"}[kind]
	switch {
	case !fits || falls || google(schema):
		c.lost(p, h.path, notOverruled, "a header of the request where there are others as well, nor for "+shorten(kind))
		return configured
	case name == "":
		name = map[string]string{"APIKey": "x-aigw-api-key", "AnthropicAPIKey": "x-aigw-anthropic-api-key", "AzureAPIKey": "x-aigw-azure-api-key"}[kind]
	case !headerName.MatchString(name):
		c.lost(p, h.at("header"), "%q is not the name of a header", shorten(name))
		return configured
	}
	from := &v1alpha1.HeaderCredentials{Name: gatewayv1.HTTPHeaderName(name)}
	if header != usual(schema) {
		as := gatewayv1.HTTPHeaderName(header)
		from.Header = &as
		if header == "Authorization" {
			bearer := "Bearer "
			from.Prefix = &bearer
		}
	}
	return &v1alpha1.Credentials{Type: v1alpha1.CredentialsFromRequestHeader, FromRequestHeader: from}
}
