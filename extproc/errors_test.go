package extproc

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"strings"
	"testing"
	"time"

	"google.golang.org/protobuf/proto"
)

// answered sends messages until an ImmediateResponse comes and checks its frame.
func answered(t *testing.T, c *call, ms ...*req) (status int, body string, headers map[string]string) {
	t.Helper()
	for _, m := range ms {
		if err := c.s.Send(m); err != nil {
			break // the server was quicker
		}
	}
	for {
		m, err := c.s.Recv()
		if err != nil {
			t.Fatalf("no immediate response but %v", err)
		}
		r := m.GetImmediateResponse()
		if r == nil {
			continue
		}
		if m, err := c.s.Recv(); err != io.EOF {
			t.Errorf("after the immediate response: %v, %v", m, err)
		}
		headers := setHeaders(t, r.GetHeaders())
		if headers["content-type"] != "application/json" || headers["x-request-id"] != "generated-id" {
			t.Errorf("headers %v", headers)
		}
		if !json.Valid(r.GetBody()) {
			t.Errorf("body %q is not JSON", r.GetBody())
		}
		if strings.ContainsAny(r.GetDetails(), " \n") || r.GetDetails() == "" {
			t.Errorf("details %q", r.GetDetails())
		}
		return int(r.GetStatus().GetCode()), string(r.GetBody()), headers
	}
}

func TestErrors(t *testing.T) {
	const limit = 1000
	big := `{"model":"` + strings.Repeat("x", limit) + `"}`
	secret := errors.New("dial tcp 10.9.8.7: password=hunter2")
	for name, c := range map[string]struct {
		path   string
		body   string
		header []string
		err    error
		status int
		want   string
	}{
		"bad JSON": {chat, `{"model":}`, nil, nil, 400,
			`{"error":{"message":"invalid JSON body at byte 9: `},
		"empty body": {chat, ``, nil, nil, 400,
			`{"error":{"message":"invalid JSON body at byte 0: `},
		"wrong type": {chat, `{"model":7}`, nil, nil, 400,
			`","type":"invalid_request_error","param":"model","code":"invalid_value"}}`},
		"too large": {chat, big, nil, nil, 413,
			`{"error":{"message":"the request body is larger than the limit of 1000 bytes","type":"invalid_request_error","param":null,"code":"request_too_large"}}`},
		"declared too large": {chat, `{}`, []string{"content-length", "1001"}, nil, 413,
			`"code":"request_too_large"}}`},
		"encoded": {chat, "\x1f\x8b", []string{"content-encoding", "gzip"}, nil, 415,
			`"code":"unsupported_content_encoding"}}`},
		"rejected": {chat, `{}`, nil, fmt.Errorf("wrapped: %w", &Rejection{Status: 404, Code: "model_not_found", Message: "no <model>"}), 404,
			`{"error":{"message":"no <model>","type":"invalid_request_error","param":null,"code":"model_not_found"}}`},
		"rate limited": {chat, `{}`, nil, &Rejection{Status: 429, Message: "m"}, 429,
			`{"error":{"message":"m","type":"rate_limit_error","param":null,"code":null}}`},
		"unavailable": {chat, `{}`, nil, &Rejection{Status: 503, Message: "m"}, 503,
			`{"error":{"message":"m","type":"service_unavailable_error","param":null,"code":null}}`},
		"rejected without an error": {chat, `{}`, nil, &Rejection{Status: 200, Message: "m"}, 500, `"type":"server_error"`},
		"internal": {chat, `{}`, nil, secret, 500,
			`{"error":{"message":"internal error","type":"server_error","param":null,"code":"internal_error"}}`},
		"anthropic bad JSON": {"/v1/messages", `[`, nil, nil, 400,
			`{"type":"error","error":{"type":"invalid_request_error","message":"invalid JSON body at byte `},
		"anthropic too large": {"/v1/messages", big, nil, nil, 413, `"type":"request_too_large"`},
		"anthropic not found": {"/v1/messages", `{}`, nil, &Rejection{Status: 404, Message: "m"}, 404,
			`{"type":"error","error":{"type":"not_found_error","message":"m"},"request_id":"generated-id"}`},
		"anthropic rate limited": {"/v1/messages", `{}`, nil, &Rejection{Status: 429, Message: "m"}, 429, `"type":"rate_limit_error"`},
		"anthropic overloaded":   {"/v1/messages", `{}`, nil, &Rejection{Status: 503, Message: "m"}, 503, `"type":"overloaded_error"`},
		"anthropic internal":     {"/v1/messages", `{}`, nil, secret, 500, `{"type":"api_error","message":"internal error"}`},
		"anthropic batch":        {"/v1/messages/batches", `{}`, nil, &Rejection{Status: 400, Message: "m"}, 400, `"type":"invalid_request_error"`},
		"anthropic client":       {"/v1/models", `{}`, []string{"anthropic-version", "2023-06-01"}, &Rejection{Status: 403, Message: "m"}, 403, `"type":"permission_error"`},
	} {
		for _, mode := range []string{"buffered", "duplex"} {
			t.Run(name+"/"+mode, func(t *testing.T) {
				h := newHarness(t, Options{MaxBodyBytes: limit})
				h.picker.pick = func(context.Context, *Request) (Pick, error) { return Pick{Destinations: "a:1"}, c.err }
				headers := post(c.path, buffered, streamed, c.header...)
				if mode == "duplex" {
					headers = post(c.path, duplex, duplex, c.header...)
				}
				status, body, _ := answered(t, h.open(), headers, reqBody(c.body, true))
				if status != c.status || !strings.Contains(body, c.want) {
					t.Errorf("got %d %s, want %d %s", status, body, c.status, c.want)
				}
			})
		}
	}
}

func TestRejectionHeaders(t *testing.T) {
	h := newHarness(t, Options{})
	h.picker.pick = func(context.Context, *Request) (Pick, error) {
		return Pick{}, &Rejection{Status: 429, Code: "rate limit\n", Message: "m", Headers: []Header{{"retry-after", "3"}, {"x-bad", "\n"}}}
	}
	_, _, headers := answered(t, h.open(), ended(post("/", duplex, duplex)))
	if headers["retry-after"] != "3" || len(headers) != 3 {
		t.Errorf("headers %v", headers)
	}
}

func TestPickerPanics(t *testing.T) {
	h := newHarness(t, Options{})
	h.picker.pick = func(context.Context, *Request) (Pick, error) { panic("secret") }
	status, body, _ := answered(t, h.open(), post(chat, duplex, duplex), reqBody(chatBody, true))
	if status != 500 || strings.Contains(body, "secret") {
		t.Errorf("got %d %s", status, body)
	}
	h.picker.pick = nil
	c := h.open()
	m := c.ask(ended(post("/", duplex, duplex)))
	wantPick(t, m, m.GetRequestHeaders().GetResponse())
	c.finish()
}

// TestBadDestinations is a pick that cannot be answered: its observer hears so.
func TestBadDestinations(t *testing.T) {
	h := newHarness(t, Options{})
	o := newObserver(t)
	h.picker.pick = func(context.Context, *Request) (Pick, error) {
		return Pick{Destinations: "a:1\nb:1", Observer: o}, nil
	}
	if status, _, _ := answered(t, h.open(), ended(post("/", duplex, duplex))); status != 500 {
		t.Errorf("got %d", status)
	}
	if out := o.wait(); out.Complete {
		t.Errorf("outcome %+v", out)
	}
}

// TestBodyLimit is exact in every arrangement.
func TestBodyLimit(t *testing.T) {
	body := chatBody
	for _, mode := range []string{"buffered", "duplex", "streamed"} {
		for over := range 2 {
			h := newHarness(t, Options{MaxBodyBytes: int64(len(body) - over)})
			m := map[string]*req{
				"buffered": post(chat, buffered, streamed),
				"duplex":   post(chat, duplex, duplex),
				"streamed": post(chat, streamed, streamed),
			}[mode]
			c := h.open()
			ms := []*req{m, reqBody(body[:20], false), reqBody(body[20:], true)}
			if mode == "buffered" {
				ms = []*req{m, reqBody(body, true)}
			}
			if over == 1 {
				if status, _, _ := answered(t, c, ms...); status != 413 {
					t.Errorf("%s: one byte over the limit: %d", mode, status)
				}
				continue
			}
			for _, m := range ms {
				c.send(proto.CloneOf(m))
			}
			_ = c.s.CloseSend()
			answers := 0
			for ; ; answers++ {
				m, err := c.s.Recv()
				if err != nil {
					break
				}
				if m.GetImmediateResponse() != nil {
					t.Errorf("%s: a body at the limit is refused", mode)
				}
			}
			if answers < 2 {
				t.Errorf("%s: %d answers", mode, answers)
			}
		}
	}
}

func TestHeldLimit(t *testing.T) {
	h := newHarness(t, Options{MaxHeldBytes: 100})
	first, second := h.open(), h.open()
	first.send(post(chat, duplex, duplex), reqBody(chatBody, false))
	for h.srv.held.Load() == 0 {
		// The first body has to arrive before the second.
		if first.s.Context().Err() != nil {
			t.Fatal("the body was not held")
		}
		time.Sleep(time.Millisecond)
	}
	if status, body, _ := answered(t, second, post(chat, duplex, duplex), reqBody(chatBody, true)); status != 503 || !strings.Contains(body, "overloaded") {
		t.Errorf("got %d %s", status, body)
	}
	first.send(reqBody("", true))
	m := first.recv()
	wantPick(t, m, m.GetRequestHeaders().GetResponse())
	first.recv()
	first.finish()
	// What was held is free again.
	third := h.open()
	third.send(post(chat, duplex, duplex), reqBody(chatBody, true))
	if third.recv().GetRequestHeaders() == nil {
		t.Error("a third body is refused")
	}
	third.recv()
	third.finish()
}
