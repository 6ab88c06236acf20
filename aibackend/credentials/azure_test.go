package credentials

import (
	"fmt"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"testing/synctest"
	"time"
)

const entraHost = "login.microsoftonline.com"

// entra answers as the v2 endpoints of a tenant: the n-th token is "entra<n>".
func (w *world) entra(host string, life int) {
	n := 0
	w.handle(host, func(rw http.ResponseWriter, r *http.Request) {
		base := "https://" + host + "/tenant-1"
		if strings.HasSuffix(r.URL.Path, "/.well-known/openid-configuration") {
			reply(200, "application/json", `{"token_endpoint":"`+base+`/oauth2/v2.0/token","authorization_endpoint":"`+base+`/oauth2/v2.0/authorize","issuer":"`+base+`/v2.0"}`)(rw, r)
			return
		}
		w.mu.Lock()
		n++
		k := n
		w.mu.Unlock()
		reply(200, "application/json", fmt.Sprintf(`{"token_type":"Bearer","expires_in":%d,"access_token":"entra%d"}`, life, k))(rw, r)
	})
}

func azureConfig(a Azure) Config { return Config{Type: TypeAzure, Azure: &a} }

func TestAzureClientSecret(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t)
		w.entra(entraHost, 3600)
		w.setSecret("az", "client-secret", "s~1\n")
		c := w.open(azureConfig(Azure{TenantID: "tenant-1", ClientID: "client-1", ClientSecret: ptr(secretRef("az", "client-secret"))}))
		go c.Run(t.Context())
		defer c.Close()
		wantHeaders(t, c, headers{"authorization": "Bearer entra1"})
		a := w.requests(entraHost, "/tenant-1/oauth2/v2.0/token")[0]
		if a.form.Get("grant_type") != "client_credentials" || a.form.Get("client_id") != "client-1" || a.form.Get("client_secret") != "s~1" ||
			!strings.Contains(a.form.Get("scope"), DefaultAzureScope) {
			t.Errorf("asked %v", a.form)
		}
		// Refreshed early, although the SDK would still hand out the old one.
		time.Sleep(49 * time.Minute)
		synctest.Wait()
		wantHeaders(t, c, headers{"authorization": "Bearer entra2"})
		// A new secret is used at once.
		w.setSecret("az", "client-secret", "s~2")
		time.Sleep(11 * time.Second)
		synctest.Wait()
		wantHeaders(t, c, headers{"authorization": "Bearer entra3"})
		got := w.requests(entraHost, "/tenant-1/oauth2/v2.0/token")
		if got[len(got)-1].form.Get("client_secret") != "s~2" {
			t.Error("the old secret was sent")
		}
	})
}

func TestAzureFederated(t *testing.T) {
	file := filepath.Join(t.TempDir(), "token")
	if err := os.WriteFile(file, []byte("jwt.a"), 0o600); err != nil {
		t.Fatal(err)
	}
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t)
		w.entra("login.microsoftonline.us", 3600)
		c := w.open(azureConfig(Azure{TenantID: "tenant-1", ClientID: "client-1", Federated: &IdentityToken{File: file}, Cloud: AzureGovernment, Scope: "https://cognitiveservices.azure.us/.default"}))
		wantHeaders(t, c, headers{"authorization": "Bearer entra1"})
		a := w.requests("login.microsoftonline.us", "/tenant-1/oauth2/v2.0/token")[0]
		if a.form.Get("client_assertion") != "jwt.a" || a.form.Get("client_assertion_type") != "urn:ietf:params:oauth:client-assertion-type:jwt-bearer" ||
			!strings.Contains(a.form.Get("scope"), "azure.us") {
			t.Errorf("asked %v", a.form)
		}
		if err := os.Remove(file); err != nil {
			t.Fatal(err)
		}
		wantError(t, w.open(azureConfig(Azure{TenantID: "tenant-1", ClientID: "client-1", Federated: &IdentityToken{File: file}, Cloud: AzureGovernment})),
			ReasonSecretNotFound, "does not exist")
	})
}

// An identity token from an issuer: discovery, client credentials, exchange.
func TestOIDCIssuer(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t)
		w.entra(entraHost, 3600)
		issuer := func(endpoint string) http.HandlerFunc {
			return func(rw http.ResponseWriter, r *http.Request) {
				if r.URL.Path == "/realm/.well-known/openid-configuration" {
					reply(200, "application/json", `{"token_endpoint":"`+endpoint+`"}`)(rw, r)
					return
				}
				reply(200, "application/json", `{"access_token":"jwt.issued","token_type":"Bearer"}`)(rw, r)
			}
		}
		w.handle("idp.example", issuer("https://idp.example/token"))
		open := func() Credential {
			return w.open(azureConfig(Azure{TenantID: "tenant-1", ClientID: "client-1", Federated: &IdentityToken{OIDC: &OIDC{
				Issuer: "https://idp.example/realm/", ClientID: "me", ClientSecret: literal("hush"), Scopes: []string{"a", "b"}, Audience: "aud"}}}))
		}
		wantHeaders(t, open(), headers{"authorization": "Bearer entra1"})
		a := w.requests("idp.example", "/token")[0]
		if a.form.Get("grant_type") != "client_credentials" || a.form.Get("client_id") != "me" || a.form.Get("client_secret") != "hush" ||
			a.form.Get("scope") != "a b" || a.form.Get("audience") != "aud" {
			t.Errorf("asked %v", a.form)
		}
		if got := w.requests(entraHost, "/tenant-1/oauth2/v2.0/token"); got[0].form.Get("client_assertion") != "jwt.issued" {
			t.Errorf("exchanged %v", got[0].form)
		}
		w.handle("idp.example", issuer("http://plain.example/token"))
		wantError(t, open(), ReasonTokenRequestFailed, "no https token endpoint")
		w.handle("idp.example", reply(401, "application/json", `{"error":"invalid_client","error_description":"CANARY"}`))
		wantError(t, open(), ReasonTokenRequestDenied, "HTTP 401 (invalid_client)")
	})
}

func TestAzureManagedIdentity(t *testing.T) {
	isolate(t)
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t)
		w.handle("169.254.169.254", func(rw http.ResponseWriter, r *http.Request) {
			if r.URL.Path != "/metadata/identity/oauth2/token" || r.Header.Get("Metadata") != "true" || r.URL.Query().Get("client_id") != "mi-1" {
				reply(400, "application/json", `{"error":"invalid_request"}`)(rw, r)
				return
			}
			reply(200, "application/json", fmt.Sprintf(`{"access_token":"managed","expires_in":"86400","expires_on":"%d","resource":"x","token_type":"Bearer"}`, time.Now().Add(24*time.Hour).Unix()))(rw, r)
		})
		c := w.open(azureConfig(Azure{ManagedIdentity: true, ClientID: "mi-1"}))
		wantHeaders(t, c, headers{"authorization": "Bearer managed"})
	})
}

func TestAzureDefaultChain(t *testing.T) {
	isolate(t)
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t)
		w.entra(entraHost, 3600)
		t.Setenv("AZURE_TENANT_ID", "tenant-1")
		t.Setenv("AZURE_CLIENT_ID", "client-1")
		t.Setenv("AZURE_CLIENT_SECRET", "s")
		// The chain asks the authority whether it knows the tenant.
		inner := w.hosts[entraHost]
		w.handle(entraHost, func(rw http.ResponseWriter, r *http.Request) {
			if strings.Contains(r.URL.Path, "/discovery/instance") {
				reply(200, "application/json", `{"tenant_discovery_endpoint":"https://`+entraHost+`/tenant-1/v2.0/.well-known/openid-configuration","metadata":[{"preferred_network":"`+entraHost+`","preferred_cache":"`+entraHost+`","aliases":["`+entraHost+`"]}]}`)(rw, r)
				return
			}
			inner(rw, r)
		})
		wantHeaders(t, w.open(azureConfig(Azure{})), headers{"authorization": "Bearer entra1"})
	})
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t)
		wantError(t, w.open(azureConfig(Azure{})), ReasonNoCredentialFound, "default chain")
	})
}

func TestAzureErrors(t *testing.T) {
	for name, tt := range map[string]struct {
		status int
		body   string
		reason Reason
		says   string
	}{
		"wrong secret":   {401, `{"error":"invalid_client","error_description":"AADSTS7000215: Invalid client secret CANARY","error_codes":[7000215]}`, ReasonTokenRequestDenied, "the secret's value, not its ID"},
		"expired secret": {401, `{"error":"invalid_client","error_description":"AADSTS7000222: CANARY","error_codes":[7000222]}`, ReasonTokenRequestDenied, "expired"},
		"other":          {400, `{"error":"invalid_request","error_description":"AADSTS900144: CANARY"}`, ReasonTokenRequestDenied, "AADSTS900144"},
		"down":           {503, `CANARY`, ReasonTokenRequestFailed, "HTTP 503"},
		"no JSON":        {200, `CANARY`, ReasonTokenRequestFailed, ""},
		"no token":       {200, `{"token_type":"Bearer","expires_in":3600}`, ReasonTokenRequestFailed, ""},
		"bad token":      {200, `{"token_type":"Bearer","expires_in":3600,"access_token":"a b\r\nx: y"}`, ReasonTokenRequestFailed, "no usable token"},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				w := newWorld(t)
				w.entra(entraHost, 3600)
				inner := w.hosts[entraHost]
				w.handle(entraHost, func(rw http.ResponseWriter, r *http.Request) {
					if r.Method == "POST" {
						reply(tt.status, "application/json", tt.body)(rw, r)
						return
					}
					inner(rw, r)
				})
				c := w.open(azureConfig(Azure{TenantID: "tenant-1", ClientID: "client-1", ClientSecret: ptr(literal("s"))}))
				wantError(t, c, tt.reason, tt.says)
				if s := wantStatus(t, c, false, tt.reason); strings.Contains(s.Message+w.logged(), "CANARY") {
					t.Errorf("repeats what the server said: %s\n%s", s.Message, w.logged())
				}
			})
		})
	}
}
