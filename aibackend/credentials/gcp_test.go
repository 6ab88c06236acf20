package credentials

import (
	"crypto/rand"
	"crypto/rsa"
	"crypto/x509"
	"encoding/json"
	"encoding/pem"
	"errors"
	"fmt"
	"io"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"testing/synctest"
	"time"
)

const (
	googleHost = "oauth2.googleapis.com"
	gcpSTS     = "sts.googleapis.com"
	iamHost    = "iamcredentials.googleapis.com"
	testSA     = "caller@p-1.iam.gserviceaccount.com"
	testWIF    = "//iam.googleapis.com/projects/1/locations/global/workloadIdentityPools/pool/providers/p"
)

// serviceAccountJSON is a service account key, changed as told.
func serviceAccountJSON(t *testing.T, change func(map[string]any)) string {
	t.Helper()
	key, err := rsa.GenerateKey(rand.Reader, 2048)
	if err != nil {
		t.Fatal(err)
	}
	der, err := x509.MarshalPKCS8PrivateKey(key)
	if err != nil {
		t.Fatal(err)
	}
	j := map[string]any{
		"type": "service_account", "project_id": "p-1", "private_key_id": "k1", "client_email": testSA,
		"private_key": string(pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: der})),
		"token_uri":   "https://" + googleHost + "/token",
	}
	if change != nil {
		change(j)
	}
	b, _ := json.Marshal(j)
	return string(b)
}

// google answers at the token endpoint: the n-th token is "goog<n>".
func (w *world) google() {
	n := 0
	answer := func(rw http.ResponseWriter, r *http.Request) {
		w.mu.Lock()
		n++
		k := n
		w.mu.Unlock()
		reply(200, "application/json", fmt.Sprintf(`{"access_token":"goog%d","expires_in":3599,"token_type":"Bearer","issued_token_type":"urn:ietf:params:oauth:token-type:access_token"}`, k))(rw, r)
	}
	w.handle(googleHost, answer)
	w.handle(gcpSTS, answer)
}

func gcpConfig(g GCP) Config { return Config{Type: TypeGCP, GCP: &g} }

func TestGCPServiceAccount(t *testing.T) {
	key := serviceAccountJSON(t, nil)
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t)
		w.google()
		w.setSecret("gcp", "service_account.json", key)
		c := w.open(gcpConfig(GCP{CredentialsJSON: ptr(secretRef("gcp", "service_account.json")), QuotaProject: "billed"}))
		go c.Run(t.Context())
		defer c.Close()
		wantHeaders(t, c, headers{"authorization": "Bearer goog1", "x-goog-user-project": "billed"})
		a := w.requests(googleHost, "/token")[0]
		if a.form.Get("grant_type") != "urn:ietf:params:oauth:grant-type:jwt-bearer" || strings.Count(a.form.Get("assertion"), ".") != 2 {
			t.Errorf("asked %v", a.form)
		}
		time.Sleep(49 * time.Minute)
		synctest.Wait()
		wantHeaders(t, c, headers{"authorization": "Bearer goog2", "x-goog-user-project": "billed"})
	})
}

func TestGCPImpersonation(t *testing.T) {
	key := serviceAccountJSON(t, nil)
	const to = "models@p-2.iam.gserviceaccount.com"
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t)
		w.google()
		w.handle(iamHost, func(rw http.ResponseWriter, r *http.Request) {
			reply(200, "application/json", `{"accessToken":"impersonated","expireTime":"`+soon(time.Hour)+`"}`)(rw, r)
		})
		config := gcpConfig(GCP{CredentialsJSON: ptr(literal(key)), Impersonate: to, Delegates: []string{"mid@p-1.iam.gserviceaccount.com"}, Scopes: []string{"https://x/scope"}})
		wantHeaders(t, w.open(config), headers{"authorization": "Bearer impersonated"})
		a := w.requests(iamHost, "/")[0]
		if a.path != "/v1/projects/-/serviceAccounts/"+to+":generateAccessToken" || a.header.Get("Authorization") != "Bearer goog1" ||
			a.body != `{"scope":["https://x/scope"],"delegates":["projects/-/serviceAccounts/mid@p-1.iam.gserviceaccount.com"],"lifetime":"3600s"}` {
			t.Errorf("asked %s %s", a.path, a.body)
		}
		w.handle(iamHost, reply(403, "application/json", `{"error":{"message":"CANARY"}}`))
		wantError(t, w.open(config), ReasonAssumeRoleDenied, to, "serviceAccountTokenCreator")
		w.handle(iamHost, reply(500, "text/html", `CANARY`))
		wantError(t, w.open(config), ReasonTokenRequestFailed, "HTTP 500")
		w.handle(iamHost, reply(200, "application/json", `{"accessToken":"x"}`))
		wantError(t, w.open(config), ReasonTokenRequestFailed, "no end")
	})
}

func TestGCPWorkloadIdentity(t *testing.T) {
	file := filepath.Join(t.TempDir(), "token")
	if err := os.WriteFile(file, []byte("jwt.k8s"), 0o600); err != nil {
		t.Fatal(err)
	}
	want := func(t *testing.T, a asked) {
		t.Helper()
		if a.form.Get("subject_token") != "jwt.k8s" || a.form.Get("audience") != testWIF || a.form.Get("scope") != cloudPlatform ||
			a.form.Get("grant_type") != "urn:ietf:params:oauth:grant-type:token-exchange" {
			t.Errorf("asked %v", a.form)
		}
	}
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t)
		w.google()
		c := w.open(gcpConfig(GCP{WorkloadIdentity: &GCPWorkloadIdentity{Audience: testWIF, Token: IdentityToken{File: file}}}))
		wantHeaders(t, c, headers{"authorization": "Bearer goog1"})
		want(t, w.requests(gcpSTS, "/v1/token")[0])

		// The same as a file that gcloud writes.
		external := fmt.Sprintf(`{"type":"external_account","audience":%q,"subject_token_type":"urn:ietf:params:oauth:token-type:jwt","token_url":"https://sts.googleapis.com/v1/token","credential_source":{"file":%q}}`, testWIF, file)
		c = w.open(gcpConfig(GCP{CredentialsJSON: ptr(literal(external))}))
		wantHeaders(t, c, headers{"authorization": "Bearer goog2"})
		want(t, w.requests(gcpSTS, "/v1/token")[1])

		w.handle(gcpSTS, reply(400, "application/json", `{"error":"invalid_grant","error_description":"CANARY"}`))
		c = w.open(gcpConfig(GCP{WorkloadIdentity: &GCPWorkloadIdentity{Audience: testWIF, Token: IdentityToken{File: file}}}))
		wantError(t, c, ReasonTokenRequestDenied, "invalid_grant", "clock")
	})
}

func TestGCPMetadata(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t)
		w.handle("169.254.169.254", func(rw http.ResponseWriter, r *http.Request) {
			if r.Header.Get("Metadata-Flavor") != "Google" || !strings.HasPrefix(r.URL.Path, "/computeMetadata/v1/instance/service-accounts/default/token") {
				reply(404, "text/html", "CANARY")(rw, r)
				return
			}
			reply(200, "application/json", `{"access_token":"meta","expires_in":3000,"token_type":"Bearer"}`)(rw, r)
		})
		c := w.open(gcpConfig(GCP{Metadata: true}))
		wantHeaders(t, c, headers{"authorization": "Bearer meta"})
		if s := c.Status(); !s.Expires.Equal(time.Now().Add(3000 * time.Second)) {
			t.Errorf("expires %v", s.Expires)
		}
		wantError(t, w.open(gcpConfig(GCP{Metadata: true, ServiceAccount: testSA})), ReasonNoCredentialFound, testSA)
		for _, bad := range []string{`{"access_token":"m"}`, `{"access_token":"m","expires_in":-1}`, `{"access_token":"m","expires_in":1e12}`, `{`, `{"access_token":"a\nb","expires_in":3}`} {
			w.handle("169.254.169.254", reply(200, "application/json", bad))
			wantError(t, w.open(gcpConfig(GCP{Metadata: true})), ReasonTokenRequestFailed)
		}
	})
}

func TestGCPDefaultCredentials(t *testing.T) {
	isolate(t)
	key := serviceAccountJSON(t, nil)
	file := filepath.Join(os.Getenv("HOME"), "key.json")
	if err := os.WriteFile(file, []byte(key), 0o600); err != nil {
		t.Fatal(err)
	}
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t)
		w.google()
		t.Setenv("GOOGLE_APPLICATION_CREDENTIALS", file)
		wantHeaders(t, w.open(gcpConfig(GCP{})), headers{"authorization": "Bearer goog1"})
		t.Setenv("GOOGLE_APPLICATION_CREDENTIALS", file+".gone")
		wantError(t, w.open(gcpConfig(GCP{})), ReasonNoCredentialFound, "GOOGLE_APPLICATION_CREDENTIALS")
	})
}

// A provider that hangs, or is not there, ends the fetch with a word of its name.
func TestGCPUnreachable(t *testing.T) {
	key := serviceAccountJSON(t, nil)
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t)
		config := gcpConfig(GCP{CredentialsJSON: ptr(literal(key))})
		wantError(t, w.open(config), ReasonTokenRequestFailed, googleHost)
		w.handle(googleHost, func(_ http.ResponseWriter, r *http.Request) { <-r.Context().Done() })
		at := time.Now()
		wantError(t, w.open(config), ReasonTokenRequestFailed, googleHost+" did not answer in time")
		if d := time.Since(at); d != 30*time.Second {
			t.Errorf("after %v", d)
		}
	})
}

// What a credentials file may make this process do.
func TestGCPHostileFiles(t *testing.T) {
	external := func(source string) string {
		return `{"type":"external_account","audience":"a","subject_token_type":"t","token_url":"https://sts.googleapis.com/v1/token","credential_source":` + source + `}`
	}
	w := newWorld(t)
	for name, tt := range map[string]struct{ json, says string }{
		"not JSON":      {"{", "not the JSON"},
		"no type":       {"{}", "type"},
		"token host":    {serviceAccountJSON(t, func(j map[string]any) { j["token_uri"] = "https://evil.example/token" }), "token_uri"},
		"token scheme":  {serviceAccountJSON(t, func(j map[string]any) { j["token_uri"] = "http://oauth2.googleapis.com/token" }), "token_uri"},
		"host suffix":   {serviceAccountJSON(t, func(j map[string]any) { j["token_uri"] = "https://evilgoogleapis.com/token" }), "token_uri"},
		"user info":     {serviceAccountJSON(t, func(j map[string]any) { j["token_uri"] = "https://a@oauth2.googleapis.com/token" }), "token_uri"},
		"universe":      {serviceAccountJSON(t, func(j map[string]any) { j["universe_domain"] = "evil.example" }), "universe"},
		"no key":        {serviceAccountJSON(t, func(j map[string]any) { delete(j, "private_key") }), "lacks"},
		"program":       {external(`{"executable":{"command":"/bin/sh"}}`), "credential_source"},
		"file and url":  {external(`{"file":"/f","url":"http://169.254.169.254/"}`), "credential_source"},
		"aws":           {external(`{"environment_id":"aws1"}`), "credential_source"},
		"impersonation": {strings.Replace(external(`{"file":"/f"}`), `"audience"`, `"service_account_impersonation_url":"https://evil.example/","audience"`, 1), "impersonation"},
		"no refresh":    {`{"type":"authorized_user","client_id":"x"}`, "lacks"},
	} {
		c := w.open(gcpConfig(GCP{CredentialsJSON: ptr(literal(tt.json))}))
		if e := c.Status(); e.Reason != ReasonInvalidSecret || !strings.Contains(e.Message, tt.says) {
			t.Errorf("%s: %+v", name, e)
		}
	}
	w.setSecret("gcp", "json", external(`{"file":"/var/run/secrets/token"}`))
	wantError(t, w.open(gcpConfig(GCP{CredentialsJSON: ptr(secretRef("gcp", "json"))})), ReasonInvalidSecret, "gcp.workloadIdentity")
	if len(w.got) != 0 {
		t.Errorf("%d requests were sent", len(w.got))
	}
}

func FuzzGoogleJSON(f *testing.F) {
	f.Add(`{"type":"service_account","client_email":"a","private_key":"b","token_uri":"https://oauth2.googleapis.com/token"}`, false)
	f.Add(`{"type":"external_account","token_url":"https://sts.googleapis.com/v1/token","credential_source":{"file":"/f"}}`, true)
	f.Fuzz(func(t *testing.T, text string, local bool) {
		kind, wrong := googleJSON(text, local)
		if (kind == "") == (wrong == "") {
			t.Errorf("%q: kind %q, wrong %q", text, kind, wrong)
		}
		if !local && kind == "external_account" {
			t.Errorf("%q was admitted from a Secret", text)
		}
	})
}

// An endless answer is cut off, and not mistaken for a whole one.
func TestAnswerIsBounded(t *testing.T) {
	w := newWorld(t)
	w.handle("h", reply(200, "text/plain", strings.Repeat("x", maxAnswer)))
	client := bounded(&http.Client{Transport: w})
	read := func() (int, error) {
		res, err := client.Get("http://h/")
		if err != nil {
			t.Fatal(err)
		}
		defer func() { _ = res.Body.Close() }()
		b, err := io.ReadAll(res.Body)
		return len(b), err
	}
	if n, err := read(); n != maxAnswer || err != nil {
		t.Errorf("at the bound: %d bytes, %v", n, err)
	}
	w.handle("h", reply(200, "text/plain", strings.Repeat("x", maxAnswer+1)))
	if n, err := read(); n > maxAnswer || !errors.Is(err, errAnswerTooLong) {
		t.Errorf("over the bound: %d bytes, %v", n, err)
	}
	w.handle("h", func(rw http.ResponseWriter, r *http.Request) { http.Redirect(rw, r, "http://evil/", http.StatusFound) })
	if _, err := read(); err != nil || len(w.requests("evil", "/")) != 0 {
		t.Errorf("a redirect was followed (%v)", err)
	}
}
