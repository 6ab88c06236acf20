package aibackend_test

import (
	"net/http"
	"strings"
	"testing"

	"github.com/fairway-ai/fairway/aibackend"
)

// What is no answer is not given to clients as one, whatever the provider calls it.
func TestNoAnswerIsNone(t *testing.T) {
	const ask, streamed = `{"model":"m","max_tokens":5,"messages":[{"role":"user","content":"x"}]}`, `{"model":"m","max_tokens":5,"stream":true,"messages":[{"role":"user","content":"x"}]}`
	for _, tt := range []struct {
		name, body  string
		schema      aibackend.Schema
		status      int
		header      http.Header
		answer, out string
	}{
		{"no content", ask, aibackend.Anthropic, 204, http.Header{}, "", "No Content"},
		{"no content, passed", ask, aibackend.OpenAI, 204, http.Header{}, "", "No Content"},
		{"a page for a stream", streamed, aibackend.OpenAI, 200, http.Header{"Content-Type": {"text/html"}}, "<html>", "content-type"},
		{"an object for a stream", streamed, aibackend.OpenAI, 200, http.Header{"Content-Type": {"application/json"}}, "{}", "content-type"},
		{"an encoding for a stream", streamed, aibackend.Anthropic, 200, http.Header{"Content-Type": {"text/event-stream"}, "Content-Encoding": {"br"}}, "x", "content-encoding"},
	} {
		x, refused := aibackend.NewExchange("/v1/chat/completions", http.Header{}, []byte(tt.body), aibackend.Backend{Schema: tt.schema})
		if refused != nil {
			t.Fatal(refused)
		}
		head := x.Response(tt.status, tt.header)
		contentType := ""
		for _, h := range head.Set {
			if h.Name == "content-type" {
				contentType = h.Value
			}
		}
		out, err := x.Body([]byte(tt.answer), true)
		if head.Status != 502 || contentType != "application/json" || err == nil || !strings.Contains(string(out), `"error"`) || !strings.Contains(string(out), tt.out) {
			t.Errorf("%s: %d %s, %v: %s", tt.name, head.Status, contentType, err, out)
		}
	}
}

// Half an event at the end of a stream that passes is followed by an error.
func TestHalfAnEventIsToldOf(t *testing.T) {
	for path, schema := range map[string]aibackend.Schema{"/v1/chat/completions": aibackend.OpenAI, "/v1/messages": aibackend.Anthropic} {
		x, event := streaming(t, path, schema)
		if _, err := x.Body(event[:len(event)-20], false); err != nil {
			t.Fatal(err)
		}
		out, err := x.Body(nil, true)
		if err == nil || !strings.Contains(string(out), "\n\n") || !strings.Contains(string(out), `"error"`) {
			t.Errorf("%s: %v: %s", path, err, out)
		}
	}
}

// With trailers after it, no part of an answer is said to be the last.
func TestWholeAnswerWithoutAnEnd(t *testing.T) {
	x, refused := aibackend.NewExchange("/v1/chat/completions", http.Header{}, []byte(`{"model":"m","messages":[{"role":"user","content":"x"}]}`), aibackend.Backend{Schema: aibackend.Anthropic})
	if refused != nil {
		t.Fatal(refused)
	}
	x.Response(200, http.Header{"Content-Type": {"application/json"}})
	answer := ` {"id":"a","type":"message","role":"assistant","model":"m","content":[{"type":"text","text":"}] \"} {"}],"stop_reason":"end_turn","usage":{"input_tokens":1,"output_tokens":1}}`
	for i := range len(answer) {
		out, err := x.Body([]byte(answer[i:i+1]), false)
		if err != nil || (len(out) > 0) != (i == len(answer)-1) {
			t.Fatalf("after %q: %v: %s", answer[:i+1], err, out)
		}
	}
	if out, err := x.Body(nil, true); err != nil || len(out) > 0 {
		t.Errorf("more came: %v: %s", err, out)
	}
}
