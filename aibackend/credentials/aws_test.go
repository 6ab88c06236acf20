package credentials

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"net/http"
	"net/url"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	awsv4 "github.com/aws/aws-sdk-go-v2/aws/signer/v4"
)

const (
	stsHost   = "sts.eu-west-1.amazonaws.com"
	testRole  = "arn:aws:iam::123456789012:role/models"
	otherRole = "arn:aws:iam::210987654321:role/path/bedrock"
)

// wantSigned compares a signature with the AWS SDK's, made with the given keys.
func wantSigned(t *testing.T, c Credential, id, secret, token, region string) {
	t.Helper()
	got, err := sign(t, c)
	if err != nil {
		t.Fatal(err)
	}
	r := request()
	req, _ := http.NewRequest(r.Method, "https://"+r.Host, nil)
	req.URL = &url.URL{Scheme: "https", Host: r.Host, Opaque: "//" + r.Host + r.Path}
	req.Header.Set("Content-Type", "application/json")
	sum := sha256.Sum256(r.Body)
	keys := aws.Credentials{AccessKeyID: id, SecretAccessKey: secret, SessionToken: token}
	if err := awsv4.NewSigner().SignHTTP(context.Background(), keys, req, hex.EncodeToString(sum[:]), "bedrock", region, time.Now()); err != nil {
		t.Fatal(err)
	}
	if got["authorization"] != req.Header.Get("Authorization") {
		t.Errorf("authorization\n got %s\nwant %s", got["authorization"], req.Header.Get("Authorization"))
	}
	if got["x-amz-date"] != req.Header.Get("X-Amz-Date") || got["x-amz-security-token"] != token {
		t.Errorf("got date %q, token %q", got["x-amz-date"], got["x-amz-security-token"])
	}
	want := 2
	if token != "" {
		want++
	}
	if len(got) != want {
		t.Errorf("headers %v", sortedKeys(got))
	}
}

// sts answers AssumeRole and AssumeRoleWithWebIdentity: the n-th answer has the
// access key ID "ASIA<n>", the secret "secret<n>" and the token "token<n>".
func (w *world) sts(life time.Duration) {
	n := 0
	w.handle(stsHost, func(rw http.ResponseWriter, r *http.Request) {
		w.mu.Lock()
		n++
		k := n
		w.mu.Unlock()
		action := r.Form.Get("Action")
		rw.Header().Set("Content-Type", "text/xml")
		_, _ = fmt.Fprintf(rw, `<%[1]sResponse xmlns="https://sts.amazonaws.com/doc/2011-06-15/"><%[1]sResult>
			<Credentials><AccessKeyId>ASIA%[2]d</AccessKeyId><SecretAccessKey>secret%[2]d</SecretAccessKey><SessionToken>token%[2]d</SessionToken><Expiration>%[3]s</Expiration></Credentials>
			<AssumedRoleUser><Arn>arn:aws:sts::1:assumed-role/r/s</Arn><AssumedRoleId>A:s</AssumedRoleId></AssumedRoleUser>
			</%[1]sResult><ResponseMetadata><RequestId>r</RequestId></ResponseMetadata></%[1]sResponse>`, action, k, soon(life))
	})
}

func stsError(status int, code string) http.HandlerFunc {
	return reply(status, "text/xml", `<ErrorResponse xmlns="https://sts.amazonaws.com/doc/2011-06-15/"><Error><Type>Sender</Type><Code>`+code+`</Code><Message>CANARY</Message></Error><RequestId>r</RequestId></ErrorResponse>`)
}

func awsConfig(a AWS) Config { return Config{Type: TypeAWS, AWS: &a} }

func static(id, secret string) *AWSStatic {
	return &AWSStatic{AccessKeyID: literal(id), SecretAccessKey: literal(secret)}
}

func TestAWSStatic(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t)
		c := w.open(awsConfig(AWS{Static: static("AKIA1", "s/1+")}))
		wantStatus(t, c, true, ReasonReady)
		wantSigned(t, c, "AKIA1", "s/1+", "", "eu-west-1")

		a := static("AKIA1", "s1")
		a.SessionToken = ptr(literal("tok=="))
		wantSigned(t, w.open(awsConfig(AWS{Static: a})), "AKIA1", "s1", "tok==", "eu-west-1")
	})
}

func TestAWSRegion(t *testing.T) {
	for host, want := range map[string]string{
		"bedrock-runtime.eu-west-1.amazonaws.com":                       "eu-west-1",
		"bedrock-runtime-fips.us-gov-west-1.amazonaws.com:443":          "us-gov-west-1",
		"bedrock-runtime.cn-north-1.amazonaws.com.cn":                   "cn-north-1",
		"bedrock-mantle.us-east-1.api.aws":                              "us-east-1",
		"vpce-0a1b-x.bedrock-runtime.ap-southeast-2.vpce.amazonaws.com": "ap-southeast-2",
		"bedrock-runtime.amazonaws.com":                                 "",
		"bedrock.eu-west-1.example.com":                                 "",
		"models.internal":                                               "",
		"":                                                              "",
	} {
		if got := bedrockRegion(host); got != want {
			t.Errorf("%s: %q, want %q", host, got, want)
		}
	}
	// Another host: the configured region; without one, no signature.
	w := newWorld(t)
	r := request()
	r.Host = "models.internal"
	c := w.open(awsConfig(AWS{Region: "us-west-2", Static: static("AKIA1", "s")}))
	if err := c.Sign(t.Context(), r); err != nil || !strings.Contains(r.Headers.Get("authorization"), "/us-west-2/bedrock/") {
		t.Errorf("%v, %s", err, r.Headers.Get("authorization"))
	}
	c = w.open(awsConfig(AWS{Static: static("AKIA1", "s")}))
	if err := c.Sign(t.Context(), r); err == nil || r.Headers.Get("authorization") != "" {
		t.Error("signed without a region")
	}
	r = request()
	r.Path = "/model/../x"
	if err := c.Sign(t.Context(), r); err == nil || err.(*Error).Reason != ReasonUnsignable || r.Headers.Get("authorization") != "" {
		t.Errorf("a path with dots: %v", err)
	}
}

func TestAWSSharedFile(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t)
		w.setSecret("aws", "credentials", "# c\n[default]\naws_access_key_id = AKIA1\naws_secret_access_key=s1\n\n[ team ]\nAWS_ACCESS_KEY_ID=AKIA2\naws_secret_access_key = s2=\naws_session_token=t2\nregion=us-east-1\n")
		open := func(profile string) Credential {
			return w.open(awsConfig(AWS{SharedFile: &AWSSharedFile{Content: secretRef("aws", "credentials"), Profile: profile}}))
		}
		wantSigned(t, open(""), "AKIA1", "s1", "", "eu-west-1")
		wantSigned(t, open("team"), "AKIA2", "s2=", "t2", "eu-west-1")
		wantError(t, open("none"), ReasonInvalidSecret, "no such profile")
		for text, says := range map[string]string{
			"[default]\ncredential_process = /bin/evil":                     "credential_process",
			"[default]\nrole_arn = x\nsource_profile = default":             "role_arn",
			"[default]\naws_access_key_id=AKIA1":                            "lacks",
			"[default\n":                                                    "bracket",
			"[default]\nwhat":                                               "key = value",
			"[default]\naws_access_key_id=AKIA1\naws_secret_access_key=a b": "character",
			"[default]\naws_access_key_id=A\naws_secret_access_key=ab":      "look like",
		} {
			w.setSecret("aws", "credentials", text)
			wantError(t, open(""), ReasonInvalidSecret, says)
		}
	})
}

func FuzzSharedFile(f *testing.F) {
	f.Add("[default]\naws_access_key_id=AKIA1\naws_secret_access_key=s1\nregion=us-east-1", "")
	f.Add("[profile x]\ncredential_process=y", "x")
	f.Fuzz(func(t *testing.T, text, profile string) {
		p, wrong := parseSharedFile(text, profile)
		if wrong == "" && (keyText(p.id) != "" || keyText(p.secret) != "" || p.token != "" && keyText(p.token) != "") {
			t.Errorf("%q was read as %+v", text, p)
		}
		if wrong != "" && p != (sharedProfile{}) {
			t.Error("keys beside a complaint")
		}
	})
}

func TestAWSWebIdentity(t *testing.T) {
	file := filepath.Join(t.TempDir(), "token")
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t)
		w.sts(time.Hour)
		c := w.open(awsConfig(AWS{Region: "eu-west-1", WebIdentity: &AWSWebIdentity{RoleARN: testRole, Token: IdentityToken{File: file}}}))
		go c.Run(t.Context())
		defer c.Close()
		wantError(t, c, ReasonSecretNotFound, "does not exist")

		if err := os.WriteFile(file, []byte("jwt.1\n"), 0o600); err != nil {
			t.Fatal(err)
		}
		time.Sleep(2 * time.Second)
		wantSigned(t, c, "ASIA1", "secret1", "token1", "eu-west-1")
		a := w.requests(stsHost, "/")[0]
		if a.form.Get("Action") != "AssumeRoleWithWebIdentity" || a.form.Get("RoleArn") != testRole || a.form.Get("WebIdentityToken") != "jwt.1" ||
			a.form.Get("RoleSessionName") != "fairway" || a.header.Get("Authorization") != "" {
			t.Errorf("asked %v with %v", a.form, a.header)
		}

		// The file is read anew, and the new token is there long before the old ends.
		if err := os.WriteFile(file, []byte("jwt.2"), 0o600); err != nil {
			t.Fatal(err)
		}
		time.Sleep(49 * time.Minute)
		synctest.Wait()
		wantSigned(t, c, "ASIA2", "secret2", "token2", "eu-west-1")
		if a := w.requests(stsHost, "/")[1]; a.form.Get("WebIdentityToken") != "jwt.2" {
			t.Errorf("asked %v", a.form)
		}
	})
}

func TestAWSAssumeRoleChain(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t)
		w.sts(time.Hour)
		c := w.open(awsConfig(AWS{
			Region: "eu-west-1", Static: static("AKIA1", "s1"),
			AssumeRole: []AWSRole{{RoleARN: testRole, SessionName: "first"}, {RoleARN: otherRole, ExternalID: "ext", Duration: time.Hour}},
		}))
		wantStatus(t, c, false, ReasonPending)
		wantSigned(t, c, "ASIA2", "secret2", "token2", "eu-west-1")
		got := w.requests(stsHost, "/")
		if len(got) != 2 {
			t.Fatalf("%d requests", len(got))
		}
		for i, want := range []map[string]string{
			{"Action": "AssumeRole", "RoleArn": testRole, "RoleSessionName": "first", "ExternalId": "", "DurationSeconds": "900"},
			{"Action": "AssumeRole", "RoleArn": otherRole, "RoleSessionName": "fairway", "ExternalId": "ext", "DurationSeconds": "3600"},
		} {
			for k, v := range want {
				if got[i].form.Get(k) != v {
					t.Errorf("request %d: %s is %q, want %q", i, k, got[i].form.Get(k), v)
				}
			}
			if by := []string{"Credential=AKIA1/", "Credential=ASIA1/"}[i]; !strings.Contains(got[i].header.Get("Authorization"), by) {
				t.Errorf("request %d is signed by %q, want %s", i, got[i].header.Get("Authorization"), by)
			}
		}
		if s := wantStatus(t, c, true, ReasonReady); !s.Expires.Equal(time.Now().Add(time.Hour)) {
			t.Errorf("expires %v", s.Expires)
		}
	})
}

func TestAWSErrors(t *testing.T) {
	for name, tt := range map[string]struct {
		answer http.HandlerFunc
		reason Reason
		says   string
	}{
		"denied":        {stsError(403, "AccessDenied"), ReasonAssumeRoleDenied, testRole},
		"bad keys":      {stsError(403, "InvalidClientTokenId"), ReasonTokenRequestDenied, "replace them"},
		"throttled":     {stsError(400, "Throttling"), ReasonTokenRequestFailed, "Throttling"},
		"down":          {stsError(503, "ServiceUnavailable"), ReasonTokenRequestFailed, "HTTP 503"},
		"unknown code":  {stsError(400, "CANARY"), ReasonTokenRequestDenied, "HTTP 400"},
		"no XML":        {reply(200, "text/html", "<html>CANARY"), ReasonTokenRequestFailed, ""},
		"too long":      {reply(200, "text/xml", "<AssumeRoleResponse>"+strings.Repeat(" ", 2<<20)), ReasonTokenRequestFailed, ""},
		"already ended": {nil, ReasonTokenRequestFailed, "clocks"},
		"not reached":   {nil, ReasonTokenRequestFailed, stsHost + " gave no usable answer"},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				w := newWorld(t)
				switch {
				case tt.answer != nil:
					w.handle(stsHost, tt.answer)
				case name == "already ended":
					w.sts(-time.Minute)
				}
				c := w.open(awsConfig(AWS{Region: "eu-west-1", Static: static("AKIA1", "s1"), AssumeRole: []AWSRole{{RoleARN: testRole}}}))
				wantError(t, c, tt.reason, tt.says)
				s := wantStatus(t, c, false, tt.reason)
				if strings.Contains(s.Message+w.logged(), "CANARY") {
					t.Errorf("repeats what the server said: %s\n%s", s.Message, w.logged())
				}
				if n := len(w.requests(stsHost, "/")); n != 1 {
					t.Errorf("%d requests for one failure", n)
				}
			})
		})
	}
}
