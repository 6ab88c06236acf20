package envoy

import (
	"fmt"
	"net/http"
	"net/netip"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"testing"
)

// Limits of a file's rules hold for real requests: by number, and by the tokens that a
// provider reports, behind a real Envoy.
func TestRunHoldsLimits(t *testing.T) {
	cloud := newBackend(t, openAIProvider)
	a := netip.MustParseAddrPort(cloud.addr)
	file := filepath.Join(t.TempDir(), "fairway.yaml")
	if err := os.WriteFile(file, fmt.Appendf(nil, `
apiVersion: fairway.dev/v1alpha1
kind: AIBackend
metadata: {name: cloud}
spec:
  schema: {name: OpenAI}
  destination: {type: Hostname, hostname: {host: %s, port: %d}}
  tls: {mode: None}
---
apiVersion: fairway.dev/v1alpha1
kind: AIRoute
metadata: {name: r}
spec:
  rules:
    - name: few
      matches: [{model: {value: few}}]
      limits: [{type: Requests, max: 2, period: Hour, per: {type: Header, header: x-team}}]
      backendRefs: [{name: cloud}]
    - name: tokens
      matches: [{model: {value: tokens}}]
      limits: [{type: TotalTokens, max: 100, period: Day}]
      backendRefs: [{name: cloud}]
`, a.Addr(), a.Port()), 0o600); err != nil {
		t.Fatal(err)
	}
	p := startProgram(t, "-f", file)
	ask := func(path, model string, headers ...string) *http.Response {
		t.Helper()
		body := fmt.Sprintf(`{"model":%q,"max_tokens":5,"messages":[{"role":"user","content":"hi"}]}`, model)
		req, err := http.NewRequestWithContext(t.Context(), http.MethodPost, p.url+path, strings.NewReader(body))
		if err != nil {
			t.Fatal(err)
		}
		req.Header.Set("content-type", "application/json")
		for i := 0; i+1 < len(headers); i += 2 {
			req.Header.Set(headers[i], headers[i+1])
		}
		resp, err := http.DefaultClient.Do(req)
		if err != nil {
			t.Fatal(err)
		}
		_ = resp.Body.Close()
		return resp
	}
	for _, left := range []string{"1", "0"} {
		if resp := ask(chat, "few", "x-team", "a"); resp.StatusCode != 200 || resp.Header.Get("x-ratelimit-remaining-requests") != left {
			t.Fatalf("%d %v", resp.StatusCode, resp.Header)
		}
	}
	before := cloud.requests()
	resp := ask(chat, "few", "x-team", "a")
	if wait, _ := strconv.Atoi(resp.Header.Get("retry-after")); resp.StatusCode != 429 || resp.Header.Get("x-ratelimit-limit-requests") != "2" || wait < 3500 || cloud.requests() != before {
		t.Errorf("over the limit: %d %v", resp.StatusCode, resp.Header)
	}
	if resp := ask(messages, "few", "x-team", "a"); resp.StatusCode != 429 || resp.Header.Get("anthropic-ratelimit-requests-remaining") != "0" {
		t.Errorf("over the limit in Anthropic's words: %d %v", resp.StatusCode, resp.Header)
	}
	if resp := ask(chat, "few", "x-team", "b"); resp.StatusCode != 200 {
		t.Errorf("another team: %d", resp.StatusCode)
	}
	// Every answer has 7 tokens, of which the gateway hears after the client does. While
	// a request is under way, more is reserved for it.
	used := func() int {
		t.Helper()
		resp := ask(chat, "tokens")
		left, err := strconv.Atoi(resp.Header.Get("x-ratelimit-remaining-tokens"))
		if resp.StatusCode != 200 || err != nil {
			t.Fatalf("%d %v", resp.StatusCode, resp.Header)
		}
		return 100 - left
	}
	reserved := used()
	eventually(t, "7 tokens are charged for each answer", func() error {
		if more := used() - reserved; more < 7 || more%7 != 0 {
			return fmt.Errorf("%d are charged", more)
		}
		return nil
	})
	p.signal(syscall.SIGTERM)
	p.ended()
}
