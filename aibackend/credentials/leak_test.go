package credentials

import (
	"bytes"
	"encoding/json"
	"fmt"
	"log/slog"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"testing/synctest"
	"time"
)

const canary = "CANARYcanary0123456789CANARYcanary012345"

// shown is everything that printing v in all common ways yields.
func shown(v any) string {
	var b bytes.Buffer
	for _, verb := range []string{"%v", "%+v", "%#v", "%s", "%q", "%x"} {
		fmt.Fprintf(&b, verb+"\n", v)
	}
	for _, h := range []slog.Handler{slog.NewTextHandler(&b, nil), slog.NewJSONHandler(&b, nil)} {
		slog.New(h).Info("x", "v", v)
	}
	j, _ := json.Marshal(v)
	b.Write(j)
	return b.String()
}

func leaks(s string) bool {
	return strings.Contains(s, canary) || strings.Contains(s, fmt.Sprintf("%x", canary)) || strings.Contains(s, fmt.Sprintf("%X", canary))
}

func TestCanaryInSecret(t *testing.T) {
	s := NewSecret(canary)
	type holder struct {
		Public  Secret
		private Secret
		Ptr     *Secret
	}
	for _, v := range []any{s, &s, holder{s, s, &s}, &holder{s, s, &s}, []Secret{s}, map[string]Secret{"k": s}, Value{Literal: s}} {
		if leaks(shown(v)) {
			t.Errorf("%T shows the secret:\n%s", v, shown(v))
		}
	}
	if s.Reveal() != canary || !s.Equal(NewSecret(canary)) || s.Equal(NewSecret("x")) || s.String() != redacted || (Secret{}).String() != "" {
		t.Error("a Secret is not what it should be")
	}
}

// everyConfig holds the canary wherever a secret goes.
func everyConfig(t *testing.T, w *world) map[string]Config {
	k := literal(canary)
	role := []AWSRole{{RoleARN: testRole}}
	file := filepath.Join(t.TempDir(), "token")
	if err := os.WriteFile(file, []byte(canary), 0o600); err != nil {
		t.Fatal(err)
	}
	w.setSecret("keys", "k", canary)
	w.setSecret("bad", "k", canary+" "+canary)
	w.env["KEY"] = canary
	oidc := IdentityToken{OIDC: &OIDC{Issuer: "https://idp.example", TokenURL: "https://idp.example/token", ClientID: "c", ClientSecret: k}}
	secretStatic := &AWSStatic{AccessKeyID: literal("AKIA1"), SecretAccessKey: k, SessionToken: &k}
	return map[string]Config{
		"key":           {Type: TypeAPIKey, APIKey: &APIKey{Value: k}},
		"key bad":       {Type: TypeAPIKey, APIKey: &APIKey{Value: literal(canary + " " + canary)}},
		"key file":      {Type: TypeAPIKey, APIKey: &APIKey{Value: Value{File: file}}},
		"key env":       {Type: TypeAPIKey, APIKey: &APIKey{Value: Value{Env: "KEY"}}},
		"key secret":    {Type: TypeAPIKey, APIKey: &APIKey{Value: secretRef("keys", "k")}},
		"key bad entry": {Type: TypeAPIKey, APIKey: &APIKey{Value: secretRef("bad", "k")}},
		"aws static":    {Type: TypeAWS, AWS: &AWS{Static: secretStatic}},
		"aws bad id":    {Type: TypeAWS, AWS: &AWS{Static: &AWSStatic{AccessKeyID: literal(canary + "!"), SecretAccessKey: k}}},
		"aws role":      {Type: TypeAWS, AWS: &AWS{Region: "eu-west-1", Static: secretStatic, AssumeRole: role}},
		"aws file":      {Type: TypeAWS, AWS: &AWS{SharedFile: &AWSSharedFile{Content: literal("[default]\ncredential_process=" + canary)}}},
		"aws file line": {Type: TypeAWS, AWS: &AWS{SharedFile: &AWSSharedFile{Content: literal("[default]\n" + canary)}}},
		"aws web":       {Type: TypeAWS, AWS: &AWS{Region: "eu-west-1", WebIdentity: &AWSWebIdentity{RoleARN: testRole, Token: IdentityToken{File: file}}}},
		"aws web value": {Type: TypeAWS, AWS: &AWS{Region: "eu-west-1", WebIdentity: &AWSWebIdentity{RoleARN: testRole, Token: IdentityToken{Value: &k}}}},
		"aws web oidc":  {Type: TypeAWS, AWS: &AWS{Region: "eu-west-1", WebIdentity: &AWSWebIdentity{RoleARN: testRole, Token: oidc}}},
		"aws container": {Type: TypeAWS, AWS: &AWS{Container: &AWSContainer{Endpoint: "http://169.254.170.2/x", TokenFile: file}}},
		"az secret":     {Type: TypeAzure, Azure: &Azure{TenantID: "tenant-1", ClientID: "c", ClientSecret: &k}},
		"az federated":  {Type: TypeAzure, Azure: &Azure{TenantID: "tenant-1", ClientID: "c", Federated: &IdentityToken{File: file}}},
		"az oidc":       {Type: TypeAzure, Azure: &Azure{TenantID: "tenant-1", ClientID: "c", Federated: &oidc}},
		"gcp key":       {Type: TypeGCP, GCP: &GCP{CredentialsJSON: ptr(literal(serviceAccountJSON(t, func(j map[string]any) { j["private_key_id"] = canary })))}},
		"gcp bad key":   {Type: TypeGCP, GCP: &GCP{CredentialsJSON: ptr(literal(`{"type":"service_account","client_email":"a","token_uri":"https://oauth2.googleapis.com/token","private_key":"` + canary + `"}`))}},
		"gcp bad json":  {Type: TypeGCP, GCP: &GCP{CredentialsJSON: ptr(literal(`{"` + canary))}},
		"gcp user":      {Type: TypeGCP, GCP: &GCP{CredentialsJSON: ptr(literal(`{"type":"authorized_user","client_id":"a","client_secret":"` + canary + `","refresh_token":"` + canary + `"}`))}},
		"gcp wif":       {Type: TypeGCP, GCP: &GCP{WorkloadIdentity: &GCPWorkloadIdentity{Audience: testWIF, Token: IdentityToken{Value: &k}}}},
		"gcp imp":       {Type: TypeGCP, GCP: &GCP{WorkloadIdentity: &GCPWorkloadIdentity{Audience: testWIF, Token: IdentityToken{Value: &k}}, Impersonate: testSA}},
		"pass":          {Type: TypeFromRequestHeader, FromRequestHeader: &FromRequestHeader{Header: "x-mine"}},
	}
}

// Nothing that can be printed shows a secret: not the configuration, not the
// credential in use, not its status, log lines and errors, even when every
// identity provider answers with an error that quotes all it was sent.
func TestCanaryAnywhere(t *testing.T) {
	for _, mode := range []string{"unreachable", "echo", "good"} {
		t.Run(mode, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				w := newWorld(t)
				w.echo = mode == "echo"
				configs := everyConfig(t, w)
				if mode == "good" {
					w.entra(entraHost, 3600)
					w.google()
					w.sts(time.Hour)
					w.handle("idp.example", reply(200, "application/json", `{"access_token":"`+canary+`"}`))
					w.handle("169.254.170.2", reply(200, "application/json", `{"AccessKeyId":"ASIA1","SecretAccessKey":"`+canary+`","Token":"`+canary+`","Expiration":"`+soon(time.Hour)+`"}`))
					w.handle(iamHost, reply(200, "application/json", `{"accessToken":"`+canary+`","expireTime":"`+soon(time.Hour)+`"}`))
				}
				signed := 0
				for name, config := range configs {
					c := w.open(config)
					r := request()
					if name == "pass" {
						r.Headers.Set("x-mine", canary+"\n")
					}
					err := c.Sign(t.Context(), r)
					if err == nil {
						signed++
					}
					for what, v := range map[string]any{
						"config": config, "config pointer": &config, "credential": c, "error": err, "status": c.Status(), "request": r, "request value": *r,
						"wrapped error": fmt.Errorf("sign: %w", orNil(err)), "members": []any{config.APIKey, config.AWS, config.Azure, config.GCP},
					} {
						if leaks(shown(v)) {
							t.Errorf("%s: the %s shows the secret:\n%.600s", name, what, shown(v))
						}
					}
					c.Reload()
				}
				synctest.Wait()
				if leaks(w.logged()) {
					t.Errorf("the log shows the secret:\n%s", w.logged())
				}
				if mode == "good" && signed < 15 || mode == "echo" && signed > 8 || w.logged() == "" {
					t.Errorf("%d of %d configurations signed; log:\n%s", signed, len(configs), w.logged())
				}
			})
		})
	}
}

func orNil(err error) error {
	if err == nil {
		return fmt.Errorf("none")
	}
	return err
}
