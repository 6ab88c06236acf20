package envoy

import (
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/fairway-ai/fairway/extproc"
	"github.com/fairway-ai/fairway/gateway/xds"
	"github.com/fairway-ai/fairway/internal/testkit"
)

func TestPickerDies(t *testing.T) {
	for _, open := range []bool{true, false} {
		t.Run(fmt.Sprintf("FailOpen=%v", open), func(t *testing.T) {
			a := newBackend(t, nil)
			release := make(chan struct{})
			slow := newBackend(t, slowStream(release))
			r := newRig(t, []xds.Pool{pool("ns/p", open, a.addr, slow.addr)})
			r.picker.to("ns/p", slow.addr)
			s := r.stream()
			if err := s.until("first"); err != nil {
				t.Fatal(err)
			}

			r.killPicker()
			r.update(pool("ns/p", open, a.addr)) // the running stream's endpoint leaves, too
			for _, body := range []string{prompt, largePrompt(2 << 20)} {
				eventually(t, "the answer without a picker", func() error {
					got := r.post(chat, body)
					if open && (got.status != 200 || got.by() != a.addr) {
						return fmt.Errorf("got %d by %q, want 200: %s", got.status, got.by(), got.body)
					}
					if !open && (got.status != 503 || errorCode(t, got) != "picker_unavailable") {
						return fmt.Errorf("got %d, want 503: %s", got.status, got.body)
					}
					return nil
				})
			}

			close(release)
			if err := s.until("[DONE]"); err != nil {
				t.Errorf("the running stream was cut: %v", err)
			}

			r.startPicker()
			r.picker.to("ns/p", a.addr)
			r.servedBy(a)
		})
	}
}

// While the picker is alive its refusals are answers, also of an open pool.
func TestPickerRefuses(t *testing.T) {
	a := newBackend(t, nil)
	r := newRig(t, []xds.Pool{pool("ns/p", true, a.addr)})
	r.picker.set(func(context.Context, *extproc.Request) (extproc.Pick, error) {
		return extproc.Pick{}, &extproc.Rejection{
			Status: 503, Code: "no_endpoints", Message: "nobody home",
			Headers: []extproc.Header{{Name: "x-reason", Value: "empty"}},
		}
	})
	got := r.post(chat, prompt)
	if got.status != 503 || !strings.Contains(got.body, "nobody home") || got.header.Get("x-reason") != "empty" {
		t.Errorf("got %d %v: %s", got.status, got.header, got.body)
	}
	if got := r.post(chat, `{"model":`); got.status != 400 || errorCode(t, got) != "invalid_json" {
		t.Errorf("got %d: %s", got.status, got.body)
	}
	if a.requests() != 0 {
		t.Errorf("the endpoint got %d requests", a.requests())
	}
}

// A picker that takes longer than the message timeout fails open, unless it asked
// for the time.
func TestPickerHoldsAndHangs(t *testing.T) {
	a, b := newBackend(t, nil), newBackend(t, nil)
	r := newRig(t, []xds.Pool{pool("ns/p", true, a.addr, b.addr)}, func(o *xds.Options) {
		o.MessageTimeout = 2 * time.Second // in which a busy machine's picker asks for more
	})
	hold := make(chan struct{})
	r.picker.set(func(ctx context.Context, q *extproc.Request) (extproc.Pick, error) {
		if err := q.Hold(30 * time.Second); err != nil {
			return extproc.Pick{}, err
		}
		select {
		case <-hold:
		case <-ctx.Done():
			return extproc.Pick{}, ctx.Err()
		}
		return pickOf("ns/p", b.addr), nil
	})
	time.AfterFunc(4*time.Second, func() { close(hold) }) // two message timeouts
	if got := r.post(chat, prompt); got.status != 200 || got.by() != b.addr {
		t.Errorf("held: got %d by %s, want the picked endpoint", got.status, got.by())
	}
	gaveUp := make(chan struct{})
	r.picker.set(func(ctx context.Context, _ *extproc.Request) (extproc.Pick, error) {
		<-ctx.Done()
		close(gaveUp)
		return extproc.Pick{}, ctx.Err()
	})
	if got := r.post(chat, prompt); got.status != 200 {
		t.Errorf("hanging: got %d: %s", got.status, got.body)
	}
	select {
	case <-gaveUp:
	case <-time.After(patience):
		t.Error("the picker was not told that Envoy gave up")
	}
}

func TestLocalReplies(t *testing.T) {
	a := newBackend(t, nil)
	r := newRig(t, []xds.Pool{pool("ns/p", true, a.addr), pool("ns/empty", true), pool("ns/dead", true, testkit.Refused(t))},
		func(o *xds.Options) { o.StreamIdleTimeout = 3 * time.Second })
	to := func(pool, dest string) func() { return func() { r.picker.to(pool, dest) } }
	huge := largePrompt(rigLimit + 3<<20)
	over := largePrompt(rigLimit + 100)
	known := func(s string) io.Reader { return strings.NewReader(s) }
	unknown := func(s string) io.Reader { return chunked{strings.NewReader(s)} }
	for _, tt := range []struct {
		name   string
		setup  func()
		body   string
		reader func(string) io.Reader
		status int
		code   string // OpenAI's
		kind   string // Anthropic's type
	}{
		{"empty pool", to("ns/empty", a.addr), prompt, known, 503, "no_endpoints", "overloaded_error"},
		{"dead endpoint", to("ns/dead", ""), prompt, known, 503, "upstream_unavailable", "overloaded_error"},
		{"too large for the picker", to("ns/p", a.addr), over, known, 413, "request_too_large", "request_too_large"},
		{"too large for the picker, length unknown", to("ns/p", a.addr), over, unknown, 413, "request_too_large", "request_too_large"},
		{"too large for Envoy", to("ns/p", a.addr), huge, unknown, 413, "request_too_large", "request_too_large"},
	} {
		for _, path := range []string{chat, "/v1/messages"} {
			t.Run(tt.name+path, func(t *testing.T) {
				tt.setup()
				got, err := r.try(path, tt.reader(tt.body))
				if err != nil {
					t.Fatal(err)
				}
				if got.status != tt.status || got.header.Get("content-type") != "application/json" {
					t.Fatalf("got %d %s: %s", got.status, got.header.Get("content-type"), got.body)
				}
				if path == chat {
					if code := errorCode(t, got); code != tt.code {
						t.Errorf("code %q, want %q: %s", code, tt.code, got.body)
					}
					return
				}
				var body struct {
					Type  string
					Error struct{ Type, Message string }
				}
				if err := json.Unmarshal([]byte(got.body), &body); err != nil {
					t.Fatalf("%v: %s", err, got.body)
				}
				if body.Type != "error" || body.Error.Type != tt.kind || body.Error.Message == "" {
					t.Errorf("got %s, want type %s", got.body, tt.kind)
				}
			})
		}
	}
	t.Run("an endpoint's own error passes", func(t *testing.T) {
		own := newBackend(t, func(w http.ResponseWriter, _ *http.Request) {
			w.WriteHeader(500)
			_, _ = io.WriteString(w, "mine")
		})
		r.update(pool("ns/p", true, own.addr))
		r.picker.to("ns/p", own.addr)
		eventually(t, "the endpoint's 500", func() error {
			if got := r.post(chat, prompt); got.status != 500 || got.body != "mine" {
				return fmt.Errorf("got %d: %s", got.status, got.body)
			}
			return nil
		})
	})
	t.Run("silent endpoint", func(t *testing.T) {
		silent := newBackend(t, func(_ http.ResponseWriter, q *http.Request) { <-q.Context().Done() })
		r.update(pool("ns/p", true, silent.addr))
		r.picker.to("ns/p", silent.addr)
		eventually(t, "504", func() error {
			if got := r.post(chat, prompt); got.status != 504 && got.status != 408 || errorCode(t, got) == "" {
				return fmt.Errorf("got %d: %s", got.status, got.body)
			}
			return nil
		})
	})
}

// errorCode is the code of an OpenAI error.
func errorCode(t *testing.T, a *answer) string {
	t.Helper()
	var body struct {
		Error struct {
			Message string
			Type    string
			Code    string
			Param   *string
		}
	}
	if err := json.Unmarshal([]byte(a.body), &body); err != nil {
		t.Fatalf("%v: %s", err, a.body)
	}
	if body.Error.Message == "" || body.Error.Type == "" {
		t.Errorf("an error without message or type: %s", a.body)
	}
	return body.Error.Code
}
