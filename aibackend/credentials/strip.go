package credentials

import "strings"

// Strip removes every header that may carry a credential, so that a request to
// one provider carries neither the client's nor that of the provider tried
// before: those listed at carriesCredential, and besides them the named ones, such
// as [Signer.Carries] of an earlier try. Names are in lower case.
func Strip(h Headers, names ...string) {
	var room [16]string
	found := room[:0]
	h.Names(func(name string) bool {
		if carriesCredential(name) {
			found = append(found, name)
		}
		return true
	})
	for _, name := range found {
		h.Remove(name)
	}
	for _, name := range names {
		h.Remove(name)
	}
}

// carriesCredential says whether a header may carry a credential, or tell whose
// account to use with one.
func carriesCredential(name string) bool {
	name = strings.ToLower(name)
	switch name {
	case "authorization", "proxy-authorization",
		// No provider's API uses cookies; what a client sends is for the gateway's
		// own host.
		"cookie",
		"x-api-key", "api-key", "x-goog-api-key", "ocp-apim-subscription-key",
		// With the gateway's key, these let a client choose who pays.
		"openai-organization", "openai-project", "x-goog-user-project", "x-goog-iam-authority-selector",
		"x-goog-iam-authorization-token",
		// What proxies before us say of the client, in tokens.
		"x-forwarded-access-token", "x-auth-request-access-token", "x-goog-iap-jwt-assertion",
		"cf-access-jwt-assertion", "cf-access-client-id", "cf-access-client-secret":
		return true
	}
	return strings.HasPrefix(name, "x-amz-") || strings.HasPrefix(name, "x-amzn-oidc-") ||
		strings.HasPrefix(name, "x-ms-token-aad-")
}
