package convert

import (
	"regexp"
	"strings"

	"github.com/fairway-ai/fairway/api/v1alpha1"
)

var (
	issuerURL        = regexp.MustCompile(`^https://[A-Za-z0-9]([-A-Za-z0-9.]*[A-Za-z0-9])?(:[0-9]{1,5})?(/[-A-Za-z0-9._~/%]*)?$`)
	workloadProvider = regexp.MustCompile(`^projects/[-a-z0-9.:]+/locations/global/workloadIdentityPools/[-a-z0-9]+/providers/[-a-z0-9]+$`)
	projectNumber    = regexp.MustCompile(`^[0-9]+$`)
)

// oidc converts an oidcExchangeToken; nil when there is too little of it, or too much.
func (c *converter) oidc(p *object, n *node) *v1alpha1.OIDC {
	if grant := n.str("grantType"); grant != "" && grant != "client_credentials" {
		c.lost(p, n.at("grantType"), "%q is not asked with; tokens are got with client_credentials", shorten(grant))
	}
	out := &v1alpha1.OIDC{Audience: clip(n.str("aud"), 1024)}
	o := n.child("oidc")
	provider := o.child("provider")
	out.Issuer, out.ClientID = provider.str("issuer"), o.str("clientID")
	if provider.has("tokenEndpoint") {
		c.check(p, provider.at("tokenEndpoint"), "%s is not carried over: the issuer is asked where it gives out tokens", shorten(provider.str("tokenEndpoint")))
	}
	out.Scopes = o.strings("scopes")
	if o.has("clientSecret") {
		if ref := c.secretAt(p, o, "clientSecret"); ref != nil {
			out.SecretRef = *ref
		}
	}
	if !issuerURL.MatchString(out.Issuer) || len(out.Issuer) > 1024 || out.ClientID == "" || len(out.ClientID) > 256 || out.SecretRef.Name == "" || len(out.Scopes) > 16 {
		return nil
	}
	return out
}

// federated converts a workloadIdentityFederationConfig; false when it cannot be used.
func (c *converter) federated(p *object, n *node, g *v1alpha1.GCPCredentials) bool {
	project := n.str("projectID")
	name := n.child("serviceAccountImpersonation").str("serviceAccountName")
	if name != "" && !strings.Contains(name, "@") && project != "" {
		name += "@" + project + ".iam.gserviceaccount.com"
	}
	g.Impersonate = clip(name, 256)
	g.OIDC = c.oidc(p, n.child("oidcExchangeToken"))
	g.WorkloadIdentityProvider = "projects/" + project + "/locations/global/workloadIdentityPools/" + n.str("workloadIdentityPoolName") + "/providers/" + n.str("workloadIdentityProviderName")
	if !projectNumber.MatchString(project) {
		c.check(p, n.at("projectID"), "Google knows a workload identity pool's project by its number; write that in workloadIdentityProvider if the exchange is refused")
	}
	return g.OIDC != nil && g.SecretRef == nil && len(g.WorkloadIdentityProvider) <= 512 && workloadProvider.MatchString(g.WorkloadIdentityProvider)
}
