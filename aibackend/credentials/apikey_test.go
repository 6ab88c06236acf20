package credentials

import (
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"testing/synctest"
	"time"
)

func TestAPIKeyHeaders(t *testing.T) {
	for name, tt := range map[string]struct {
		config Config
		want   headers
	}{
		"bearer":    {Config{Type: TypeAPIKey, APIKey: &APIKey{Value: literal(" sk-1\n")}}, headers{"authorization": "Bearer sk-1"}},
		"anthropic": {Config{Type: TypeAPIKey, APIKey: &APIKey{Value: literal("sk-2"), Header: "X-Api-Key"}}, headers{"x-api-key": "sk-2"}},
		"any":       {Config{Type: TypeAPIKey, APIKey: &APIKey{Value: literal("k"), Header: "x-my-key", Prefix: ptr("Token ")}}, headers{"x-my-key": "Token k"}},
		"bare":      {Config{Type: TypeAPIKey, APIKey: &APIKey{Value: literal("k"), Prefix: ptr("")}}, headers{"authorization": "k"}},
		"azure":     {Config{Type: TypeAzure, Azure: &Azure{APIKey: ptr(literal("az"))}}, headers{"api-key": "az"}},
		"bedrock":   {Config{Type: TypeAWS, AWS: &AWS{APIKey: ptr(literal("ABSK=="))}}, headers{"authorization": "Bearer ABSK=="}},
		"google":    {Config{Type: TypeGCP, GCP: &GCP{APIKey: ptr(literal("AIza")), QuotaProject: "p-1"}}, headers{"x-goog-api-key": "AIza", "x-goog-user-project": "p-1"}},
		"none":      {Config{Type: TypeNone}, headers{}},
	} {
		t.Run(name, func(t *testing.T) {
			c := newWorld(t).open(tt.config)
			wantStatus(t, c, true, ReasonReady)
			wantHeaders(t, c, tt.want)
			c.Close()
			wantError(t, c, ReasonClosed)
			wantStatus(t, c, false, ReasonClosed)
		})
	}
}

func TestValueSources(t *testing.T) {
	dir := t.TempDir()
	file := filepath.Join(dir, "key")
	if err := os.WriteFile(file, []byte("from-file\r\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	long := filepath.Join(dir, "long")
	if err := os.WriteFile(long, []byte(strings.Repeat("x", maxValue+1)), 0o600); err != nil {
		t.Fatal(err)
	}
	w := newWorld(t)
	w.setSecret("keys", "apiKey", "from-secret\n")
	w.setSecret("long", "apiKey", strings.Repeat("x", maxValue+1))
	w.env["KEY"] = "from-env"
	for _, tt := range []struct {
		value  Value
		want   string
		reason Reason
		says   string
	}{
		{Value{File: file}, "from-file", "", ""},
		{Value{Env: "KEY"}, "from-env", "", ""},
		{secretRef("keys", "apiKey"), "from-secret", "", ""},
		{Value{File: filepath.Join(dir, "none")}, "", ReasonSecretNotFound, "does not exist"},
		{Value{File: dir}, "", ReasonSecretNotFound, "not a regular file"},
		{Value{File: long}, "", ReasonInvalidSecret, "longer than"},
		{Value{Env: "NONE"}, "", ReasonSecretNotFound, "NONE is not set"},
		{secretRef("keys", "other"), "", ReasonSecretNotFound, `ns/keys has no entry "other"`},
		{secretRef("gone", "apiKey"), "", ReasonSecretNotFound, "ns/gone does not exist"},
		{secretRef("long", "apiKey"), "", ReasonInvalidSecret, "longer than"},
		{literal("\n \n"), "", ReasonInvalidSecret, "empty"},
		{literal(`"sk-1"`), "", ReasonInvalidSecret, "quotes"},
		{literal("Bearer sk-1"), "", ReasonInvalidSecret, "blank"},
		{literal("sk\n1"), "", ReasonInvalidSecret, "several lines"},
		{literal("sk-\x00"), "", ReasonInvalidSecret, "character"},
		{literal("\ufeffsk-1"), "", ReasonInvalidSecret, "character"},
	} {
		c := w.open(Config{Type: TypeAPIKey, APIKey: &APIKey{Value: tt.value}})
		if tt.reason == "" {
			wantHeaders(t, c, headers{"authorization": "Bearer " + tt.want})
			continue
		}
		wantError(t, c, tt.reason, tt.says)
		if s := wantStatus(t, c, false, tt.reason); !strings.Contains(s.Message, tt.says) {
			t.Errorf("status says %q", s.Message)
		}
	}
}

func TestKeyIsReloaded(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t)
		c := w.open(Config{Type: TypeAPIKey, APIKey: &APIKey{Value: secretRef("keys", "apiKey")}})
		defer c.Close()
		go c.Run(t.Context())
		wantError(t, c, ReasonSecretNotFound, "create it")

		w.setSecret("keys", "apiKey", "one")
		time.Sleep(11 * time.Second)
		wantHeaders(t, c, headers{"authorization": "Bearer one"})
		wantStatus(t, c, true, ReasonReady)

		w.setSecret("keys", "apiKey", "two")
		c.Reload()
		synctest.Wait()
		wantHeaders(t, c, headers{"authorization": "Bearer two"})

		w.deleteSecret("keys")
		c.Reload()
		wantError(t, c, ReasonSecretNotFound)
		wantStatus(t, c, false, ReasonSecretNotFound)

		// The same key again is a key again.
		w.setSecret("keys", "apiKey", "two")
		time.Sleep(11 * time.Second)
		wantHeaders(t, c, headers{"authorization": "Bearer two"})
		if n := strings.Count(w.logged(), "\n"); n != 4 {
			t.Errorf("%d log lines for 4 changes:\n%s", n, w.logged())
		}
	})
}

func TestFromRequestHeader(t *testing.T) {
	w := newWorld(t)
	c := w.open(Config{Type: TypeFromRequestHeader, FromRequestHeader: &FromRequestHeader{Header: "Authorization", TrimPrefix: "Bearer ", As: "X-Api-Key"}})
	try := func(h headers) (headers, error) {
		r := &Request{Method: "POST", Host: "h", Path: "/", Headers: h}
		err := c.Sign(t.Context(), r)
		return h, err
	}
	for _, sent := range []string{"Bearer sk-1", "bearer  sk-1 ", "sk-1"} {
		h, err := try(headers{"authorization": sent, "x-api-key": "other", "accept": "a"})
		if err != nil || len(h) != 2 || h["x-api-key"] != "sk-1" {
			t.Errorf("%q: %v, %v", sent, h, err)
		}
	}
	for _, sent := range []string{"", "Bearer ", "sk\n1", "sk-é"} {
		h, err := try(headers{"authorization": sent, "x-api-key": "other"})
		if !errors.Is(err, ErrMissing) || !strings.Contains(err.Error(), `"authorization"`) || len(h) != 0 {
			t.Errorf("%q: %v, %v", sent, h, err)
		}
	}
	// A try before has removed the client's header.
	r := &Request{Headers: headers{"authorization": "Bearer previous"}, Client: func(name string) string {
		return headers{"authorization": "Bearer sk-1"}[name]
	}}
	if err := c.Sign(t.Context(), r); err != nil || r.Headers.Get("x-api-key") != "sk-1" || r.Headers.Get("authorization") != "" {
		t.Errorf("%v, %v", r.Headers, err)
	}
	c.Close()
	if _, err := try(headers{"authorization": "Bearer sk-1"}); err == nil || errors.Is(err, ErrMissing) {
		t.Errorf("after Close: %v", err)
	}
}

func TestStrip(t *testing.T) {
	h := headers{
		"Authorization": "x", "proxy-authorization": "x", "cookie": "x", "x-api-key": "x", "api-key": "x", "x-goog-api-key": "x",
		"x-amz-date": "x", "X-Amz-Anything": "x", "x-amzn-oidc-data": "x", "x-ms-token-aad-id-token": "x", "openai-organization": "x",
		"x-goog-user-project": "x", "x-backend-a": "x", "cf-access-jwt-assertion": "x", "ocp-apim-subscription-key": "x",
		"x-auth-request-access-token": "x", "x-forwarded-access-token": "x", "x-goog-iap-jwt-assertion": "x",
		"content-type": "keep", "anthropic-version": "keep", "x-amzn-bedrock-trace": "keep", "x-request-id": "keep", "openai-beta": "keep",
	}
	Strip(h, "x-backend-a")
	for name, v := range h {
		if v == "x" {
			t.Errorf("%s is left", name)
		}
	}
	if len(h) != 5 {
		t.Errorf("left are %v", sortedKeys(h))
	}
}

func TestInvalidConfig(t *testing.T) {
	key := func(a APIKey) Config { return Config{Type: TypeAPIKey, APIKey: &a} }
	pass := func(f FromRequestHeader) Config { return Config{Type: TypeFromRequestHeader, FromRequestHeader: &f} }
	aws := func(a AWS) Config { return Config{Type: TypeAWS, AWS: &a} }
	az := func(a Azure) Config { return Config{Type: TypeAzure, Azure: &a} }
	gcp := func(g GCP) Config { return Config{Type: TypeGCP, GCP: &g} }
	k := literal("k")
	role := "arn:aws:iam::123456789012:role/r"
	for name, c := range map[string]Config{
		"no type":            {},
		"unknown type":       {Type: "Magic"},
		"member not set":     {Type: TypeAWS},
		"other member":       {Type: TypeNone, AWS: &AWS{}},
		"no value":           key(APIKey{}),
		"two values":         key(APIKey{Value: Value{Env: "A", File: "b"}}),
		"secret, no entry":   key(APIKey{Value: Value{SecretRef: &SecretRef{Name: "n"}}}),
		"header name":        key(APIKey{Value: k, Header: "a b"}),
		"header host":        key(APIKey{Value: k, Header: "Host"}),
		"pseudo header":      key(APIKey{Value: k, Header: ":authority"}),
		"gateway header":     key(APIKey{Value: k, Header: "x-envoy-original-path"}),
		"prefix":             key(APIKey{Value: k, Prefix: ptr("a\n")}),
		"pass: no header":    pass(FromRequestHeader{}),
		"pass: as":           pass(FromRequestHeader{Header: "a", As: "content-length"}),
		"pass: prefix":       pass(FromRequestHeader{Header: "a", Prefix: "\r"}),
		"aws: two sources":   aws(AWS{Profile: "p", Static: &AWSStatic{AccessKeyID: k, SecretAccessKey: k}}),
		"aws: key and role":  aws(AWS{APIKey: &k, AssumeRole: []AWSRole{{RoleARN: role}}}),
		"aws: region":        aws(AWS{Region: "eu-west-1/../x"}),
		"aws: service":       aws(AWS{Service: "Bed rock"}),
		"aws: role":          aws(AWS{AssumeRole: []AWSRole{{RoleARN: "r"}}}),
		"aws: session":       aws(AWS{AssumeRole: []AWSRole{{RoleARN: role, SessionName: "a b"}}}),
		"aws: duration":      aws(AWS{AssumeRole: []AWSRole{{RoleARN: role, Duration: time.Minute}}}),
		"aws: no token":      aws(AWS{WebIdentity: &AWSWebIdentity{RoleARN: role}}),
		"aws: http issuer":   aws(AWS{WebIdentity: &AWSWebIdentity{RoleARN: role, Token: IdentityToken{OIDC: &OIDC{Issuer: "http://i", ClientID: "c", ClientSecret: k}}}}),
		"aws: no client":     aws(AWS{WebIdentity: &AWSWebIdentity{RoleARN: role, Token: IdentityToken{OIDC: &OIDC{Issuer: "https://i", ClientSecret: k}}}}),
		"aws: no secret key": aws(AWS{Static: &AWSStatic{AccessKeyID: k}}),
		"aws: container":     aws(AWS{Container: &AWSContainer{Endpoint: "http://example.com/x"}}),
		"azure: two sources": az(Azure{APIKey: &k, ManagedIdentity: true}),
		"azure: no tenant":   az(Azure{ClientSecret: &k, ClientID: "c"}),
		"azure: tenant":      az(Azure{ClientSecret: &k, ClientID: "c", TenantID: "a/b"}),
		"azure: scope":       az(Azure{Scope: "http://x"}),
		"azure: cloud":       az(Azure{Cloud: "Moon"}),
		"gcp: two sources":   gcp(GCP{APIKey: &k, Metadata: true}),
		"gcp: key as other":  gcp(GCP{APIKey: &k, Impersonate: "a@p.iam.gserviceaccount.com"}),
		"gcp: project":       gcp(GCP{QuotaProject: "a\nb"}),
		"gcp: account":       gcp(GCP{Impersonate: "a/b"}),
		"gcp: delegates":     gcp(GCP{Delegates: []string{"a@p.iam.gserviceaccount.com"}}),
		"gcp: sa":            gcp(GCP{ServiceAccount: "a@p.iam.gserviceaccount.com"}),
		"gcp: scope":         gcp(GCP{Scopes: []string{"a b"}}),
		"gcp: audience":      gcp(GCP{WorkloadIdentity: &GCPWorkloadIdentity{Audience: "x", Token: IdentityToken{Value: &k}}}),
	} {
		_, err := New(t.Context(), c, Deps{})
		if e, ok := err.(*Error); !ok || e.Reason != ReasonInvalidConfig {
			t.Errorf("%s: got %v", name, err)
		}
	}
}

func FuzzKeyText(f *testing.F) {
	f.Add("sk-1")
	f.Add("\"x\"")
	f.Fuzz(func(t *testing.T, s string) {
		got, err := reader{}.read(input{literal(s), "key", keyText})
		if s == "" || err != nil {
			return
		}
		if got == "" || !headerText(got) || strings.ContainsAny(got, " \t\r\n") {
			t.Errorf("%q was read as %q", s, got)
		}
	})
}

func BenchmarkSignAPIKey(b *testing.B) {
	c, err := New(b.Context(), Config{Type: TypeAPIKey, APIKey: &APIKey{Value: literal("sk-1")}}, Deps{})
	if err != nil {
		b.Fatal(err)
	}
	r := &Request{Method: "POST", Host: "h", Path: "/", Headers: headers{"accept": "a", "authorization": "Bearer client"}}
	b.ReportAllocs()
	for b.Loop() {
		if err := c.Sign(b.Context(), r); err != nil {
			b.Fatal(err)
		}
	}
}
