package credentials

import (
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"testing/synctest"
	"time"
)

// isolate hides what this machine has of AWS, Azure and Google.
func isolate(t *testing.T) {
	t.Helper()
	home := t.TempDir()
	for _, e := range os.Environ() {
		name, _, _ := strings.Cut(e, "=")
		if strings.HasPrefix(name, "AWS_") || strings.HasPrefix(name, "AZURE_") || strings.HasPrefix(name, "GOOGLE_") {
			t.Setenv(name, "")
		}
	}
	t.Setenv("HOME", home)
	t.Setenv("PATH", home)
	t.Setenv("AWS_CONFIG_FILE", filepath.Join(home, "config"))
	t.Setenv("AWS_SHARED_CREDENTIALS_FILE", filepath.Join(home, "credentials"))
}

func TestAWSContainer(t *testing.T) {
	file := filepath.Join(t.TempDir(), "token")
	if err := os.WriteFile(file, []byte("pod-token\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t)
		w.handle("169.254.170.23", func(rw http.ResponseWriter, r *http.Request) {
			if r.URL.Path != "/v1/credentials" || r.Header.Get("Authorization") != "pod-token" {
				reply(403, "application/json", `{"code":"AccessDenied","message":"CANARY"}`)(rw, r)
				return
			}
			reply(200, "application/json", `{"AccessKeyId":"ASIAPOD","SecretAccessKey":"s","Token":"t","Expiration":"`+soon(6*time.Hour)+`"}`)(rw, r)
		})
		c := w.open(awsConfig(AWS{Container: &AWSContainer{Endpoint: "http://169.254.170.23/v1/credentials", TokenFile: file}}))
		wantSigned(t, c, "ASIAPOD", "s", "t", "eu-west-1")

		// As the EKS agent's webhook sets it.
		c = w.open(awsConfig(AWS{Container: &AWSContainer{}}))
		wantError(t, c, ReasonNoCredentialFound, "AWS_CONTAINER_CREDENTIALS_FULL_URI")
		w.env["AWS_CONTAINER_CREDENTIALS_FULL_URI"] = "http://169.254.170.23/v1/credentials"
		w.env["AWS_CONTAINER_AUTHORIZATION_TOKEN_FILE"] = file
		c.Reload()
		synctest.Wait()
		wantSigned(t, c, "ASIAPOD", "s", "t", "eu-west-1")
		w.env["AWS_CONTAINER_CREDENTIALS_FULL_URI"] = "http://evil.example/"
		wantError(t, w.open(awsConfig(AWS{Container: &AWSContainer{}})), ReasonInvalidConfig, "this machine's agent")

		if err := os.WriteFile(file, []byte("wrong"), 0o600); err != nil {
			t.Fatal(err)
		}
		wantError(t, w.open(awsConfig(AWS{Container: &AWSContainer{Endpoint: "http://169.254.170.23/v1/credentials", TokenFile: file}})), ReasonAssumeRoleDenied)
	})
}

func TestAWSDefaultChain(t *testing.T) {
	isolate(t)
	run := func(name string, f func(t *testing.T, w *world)) {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) { f(t, newWorld(t)) })
		})
	}
	run("environment", func(t *testing.T, w *world) {
		t.Setenv("AWS_ACCESS_KEY_ID", "AKIAENV")
		t.Setenv("AWS_SECRET_ACCESS_KEY", "s")
		t.Setenv("AWS_REGION", "us-east-2")
		c := w.open(awsConfig(AWS{}))
		wantSigned(t, c, "AKIAENV", "s", "", "eu-west-1")
		r := request()
		r.Host = "models.internal"
		if err := c.Sign(t.Context(), r); err != nil || !strings.Contains(r.Headers.Get("authorization"), "/us-east-2/") {
			t.Errorf("%v, %s", err, r.Headers.Get("authorization"))
		}
	})
	run("IRSA", func(t *testing.T, w *world) {
		file := filepath.Join(os.Getenv("HOME"), "token")
		if err := os.WriteFile(file, []byte("jwt"), 0o600); err != nil {
			t.Fatal(err)
		}
		t.Setenv("AWS_WEB_IDENTITY_TOKEN_FILE", file)
		t.Setenv("AWS_ROLE_ARN", testRole)
		t.Setenv("AWS_REGION", "eu-west-1")
		w.sts(time.Hour)
		wantSigned(t, w.open(awsConfig(AWS{})), "ASIA1", "secret1", "token1", "eu-west-1")
	})
	run("profile", func(t *testing.T, w *world) {
		if err := os.WriteFile(os.Getenv("AWS_SHARED_CREDENTIALS_FILE"), []byte("[team]\naws_access_key_id=AKIAPROF\naws_secret_access_key=s\n"), 0o600); err != nil {
			t.Fatal(err)
		}
		wantSigned(t, w.open(awsConfig(AWS{Profile: "team"})), "AKIAPROF", "s", "", "eu-west-1")
		wantError(t, w.open(awsConfig(AWS{Profile: "none"})), ReasonNoCredentialFound, "none")
	})
	run("instance role", func(t *testing.T, w *world) {
		w.handle("169.254.169.254", func(rw http.ResponseWriter, r *http.Request) {
			switch {
			case r.URL.Path == "/latest/api/token" && r.Method == "PUT":
				rw.Header().Set("X-Aws-Ec2-Metadata-Token-Ttl-Seconds", "21600")
				reply(200, "text/plain", "imds-token")(rw, r)
			case r.Header.Get("X-Aws-Ec2-Metadata-Token") != "imds-token":
				reply(401, "text/plain", "")(rw, r)
			case strings.HasSuffix(r.URL.Path, "/node-role"):
				reply(200, "application/json", `{"Code":"Success","AccessKeyId":"ASIAEC2","SecretAccessKey":"s","Token":"t","Expiration":"`+soon(6*time.Hour)+`"}`)(rw, r)
			case strings.Contains(r.URL.Path, "/iam/security-credentials"):
				reply(200, "text/plain", "node-role")(rw, r)
			default:
				reply(404, "text/plain", "")(rw, r)
			}
		})
		wantSigned(t, w.open(awsConfig(AWS{})), "ASIAEC2", "s", "t", "eu-west-1")
	})
	run("nothing", func(t *testing.T, w *world) {
		t.Setenv("AWS_EC2_METADATA_DISABLED", "true")
		wantError(t, w.open(awsConfig(AWS{})), ReasonNoCredentialFound, "default chain")
	})
}
