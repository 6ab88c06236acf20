package credentials

import (
	"context"
	"encoding/json"
	"net/http"
	"net/url"
	"strings"
	"time"

	"golang.org/x/oauth2"
	"golang.org/x/oauth2/google"
)

// googleJSON checks a Google credentials file and says of which type it is, or
// what is wrong. The file may name hosts to send tokens to, files to read and
// programs to run: hosts must be Google's; a file is admitted if the configuration
// is this machine's own (local), not out of a Secret that others may write.
func googleJSON(text string, local bool) (kind google.CredentialsType, wrong string) {
	var j struct {
		Type             string `json:"type"`
		ClientEmail      string `json:"client_email"`
		PrivateKey       string `json:"private_key"`
		TokenURI         string `json:"token_uri"`
		AuthURI          string `json:"auth_uri"`
		ClientID         string `json:"client_id"`
		ClientSecret     string `json:"client_secret"`
		RefreshToken     string `json:"refresh_token"`
		UniverseDomain   string `json:"universe_domain"`
		TokenURL         string `json:"token_url"`
		TokenInfoURL     string `json:"token_info_url"`
		ImpersonationURL string `json:"service_account_impersonation_url"`
		Source           struct {
			File          string          `json:"file"`
			URL           string          `json:"url"`
			EnvironmentID string          `json:"environment_id"`
			Executable    json.RawMessage `json:"executable"`
			Certificate   json.RawMessage `json:"certificate"`
		} `json:"credential_source"`
	}
	if json.Unmarshal([]byte(text), &j) != nil {
		return "", "it is not the JSON of a credentials file"
	}
	if j.UniverseDomain != "" && j.UniverseDomain != "googleapis.com" {
		return "", "its universe_domain is not googleapis.com"
	}
	for name, u := range map[string]string{"token_uri": j.TokenURI, "token_url": j.TokenURL, "token_info_url": j.TokenInfoURL, "service_account_impersonation_url": j.ImpersonationURL} {
		if u != "" && !googleURL(u) {
			return "", "its " + name + " is not an https URL of googleapis.com"
		}
	}
	switch j.Type {
	case "service_account":
		if j.ClientEmail == "" || j.PrivateKey == "" || j.TokenURI == "" {
			return "", "it lacks client_email, private_key or token_uri"
		}
		return google.ServiceAccount, ""
	case "authorized_user":
		if j.ClientID == "" || j.ClientSecret == "" || j.RefreshToken == "" {
			return "", "it lacks client_id, client_secret or refresh_token"
		}
		return google.AuthorizedUser, ""
	case "external_account":
		if !local {
			return "", "an external_account may not come from a Secret, because it makes the gateway read its own files; use gcp.workloadIdentity"
		}
		s := j.Source
		if s.File == "" || s.URL != "" || s.EnvironmentID != "" || s.Executable != nil || s.Certificate != nil {
			return "", "its credential_source must be a file and nothing else"
		}
		if j.TokenURL == "" {
			return "", "it lacks token_url"
		}
		return google.ExternalAccount, ""
	}
	return "", "its type is none of service_account, external_account, authorized_user"
}

// googleURL says whether a URL leads to Google and nowhere else.
func googleURL(s string) bool {
	u, err := url.Parse(s)
	return err == nil && u.Scheme == "https" && u.User == nil && u.Port() == "" &&
		(u.Host == "googleapis.com" || strings.HasSuffix(u.Host, ".googleapis.com") || u.Host == "accounts.google.com")
}

// impersonate exchanges a token for one of the service account to act as.
func (m *gcpMaker) impersonate(ctx context.Context, token *oauth2.Token) (*oauth2.Token, *Error) {
	const prefix = "projects/-/serviceAccounts/"
	var ask struct {
		Scope     []string `json:"scope"`
		Delegates []string `json:"delegates,omitempty"`
		Lifetime  string   `json:"lifetime"`
	}
	ask.Scope, ask.Lifetime = m.c.Scopes, "3600s"
	for _, d := range m.c.Delegates {
		ask.Delegates = append(ask.Delegates, prefix+d)
	}
	body, err := json.Marshal(ask)
	if err != nil {
		return nil, failf(ReasonInvalidConfig, "the impersonation request cannot be made")
	}
	from, bad := bearer(token.AccessToken, "")
	if bad != nil {
		return nil, bad
	}
	var got struct {
		AccessToken string    `json:"accessToken"`
		ExpireTime  time.Time `json:"expireTime"`
	}
	to := "https://iamcredentials.googleapis.com/v1/" + prefix + url.PathEscape(m.c.Impersonate) + ":generateAccessToken"
	header := http.Header{"Content-Type": {"application/json"}, "Authorization": {from.value.Reveal()}}
	if f := getJSON(ctx, m.d.HTTPClient, http.MethodPost, to, header, strings.NewReader(string(body)), &got); f != nil {
		if f.status == http.StatusForbidden || f.status == http.StatusNotFound {
			return nil, failf(ReasonAssumeRoleDenied, "impersonating %s: Google answered %s; grant the caller roles/iam.serviceAccountTokenCreator on it, and check that it exists", m.c.Impersonate, answer(f.status, f.code))
		}
		return nil, f.about("impersonating " + m.c.Impersonate)
	}
	if got.ExpireTime.IsZero() {
		return nil, failf(ReasonTokenRequestFailed, "impersonating %s: the token has no end", m.c.Impersonate)
	}
	return &oauth2.Token{AccessToken: got.AccessToken, Expiry: got.ExpireTime}, nil
}
