package credentials

import (
	"context"
	"encoding/json"
	"io"
	"net/http"
	"net/url"
	"strings"
)

// identity gets OpenID Connect tokens for an [IdentityToken]. Of the values that
// its fetch is given, it uses those from index first on.
type identity struct {
	c     IdentityToken
	d     Deps
	first int
}

// newIdentity checks c. It appends the Values it needs to inputs.
func newIdentity(c IdentityToken, d Deps, inputs []input) (*identity, []input, *Error) {
	id := &identity{c: c, d: d, first: len(inputs)}
	n := 0
	for _, set := range []bool{c.File != "", c.Value != nil, c.OIDC != nil} {
		if set {
			n++
		}
	}
	if n != 1 {
		return nil, nil, failf(ReasonInvalidConfig, "the identity token needs exactly one of a file, a value or an OIDC issuer, and has %d", n)
	}
	switch {
	case c.Value != nil:
		inputs = append(inputs, input{*c.Value, "the identity token", keyText})
	case c.OIDC != nil:
		o := c.OIDC
		endpoint := o.TokenURL
		if endpoint == "" {
			endpoint = o.Issuer
		}
		if u, err := url.Parse(endpoint); err != nil || u.Scheme != "https" || u.Host == "" || u.User != nil {
			return nil, nil, failf(ReasonInvalidConfig, "the OIDC issuer or token URL must be an https URL without user and password")
		}
		if o.ClientID == "" {
			return nil, nil, failf(ReasonInvalidConfig, "the OIDC client ID is missing")
		}
		inputs = append(inputs, input{o.ClientSecret, "the OIDC client secret", anyText})
	}
	return id, inputs, nil
}

// token returns the token.
func (id *identity) token(ctx context.Context, values []string) (string, *Error) {
	switch {
	case id.c.Value != nil:
		return values[id.first], nil
	case id.c.OIDC != nil:
		return id.ask(ctx, values[id.first])
	}
	s, err := readFile("the identity token", id.c.File)
	if err != nil {
		return "", err
	}
	if s = strings.TrimSpace(s); s == "" || keyText(s) != "" {
		return "", failf(ReasonInvalidSecret, "the identity token: the file %q holds no token", id.c.File)
	}
	return s, nil
}

// ask gets the token from the issuer. An answer with an ID token is preferred;
// with the client credentials grant most issuers give an access token that is one.
func (id *identity) ask(ctx context.Context, secret string) (string, *Error) {
	o, client := id.c.OIDC, id.d.HTTPClient
	if o.Guard != nil {
		client = id.d.Guarded
	}
	endpoint := o.TokenURL
	if endpoint == "" {
		var doc struct {
			TokenEndpoint string `json:"token_endpoint"`
		}
		from := strings.TrimSuffix(o.Issuer, "/") + "/.well-known/openid-configuration"
		if err := getJSON(ctx, client, http.MethodGet, from, nil, nil, &doc); err != nil {
			return "", err.about("the OIDC issuer's discovery document")
		}
		u, err := url.Parse(doc.TokenEndpoint)
		if err != nil || u.Scheme != "https" || u.Host == "" {
			return "", failf(ReasonTokenRequestFailed, "the OIDC issuer's discovery document names no https token endpoint")
		}
		if at, err := url.Parse(o.Issuer); err != nil || !o.Guard.admits(u.Hostname(), at.Hostname()) {
			return "", failf(ReasonTokenRequestDenied, "the OIDC issuer's discovery document names a token endpoint within this cluster, which is not the issuer's host")
		}
		endpoint = doc.TokenEndpoint
	}
	form := url.Values{"grant_type": {"client_credentials"}, "client_id": {o.ClientID}, "client_secret": {secret}}
	if len(o.Scopes) > 0 {
		form.Set("scope", strings.Join(o.Scopes, " "))
	}
	if o.Audience != "" {
		form.Set("audience", o.Audience)
	}
	var got struct {
		IDToken     string `json:"id_token"`
		AccessToken string `json:"access_token"`
	}
	header := http.Header{"Content-Type": {"application/x-www-form-urlencoded"}}
	if err := getJSON(ctx, client, http.MethodPost, endpoint, header, strings.NewReader(form.Encode()), &got); err != nil {
		return "", err.about("the OIDC issuer")
	}
	token := got.IDToken
	if token == "" {
		token = got.AccessToken
	}
	if token == "" || keyText(token) != "" {
		return "", failf(ReasonTokenRequestFailed, "the OIDC issuer's answer holds no usable token")
	}
	return token, nil
}

// failure is an identity provider's failure or refusal.
type failure struct {
	status  int
	code    string
	trouble string // without an answer
}

func (f *failure) about(who string) *Error {
	if f.trouble != "" {
		return failf(ReasonTokenRequestFailed, "%s: %s", who, f.trouble)
	}
	return failf(reasonOf(f.status, f.code), "%s answered %s", who, answer(f.status, f.code))
}

// getJSON sends a request and decodes the JSON of a 200 answer into to.
func getJSON(ctx context.Context, c *http.Client, method, to string, header http.Header, body io.Reader, out any) *failure {
	req, err := http.NewRequestWithContext(ctx, method, to, body)
	if err != nil {
		return &failure{trouble: "its URL cannot be used"}
	}
	for k, v := range header {
		req.Header[k] = v
	}
	res, err := c.Do(req)
	if err != nil {
		return &failure{trouble: transportTrouble(err)}
	}
	defer func() { _ = res.Body.Close() }()
	if res.StatusCode == http.StatusSwitchingProtocols {
		// Its body is the connection, which no longer ends with ctx.
		return &failure{status: res.StatusCode}
	}
	b, err := io.ReadAll(res.Body)
	if err != nil {
		return &failure{trouble: transportTrouble(err)}
	}
	if res.StatusCode != http.StatusOK {
		return &failure{status: res.StatusCode, code: oauthCode(string(b))}
	}
	if json.Unmarshal(b, out) != nil {
		return &failure{trouble: "its answer is not the JSON that was expected"}
	}
	return nil
}
