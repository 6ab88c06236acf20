package envoy

import (
	"context"
	"encoding/json"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/http"
	"net/netip"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
	"time"

	"google.golang.org/grpc"

	"github.com/fairway-ai/fairway/aibackend"
	"github.com/fairway-ai/fairway/aibackend/credentials"
	"github.com/fairway-ai/fairway/extproc"
	"github.com/fairway-ai/fairway/gateway/airoute"
	"github.com/fairway-ai/fairway/gateway/egress"
	"github.com/fairway-ai/fairway/gateway/standalone"
	"github.com/fairway-ai/fairway/gateway/xds"
	"github.com/fairway-ai/fairway/test/realenvoy"
)

const messages = "/v1/messages"

// The fake providers answer in their own wire format, and refuse what is not.
func openAIProvider(w http.ResponseWriter, r *http.Request) {
	if r.URL.Path != "/v1/chat/completions" {
		http.Error(w, `{"error":{"message":"no such path","type":"invalid_request_error"}}`, 404)
		return
	}
	w.Header().Set("set-cookie", "a=b")
	w.Header().Set("alt-svc", `h3=":443"`)
	if strings.Contains(r.Header.Get("x-test"), "stream") {
		w.Header().Set("content-type", "text/event-stream")
		for _, data := range []string{
			`{"id":"c1","object":"chat.completion.chunk","created":1,"model":"gpt-4o-2024","choices":[{"index":0,"delta":{"role":"assistant","content":"Hel"},"finish_reason":null}]}`,
			`{"id":"c1","object":"chat.completion.chunk","created":1,"model":"gpt-4o-2024","choices":[{"index":0,"delta":{"content":"lo"},"finish_reason":"stop"}]}`,
			`{"id":"c1","object":"chat.completion.chunk","created":1,"model":"gpt-4o-2024","choices":[],"usage":{"prompt_tokens":5,"completion_tokens":2,"total_tokens":7}}`,
			`[DONE]`,
		} {
			_, _ = io.WriteString(w, "data: "+data+"\n\n")
			w.(http.Flusher).Flush()
		}
		return
	}
	w.Header().Set("content-type", "application/json")
	_, _ = io.WriteString(w, `{"id":"c1","object":"chat.completion","created":1,"model":"gpt-4o-2024","choices":[{"index":0,"message":{"role":"assistant","content":"Hello"},"finish_reason":"stop"}],"usage":{"prompt_tokens":5,"completion_tokens":2,"total_tokens":7}}`)
}

func anthropicProvider(w http.ResponseWriter, r *http.Request) {
	if r.URL.Path != messages || r.Header.Get("anthropic-version") == "" {
		w.WriteHeader(404)
		_, _ = io.WriteString(w, `{"type":"error","error":{"type":"not_found_error","message":"no such path"}}`)
		return
	}
	if strings.Contains(r.Header.Get("x-test"), "stream") {
		w.Header().Set("content-type", "text/event-stream")
		for _, data := range []string{
			`{"type":"message_start","message":{"id":"m1","type":"message","role":"assistant","model":"claude-x","content":[],"stop_reason":null,"usage":{"input_tokens":5,"output_tokens":1}}}`,
			`{"type":"content_block_start","index":0,"content_block":{"type":"text","text":""}}`,
			`{"type":"content_block_delta","index":0,"delta":{"type":"text_delta","text":"Hel"}}`,
			`{"type":"content_block_delta","index":0,"delta":{"type":"text_delta","text":"lo"}}`,
			`{"type":"content_block_stop","index":0}`,
			`{"type":"message_delta","delta":{"stop_reason":"end_turn"},"usage":{"output_tokens":2}}`,
			`{"type":"message_stop"}`,
		} {
			var e struct{ Type string }
			_ = json.Unmarshal([]byte(data), &e)
			_, _ = fmt.Fprintf(w, "event: %s\ndata: %s\n\n", e.Type, data)
			w.(http.Flusher).Flush()
		}
		return
	}
	w.Header().Set("content-type", "application/json")
	_, _ = io.WriteString(w, `{"id":"m1","type":"message","role":"assistant","model":"claude-x","content":[{"type":"text","text":"Hello"}],"stop_reason":"end_turn","usage":{"input_tokens":5,"output_tokens":2}}`)
}

// failing answers every request with a status.
func failing(status int) http.HandlerFunc {
	return func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("content-type", "application/json")
		w.WriteHeader(status)
		_, _ = io.WriteString(w, `{"error":{"message":"out of order","type":"server_error"}}`)
	}
}

// provider is a backend of a schema at a fake provider.
func provider(name string, schema aibackend.Schema, addr string, c credentials.Config) airoute.Backend {
	a := netip.MustParseAddrPort(addr)
	return airoute.Backend{
		Name: name, Label: name, Host: a.Addr().String(), Port: a.Port(), TLS: airoute.TLS{Off: true},
		Provider: aibackend.Backend{Schema: schema}, Credentials: c,
	}
}

func apiKey(header, key string) credentials.Config {
	return credentials.Config{Type: credentials.TypeAPIKey, APIKey: &credentials.APIKey{
		Value: credentials.Value{Literal: credentials.NewSecret(key)}, Header: header,
	}}
}

// rule leads a model to groups, each a list of targets.
func rule(model string, groups ...[]airoute.Target) airoute.Rule {
	return airoute.Rule{
		Name: "ns/r/" + model, Matches: []airoute.Match{{Model: airoute.Equal(model)}}, Groups: groups, Attempts: len(groups), On: airoute.AllTriggers(),
	}
}

func to(names ...string) (group []airoute.Target) {
	for _, n := range names {
		weight := uint64(1)
		if before, after, ok := strings.Cut(n, "*"); ok {
			n = before
			weight, _ = strconv.ParseUint(after, 10, 32)
		}
		t := airoute.Target{Weight: uint32(weight)}
		if p, ok := strings.CutPrefix(n, "pool:"); ok {
			t.Pool = p
		} else {
			t.Backend = n
		}
		group = append(group, t)
	}
	return group
}

// aiRig is a rig with rules and providers.
type aiRig struct {
	*rig
	router   *egress.Router
	backends *egress.Backends
	config   *airoute.Config
}

func newAIRig(t *testing.T, config *airoute.Config, pools ...xds.Pool) *aiRig {
	t.Helper()
	path := realenvoy.Path(t)
	dir := shortDir(t)
	r := &aiRig{config: config, rig: &rig{t: t, logs: logging(t), access: &recorder{}, picker: &stub{}, socket: filepath.Join(dir, "picker.sock")}}
	r.picker.set(func(_ context.Context, q *extproc.Request) (extproc.Pick, error) {
		for _, p := range pools {
			if p.Name == q.Pool && len(p.Endpoints) > 0 {
				return extproc.Pick{Destinations: strings.Join(p.Endpoints, ",")}, nil
			}
		}
		return extproc.Pick{}, &extproc.Rejection{Status: 503, Code: "no_endpoints", Message: "nobody in " + q.Pool}
	})
	r.router = &egress.Router{Next: r.picker}
	r.router.SetRules(config)
	began := time.Now() // what cools stays so
	r.backends = egress.NewBackends(egress.BackendsOptions{
		Log: slog.New(slog.NewTextHandler(r.logs, nil)), Now: func() time.Time { return began },
	})
	if err := r.backends.Update(t.Context(), config); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { r.backends.Keep(&airoute.Config{}) })
	r.router.Cools, r.router.Tries = r.backends.Cooling().Cools, r.backends.Tries()
	l, err := net.Listen("unix", r.socket)
	if err != nil {
		t.Fatal(err)
	}
	s := extproc.New(r.router, extproc.Options{MaxBodyBytes: rigLimit, Log: slog.New(slog.DiscardHandler), Foreign: r.backends.Foreign()})
	r.server = grpc.NewServer(s.ServerOptions()...)
	s.Register(r.server)
	go func() { _ = r.server.Serve(l) }()
	t.Cleanup(r.server.Stop)
	r.Gateway, err = standalone.Start(t.Context(), standalone.Options{
		XDS:   xds.Options{Address: netip.MustParseAddrPort("127.0.0.1:0"), PickerSocket: r.socket, MaxBodyBytes: rigLimit, MessageTimeout: patience, AccessLog: true},
		Envoy: path, Concurrency: 1, DrainTimeout: patience, Routing: config.Routing(),
		Log: slog.New(slog.NewTextHandler(r.logs, &slog.HandlerOptions{Level: slog.LevelInfo})), Stdout: r.access,
	}, pools)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(r.Kill)
	addr, err := r.Ready(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	r.url = "http://" + addr.String()
	return r
}

// ask sends a chat request for a model on a path.
func (r *aiRig) ask(path, model string, headers ...string) *answer {
	r.t.Helper()
	stream := ""
	for i := 0; i+1 < len(headers); i += 2 {
		if headers[i] == "x-test" && strings.Contains(headers[i+1], "stream") {
			stream = `"stream":true,`
		}
	}
	return r.post(path, `{"model":"`+model+`",`+stream+`"max_tokens":50,"messages":[{"role":"user","content":"hello"}]}`, headers...)
}

// twoProviders are OpenAI and Anthropic with keys, and rules for a model of each.
func twoProviders(t *testing.T) (openai, anthropic *backend, r *aiRig) {
	openai, anthropic = newBackend(t, openAIProvider), newBackend(t, anthropicProvider)
	r = newAIRig(t, &airoute.Config{
		Backends: []airoute.Backend{
			provider("openai", aibackend.OpenAI, openai.addr, apiKey("", "sk-openai")),
			provider("anthropic", aibackend.Anthropic, anthropic.addr, apiKey("x-api-key", "sk-anthropic")),
		},
		Rules: []airoute.Rule{rule("gpt", to("openai")), rule("claude", to("anthropic"))},
	})
	return openai, anthropic, r
}

func TestTranslatesThroughEnvoy(t *testing.T) {
	openai, anthropic, r := twoProviders(t)
	for _, tt := range []struct {
		path, model, stream string
		served              *backend
		want                []string
	}{
		{chat, "gpt", "", openai, []string{`"chat.completion"`, `"Hello"`}},
		{chat, "gpt", "stream", openai, []string{`"content":"lo"`, "data: [DONE]"}},
		{chat, "claude", "", anthropic, []string{`"object":"chat.completion"`, `"content":"Hello"`, `"finish_reason":"stop"`}},
		{chat, "claude", "stream", anthropic, []string{`"chat.completion.chunk"`, `"content":"lo"`, "data: [DONE]"}},
		{messages, "claude", "", anthropic, []string{`"type":"message"`, `"Hello"`}},
		{messages, "claude", "stream", anthropic, []string{"event: message_stop", `"lo"`}},
		{messages, "gpt", "", openai, []string{`"type":"message"`, `"Hello"`, `"end_turn"`}},
		{messages, "gpt", "stream", openai, []string{"event: content_block_delta", `"lo"`, "event: message_stop"}},
	} {
		before := tt.served.requests()
		a := r.ask(tt.path, tt.model, "authorization", "Bearer clients-own", "x-api-key", "clients-own", "x-test", tt.stream)
		if a.status != 200 {
			t.Errorf("%s %s %s: status %d: %s", tt.path, tt.model, tt.stream, a.status, a.body)
			continue
		}
		for _, want := range tt.want {
			if !strings.Contains(a.body, want) {
				t.Errorf("%s %s %s: %q is not in %s", tt.path, tt.model, tt.stream, want, a.body)
			}
		}
		if got := a.header.Get("x-fairway-backend"); got == "" || a.header.Get("set-cookie")+a.header.Get("alt-svc") != "" {
			t.Errorf("%s %s: no backend is named: %v", tt.path, tt.model, a.header)
		}
		if tt.served.requests() != before+1 {
			t.Fatalf("%s %s: the provider was not asked once", tt.path, tt.model)
		}
		h, body, _ := tt.served.last()
		if text := strings.ToLower(fmt.Sprint(h)); strings.Contains(text, "clients-own") || strings.Contains(text, "x-fairway") ||
			strings.Contains(text, "x-forwarded") || strings.Contains(text, "x-envoy") {
			t.Errorf("%s %s: the provider got %s", tt.path, tt.model, text)
		}
		if tt.served == openai && h.Get("authorization") != "Bearer sk-openai" || tt.served == anthropic && h.Get("x-api-key") != "sk-anthropic" {
			t.Errorf("%s %s: the key is missing: %v", tt.path, tt.model, h)
		}
		if !json.Valid(body) {
			t.Errorf("%s %s: the provider got %s", tt.path, tt.model, body)
		}
	}
	if s := r.logs.String() + r.access.String(); strings.Contains(s, "sk-") {
		t.Error("a key was logged")
	}
}
