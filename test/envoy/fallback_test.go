package envoy

import (
	"context"
	"encoding/json"
	"fmt"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/fairway-ai/fairway/aibackend"
	"github.com/fairway-ai/fairway/aibackend/credentials"
	"github.com/fairway-ai/fairway/extproc"
	"github.com/fairway-ai/fairway/gateway/airoute"
	"github.com/fairway-ai/fairway/gateway/xds"
	"github.com/fairway-ai/fairway/internal/testkit"
)

// by expects an answer from a backend.
func (r *aiRig) by(a *answer, want string) {
	r.t.Helper()
	if got := a.header.Get("x-fairway-backend"); a.status != 200 || got != want {
		r.t.Errorf("status %d by %q, want %q: %s", a.status, got, want, a.body)
	}
}

// mixed is a pool and two providers.
type mixed struct {
	*aiRig
	server, openai, anthropic *backend
}

func newMixed(t *testing.T, poolHandler http.HandlerFunc, rules ...airoute.Rule) *mixed {
	m := &mixed{server: newBackend(t, poolHandler), openai: newBackend(t, openAIProvider), anthropic: newBackend(t, anthropicProvider)}
	down := newBackend(t, failing(500))
	m.aiRig = newAIRig(t, &airoute.Config{
		Backends: []airoute.Backend{
			provider("openai", aibackend.OpenAI, m.openai.addr, apiKey("x-special", "sk-openai")),
			provider("anthropic", aibackend.Anthropic, m.anthropic.addr, apiKey("x-api-key", "sk-anthropic")),
			provider("down", aibackend.OpenAI, down.addr, apiKey("x-odd-key", "sk-down")),
			provider("refused", aibackend.Anthropic, testkit.Refused(t), apiKey("x-api-key", "sk-refused")),
			provider("keyless", aibackend.OpenAI, m.openai.addr, credentials.Config{Type: credentials.TypeFromRequestHeader, FromRequestHeader: &credentials.FromRequestHeader{Header: "x-my-key"}}),
		},
		Rules: rules,
	}, pool("ns/p", true, m.server.addr), pool("ns/empty", true), pool("ns/last", false, m.server.addr))
	return m
}

// A pool that cannot serve is followed by a provider, whatever the reason.
func TestPoolFallsBackToProvider(t *testing.T) {
	m := newMixed(t, failing(503),
		rule("fails", to("pool:ns/p"), to("anthropic")),
		rule("empty", to("pool:ns/empty"), to("anthropic")),
		rule("full", to("pool:ns/last"), to("anthropic"), to("openai")),
	)
	m.by(m.ask(chat, "fails"), "anthropic") // after a 503 of the server
	if m.server.requests() != 1 {
		t.Errorf("the pool got %d requests, want 1", m.server.requests())
	}
	if served, o, _ := m.picker.lastOutcome(); o.Status != 503 || served != "elsewhere" {
		t.Errorf("the pool's picker was told %d by %q", o.Status, served)
	}
	m.by(m.ask(chat, "empty"), "anthropic")
	m.by(m.ask(messages, "empty", "x-test", "stream"), "anthropic")

	served := m.server.requests()
	for name, pick := range map[string]func(context.Context, *extproc.Request) (extproc.Pick, error){
		"saturated": func(context.Context, *extproc.Request) (extproc.Pick, error) {
			return extproc.Pick{}, &extproc.Rejection{Status: 429, Code: "rejected_saturated", Message: "full"}
		},
		"held": func(_ context.Context, q *extproc.Request) (extproc.Pick, error) {
			if err := q.Hold(time.Minute); err != nil {
				return extproc.Pick{}, err
			}
			return pickOf("ns/last", m.server.addr), nil
		},
	} {
		m.picker.set(pick)
		m.by(m.ask(chat, "full"), "anthropic")
		if m.server.requests() != served {
			t.Errorf("%s: the pool got a request", name)
		}
	}
}

// What a provider was sent does not reach the pool or the provider that comes after it.
func TestProviderFallsBack(t *testing.T) {
	m := newMixed(t, openAIProvider,
		rule("to-pool", to("down"), to("pool:ns/p")),
		rule("over-refused", to("refused"), to("pool:ns/last")),
		rule("to-provider", to("down"), to("refused"), to("openai")),
		rule("over-empty", to("down"), to("pool:ns/empty"), to("openai")),
	)
	for _, model := range []string{"to-pool", "over-refused"} {
		a := m.ask(chat, model, "authorization", "Bearer clients-own", "x-one", "1")
		if a.status != 200 || !strings.HasPrefix(a.header.Get("x-fairway-backend"), "ns/") {
			t.Fatalf("%s: %d by %q: %s", model, a.status, a.header.Get("x-fairway-backend"), a.body)
		}
		h, body, _ := m.server.last()
		if text := fmt.Sprint(h); strings.Contains(text, "sk-") || h.Get("authorization") != "Bearer clients-own" || h.Get("x-one") != "1" || h.Get("anthropic-version") != "" {
			t.Errorf("%s: the pool got %s", model, text)
		}
		if !strings.Contains(string(body), model) || h.Get("content-length") == "" {
			t.Errorf("%s: the pool got %s", model, body)
		}
	}
	for _, model := range []string{"to-provider", "over-empty"} {
		m.by(m.ask(chat, model, "x-one", "1"), "openai")
		h, _, _ := m.openai.last()
		if text := fmt.Sprint(h); strings.Contains(text, "sk-down") || strings.Contains(text, "sk-refused") || h.Get("x-special") != "sk-openai" || h.Get("x-one") != "1" {
			t.Errorf("%s: the provider got %s", model, text)
		}
	}
	// A long body survives a retry, also when its length is not announced.
	long := strings.Replace(largePrompt(2<<20), `"m"`, `"to-provider"`, 1)
	m.by(m.post(chat, long), "openai")
	if _, body, _ := m.openai.last(); len(body) < 2<<20 || !json.Valid(body) {
		t.Errorf("the provider got %d bytes", len(body))
	}
	a, err := m.try(chat, chunked{strings.NewReader(long)})
	if err != nil {
		t.Fatal(err)
	}
	m.by(a, "openai")
}

func TestWeights(t *testing.T) {
	m := newMixed(t, openAIProvider,
		rule("clouds", to("openai*3", "anthropic*1")),
		rule("both", to("pool:ns/p*1", "anthropic*1")),
	)
	count := func(model string) map[string]int {
		n := map[string]int{}
		for range 200 {
			a := m.ask(chat, model)
			if a.status != 200 {
				t.Fatalf("status %d: %s", a.status, a.body)
			}
			n[a.header.Get("x-fairway-backend")]++
		}
		return n
	}
	if n := count("clouds"); n["openai"] < 115 || n["anthropic"] < 20 {
		t.Errorf("3 to 1 became %v", n)
	}
	if n := count("both"); n["ns/p"] < 60 || n["anthropic"] < 60 {
		t.Errorf("1 to 1 became %v", n)
	}
}

// Errors are in the schema of the API that the client called, whoever makes them.
func TestRefusals(t *testing.T) {
	m := newMixed(t, openAIProvider, rule("refused", to("refused")), rule("down", to("down")), rule("keyless", to("keyless")))
	for _, tt := range []struct {
		path, model string
		status      int
		code        string
	}{
		{chat, "unknown", 404, "model_not_found"},
		{messages, "unknown", 404, "not_found_error"},
		{chat, "refused", 503, "upstream_unavailable"},
		{messages, "refused", 503, "overloaded_error"},
		{chat, "down", 500, "server_error"},
		{messages, "down", 500, "api_error"},
		{chat, "keyless", 401, "credential_unavailable"},
		{messages, "keyless", 401, "authentication_error"},
		{"/v1/audio/nothing", "down", 404, "model_not_found"},
	} {
		before := m.openai.requests()
		a := m.ask(tt.path, tt.model, "authorization", "Bearer clients-own", "x-fairway-route", "ns/r/down", "x-fairway-pool", "backend:openai")
		if a.status != tt.status || !strings.Contains(a.body, `"`+tt.code+`"`) || !strings.HasPrefix(a.header.Get("content-type"), "application/json") {
			t.Errorf("%s %s: %d %s", tt.path, tt.model, a.status, a.body)
		}
		if isAnthropic := strings.Contains(a.body, `"type":"error"`); isAnthropic != (tt.path == messages) {
			t.Errorf("%s %s: not the client's schema: %s", tt.path, tt.model, a.body)
		}
		if m.openai.requests() != before {
			t.Errorf("%s %s: a request left", tt.path, tt.model)
		}
	}
	m.by(m.ask(chat, "keyless", "x-my-key", "mine"), "keyless")
	if h, _, _ := m.openai.last(); h.Get("x-my-key") != "mine" {
		t.Errorf("the client's key did not arrive: %v", h)
	}
}

func TestModelsAreListed(t *testing.T) {
	m := newMixed(t, nil, rule("one", to("openai")), rule("two", to("pool:ns/p")))
	get := func(headers ...string) string {
		req, err := http.NewRequestWithContext(t.Context(), http.MethodGet, m.url+"/v1/models", nil)
		if err != nil {
			t.Fatal(err)
		}
		for i := 0; i+1 < len(headers); i += 2 {
			req.Header.Set(headers[i], headers[i+1])
		}
		resp, err := http.DefaultClient.Do(req)
		if err != nil {
			t.Fatal(err)
		}
		defer resp.Body.Close()
		var v any
		if err := json.NewDecoder(resp.Body).Decode(&v); err != nil || resp.Header.Get("content-type") != "application/json" {
			t.Fatalf("%v, %v", err, resp.Header)
		}
		return fmt.Sprint(v)
	}
	if s := get(); !strings.Contains(s, "object:list") || !strings.Contains(s, "id:one") || !strings.Contains(s, "id:two") {
		t.Errorf("OpenAI's list is %s", s)
	}
	if s := get("anthropic-version", "2023-06-01"); !strings.Contains(s, "has_more:false") || !strings.Contains(s, "type:model") || !strings.Contains(s, "last_id:two") {
		t.Errorf("Anthropic's list is %s", s)
	}
}

// Without Fairway, nothing leaves for a provider, and clients are told so.
func TestDeadTranslatorFailsClosed(t *testing.T) {
	m := newMixed(t, openAIProvider, rule("cloud", to("openai")), rule("pool", to("pool:ns/p"), to("openai")))
	m.by(m.ask(chat, "cloud"), "openai")
	m.by(m.ask(chat, "pool"), "ns/p")
	m.killPicker()
	cloud, own := m.openai.requests(), m.server.requests()
	for _, path := range []string{chat, messages} {
		a := m.ask(path, "cloud", "x-fairway-route", "ns/r/cloud")
		if a.status != 503 || !json.Valid([]byte(a.body)) {
			t.Errorf("%s: %d %s", path, a.status, a.body)
		}
	}
	if m.openai.requests() != cloud || m.server.requests() != own {
		t.Error("a request was sent on")
	}
}

// A pool that fails open goes on without Fairway where no rule begins with a provider.
func TestDeadPickerLeavesPoolsOpen(t *testing.T) {
	server, openai := newBackend(t, openAIProvider), newBackend(t, openAIProvider)
	r := newAIRig(t, &airoute.Config{
		Backends: []airoute.Backend{provider("openai", aibackend.OpenAI, openai.addr, apiKey("", "sk"))},
		Rules:    []airoute.Rule{rule("m", to("pool:ns/p"), to("openai"))},
	}, xds.Pool{Name: "ns/p", FailOpen: true, Endpoints: []string{server.addr}})
	r.killPicker()
	if a := r.ask(chat, "m"); a.status != 200 || server.requests() != 1 || openai.requests() != 0 {
		t.Errorf("%d %s", a.status, a.body)
	}
}

// A backend that does not begin its answer in time is left; one that has begun is not.
func TestFirstByteTimeout(t *testing.T) {
	release := make(chan struct{})
	t.Cleanup(func() { close(release) })
	silent := newBackend(t, func(_ http.ResponseWriter, r *http.Request) {
		select {
		case <-release:
		case <-r.Context().Done():
		}
	})
	second := make(chan struct{})
	slow, openai := newBackend(t, slowStream(second)), newBackend(t, openAIProvider)
	late := rule("late", to("silent"), to("openai"))
	begun := rule("m", to("slow"), to("openai"))
	late.FirstByteTimeout, begun.FirstByteTimeout = 2*time.Second, 2*time.Second
	r := newAIRig(t, &airoute.Config{
		Backends: []airoute.Backend{
			provider("silent", aibackend.OpenAI, silent.addr, apiKey("", "sk")),
			provider("slow", aibackend.OpenAI, slow.addr, apiKey("", "sk")),
			provider("openai", aibackend.OpenAI, openai.addr, apiKey("", "sk")),
		},
		Rules: []airoute.Rule{late, begun},
	})
	r.by(r.ask(chat, "late"), "openai")
	s := r.stream()
	if err := s.until("first"); err != nil {
		t.Fatal(err)
	}
	time.AfterFunc(3*time.Second, func() { close(second) })
	if err := s.until("[DONE]"); err != nil {
		t.Errorf("a stream that had begun was cut: %v", err)
	}
}
