package envoy

import (
	"context"
	"errors"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/fairway-ai/fairway/aibackend"
	"github.com/fairway-ai/fairway/gateway/airoute"
	"github.com/fairway-ai/fairway/internal/testkit"
)

// fellBack expects an answer from a backend, and what the client is told of those
// before it.
func (r *aiRig) fellBack(a *answer, by, want string) {
	r.t.Helper()
	r.by(a, by)
	if got := a.header.Get("x-fairway-fallback"); got != want {
		r.t.Errorf("fell back because of %q, want %q", got, want)
	}
}

// Backends that refuse connections, do not answer or ask to be left alone are tried no
// more for a while, and clients are told why.
func TestCooling(t *testing.T) {
	release := make(chan struct{})
	t.Cleanup(func() { close(release) })
	silent := newBackend(t, func(_ http.ResponseWriter, r *http.Request) {
		select {
		case <-release:
		case <-r.Context().Done():
		}
	})
	busy := newBackend(t, func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("retry-after", "100")
		w.WriteHeader(http.StatusTooManyRequests)
	})
	openai := newBackend(t, openAIProvider)
	timed := rule("silent", to("silent"))
	timed.FirstByteTimeout = 50 * time.Millisecond
	r := newAIRig(t, &airoute.Config{
		Backends: []airoute.Backend{
			provider("openai", aibackend.OpenAI, openai.addr, apiKey("", "sk")),
			provider("busy", aibackend.OpenAI, busy.addr, apiKey("", "sk")),
			provider("refused", aibackend.OpenAI, testkit.Refused(t), apiKey("", "sk")),
			provider("alone", aibackend.OpenAI, testkit.Refused(t), apiKey("", "sk")),
			provider("silent", aibackend.OpenAI, silent.addr, apiKey("", "sk")),
			provider("slow", aibackend.OpenAI, silent.addr, apiKey("", "sk")),
		},
		Rules: []airoute.Rule{
			rule("busy", to("busy"), to("openai")), rule("refused", to("refused"), to("openai")), timed,
			rule("alone", to("alone")), rule("after", to("alone"), to("openai")), rule("slow", to("slow")),
		},
	})
	r.fellBack(r.ask(chat, "busy"), "openai", "busy: 429")
	r.fellBack(r.ask(chat, "busy"), "openai", "busy: cooling down")
	for range 5 {
		r.fellBack(r.ask(chat, "refused"), "openai", "refused: reset")
	}
	r.fellBack(r.ask(chat, "refused"), "openai", "refused: cooling down")
	// Nobody blames a backend for a client that leaves.
	for range 6 {
		ctx, leave := context.WithCancel(t.Context())
		q, err := http.NewRequestWithContext(ctx, http.MethodPost, r.url+chat, strings.NewReader(`{"model":"slow","messages":[{"role":"user","content":"x"}]}`))
		if err != nil {
			t.Fatal(err)
		}
		before, left := silent.requests(), make(chan struct{})
		go func() {
			defer close(left)
			if resp, err := http.DefaultClient.Do(q); err == nil {
				_ = resp.Body.Close()
			}
		}()
		eventually(t, "it is asked", func() error {
			if silent.requests() == before {
				return errors.New("not yet")
			}
			return nil
		})
		leave()
		<-left
	}
	if r.backends.Cooling().Cools("slow") {
		t.Error("clients that leave make a backend cool")
	}
	// A single backend is asked whatever it did, and its failures count. The end of the
	// last try may be told after the client's answer.
	for model, status := range map[string]int{"alone": 503, "silent": 504} {
		for range 5 {
			if a := r.ask(chat, model); a.status != status {
				t.Errorf("%s: status %d: %s", model, a.status, a.body)
			}
		}
		eventually(t, "it cools", func() error {
			if !r.backends.Cooling().Cools(model) {
				return errors.New("it does not")
			}
			return nil
		})
	}
	r.fellBack(r.ask(chat, "after"), "openai", "alone: cooling down")
}
