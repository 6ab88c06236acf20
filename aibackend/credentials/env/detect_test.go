package env

import (
	"fmt"
	"slices"
	"strings"
	"testing"

	"github.com/fairway-ai/fairway/aibackend/credentials"
)

// describe is a provider in one line.
func describe(p Provider) string {
	scheme := "http"
	if p.TLS {
		scheme = "https"
	}
	s := fmt.Sprintf("%s %s %s://%s:%d%s", p.Name, p.Schema, scheme, p.Host, p.Port, p.BasePath)
	for _, x := range []string{p.Version, p.Region, p.Project} {
		if x != "" {
			s += " " + x
		}
	}
	s += " " + string(p.Credentials.Type)
	switch c := p.Credentials; {
	case c.APIKey != nil:
		s += " " + c.APIKey.Value.Env + ">" + c.APIKey.Header
	case c.AWS != nil && c.AWS.APIKey != nil:
		s += " " + c.AWS.APIKey.Env
	case c.Azure != nil && c.Azure.APIKey != nil:
		s += " " + c.Azure.APIKey.Env
	case c.Azure != nil && c.Azure.ClientSecret != nil:
		s += " " + c.Azure.ClientSecret.Env
	case c.Azure != nil && c.Azure.Federated != nil:
		s += " " + c.Azure.Federated.File
	}
	return s
}

func detect(vars string, files ...string) Result {
	env := map[string]string{"HOME": "/h"}
	for v := range strings.FieldsSeq(vars) {
		k, val, _ := strings.Cut(v, "=")
		env[k] = val
	}
	return Detect(Environment{
		Lookup:     func(n string) (string, bool) { v, ok := env[n]; return v, ok },
		FileExists: func(p string) bool { return slices.Contains(files, p) },
	})
}

func TestDetect(t *testing.T) {
	const (
		openai = "openai OpenAI https://api.openai.com:443/v1 APIKey OPENAI_API_KEY>"
		aws    = "bedrock AWSBedrock https://bedrock-runtime.eu-west-1.amazonaws.com:443 eu-west-1 AWS"
	)
	for _, tt := range []struct{ vars, want string }{
		{"", ""},
		{"OPENAI_API_KEY=", ""},
		{"OPENAI_API_KEY=k", openai},
		{"OPENAI_API_KEY=k OPENAI_BASE_URL=https://x.example:8443/a/v1/", "openai OpenAI https://x.example:8443/a/v1 APIKey OPENAI_API_KEY>"},
		{"OPENAI_BASE_URL=http://localhost:11434/v1", "openai OpenAI http://localhost:11434/v1 None"},
		{"OPENAI_BASE_URL=http://[::1]:8000", "openai OpenAI http://::1:8000 None"},
		{"ANTHROPIC_API_KEY=k", "anthropic Anthropic https://api.anthropic.com:443 APIKey ANTHROPIC_API_KEY>x-api-key"},
		{"ANTHROPIC_AUTH_TOKEN=k ANTHROPIC_BASE_URL=http://gw/anthropic", "anthropic Anthropic http://gw:80/anthropic APIKey ANTHROPIC_AUTH_TOKEN>"},
		{"AZURE_OPENAI_API_KEY=k AZURE_OPENAI_ENDPOINT=https://r.openai.azure.com/", "azure AzureOpenAI https://r.openai.azure.com:443 2024-10-21 Azure AZURE_OPENAI_API_KEY"},
		{"AZURE_OPENAI_ENDPOINT=https://r AZURE_TENANT_ID=t AZURE_CLIENT_ID=c AZURE_CLIENT_SECRET=s OPENAI_API_VERSION=v1", "azure AzureOpenAI https://r:443 v1 Azure AZURE_CLIENT_SECRET"},
		{"AZURE_OPENAI_ENDPOINT=https://r AZURE_TENANT_ID=t AZURE_CLIENT_ID=c AZURE_FEDERATED_TOKEN_FILE=/f", "azure AzureOpenAI https://r:443 2024-10-21 Azure /f"},
		{"AWS_REGION=eu-west-1 AWS_ACCESS_KEY_ID=a AWS_SECRET_ACCESS_KEY=b", aws},
		{"AWS_DEFAULT_REGION=eu-west-1 AWS_PROFILE=p", aws},
		{"AWS_REGION=eu-west-1 AWS_WEB_IDENTITY_TOKEN_FILE=f AWS_ROLE_ARN=r", aws},
		{"AWS_REGION=eu-west-1 AWS_CONTAINER_CREDENTIALS_FULL_URI=u", aws},
		{"AWS_REGION=eu-west-1 AWS_BEARER_TOKEN_BEDROCK=b", aws + " AWS_BEARER_TOKEN_BEDROCK"},
		{"AWS_REGION=cn-north-1 AWS_PROFILE=p", "bedrock AWSBedrock https://bedrock-runtime.cn-north-1.amazonaws.com.cn:443 cn-north-1 AWS"},
		{"GOOGLE_CLOUD_PROJECT=p GOOGLE_APPLICATION_CREDENTIALS=/f", "vertex GCPVertexAI https://aiplatform.googleapis.com:443 global p GCP"},
		{"GOOGLE_CLOUD_PROJECT=p GOOGLE_APPLICATION_CREDENTIALS=/f GOOGLE_CLOUD_LOCATION=us-east5", "vertex GCPVertexAI https://us-east5-aiplatform.googleapis.com:443 us-east5 p GCP"},
		{"GEMINI_API_KEY=k", "gemini OpenAI https://generativelanguage.googleapis.com:443/v1beta/openai APIKey GEMINI_API_KEY>"},
		{"COHERE_API_KEY=k", "cohere Cohere https://api.cohere.com:443 APIKey COHERE_API_KEY>"},
		{"COHERE_API_KEY=k GEMINI_API_KEY=k OPENAI_API_KEY=k", openai +
			"\ngemini OpenAI https://generativelanguage.googleapis.com:443/v1beta/openai APIKey GEMINI_API_KEY>\ncohere Cohere https://api.cohere.com:443 APIKey COHERE_API_KEY>"},
	} {
		r := detect(tt.vars)
		var got []string
		for _, p := range r.Providers {
			got = append(got, describe(p))
			if _, err := credentials.New(t.Context(), p.Credentials, credentials.Deps{Getenv: func(string) string { return "k" }}); err != nil {
				t.Errorf("%s: its configuration is refused: %v", tt.vars, err)
			}
		}
		if s := strings.Join(got, "\n"); s != tt.want || len(r.Warnings) > 0 {
			t.Errorf("%s:\n got %s %q\nwant %s", tt.vars, s, r.Warnings, tt.want)
		}
	}
}

func TestDetectFiles(t *testing.T) {
	if r := detect("AWS_REGION=us-east-1", "/h/.aws/credentials"); len(r.Providers) != 1 || len(r.Warnings) != 0 {
		t.Errorf("%+v", r)
	}
	if r := detect("GOOGLE_CLOUD_PROJECT=p", "/h/.config/gcloud/application_default_credentials.json"); len(r.Providers) != 1 || len(r.Warnings) != 0 {
		t.Errorf("%+v", r)
	}
}

func TestHalfConfigured(t *testing.T) {
	for vars, missing := range map[string]string{
		"OPENAI_BASE_URL=https://api.openai.com/v1":                                                   "OPENAI_API_KEY",
		"OPENAI_API_KEY=canary OPENAI_BASE_URL=localhost:1234":                                        "OPENAI_BASE_URL",
		"OPENAI_API_KEY=canary OPENAI_BASE_URL=http://a:canary@h":                                     "OPENAI_BASE_URL",
		"OPENAI_API_KEY=canary OPENAI_BASE_URL=http://h:99999":                                        "OPENAI_BASE_URL",
		"ANTHROPIC_BASE_URL=https://x":                                                                "ANTHROPIC_API_KEY",
		"AZURE_OPENAI_API_KEY=canary":                                                                 "AZURE_OPENAI_ENDPOINT",
		"AZURE_OPENAI_ENDPOINT=https://x":                                                             "AZURE_OPENAI_API_KEY",
		"AZURE_OPENAI_ENDPOINT=https://x AZURE_TENANT_ID=t":                                           "AZURE_CLIENT_ID",
		"AZURE_OPENAI_ENDPOINT=https://x AZURE_CLIENT_ID=t":                                           "AZURE_TENANT_ID",
		"AZURE_OPENAI_ENDPOINT=https://x AZURE_TENANT_ID=t AZURE_CLIENT_ID=c":                         "AZURE_CLIENT_SECRET",
		"AWS_ACCESS_KEY_ID=canary AWS_SECRET_ACCESS_KEY=canary":                                       "AWS_REGION",
		"AWS_ACCESS_KEY_ID=canary AWS_REGION=r":                                                       "AWS_SECRET_ACCESS_KEY",
		"AWS_SECRET_ACCESS_KEY=canary AWS_REGION=r":                                                   "AWS_ACCESS_KEY_ID",
		"AWS_REGION=eu-west-1":                                                                        "AWS_ACCESS_KEY_ID",
		"AWS_WEB_IDENTITY_TOKEN_FILE=f AWS_REGION=r":                                                  "AWS_ROLE_ARN",
		"AWS_PROFILE=p AWS_REGION=evil.example/":                                                      "AWS_REGION",
		"GOOGLE_APPLICATION_CREDENTIALS=/f":                                                           "GOOGLE_CLOUD_PROJECT",
		"GOOGLE_CLOUD_PROJECT=p":                                                                      "GOOGLE_APPLICATION_CREDENTIALS",
		"GOOGLE_CLOUD_PROJECT=p/ GOOGLE_APPLICATION_CREDENTIALS=f":                                    "GOOGLE_CLOUD_PROJECT",
		"GOOGLE_CLOUD_PROJECT=p GOOGLE_APPLICATION_CREDENTIALS=f GOOGLE_CLOUD_LOCATION=evil.example/": "GOOGLE_CLOUD_LOCATION",
		"CO_API_URL=https://x":                                                                        "COHERE_API_KEY",
	} {
		r := detect(vars)
		if len(r.Providers) != 0 || len(r.Warnings) != 1 || !strings.Contains(r.Warnings[0], missing) || strings.Contains(r.Warnings[0], "canary") {
			t.Errorf("%s: %d providers, warnings %q, want one that names %s", vars, len(r.Providers), r.Warnings, missing)
		}
	}
}

func FuzzBaseURL(f *testing.F) {
	f.Add("http://localhost:11434/v1")
	f.Add("https://[::1]:0/")
	f.Fuzz(func(t *testing.T, base string) {
		r := Detect(Environment{Lookup: func(n string) (string, bool) { return base, n == "OPENAI_BASE_URL" }})
		for _, p := range r.Providers {
			if p.Host == "" || p.Port < 1 || p.Port > 65535 || strings.ContainsAny(p.Host+p.BasePath, " \r\n?#@") {
				t.Errorf("%q was taken for %+v", base, p)
			}
		}
	})
}
