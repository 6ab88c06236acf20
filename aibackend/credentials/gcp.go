package credentials

import (
	"context"
	"errors"
	"net/http"
	"net/url"
	"regexp"
	"strings"
	"time"

	"golang.org/x/oauth2"
	"golang.org/x/oauth2/google"
	"golang.org/x/oauth2/google/externalaccount"
)

const cloudPlatform = "https://www.googleapis.com/auth/cloud-platform"

// gcpMaker gets Google access tokens.
type gcpMaker struct {
	c  GCP
	d  Deps
	in []input
	id *identity // with WorkloadIdentity
}

var (
	serviceAccount = regexp.MustCompile(`^[A-Za-z0-9][A-Za-z0-9.-]{0,127}@[a-z0-9.-]{3,128}$`)
	projectText    = regexp.MustCompile(`^[a-z0-9][a-z0-9.:-]{0,99}$`)
	wifAudience    = regexp.MustCompile(`^//iam\.googleapis\.com/[A-Za-z0-9/._-]{1,512}$`)
	scopeText      = regexp.MustCompile(`^[!-~]{1,256}$`)
)

func newGCP(ctx context.Context, c GCP, d Deps) (Credential, *Error) {
	if c.QuotaProject != "" && !projectText.MatchString(c.QuotaProject) {
		return nil, failf(ReasonInvalidConfig, "%q is not a Google Cloud project", c.QuotaProject)
	}
	if err := one("gcp", c.APIKey != nil, c.CredentialsJSON != nil, c.WorkloadIdentity != nil, c.Metadata); err != nil {
		return nil, err
	}
	if c.APIKey != nil {
		if c.Impersonate != "" {
			return nil, failf(ReasonInvalidConfig, "gcp: an API key cannot impersonate a service account")
		}
		m, err := newKeyMaker(*c.APIKey, "the Google API key", "x-goog-api-key", "")
		if err != nil {
			return nil, err
		}
		m.quotaProject = c.QuotaProject
		m.names = append(m.names, quotaProjectHeader)
		return newManaged(ctx, m, d)
	}
	m := &gcpMaker{c: c, d: d}
	if err := m.check(); err != nil {
		return nil, err
	}
	return newManaged(ctx, m, d)
}

func (m *gcpMaker) check() *Error {
	c := &m.c
	if len(c.Scopes) == 0 {
		c.Scopes = []string{cloudPlatform}
	}
	for _, s := range c.Scopes {
		if !scopeText.MatchString(s) {
			return failf(ReasonInvalidConfig, "%q is not a scope", s)
		}
	}
	for _, a := range append([]string{c.Impersonate, c.ServiceAccount}, c.Delegates...) {
		if a != "" && !serviceAccount.MatchString(a) {
			return failf(ReasonInvalidConfig, "%q is not a service account's e-mail address", a)
		}
	}
	if len(c.Delegates) > 0 && c.Impersonate == "" {
		return failf(ReasonInvalidConfig, "gcp.delegates has a meaning only with gcp.impersonate")
	}
	if c.ServiceAccount != "" && !c.Metadata {
		return failf(ReasonInvalidConfig, "gcp.serviceAccount has a meaning only with gcp.metadata")
	}
	if v := c.CredentialsJSON; v != nil {
		local := v.SecretRef == nil
		m.in = []input{{*v, "the Google credentials", func(s string) string {
			_, wrong := googleJSON(s, local)
			return wrong
		}}}
	}
	if w := c.WorkloadIdentity; w != nil {
		if !wifAudience.MatchString(w.Audience) {
			return failf(ReasonInvalidConfig, "the workload identity audience must be the provider's full name, //iam.googleapis.com/projects/NUMBER/locations/global/workloadIdentityPools/POOL/providers/PROVIDER")
		}
		var err *Error
		if m.id, m.in, err = newIdentity(w.Token, m.d, nil); err != nil {
			return err
		}
	}
	return nil
}

func (m *gcpMaker) inputs() []input { return m.in }

func (m *gcpMaker) carries() []string { return bearerHeaders[:] }

func (m *gcpMaker) local() bool { return false }

func (m *gcpMaker) put(r *Request, token headerValue) error {
	token.put(r, bearerHeader)
	return nil
}

func (m *gcpMaker) fetch(ctx context.Context, values []string) (headerValue, time.Time, error) {
	scopes := m.c.Scopes
	if m.c.Impersonate != "" {
		// The scopes asked for are those of the impersonated account's token.
		scopes = []string{cloudPlatform}
	}
	token, err := m.source(ctx, values, scopes)
	if err == nil && m.c.Impersonate != "" {
		token, err = m.impersonate(ctx, token)
	}
	if err != nil {
		return headerValue{}, time.Time{}, err
	}
	out, err := bearer(token.AccessToken, m.c.QuotaProject)
	if err != nil {
		return headerValue{}, time.Time{}, err
	}
	return out, token.Expiry, nil
}

// source gets the first token, with a new token source each time: the library's
// ones hand out what they have until shortly before its end.
func (m *gcpMaker) source(ctx context.Context, values, scopes []string) (*oauth2.Token, *Error) {
	if m.c.Metadata {
		return m.metadata(ctx, scopes)
	}
	client, pass := forOneFetch(ctx, m.d.HTTPClient)
	ctx = context.WithValue(ctx, oauth2.HTTPClient, client)
	var source oauth2.TokenSource
	what := "application default credentials"
	switch c := m.c; {
	case c.CredentialsJSON != nil:
		what = "the Google credentials"
		kind, wrong := googleJSON(values[0], c.CredentialsJSON.SecretRef == nil)
		if wrong != "" {
			return nil, failf(ReasonInvalidSecret, "%s cannot be used: %s", what, wrong)
		}
		creds, err := google.CredentialsFromJSONWithType(ctx, []byte(values[0]), kind, scopes...)
		if err != nil {
			return nil, failf(ReasonInvalidSecret, "%s cannot be used: the JSON is not complete", what)
		}
		source = creds.TokenSource
	case c.WorkloadIdentity != nil:
		what = "workload identity federation"
		s, err := externalaccount.NewTokenSource(ctx, externalaccount.Config{
			Audience: c.WorkloadIdentity.Audience, SubjectTokenType: "urn:ietf:params:oauth:token-type:jwt",
			SubjectTokenSupplier: subjectToken{m.id, values}, Scopes: scopes,
		})
		if err != nil {
			return nil, failf(ReasonInvalidConfig, "%s cannot be set up", what)
		}
		source = s
	default:
		creds, err := google.FindDefaultCredentials(ctx, scopes...)
		if err != nil {
			return nil, failf(ReasonNoCredentialFound, "no application default credentials: set GOOGLE_APPLICATION_CREDENTIALS, run gcloud auth application-default login, or run on Google Cloud")
		}
		source = creds.TokenSource
	}
	token, err := source.Token()
	if err != nil {
		return nil, googleTrouble(err, what, pass)
	}
	return token, nil
}

// subjectToken gives the identity token to the library.
type subjectToken struct {
	id     *identity
	values []string
}

func (s subjectToken) SubjectToken(ctx context.Context, _ externalaccount.SupplierOptions) (string, error) {
	token, err := s.id.token(ctx, s.values)
	if err != nil {
		return "", err
	}
	return token, nil
}

// metadata asks the metadata server.
func (m *gcpMaker) metadata(ctx context.Context, scopes []string) (*oauth2.Token, *Error) {
	host := orDefault(m.d.Getenv("GCE_METADATA_HOST"), "169.254.169.254")
	account := orDefault(m.c.ServiceAccount, "default")
	to := "http://" + host + "/computeMetadata/v1/instance/service-accounts/" + url.PathEscape(account) +
		"/token?scopes=" + url.QueryEscape(strings.Join(scopes, ","))
	var got struct {
		AccessToken string `json:"access_token"`
		ExpiresIn   int64  `json:"expires_in"`
	}
	if err := getJSON(ctx, m.d.HTTPClient, http.MethodGet, to, http.Header{"Metadata-Flavor": {"Google"}}, nil, &got); err != nil {
		if err.status == http.StatusNotFound {
			return nil, failf(ReasonNoCredentialFound, "the metadata server knows no service account %q here", account)
		}
		return nil, err.about("the metadata server")
	}
	if got.ExpiresIn <= 0 || got.ExpiresIn > 30*24*3600 {
		return nil, failf(ReasonTokenRequestFailed, "the metadata server's token has no usable lifetime")
	}
	return &oauth2.Token{AccessToken: got.AccessToken, Expiry: m.d.Now().Add(time.Duration(got.ExpiresIn) * time.Second)}, nil
}

func googleTrouble(err error, what string, pass *onePass) *Error {
	var own *Error
	if errors.As(err, &own) {
		return own
	}
	status, code := 0, ""
	var answered *oauth2.RetrieveError
	if errors.As(err, &answered) {
		code = oauthCode(answered.ErrorCode)
		if answered.Response != nil {
			status = answered.Response.StatusCode
		}
	}
	if status == 0 {
		status = statusIn(err.Error())
	}
	if code == "" {
		code = oauthCode(err.Error())
	}
	if status == 0 && code == "" {
		return failf(ReasonTokenRequestFailed, "%s: %s", what, pass.trouble(err))
	}
	fix := ""
	switch code {
	case "invalid_grant":
		fix = "; the key or token was revoked, is not accepted there, or this machine's clock is wrong"
	case "invalid_target":
		fix = "; check the audience: pool and provider must exist"
	}
	return failf(reasonOf(status, code), "%s: Google answered %s%s", what, answer(status, code), fix)
}
