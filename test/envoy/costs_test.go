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
	"strings"
	"testing"

	"github.com/prometheus/client_golang/prometheus"
	"google.golang.org/grpc"

	"github.com/fairway-ai/fairway/aibackend"
	"github.com/fairway-ai/fairway/api/v1alpha1"
	"github.com/fairway-ai/fairway/extproc"
	"github.com/fairway-ai/fairway/gateway/airoute"
	"github.com/fairway-ai/fairway/gateway/egress"
	"github.com/fairway-ai/fairway/gateway/standalone"
	"github.com/fairway-ai/fairway/gateway/xds"
	"github.com/fairway-ai/fairway/test/realenvoy"
)

// costed are rules with costs, to providers and to a pool.
var costed = []v1alpha1.Cost{
	{Name: "tokens", Type: v1alpha1.CostTotalToken},
	{Name: "price", Type: v1alpha1.CostCEL, CEL: "input_tokens + output_tokens * 10u"},
	{Name: "who", Type: v1alpha1.CostCEL, CEL: "size(model) * 100 + size(backend)"},
}

func costRule(model string, groups ...[]airoute.Target) airoute.Rule {
	r := rule(model, groups...)
	r.Route, r.Costs = "ns/r", costed
	return r
}

// servePicker serves rules, with their costs and pools, on a unix socket.
func servePicker(t *testing.T, config *airoute.Config, pools ...xds.Pool) (socket string) {
	t.Helper()
	costs, err := egress.NewCosts(prometheus.NewRegistry(), nil)
	if err != nil {
		t.Fatal(err)
	}
	if err := costs.SetRules(config); err != nil {
		t.Fatal(err)
	}
	backends := egress.NewBackends(egress.BackendsOptions{Costs: costs.Of, Strict: true})
	if err := backends.Update(t.Context(), config); err != nil {
		t.Fatal(err)
	}
	picker := &stub{}
	picker.set(func(_ context.Context, q *extproc.Request) (extproc.Pick, error) {
		for _, p := range pools {
			if p.Name == q.Pool {
				return extproc.Pick{Destinations: strings.Join(p.Endpoints, ",")}, nil
			}
		}
		return extproc.Pick{}, &extproc.Rejection{Status: 503, Code: "no_endpoints", Message: "nobody in " + q.Pool}
	})
	router := &egress.Router{Next: picker, Pools: &egress.PoolAnswers{Costs: costs.Of}}
	router.SetRules(config)
	socket = filepath.Join(shortDir(t), "picker.sock")
	l, err := net.Listen("unix", socket)
	if err != nil {
		t.Fatal(err)
	}
	s := extproc.New(router, extproc.Options{MaxBodyBytes: rigLimit, Log: slog.New(slog.DiscardHandler), Foreign: backends.Foreign()})
	server := grpc.NewServer(s.ServerOptions()...)
	s.Register(server)
	go func() { _ = server.Serve(l) }()
	t.Cleanup(server.Stop)
	return socket
}

// costRig is a gateway that writes costs into its access log.
func costRig(t *testing.T, config *airoute.Config, pools ...xds.Pool) *rig {
	t.Helper()
	path := realenvoy.Path(t)
	r := &rig{t: t, logs: logging(t), access: &recorder{}, socket: servePicker(t, config, pools...)}
	var err error
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

// logged is the access log's line about a request.
type logged struct {
	ID     string             `json:"request_id"`
	Flags  string             `json:"flags"`
	Costs  map[string]float64 `json:"costs"`
	Answer map[string]any     `json:"answer"`
}

// line waits for a request's line, which Envoy may write late.
func (r *rig) line(id string) (l logged) {
	r.t.Helper()
	eventually(r.t, "a line of the access log about "+id, func() error {
		for _, text := range strings.Split(r.access.String(), "\n") {
			var x logged
			if json.Unmarshal([]byte(text), &x) == nil && x.ID == id {
				l = x
				return nil
			}
		}
		return fmt.Errorf("not in %s", r.access.String())
	})
	return l
}

func TestCostsInTheAccessLog(t *testing.T) {
	openai, anthropic, server := newBackend(t, openAIProvider), newBackend(t, anthropicProvider), newBackend(t, openAIProvider)
	down := newBackend(t, failing(503))
	free := rule("free", to("openai"))
	asPool := provider("as-pool", aibackend.OpenAI, server.addr, apiKey("", "k"))
	config := &airoute.Config{
		Backends: []airoute.Backend{
			provider("openai", aibackend.OpenAI, openai.addr, apiKey("", "k")), provider("anthropic", aibackend.Anthropic, anthropic.addr, apiKey("x-api-key", "k")),
			provider("down", aibackend.OpenAI, down.addr, apiKey("", "k")), asPool,
		},
		Rules: []airoute.Rule{
			costRule("gpt", to("openai")), costRule("claude", to("anthropic")), costRule("local", to("pool:ns/pool")), free,
			costRule("over", to("pool:ns/broken"), to("anthropic")), costRule("back", to("down"), to("pool:ns/pool")), costRule("lost", to("down")),
		},
	}
	r := costRig(t, config, pool("ns/pool", true, server.addr), pool("ns/broken", true, down.addr))
	type test struct {
		path, model, stream, backend string
		costs                        string
	}
	var tests []test
	for _, stream := range []string{"", "stream"} {
		tests = append(tests,
			test{chat, "gpt", stream, "openai", "7 25 306"},
			test{chat, "claude", stream, "anthropic", "7 25 609"},
			test{messages, "claude", stream, "anthropic", "7 25 609"},
			test{chat, "local", stream, "ns/pool", "7 25 507"},
			test{chat, "over", stream, "anthropic", "7 25 409"}, // begun at a pool
			test{chat, "back", stream, "ns/pool", "7 25 407"},   // begun at a provider
			test{chat, "lost", stream, "down", "0 0 0"},         // an error costs nothing
			test{chat, "free", stream, "openai", "- - -"},
		)
	}
	for i, tt := range tests {
		a := r.post(tt.path, fmt.Sprintf(`{"model":%q,"stream":%v,"max_tokens":50,"messages":[{"role":"user","content":"hello"}]}`, tt.model, tt.stream != ""),
			"x-test", tt.stream, "x-request-id", fmt.Sprint("request-", i))
		if (a.status == 200) != (tt.model != "lost") {
			t.Errorf("%+v: status %d: %s", tt, a.status, a.body)
		}
	}
	for i, tt := range tests {
		l := r.line(fmt.Sprint("request-", i))
		got := ""
		for _, c := range costed {
			if v, ok := l.Costs[c.Name]; ok {
				got += fmt.Sprint(v, " ")
			} else {
				got += "- "
			}
		}
		if strings.TrimSpace(got) != tt.costs || l.Answer["backend"] != tt.backend || l.Answer["rule"] != "ns/r/"+tt.model {
			t.Errorf("%+v: costs %v, answer %v", tt, l.Costs, l.Answer)
		}
		if tt.model != "lost" && l.Answer["total_tokens"] != 7.0 {
			t.Errorf("%+v: answer %v", tt, l.Answer)
		}
	}
}

// What a backend has told by the time that its client leaves is known.
func TestCostsOfClientsThatLeave(t *testing.T) {
	begun := func(wait <-chan struct{}, events ...string) http.HandlerFunc {
		return func(w http.ResponseWriter, r *http.Request) {
			w.Header().Set("content-type", "text/event-stream")
			for _, e := range events {
				_, _ = io.WriteString(w, e+"\n\n")
				w.(http.Flusher).Flush()
			}
			select {
			case <-wait:
			case <-r.Context().Done():
			}
		}
	}
	release := make(chan struct{})
	t.Cleanup(func() { close(release) })
	start := "event: message_start\ndata: " + `{"type":"message_start","message":{"id":"m1","type":"message","role":"assistant","model":"x","content":[],"usage":{"input_tokens":50,"output_tokens":1}}}`
	block := "event: content_block_start\ndata: " + `{"type":"content_block_start","index":0,"content_block":{"type":"text","text":""}}`
	counted := `data: {"id":"c","object":"chat.completion.chunk","choices":[{"index":0,"delta":{"content":"Hel"}}],"usage":{"prompt_tokens":20,"completion_tokens":3,"total_tokens":23}}`
	silent := `data: {"id":"c","object":"chat.completion.chunk","choices":[{"index":0,"delta":{"content":"Hel"}}]}`
	config := &airoute.Config{
		Backends: []airoute.Backend{
			provider("anthropic", aibackend.Anthropic, newBackend(t, begun(release, start, block)).addr, apiKey("x-api-key", "k")),
			provider("openai", aibackend.OpenAI, newBackend(t, begun(release, silent)).addr, apiKey("", "k")),
		},
		Rules: []airoute.Rule{costRule("claude", to("anthropic")), costRule("gpt", to("openai")), costRule("local", to("pool:ns/pool"))},
	}
	r := costRig(t, config, pool("ns/pool", true, newBackend(t, begun(release, counted)).addr))
	tests := []struct {
		path, model, until string
		want               float64
	}{
		{messages, "claude", "content_block_start", 51}, // the prompt's are told first
		{chat, "local", "Hel", 23},                      // all of them, with every chunk
		{chat, "gpt", "Hel", 0},                         // none before the end
	}
	for _, tt := range tests {
		ctx, leave := context.WithCancel(t.Context())
		req, err := http.NewRequestWithContext(ctx, http.MethodPost, r.url+tt.path,
			strings.NewReader(`{"model":"`+tt.model+`","stream":true,"max_tokens":5,"messages":[{"role":"user","content":"x"}]}`))
		if err != nil {
			t.Fatal(err)
		}
		req.Header.Set("x-request-id", tt.model)
		resp, err := http.DefaultClient.Do(req)
		if err != nil {
			t.Fatal(err)
		}
		s := &stream{resp: resp}
		if err := s.until(tt.until); err != nil {
			t.Fatal(err)
		}
		leave()
		_ = resp.Body.Close()
	}
	for _, tt := range tests {
		l := r.line(tt.model)
		if got, ok := l.Costs["tokens"]; !ok || got != tt.want || !strings.Contains(l.Flags, "DC") {
			t.Errorf("%s: %+v, want %v tokens", tt.model, l, tt.want)
		}
	}
}

// A rate limit counts what answers cost, after they were given.
func TestCostsAreRateLimited(t *testing.T) {
	envoy := realenvoy.Path(t)
	anthropic := newBackend(t, anthropicProvider)
	config := &airoute.Config{
		Backends: []airoute.Backend{
			provider("anthropic", aibackend.Anthropic, anthropic.addr, apiKey("x-api-key", "k")),
			provider("down", aibackend.OpenAI, newBackend(t, failing(400)).addr, apiKey("", "k")),
		},
		Rules: []airoute.Rule{costRule("claude", to("anthropic")), costRule("lost", to("down")), rule("free", to("anthropic"))},
	}
	limiter := serveLimiter(t, 20)
	r := &rig{t: t, url: startLimited(t, envoy, servePicker(t, config), config.Routing(), limiter.addr)}
	ask := func(user, model string) int {
		t.Helper()
		return r.post(chat, `{"model":"`+model+`","max_tokens":5,"messages":[{"role":"user","content":"x"}]}`, "x-user", user).status
	}
	limiter.reports(t, "ann", "")
	if s := ask("ann", "claude"); s != 200 {
		t.Fatalf("status %d", s)
	}
	limiter.reports(t, "ann", "25") // the price of 5 tokens in and 2 out
	if s := ask("ann", "claude"); s != 429 {
		t.Errorf("status %d with 25 of 20 used", s)
	}
	if s := ask("bob", "claude"); s != 200 {
		t.Errorf("another user: status %d", s)
	}
	limiter.reports(t, "bob", "25")
	// An error costs nothing.
	if s := ask("eve", "lost"); s != 400 {
		t.Errorf("status %d", s)
	}
	limiter.reports(t, "eve", "0")
	if s := ask("sid", "free"); s != 200 {
		t.Errorf("status %d", s)
	}
	// A rule without costs is not counted. Were it, that would come before this one.
	if s := ask("bob", "claude"); s != 429 {
		t.Errorf("status %d", s)
	}
	if got := limiter.used("sid"); got != 0 {
		t.Errorf("a rule without costs cost %v", got)
	}
}
