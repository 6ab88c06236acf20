package credentials

import (
	"context"
	"errors"
	"net/http"
	"regexp"
	"strings"
	"time"

	"github.com/Azure/azure-sdk-for-go/sdk/azcore"
	"github.com/Azure/azure-sdk-for-go/sdk/azcore/cloud"
	"github.com/Azure/azure-sdk-for-go/sdk/azcore/policy"
	"github.com/Azure/azure-sdk-for-go/sdk/azidentity"
)

// bearerHeader is where all access tokens go.
const bearerHeader = "authorization"

// azureMaker gets Entra access tokens.
type azureMaker struct {
	c  Azure
	d  Deps
	in []input
	id *identity // with Federated
}

// Entra accepts an ID or a domain name as a tenant.
var entraID = regexp.MustCompile(`^[A-Za-z0-9][A-Za-z0-9.-]{0,127}$`)

func newAzure(ctx context.Context, c Azure, d Deps) (Credential, *Error) {
	if err := one("azure", c.APIKey != nil, c.ClientSecret != nil, c.Federated != nil, c.ManagedIdentity); err != nil {
		return nil, err
	}
	if c.APIKey != nil {
		m, err := newKeyMaker(*c.APIKey, "the Azure OpenAI key", "api-key", "")
		if err != nil {
			return nil, err
		}
		return newManaged(ctx, m, d)
	}
	m := &azureMaker{c: c, d: d}
	if err := m.check(); err != nil {
		return nil, err
	}
	return newManaged(ctx, m, d)
}

func (m *azureMaker) check() *Error {
	c := &m.c
	c.Scope = orDefault(c.Scope, DefaultAzureScope)
	if !strings.HasPrefix(c.Scope, "https://") || !strings.HasSuffix(c.Scope, "/.default") || !headerText(c.Scope) {
		return failf(ReasonInvalidConfig, "the Azure scope must look like %s", DefaultAzureScope)
	}
	if c.Cloud != "" && c.Cloud != AzurePublic && c.Cloud != AzureGovernment && c.Cloud != AzureChina {
		return failf(ReasonInvalidConfig, "%q is not an Azure cloud (%s, %s, %s)", c.Cloud, AzurePublic, AzureGovernment, AzureChina)
	}
	for what, id := range map[string]string{"tenant": c.TenantID, "client": c.ClientID} {
		if id != "" && !entraID.MatchString(id) {
			return failf(ReasonInvalidConfig, "the Azure %s ID %q is none", what, id)
		}
	}
	if (c.ClientSecret != nil || c.Federated != nil) && (c.TenantID == "" || c.ClientID == "") {
		return failf(ReasonInvalidConfig, "an Entra application needs azure.tenantID and azure.clientID")
	}
	if c.ClientSecret != nil {
		m.in = []input{{*c.ClientSecret, "the Azure client secret", keyText}}
	}
	if c.Federated != nil {
		var err *Error
		if m.id, m.in, err = newIdentity(*c.Federated, m.d, nil); err != nil {
			return err
		}
	}
	return nil
}

func (m *azureMaker) inputs() []input { return m.in }

func (m *azureMaker) carries() []string { return bearerHeaders[:] }

// bearerHeaders is constant.
var bearerHeaders = [...]string{bearerHeader, quotaProjectHeader}

func (m *azureMaker) local() bool { return false }

func (m *azureMaker) put(r *Request, token headerValue) error {
	token.put(r, bearerHeader)
	return nil
}

// fetch gets a token with a new credential object each time, because such an
// object hands out the token it has until shortly before its end.
func (m *azureMaker) fetch(ctx context.Context, values []string) (headerValue, time.Time, error) {
	var none headerValue
	secret := ""
	switch {
	case m.id != nil:
		// Before the SDK asks for it, because the SDK would hide why there is none.
		token, err := m.id.token(ctx, values)
		if err != nil {
			return none, time.Time{}, err
		}
		secret = token
	case m.c.ClientSecret != nil:
		secret = values[0]
	}
	client, pass := forOneFetch(ctx, m.d.HTTPClient)
	cred, err := m.credential(secret, client)
	if err != nil {
		return none, time.Time{}, failf(ReasonInvalidConfig, "%s cannot be set up; check azure.tenantID, azure.clientID and the AZURE_* variables", m.what())
	}
	token, err := cred.GetToken(ctx, policy.TokenRequestOptions{Scopes: []string{m.c.Scope}})
	if err != nil {
		return none, time.Time{}, m.trouble(err, pass)
	}
	out, bad := bearer(token.Token, "")
	if bad != nil {
		return none, time.Time{}, bad
	}
	return out, token.ExpiresOn, nil
}

// credential takes the client secret or the identity token, where one is needed.
func (m *azureMaker) credential(secret string, client *http.Client) (azcore.TokenCredential, error) {
	options := azcore.ClientOptions{Transport: client, Retry: policy.RetryOptions{MaxRetries: -1}, Cloud: cloud.AzurePublic}
	switch m.c.Cloud {
	case AzureGovernment:
		options.Cloud = cloud.AzureGovernment
	case AzureChina:
		options.Cloud = cloud.AzureChina
	}
	switch c := m.c; {
	case c.ClientSecret != nil:
		return azidentity.NewClientSecretCredential(c.TenantID, c.ClientID, secret,
			&azidentity.ClientSecretCredentialOptions{ClientOptions: options, DisableInstanceDiscovery: true})
	case c.Federated != nil:
		assertion := func(context.Context) (string, error) { return secret, nil }
		return azidentity.NewClientAssertionCredential(c.TenantID, c.ClientID, assertion,
			&azidentity.ClientAssertionCredentialOptions{ClientOptions: options, DisableInstanceDiscovery: true})
	case c.ManagedIdentity:
		o := &azidentity.ManagedIdentityCredentialOptions{ClientOptions: options}
		if c.ClientID != "" {
			o.ID = azidentity.ClientID(c.ClientID)
		}
		return azidentity.NewManagedIdentityCredential(o)
	}
	return azidentity.NewDefaultAzureCredential(&azidentity.DefaultAzureCredentialOptions{ClientOptions: options, TenantID: m.c.TenantID})
}

func (m *azureMaker) what() string {
	switch c := m.c; {
	case c.ClientSecret != nil:
		return "the client secret of Entra application " + c.ClientID
	case c.Federated != nil:
		return "the federated identity of Entra application " + c.ClientID
	case c.ManagedIdentity:
		return "the managed identity"
	}
	return "the default chain of Azure credentials"
}

// entraFix says how to mend what an Entra error code means.
func entraFix(code string) string {
	switch code {
	case "7000215":
		return "; the client secret is wrong: store the secret's value, not its ID"
	case "7000222":
		return "; the client secret has expired: make a new one"
	case "700016":
		return "; the application does not exist in this tenant: check azure.clientID and azure.tenantID"
	case "90002", "900023":
		return "; the tenant does not exist: check azure.tenantID"
	case "70021", "700211", "700212", "700213":
		return "; no federated credential of the application matches the token's issuer, subject and audience"
	case "700024":
		return "; the identity token has expired"
	}
	return ""
}

func (m *azureMaker) trouble(err error, pass *onePass) *Error {
	var failed *azidentity.AuthenticationFailedError
	if errors.As(err, &failed) && failed.RawResponse != nil {
		status := failed.RawResponse.StatusCode
		if c := entraCode.FindStringSubmatch(failed.Error()); c != nil {
			reason := reasonOf(status, "")
			return failf(reason, "%s: Entra answered %s%s", m.what(), answer(status, "AADSTS"+c[1]), entraFix(c[1]))
		}
		return failf(reasonOf(status, ""), "%s: Azure answered %s", m.what(), answer(status, oauthCode(failed.Error())))
	}
	if m.c.ClientSecret == nil && m.c.Federated == nil && !errors.As(err, &failed) && !errors.Is(err, context.DeadlineExceeded) {
		// The type of this error is not exported: no source was available.
		return failf(ReasonNoCredentialFound, "%s: nothing on this machine provides it", m.what())
	}
	if c := entraCode.FindStringSubmatch(err.Error()); c != nil {
		return failf(ReasonTokenRequestDenied, "%s: Entra answered %s%s", m.what(), answer(0, "AADSTS"+c[1]), entraFix(c[1]))
	}
	return failf(ReasonTokenRequestFailed, "%s: %s", m.what(), pass.trouble(err))
}
