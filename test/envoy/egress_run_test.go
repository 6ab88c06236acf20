package envoy

import (
	"encoding/pem"
	"fmt"
	"net/http"
	"net/http/httptest"
	"net/netip"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"

	"github.com/fairway-ai/fairway/aibackend"
	"github.com/fairway-ai/fairway/gateway/airoute"
	"github.com/fairway-ai/fairway/internal/testkit"
)

// What the environment configures is served, with nothing else said.
func TestRunServesProvidersOfTheEnvironment(t *testing.T) {
	openai, anthropic := newBackend(t, openAIProvider), newBackend(t, anthropicProvider)
	t.Setenv("OPENAI_BASE_URL", "http://"+openai.addr+"/v1")
	t.Setenv("OPENAI_API_KEY", "sk-one")
	t.Setenv("ANTHROPIC_BASE_URL", "http://"+anthropic.addr)
	t.Setenv("ANTHROPIC_API_KEY", "sk-two")
	t.Setenv("AZURE_OPENAI_API_KEY", "sk-three")
	t.Setenv("AZURE_OPENAI_ENDPOINT", "")
	p := startProgram(t)
	ask := func(model string) (int, string) {
		t.Helper()
		status, body, err := p.post(strings.Replace(prompt, `"m"`, `"`+model+`"`, 1))
		if err != nil {
			t.Fatal(err)
		}
		return status, body
	}
	for model, served := range map[string]*backend{"gpt-4o": openai, "openai/gpt-4o": openai, "claude-x": anthropic, "llama": openai, "anthropic/claude-x": anthropic} {
		before := served.requests()
		if status, body := ask(model); status != 200 || served.requests() != before+1 {
			t.Errorf("%s: %d %s", model, status, body)
			continue
		}
		h, body, _ := served.last()
		if served == openai && h.Get("authorization") != "Bearer sk-one" || served == anthropic && h.Get("x-api-key") != "sk-two" {
			t.Errorf("%s: no key in %v", model, h)
		}
		if _, name, _ := strings.Cut("/"+model, "/"); !strings.Contains(string(body), `"`+name[strings.LastIndex(name, "/")+1:]+`"`) {
			t.Errorf("%s: sent %s", model, body)
		}
	}
	out := p.out.String()
	if strings.Contains(out, "sk-") || !strings.Contains(out, "provider openai") || !strings.Contains(out, "AZURE_OPENAI_ENDPOINT is not") || strings.Contains(out, "simulated") {
		t.Errorf("it said %s", out)
	}
	p.signal(syscall.SIGTERM)
	p.ended()
}

// A file's rules are served, followed when they change, and kept when they are wrong.
func TestRunFollowsRules(t *testing.T) {
	server, anthropic, openai := newBackend(t, nil), newBackend(t, anthropicProvider), newBackend(t, openAIProvider)
	t.Setenv("FAIRWAY_TEST_KEY", "sk-file")
	file := filepath.Join(t.TempDir(), "fairway.yaml")
	write := func(text string) {
		t.Helper()
		if err := os.WriteFile(file+".new", []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
		if err := os.Rename(file+".new", file); err != nil {
			t.Fatal(err)
		}
	}
	text := func(backend *backend, schema string, pool string) string {
		a := netip.MustParseAddrPort(backend.addr)
		return fmt.Sprintf(`
apiVersion: v1
kind: Secret
metadata: {name: keys}
stringData: {apiKey: "${FAIRWAY_TEST_KEY}"}
---
apiVersion: fairway.dev/v1alpha1
kind: AIBackend
metadata: {name: cloud}
spec:
  schema: {name: %s}
  destination: {type: Hostname, hostname: {host: %s, port: %d}}
  tls: {mode: None}
  credentials: {type: APIKey, apiKey: {secretRef: {name: keys}}}
---
apiVersion: fairway.dev/v1alpha1
kind: AIRoute
metadata: {name: r}
spec:
  rules:
    - matches: [{model: {value: m}}]
      backendRefs:
        - {group: inference.networking.k8s.io, kind: InferencePool, name: local}
        - {name: cloud, priority: 1, model: big}
---
apiVersion: inference.networking.k8s.io/v1
kind: InferencePool
metadata: {name: local}
spec:
  selector: {matchLabels: {app: x}}
  targetPorts: [{number: 8000}]
  endpointPickerRef: {name: f, port: {number: 9002}, failureMode: FailClose}
---
endpoints:
%s`, schema, a.Addr(), a.Port(), pool)
	}
	endpoint := func(b string) string {
		host, port, _ := strings.Cut(b, ":")
		return fmt.Sprintf("  - {name: e, address: %s, port: %q, labels: {app: x}}\n", host, port)
	}
	write(text(anthropic, "Anthropic", endpoint(server.addr)))
	p := startProgram(t, "-f", file)
	serves := func(want *backend) {
		t.Helper()
		eventually(t, "served by "+want.addr, func() error {
			n := want.requests()
			status, body, err := p.post(prompt)
			if err == nil && (status != 200 || want.requests() == n) {
				err = fmt.Errorf("status %d: %s", status, body)
			}
			return err
		})
	}
	serves(server)
	write(text(anthropic, "Anthropic", endpoint(testkit.Refused(t)))) // nobody listens there
	serves(anthropic)
	if _, body, _ := anthropic.last(); !strings.Contains(string(body), `"big"`) {
		t.Errorf("sent %s", body)
	}
	write(text(openai, "OpenAI", "  []\n"))
	serves(openai)
	if h, _, _ := openai.last(); h.Get("authorization") != "Bearer sk-file" {
		t.Errorf("the provider got %v", h)
	}
	write(strings.Replace(text(openai, "OpenAI", "  []\n"), "backendRefs", "backendRef", 1))
	eventually(t, "the mistake is reported", func() error {
		if !strings.Contains(p.out.String(), file+":22: spec.rules[0].backendRef: is not a known field") {
			return fmt.Errorf("not reported")
		}
		return nil
	})
	serves(openai)
	if strings.Contains(p.out.String(), "sk-file") {
		t.Error("a key was logged")
	}
	p.signal(syscall.SIGTERM)
	p.ended()
}

// A provider's certificate must be for its name, and of an authority that is trusted.
func TestProviderTLS(t *testing.T) {
	b := &backend{handle: openAIProvider}
	srv := httptest.NewUnstartedServer(http.HandlerFunc(b.ServeHTTP))
	srv.EnableHTTP2 = true
	srv.StartTLS()
	t.Cleanup(func() { srv.CloseClientConnections(); srv.Close() })
	ca := pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: srv.Certificate().Raw})
	at := srv.Listener.Addr().String()
	made := func(name string, tls airoute.TLS) airoute.Backend {
		p := provider(name, aibackend.OpenAI, at, apiKey("", "sk"))
		p.TLS = tls
		return p
	}
	byName := made("by-name", airoute.TLS{CA: ca, ServerName: "example.com"})
	byName.Host = "localhost"
	r := newAIRig(t, &airoute.Config{
		Backends: []airoute.Backend{
			byName, made("by-address", airoute.TLS{CA: ca}), made("insecure", airoute.TLS{Insecure: true}),
			made("wrong-name", airoute.TLS{CA: ca, ServerName: "api.openai.com"}), made("system", airoute.TLS{ServerName: "example.com"}),
		},
		Rules: []airoute.Rule{rule("n", to("by-name")), rule("a", to("by-address")), rule("i", to("insecure")), rule("w", to("wrong-name")), rule("s", to("system"))},
	})
	for model, want := range map[string]int{"n": 200, "a": 200, "i": 200, "w": 503, "s": 503} {
		before := b.requests()
		a := r.ask(chat, model)
		if a.status != want || (b.requests() > before) != (want == 200) {
			t.Errorf("%s: %d %s", model, a.status, a.body)
		}
	}
	if _, _, proto := b.last(); proto != "HTTP/2.0" {
		t.Errorf("spoken was %s", proto)
	}
}
