package tokens

import (
	"errors"
	"fmt"
	"io"
	"net/http"
	"slices"
	"strings"
	"sync"
	"testing"
)

const (
	messages  = "/v1/messages"
	responses = "/v1/responses"
	generate  = "/inference/v1/generate"
)

// renders answers at some routes, and notes what it was asked.
type renders struct {
	mu     sync.Mutex
	routes []string
	answer string
	asked  []string
}

func (s *renders) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	b, _ := io.ReadAll(r.Body)
	s.mu.Lock()
	defer s.mu.Unlock()
	s.asked = append(s.asked, r.URL.Path+" "+string(b))
	if !slices.Contains(s.routes, r.URL.Path) {
		http.NotFound(w, r)
		return
	}
	fmt.Fprint(w, s.answer)
}

func (s *renders) questions() []string {
	s.mu.Lock()
	defer s.mu.Unlock()
	return slices.Clone(s.asked)
}

// TestRenderedAPIs: what an endpoint is asked about Messages and Responses, and with it
// which of them have images.
func TestRenderedAPIs(t *testing.T) {
	const text, image = `{"token_ids":[1,2]}`, `{"token_ids":[1,2],"features":{"mm_hashes":{"image":["h"]},"mm_placeholders":{"image":[{"offset":1,"length":1}]}}}`
	for _, test := range []struct {
		name, path, body string
		answer           string
		asked            string // "" for nobody
		want             error
	}{
		{"messages", messages, `{"model":"m","max_tokens":9,"stop_sequences":["x"],"system":"s","messages":[{"role":"user","content":"hi"}]}`,
			text, `/v1/messages/render {"max_tokens":1,"messages":[{"role":"user","content":"hi"}],"model":"m","system":"s"}`, nil},
		{"a tool's result", messages, `{"messages":[{"content":[{"type":"tool_use","input":{}}]},{"content":[{"type":"tool_result","content":[{"type":"text","text":"x"}]}]}]}`,
			text, `/v1/messages/render {"max_tokens":1,"messages":[{"content":[{"type":"tool_use","input":{}}]},{"content":[{"type":"tool_result","content":[{"type":"text","text":"x"}]}]}]}`, nil},
		{"an image in it", messages, `{"messages":[{"content":[{"type":"tool_result","content":[{"type":"image"}]}]}]}`, text,
			`/v1/messages/render {"max_tokens":1,"messages":[{"content":[{"type":"tool_result","content":[{"type":"image"}]}]}]}`, ErrImages},
		{"an image that is told", messages, `{"messages":[{"content":[{"type":"image"}]}]}`, image,
			`/v1/messages/render {"max_tokens":1,"messages":[{"content":[{"type":"image"}]}]}`, nil},
		{"no messages", messages, `{"messages":"hi"}`, text, "", ErrMalformed},
		{"responses", responses, `{"model":"m","input":"hi","instructions":"i","max_output_tokens":9,"store":true}`, text,
			`/v1/responses/render {"input":"hi","instructions":"i","model":"m"}`, nil},
		{"items", responses, `{"input":[{"type":"message","content":[{"type":"input_text"}]},{"type":"function_call"},{"type":"function_call_output","output":"x"},{"role":"user","content":"x"}]}`, text,
			`/v1/responses/render {"input":[{"type":"message","content":[{"type":"input_text"}]},{"type":"function_call"},{"type":"function_call_output","output":"x"},{"role":"user","content":"x"}]}`, nil},
		{"an item with an image", responses, `{"input":[{"type":"function_call_output","output":[{"type":"input_image"}]}]}`, text,
			`/v1/responses/render {"input":[{"type":"function_call_output","output":[{"type":"input_image"}]}]}`, ErrImages},
		{"an item that is not known", responses, `{"input":[{"type":"computer_call_output"}]}`, text,
			`/v1/responses/render {"input":[{"type":"computer_call_output"}]}`, ErrImages},
		{"a response that is kept elsewhere", responses, `{"input":"hi","previous_response_id":"r"}`, text, "", ErrUnsupported},
		{"no input", responses, `{"input":7}`, text, "", ErrMalformed},
		{"a part without a type", chat, `{"messages":[{"content":[{"image_url":{}}]}]}`, text,
			`/v1/chat/completions/render {"messages":[{"content":[{"image_url":{}}]}]}`, ErrImages},
	} {
		t.Run(test.name, func(t *testing.T) {
			s := &renders{routes: []string{"/v1/messages/render", "/v1/responses/render", "/v1/chat/completions/render"}, answer: test.answer}
			b := newBed(t, Options{}, serve(t, s))
			got, err := b.e.Tokens(t.Context(), Request{Path: test.path, Body: []byte(test.body)})
			if !errors.Is(err, test.want) || err == nil && !slices.Equal(got.IDs, []uint32{1, 2}) {
				t.Errorf("%+v, %v, want %v", got, err, test.want)
			}
			if asked := strings.Join(s.questions(), "\n"); asked != test.asked {
				t.Errorf("asked\n%s\nwant\n%s", asked, test.asked)
			}
		})
	}
}

// TestWithoutTheRoute: a route that no endpoint has is remembered as missing, and then
// requests are not even read; the others' routes are not touched by that.
func TestWithoutTheRoute(t *testing.T) {
	s := &renders{routes: []string{"/v1/chat/completions/render"}, answer: `{"token_ids":[1,2]}`}
	b := newBed(t, Options{}, serve(t, s))
	body := `{"messages":[{"role":"user","content":"hi"}]}`
	b.fails(messages, body, ErrNoEndpoint)
	b.fails(messages, body, ErrUnsupported)
	b.fails(messages, "not read", ErrUnsupported)
	b.tokens(chat, body)
	if n := len(s.questions()); n != 2 {
		t.Errorf("%d questions", n)
	}
	b.clock.advance(DefaultMissingWait)
	s.mu.Lock()
	s.routes = append(s.routes, "/v1/messages/render")
	s.mu.Unlock()
	b.tokens(messages, body)
	if n := len(s.questions()); n != 3 {
		t.Errorf("%d questions, with the route back", n)
	}
}

// TestGenerate: requests that bring their ids need nobody.
func TestGenerate(t *testing.T) {
	for _, test := range []struct {
		name, body, want string
		err              error
	}{
		{"vLLM", `{"model":"m","token_ids":[1,2,3],"sampling_params":{},"cache_salt":"s","features":null}`, "m s [1 2 3] [] false", nil},
		{"with images", `{"token_ids":[1,2,3],"features":{"mm_hashes":{"image":["h"]},"mm_placeholders":{"image":[{"offset":1,"length":2}]}}}`, "  [1 2 3] [{h 1 2}] false", nil},
		{"images elsewhere", `{"token_ids":[1,2,3],"features":{"mm_hashes":{"image":["h"]},"mm_placeholders":{"image":[{"offset":2,"length":2}]}}}`, "", ErrMalformed},
		{"SGLang", `{"input_ids":[1,2],"text":null,"extra_key":null}`, "  [1 2] [] false", nil},
		{"several", `{"input_ids": [ [1,2],[3]]}`, "  [1 2] [] true", nil},
		{"one of several", `{"input_ids":[[1]]}`, "  [1] [] false", nil},
		{"text", `{"text":"hi"}`, "", ErrUnsupported},
		{"an adapter", `{"input_ids":[1],"lora_path":"x"}`, "", ErrUnsupported},
		{"kept apart", `{"input_ids":[1],"extra_key":"x"}`, "", ErrUnsupported},
		{"images", `{"input_ids":[1],"image_data":"x"}`, "", ErrUnsupported},
		{"empty", `{"token_ids":[]}`, "", ErrMalformed},
		{"empty ones", `{"input_ids":[[]]}`, "", ErrMalformed},
		{"no list", `{"input_ids":{"a":1}}`, "", ErrMalformed},
		{"not whole", `{"token_ids":[1.5]}`, "", ErrMalformed},
		{"one character", `{"input_ids":7}`, "", ErrMalformed},
	} {
		b := newBed(t, Options{}) // nobody can be asked
		got, err := b.e.Tokens(t.Context(), Request{Path: generate, Body: []byte(test.body)})
		if !errors.Is(err, test.err) {
			t.Errorf("%s: %v, want %v", test.name, err, test.err)
		}
		if text := fmt.Sprint(got.Model, " ", got.Salt, " ", got.IDs, " ", got.Images, " ", got.Partial); err == nil && text != test.want {
			t.Errorf("%s: %s, want %s", test.name, text, test.want)
		}
		own, err := (&Local{}).Tokens(t.Context(), Request{Path: "/generate", Body: []byte(test.body)})
		if !errors.Is(err, test.err) || !slices.Equal(own.IDs, got.IDs) || !slices.Equal(own.Images, got.Images) {
			t.Errorf("%s without engines: %+v, %v", test.name, own, err)
		}
	}
}
