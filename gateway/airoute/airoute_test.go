package airoute

import (
	"fmt"
	"os"
	"strings"
	"testing"

	"github.com/fairway-ai/fairway/aibackend"
	"github.com/fairway-ai/fairway/aibackend/credentials/env"
)

func detect(vars string) *Config {
	m := map[string]string{}
	for v := range strings.FieldsSeq(vars) {
		k, val, _ := strings.Cut(v, "=")
		m[k] = val
	}
	return FromProviders(env.Detect(env.Environment{Lookup: func(n string) (string, bool) { v, ok := m[n]; return v, ok }}).Providers)
}

// target is where a request for a model goes first, and the model sent when changed.
func (c *Config) target(model string) string {
	r := c.Find(Request{Model: model, Path: "/v1/chat/completions", Header: func(string) string { return "" }})
	if r == nil {
		return "nobody"
	}
	t := r.Groups[0][0]
	out := t.Backend + t.Pool
	if r.TrimModel != "" {
		out += " as " + strings.TrimPrefix(model, r.TrimModel)
	}
	return out
}

func TestFromProviders(t *testing.T) {
	const (
		openai, anthropic = "OPENAI_API_KEY=k ", "ANTHROPIC_API_KEY=k "
		ollama            = "OPENAI_BASE_URL=http://localhost:11434/v1 "
		bedrock           = "AWS_REGION=eu-west-1 AWS_BEARER_TOKEN_BEDROCK=k "
		azure             = "AZURE_OPENAI_API_KEY=k AZURE_OPENAI_ENDPOINT=https://r.openai.azure.com "
		gemini, cohere    = "GEMINI_API_KEY=k ", "COHERE_API_KEY=k "
	)
	for _, tt := range []struct{ vars, model, want string }{
		{openai, "gpt-4o", "openai"},
		{openai, "anything", "openai"},
		{openai, "openai/gpt-4o", "openai as gpt-4o"},
		{openai + anthropic, "gpt-4o", "openai"},
		{openai + anthropic, "o3-mini", "openai"},
		{openai + anthropic, "text-embedding-3-small", "openai"},
		{openai + anthropic, "claude-sonnet-4-5", "anthropic"},
		{openai + anthropic, "llama", "nobody"},
		{openai + anthropic, "anthropic/x/y", "anthropic as x/y"},
		{openai + anthropic, "", "nobody"},
		{ollama + anthropic, "llama", "openai"},
		{ollama + anthropic, "claude-x", "anthropic"},
		{ollama + azure, "gpt-4o", "azure"},
		{openai + azure, "gpt-4o", "openai"},
		{openai + bedrock, "claude-x", "bedrock"},
		{anthropic + bedrock, "claude-x", "anthropic"},
		{anthropic + bedrock, "amazon.nova-lite-v1:0", "bedrock"},
		{anthropic + bedrock, "eu.anthropic.claude-x", "bedrock"},
		{openai + gemini, "gemini-2.5-pro", "gemini"},
		{openai + cohere, "command-a", "cohere"},
		{openai + cohere, "rerank-v3.5", "cohere"},
	} {
		if got := detect(tt.vars).target(tt.model); got != tt.want {
			t.Errorf("%s: %q goes to %s, want %s", tt.vars, tt.model, got, tt.want)
		}
	}
	c := FromProviders([]env.Provider{{Name: "openai", Schema: env.OpenAI}, {Name: "vertex", Schema: env.GCPVertexAI, Project: "p", Region: "global"}})
	if got := c.target("claude-x"); got != "vertex-anthropic" || c.Backend(got).Provider.Schema != aibackend.GCPAnthropic {
		t.Errorf("Claude on Vertex goes to %s", got)
	}
	if b := detect("ANTHROPIC_API_KEY=k ANTHROPIC_BASE_URL=http://gw:81/a/").Backend("anthropic"); b.Provider.PathPrefix != "/a/v1" || b.Authority() != "gw:81" {
		t.Errorf("%+v at %s", b.Provider, b.Authority())
	}
	if b := detect("OPENAI_BASE_URL=http://[::1]:80").Backend("openai"); b.Authority() != "[::1]" || !b.TLS.Off {
		t.Errorf("%+v at %s", b.TLS, b.Authority())
	}
}

func vars(name string) (string, bool) {
	v, ok := map[string]string{"KEY": "sk-hidden", "EMPTY": "", "PORT": "8443", "NUMBER": "123"}[name]
	return v, ok
}

const fileText = `# a pool beside it
apiVersion: inference.networking.k8s.io/v1
kind: InferencePool
metadata: {name: local}
spec: {}
---
apiVersion: v1
kind: Secret
metadata: {name: keys}
stringData:
  apiKey: ${KEY}
  number: ${NUMBER}
  dollar: $${KEY}
---
apiVersion: fairway.dev/v1alpha1
kind: AIBackend
metadata: {name: cloud, uid: x}
spec:
  schema: {name: OpenAI, pathPrefix: /api/v1}
  destination: {type: Hostname, hostname: {host: "${HOST:-api.example.com}", port: "${PORT}"}}
  credentials: {type: APIKey, apiKey: {secretRef: {name: keys}}}
  headers: {set: [{name: X-Team, value: a}], remove: [x-gone]}
  models: [big, small]
---
apiVersion: fairway.dev/v1alpha1
kind: AIRoute
metadata: {name: r}
spec:
  parentRefs: [{name: gw}]
  rules:
    - name: chain
      matches: [{model: {value: m}}, {model: {type: RegularExpression, value: "n[0-9]+"}, path: {value: /v1}}]
      backendRefs:
        - {name: cloud, priority: 2, model: gpt}
        - {group: inference.networking.k8s.io, kind: InferencePool, name: local, weight: 3}
        - {name: cloud, weight: 0}
      fallback: {when: [429, Saturated], attempts: 1, firstByteTimeout: 2s}
      timeouts: {request: 1m}
    - backendRefs: [{name: cloud}]
---
endpoints: []
`

func load(text string) (*Config, *Objects, []byte, error) {
	rest, o, err := Decode("f.yaml", []byte(text), vars)
	if err != nil || o == nil {
		return nil, o, rest, err
	}
	c, err := FromObjects(o, []string{"default/local"})
	return c, o, rest, err
}

func TestObjects(t *testing.T) {
	// Unquoted, 429 is a number and an enum's value is a string.
	c, o, rest, err := load(strings.Replace(fileText, "[429,", `["429",`, 1))
	if err != nil {
		t.Fatal(err)
	}
	if got := string(rest); strings.Count(got, "\n") != strings.Count(fileText, "\n") || !strings.Contains(got, "InferencePool") ||
		!strings.Contains(got, "endpoints") || strings.Contains(got, "AIRoute") || strings.Contains(got, "Secret") {
		t.Errorf("left is %s", got)
	}
	s := o.Secrets.Read("default", "keys")
	if string(s["apiKey"]) != "sk-hidden" || string(s["number"]) != "123" || string(s["dollar"]) != "${KEY}" {
		t.Errorf("the Secret is %q", s)
	}
	if got := fmt.Sprintf("%v %+v %#v", &o.Secrets, &o.Secrets, &o.Secrets); strings.Contains(got, "sk-") {
		t.Errorf("prints %s", got)
	}
	b := c.Backend("default/cloud")
	if b.Host != "api.example.com" || b.Port != 8443 || b.Provider.PathPrefix != "/api/v1" || b.SetHeaders[0].Name != "x-team" || b.Credentials.APIKey.Value.SecretRef.Key != "apiKey" {
		t.Errorf("%+v", b)
	}
	if v := c.Backend("default/cloud#gpt"); v == nil || v.Provider.Model != "gpt" || v.Label != "default/cloud" {
		t.Errorf("%+v", v)
	}
	r := &c.Rules[0]
	if len(r.Groups) != 2 || r.Groups[0][0] != (Target{Pool: "default/local", Weight: 3}) || r.Groups[1][0].Backend != "default/cloud#gpt" ||
		r.Attempts != 1 || !r.On.Saturated || !r.On.TooManyRequests || r.On.ServerError || r.FirstByteTimeout.Seconds() != 2 || r.Timeout.Seconds() != 60 || r.Name != "default/r/chain" {
		t.Errorf("%+v", r)
	}
	for model, want := range map[string]string{"m": "default/local", "n7": "default/local", "n": "default/cloud", "": "default/cloud"} {
		if got := c.target(model); got != want {
			t.Errorf("%q goes to %s, want %s", model, got, want)
		}
	}
	var models []string
	for _, m := range c.Models() {
		models = append(models, m.Name)
	}
	if got := strings.Join(models, " "); got != "m big small" {
		t.Errorf("models are %s", got)
	}
}

func TestMistakes(t *testing.T) {
	for _, tt := range []struct{ old, new, want string }{
		{"${KEY}", "${NOPE}", "f.yaml:11: stringData.apiKey: the environment variable NOPE is not set"},
		{"backendRefs: [{name: cloud}]", "backendRef: [{name: cloud}]", "did you mean backendRefs?"},
		{"name: OpenAI,", "name: \"${KEY}\",", "f.yaml:19: spec.schema.name: must be OpenAI"},
		{"host: \"${HOST:-api.example.com}\"", "host: https://x", "spec.destination.hostname.host: must be a DNS name"},
		{"type: Hostname, hostname", "type: Service, hostname", "spec.destination.type: there are no Services"},
		{"{name: keys}}}", "{name: other}}}", "secretRef.name: there is no Secret default/other"},
		{"{name: keys}}}", "{name: keys, key: k}}}", "has no entry k"},
		{"name: local, weight", "name: remote, weight", "f.yaml:35: spec.rules[0].backendRefs[1].name: there is no InferencePool default/remote"},
		{"kind: InferencePool, name", "kind: InferencePools, name", "backendRefs[1].kind: must be AIBackend"},
		{"{group: inference.networking.k8s.io, kind", "{kind", "backendRefs[1].group: must be inference"},
		{"weight: 3", "weight: x", "backendRefs[1].weight: must be a whole number"},
		{"[{name: cloud}]", "[{name: clout}]", "there is no AIBackend default/clout"},
		{"[429,", "[5xy,", "fallback.when[0]: must be"},
		{"2s}", "soon}", "firstByteTimeout: must be a duration"},
		{"parentRefs: [{name: gw}]", "hostnames: [a.b]", "spec.hostnames: is not supported"},
		{"timeouts: {request: 1m}", "costs: [{name: a, type: InputToken}, {name: a, type: CEL, cel: 1 +}]", "spec.rules[0].costs[1].cel: "},
		{"models: [big", "body: {remove: [model]}\n  models: [big", "spec.body.remove[0]: model cannot be changed here"},
		{"n[0-9]+", "n[", "matches[1].model.value: is not a regular expression"},
		{"fairway.dev/v1alpha1\nkind: AIRoute", "fairway.dev/v1\nkind: AIRoute", "apiVersion: must be fairway.dev/v1alpha1"},
		{"metadata: {name: r}", "metadata: {name: R}", "metadata.name: must be a name"},
		{"name: X-Team", "name: Host", "spec.headers.set[0].name: is not the name"},
		{"type: APIKey, apiKey", "type: AWS, apiKey", "spec.credentials.type: must be APIKey"},
		{"  models: [big, small]", "  tls: {mode: Maybe}", "spec.tls.mode: must be Verify"},
	} {
		text := strings.Replace(fileText, tt.old, tt.new, 1)
		if tt.old != "[429," {
			text = strings.Replace(text, "[429,", `["429",`, 1)
		}
		if !strings.Contains(fileText, tt.old) {
			t.Fatalf("%q is not in the file", tt.old)
		}
		_, _, _, err := load(text)
		if err == nil || !strings.Contains(err.Error(), tt.want) {
			t.Errorf("%s: %v, want %q", tt.new, err, tt.want)
		} else if strings.Contains(err.Error(), "sk-hidden") {
			t.Errorf("%s: the error shows a secret: %v", tt.new, err)
		}
	}
}

func TestExample(t *testing.T) {
	data, err := os.ReadFile("../../examples/providers.yaml")
	if err != nil {
		t.Fatal(err)
	}
	_, o, err := Decode("providers.yaml", data, func(n string) (string, bool) { return "sk-" + n, strings.HasSuffix(n, "_KEY") })
	if err != nil {
		t.Fatal(err)
	}
	c, err := FromObjects(o, nil)
	if err != nil || len(c.Warnings) > 0 {
		t.Fatalf("%v, %q", err, c.Warnings)
	}
	if got := c.target("smart"); got != "default/anthropic#claude-sonnet-4-5" {
		t.Errorf("smart goes to %s", got)
	}
}
