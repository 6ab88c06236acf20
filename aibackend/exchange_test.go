package aibackend_test

import (
	"bytes"
	"compress/gzip"
	"encoding/json"
	"net/http"
	"slices"
	"strings"
	"testing"

	"github.com/fairway-ai/fairway/aibackend"
	"github.com/fairway-ai/fairway/aibackend/internal/transcript"
)

const hello = `{"model":"m","max_tokens":5,"messages":[{"role":"user","content":"hi"}]}`

func exchange(t *testing.T, path, body string, b aibackend.Backend, headers http.Header) aibackend.Exchange {
	t.Helper()
	x, err := aibackend.NewExchange(path, headers, []byte(body), b)
	if err != nil {
		t.Fatalf("%d %s", err.Status, err.Body)
	}
	t.Cleanup(x.Close)
	return x
}

// TestGzip plays every transcript with the provider's bytes compressed, in small
// chunks.
func TestGzip(t *testing.T) {
	for _, tr := range transcript.All(t, "testdata") {
		plain := tr.Run(t)
		if plain.Status == 0 || !plain.Sent {
			continue
		}
		t.Run(tr.File, func(t *testing.T) {
			var b bytes.Buffer
			z := gzip.NewWriter(&b)
			_, _ = z.Write(tr.Wire)
			_ = z.Close()
			packed := *tr
			packed.Wire = b.Bytes()
			packed.Out.Headers = tr.Out.Headers.Clone()
			packed.Out.Headers.Set("content-encoding", "gzip")
			var cuts []int
			for i := 7; i < b.Len(); i += 7 {
				cuts = append(cuts, i)
			}
			got := packed.Run(t, cuts...)
			if got.Usage != plain.Usage || got.Status != plain.Status {
				t.Errorf("usage %s, status %d", got.Usage, got.Status)
			}
			body := got.Body
			if !slices.Contains(got.Removed, "content-encoding") { // passed as it was
				z, err := gzip.NewReader(bytes.NewReader(body))
				if err != nil {
					t.Fatal(err)
				}
				var out bytes.Buffer
				_, err = out.ReadFrom(z)
				if err != nil && got.Err == nil {
					t.Fatal(err)
				}
				if got.Err != nil {
					return // told in the clear, see TestCutGzip
				}
				body = out.Bytes()
			}
			if !bytes.Equal(body, plain.Body) {
				t.Errorf("got\n%s\nwant\n%s", body, plain.Body)
			}
		})
	}
}

func TestCredentialsNeverPass(t *testing.T) {
	for _, s := range allSchemas {
		for _, path := range []string{"/v1/chat/completions", "/v1/messages"} {
			x := exchange(t, path, hello, aibackend.Backend{Schema: s}, http.Header{})
			q := x.Request()
			for _, name := range []string{"authorization", "x-api-key", "api-key", "x-goog-api-key"} {
				if !slices.Contains(q.RemoveHeaders, name) {
					t.Errorf("%s keeps %s", s, name)
				}
			}
		}
	}
}

func TestModelCannotLeaveItsPath(t *testing.T) {
	for _, s := range []aibackend.Schema{aibackend.AWSBedrock, aibackend.AWSAnthropic, aibackend.GCPVertexAI, aibackend.GCPAnthropic, aibackend.AzureOpenAI} {
		body := strings.Replace(hello, `"m"`, `"../../x?y=1#/%2e\r\nHost: evil"`, 1)
		x := exchange(t, "/v1/messages", body, aibackend.Backend{Schema: s, Version: "1", Project: "p", Region: "r"}, http.Header{})
		path, _, _ := strings.Cut(x.Request().Path, "?")
		if strings.Contains(path, "/../") || strings.ContainsAny(path, "#\r\n ") || strings.Contains(path, "y=1") && !strings.Contains(path, "%3Fy=1") {
			t.Errorf("%s: %s", s, path)
		}
	}
}

func TestBadRequests(t *testing.T) {
	for _, tc := range []struct {
		body   string
		status int
		code   string
	}{
		{`{"model":`, 400, "invalid_json"},
		{``, 400, "invalid_json"},
		{`[]`, 400, "invalid_value"},
		{`{"messages":[]}`, 400, "invalid_value"},
		{`{"model":"` + strings.Repeat("m", 513) + `"}`, 400, "invalid_value"},
		{`{"model":"m","stream":"yes"}`, 400, "invalid_value"},
		{`{"model":"m","messages":[]}`, 400, "invalid_value"},
		{`{"model":"m","messages":[{"role":"king","content":"x"}]}`, 400, "invalid_value"},
		{`{"model":"m","messages":[{"role":"user"}]}`, 400, "invalid_value"},
		{`{"model":"m","messages":[{"role":"user","content":[{"type":"video_url"}]}]}`, 422, "unsupported_by_backend"},
		{`{"model":"m","messages":[{"role":"tool","content":"x"}]}`, 400, "invalid_value"},
		{strings.Repeat(`{"a":`, 20_000) + `1` + strings.Repeat(`}`, 20_000), 400, "invalid_json"},
	} {
		_, err := aibackend.NewExchange("/v1/chat/completions", http.Header{}, []byte(tc.body), aibackend.Backend{Schema: aibackend.Anthropic})
		if err == nil || err.Status != tc.status || err.Cause.Code != tc.code {
			t.Errorf("%.80s: got %v", tc.body, err)
		}
	}
	// Two models, of which the router and the provider might take different ones.
	_, err := aibackend.NewExchange("/v1/chat/completions", http.Header{}, []byte(`{"model":"cheap","model":"dear","messages":[]}`), aibackend.Backend{Schema: aibackend.OpenAI, Model: "m"})
	if err == nil || err.Status != 400 {
		t.Errorf("got %v", err)
	}
}

// TestPassthroughChangesNothing compares bytes.
func TestPassthroughChangesNothing(t *testing.T) {
	odd := "{ \"messages\":[ {\"x\":1.50,\"\\u0061\":\"\\/é\"} ],\n \"model\" : \"old\" , \"unknown\" : {} }"
	x := exchange(t, "/v1/chat/completions", odd, aibackend.Backend{Schema: aibackend.OpenAI, Model: "new"}, http.Header{})
	if got, want := string(x.Request().Body), strings.Replace(odd, `"old"`, `"new"`, 1); got != want {
		t.Errorf("got %s", got)
	}
	x = exchange(t, "/v1/messages", odd, aibackend.Backend{Schema: aibackend.Anthropic}, http.Header{})
	if got := string(x.Request().Body); got != odd {
		t.Errorf("got %s", got)
	}
	answer := `{ "odd" : 1.0, "usage":{"input_tokens":3,"output_tokens":4} }`
	head := x.Response(200, http.Header{"Content-Type": {"application/json"}})
	got, err := x.Body([]byte(answer), true)
	if err != nil || string(got) != answer || head.Buffered || len(head.Remove) > 0 {
		t.Errorf("got %s, %v, %+v", got, err, head)
	}
	if u := x.Usage(); u.Input != 3 || u.Output != 4 {
		t.Errorf("usage %+v", u)
	}
	if x.Request().Body != nil {
		t.Error("the request is kept while the answer comes")
	}
}

// TestUsageBeforeTheEnd: a client that hangs up is accounted.
func TestUsageBeforeTheEnd(t *testing.T) {
	for _, path := range []string{"/v1/chat/completions", "/v1/messages"} {
		x := exchange(t, path, `{"stream":true,`+hello[1:], aibackend.Backend{Schema: aibackend.Anthropic}, http.Header{})
		x.Response(200, http.Header{"Content-Type": {"text/event-stream"}})
		_, _ = x.Body([]byte("data: {\"type\":\"message_start\",\"message\":{\"id\":\"a\",\"model\":\"m\",\"usage\":{\"input_tokens\":7,\"output_tokens\":1}}}\n\n"), false)
		if u := x.Usage(); !u.Known || u.Input != 7 {
			t.Errorf("%s: %+v", path, u)
		}
		x.Close()
	}
}

func TestLargeAnswersEnd(t *testing.T) {
	x := exchange(t, "/v1/messages", hello, aibackend.Backend{Schema: aibackend.OpenAI}, http.Header{})
	x.Response(200, http.Header{"Content-Type": {"application/json"}})
	chunk := bytes.Repeat([]byte(" "), 1<<20)
	var err *aibackend.Error
	n := 0
	for ; n < aibackend.MaxBuffered>>20+2 && err == nil; n++ {
		_, err = x.Body(chunk, false)
	}
	if err == nil || err.Status != 502 || !strings.Contains(err.Cause.Message, "larger") {
		t.Errorf("after %d MiB: %v", n, err)
	}
	if out, err := x.Body(chunk, true); len(out) > 0 || err != nil {
		t.Errorf("more comes: %d, %v", len(out), err)
	}
}

// TestBombs: a small answer that expands without end is cut off.
func TestBombs(t *testing.T) {
	var b bytes.Buffer
	z, _ := gzip.NewWriterLevel(&b, gzip.BestCompression)
	chunk := make([]byte, 1<<20)
	for range aibackend.MaxBuffered>>20 + 1 {
		_, _ = z.Write(chunk)
	}
	_ = z.Close()
	x := exchange(t, "/v1/messages", hello, aibackend.Backend{Schema: aibackend.OpenAI}, http.Header{})
	x.Response(200, http.Header{"Content-Type": {"application/json"}, "Content-Encoding": {"gzip"}})
	_, err := x.Body(b.Bytes(), true)
	if err == nil || err.Status != 502 {
		t.Errorf("%d bytes: %v", b.Len(), err)
	}
}

// TestReasoningSurvives sends an answer's reasoning back as clients do: the provider
// gets what it signed.
func TestReasoningSurvives(t *testing.T) {
	const think = `{"model":"m","max_tokens":9000,"messages":[{"role":"user","content":"hi"}]}`
	for _, tc := range []struct {
		schema aibackend.Schema
		answer string
		want   []string
	}{
		{aibackend.Anthropic, `{"id":"a","type":"message","model":"m","content":[{"type":"thinking","thinking":"Hm.","signature":"S=="},{"type":"redacted_thinking","data":"R=="},{"type":"tool_use","id":"t1","name":"f","input":{"a":1}}],"stop_reason":"tool_use","usage":{}}`,
			[]string{`{"type":"thinking","thinking":"Hm.","signature":"S=="}`, `{"type":"redacted_thinking","data":"R=="}`, `{"type":"tool_use","id":"t1","name":"f","input":{"a":1}}`}},
		{aibackend.AWSBedrock, `{"output":{"message":{"role":"assistant","content":[{"reasoningContent":{"reasoningText":{"text":"Hm.","signature":"S=="}}},{"reasoningContent":{"redactedContent":"Ug=="}},{"toolUse":{"toolUseId":"t1","name":"f","input":{"a":1}}}]}},"stopReason":"tool_use","usage":{"inputTokens":1}}`,
			[]string{`{"reasoningText":{"text":"Hm.","signature":"S=="}}`, `{"redactedContent":"Ug=="}`, `"toolUseId":"t1"`}},
		{aibackend.GCPVertexAI, `{"candidates":[{"content":{"parts":[{"text":"Hm.","thought":true},{"functionCall":{"name":"f","args":{"a":1}},"thoughtSignature":"Uw=="}]},"finishReason":"STOP"}],"responseId":"r"}`,
			[]string{`{"functionCall":{"name":"f","args":{"a":1}},"thoughtSignature":"Uw=="}`}},
	} {
		for _, path := range []string{"/v1/chat/completions", "/v1/messages"} {
			b := aibackend.Backend{Schema: tc.schema}
			x := exchange(t, path, think, b, http.Header{})
			x.Response(200, http.Header{"Content-Type": {"application/json"}})
			out, err := x.Body([]byte(tc.answer), true)
			if err != nil {
				t.Fatal(err)
			}
			var answer struct {
				Content json.RawMessage
				Choices []struct{ Message json.RawMessage }
			}
			if err := json.Unmarshal(out, &answer); err != nil {
				t.Fatal(err)
			}
			message := `{"role":"assistant","content":` + string(answer.Content) + `}`
			result := `{"role":"user","content":[{"type":"tool_result","tool_use_id":"ID","content":"ok"}]}`
			if len(answer.Choices) > 0 {
				message = string(answer.Choices[0].Message)
				result = `{"role":"tool","tool_call_id":"ID","content":"ok"}`
			}
			_, id, _ := strings.Cut(message, `"id":"`)
			id, _, _ = strings.Cut(id, `"`)
			next := strings.Replace(think, `"hi"}`, `"hi"},`+message+`,`+strings.Replace(result, "ID", id, 1), 1)
			x = exchange(t, path, next, b, http.Header{})
			for _, want := range tc.want {
				if got := string(x.Request().Body); !strings.Contains(got, want) {
					t.Errorf("%s by %s: no %s in %s", tc.schema, path, want, got)
				}
			}
			for _, d := range x.Request().Dropped {
				if strings.Contains(d, "thinking") || strings.Contains(d, "tool_calls") {
					t.Errorf("%s by %s: dropped %s", tc.schema, path, d)
				}
			}
		}
	}
}

func TestCanTranslate(t *testing.T) {
	for _, s := range allSchemas {
		if !aibackend.CanTranslate("/v1/messages?x", s) || !aibackend.CanTranslate("/v1/chat/completions", s) || aibackend.CanTranslate("/v1/x", s) {
			t.Error(s)
		}
	}
}
