package extproc

import (
	"context"
	"strings"
	"testing"

	modev3 "github.com/envoyproxy/go-control-plane/envoy/extensions/filters/http/ext_proc/v3"
)

// TestWithBody: the body is at hand in one piece wherever all of it waits for the pick.
func TestWithBody(t *testing.T) {
	long := `{"model":"llama","messages":[{"role":"user","content":"` + strings.Repeat("0123456789", 20_000) + `"}]}`
	for _, body := range []string{chatBody, long} {
		for _, mode := range []modev3.ProcessingMode_BodySendMode{buffered, partial, duplex, streamed} {
			h := newHarness(t, Options{})
			got, known := "", false
			h.picker.pick = func(_ context.Context, r *Request) (Pick, error) {
				known = r.WithBody(func(b []byte) { got = string(b) })
				return Pick{Destinations: "10.0.0.1:8000"}, nil
			}
			c := h.open()
			first, half := post(chat, mode, streamed), len(body)/2
			if mode == duplex {
				c.send(first, reqBody(body[:9], false), reqBody(body[9:half], false), reqBody(body[half:], true))
				c.recv()
			} else {
				c.ask(first)
				c.ask(reqBody(body, true))
			}
			if known != (mode != streamed) || known && got != body {
				t.Errorf("%v: %d bytes of %d, known: %v", mode, len(got), len(body), known)
			}
			c.cancel()
		}
	}
	r := NewRequest(nil, nil)
	if r.WithBody(func([]byte) { t.Error("called without a body") }) {
		t.Error("a body that was never set is known")
	}
	r.SetBody([]byte("x"))
	if got := ""; !r.WithBody(func(b []byte) { got = string(b) }) || got != "x" {
		t.Errorf("got %q", got)
	}
}
