package server

import (
	"encoding/base64"
	"encoding/json"
	"fmt"
	"math"
	"net/http"
	"strings"
	"testing"
)

func TestChatStream(t *testing.T) {
	c := newClient(t, fast())
	events := c.stream("/v1/chat/completions", user("hello", `,"max_tokens":5,"stream":true,"stream_options":{"include_usage":true}`))
	if len(events) != 1+5+1+1+1 || events[len(events)-1].data != "[DONE]" {
		t.Fatalf("%d events: %v", len(events), events)
	}
	var text strings.Builder
	for i, e := range events[:7] {
		v := parse(t, e.data)
		if v["object"] != "chat.completion.chunk" || v["model"] != "sim" || v["system_fingerprint"] != "sim" || v["usage"] != nil {
			t.Fatal(e.data)
		}
		delta, finish := at(t, v, "choices", 0, "delta"), at(t, v, "choices", 0, "finish_reason")
		if (i == 0) != (at(t, delta, "role") == "assistant") || (i == 6) != (finish == "length") {
			t.Fatalf("event %d: %s", i, e.data)
		}
		text.WriteString(at(t, delta, "content").(string))
	}
	if text.Len() != 20 {
		t.Fatalf("%q is not 5 tokens", text.String())
	}
	u := parse(t, events[7].data)
	if len(u["choices"].([]any)) != 0 || num(t, u, "usage", "completion_tokens") != 5 ||
		num(t, u, "usage", "total_tokens") != num(t, u, "usage", "prompt_tokens")+5 {
		t.Fatal(events[7].data)
	}
	whole := c.ok("/v1/chat/completions", user("hello", `,"max_tokens":5`))
	if at(t, whole, "choices", 0, "message", "content") != text.String() {
		t.Fatalf("whole %v, streamed %q", whole, text.String())
	}
	for _, e := range c.stream("/v1/chat/completions", user("hi", `,"stream":true`)) {
		if strings.Contains(e.data, "usage") {
			t.Fatalf("usage without being asked: %s", e.data)
		}
	}
	for _, e := range c.stream("/v1/chat/completions", user("hi", `,"stream":true,"stream_options":{"include_usage":true,"continuous_usage_stats":true}`)) {
		if e.data != "[DONE]" && num(t, parse(t, e.data), "usage", "prompt_tokens") == 0 {
			t.Fatalf("no usage: %s", e.data)
		}
	}
}

func TestUsageAndPrefixCache(t *testing.T) {
	long := strings.Repeat("the quick brown fox ", 100) // 500 tokens
	q := quote(long)
	for name, tc := range map[string]struct {
		path, body             string
		prompt, cached, output []any
		// uncached is true where prompt excludes the cached tokens.
		uncached bool
	}{
		"chat": {"/v1/chat/completions", user(long, `,"max_tokens":4`), []any{"usage", "prompt_tokens"},
			[]any{"usage", "prompt_tokens_details", "cached_tokens"}, []any{"usage", "completion_tokens"}, false},
		"completions": {"/v1/completions", `{"model":"sim","prompt":` + q + `,"max_tokens":4}`, []any{"usage", "prompt_tokens"},
			[]any{"usage", "prompt_tokens_details", "cached_tokens"}, []any{"usage", "completion_tokens"}, false},
		"responses": {"/v1/responses", `{"model":"sim","input":` + q + `,"max_output_tokens":4}`, []any{"usage", "input_tokens"},
			[]any{"usage", "input_tokens_details", "cached_tokens"}, []any{"usage", "output_tokens"}, false},
		"messages": {"/v1/messages", user(long, `,"max_tokens":4,"system":[{"type":"text","text":"be kind"}]`), []any{"usage", "input_tokens"},
			[]any{"usage", "cache_read_input_tokens"}, []any{"usage", "output_tokens"}, true},
	} {
		t.Run(name, func(t *testing.T) {
			c := newClient(t, fast())
			first, second := c.ok(tc.path, tc.body), c.ok(tc.path, tc.body)
			prompt := num(t, first, tc.prompt...)
			if prompt < 500 || prompt > 530 || num(t, first, tc.cached...) != 0 || num(t, first, tc.output...) != 4 {
				t.Fatalf("first: %v", first["usage"])
			}
			want := (prompt - 1) / 16 * 16
			if got := num(t, second, tc.cached...); got != want {
				t.Fatalf("%d cached tokens, want %d of %d", got, want, prompt)
			}
			if tc.uncached {
				prompt -= want
			}
			if num(t, second, tc.prompt...) != prompt {
				t.Fatalf("second: %v", second["usage"])
			}
			if c.metric("vllm:prefix_cache_hits_total") != float64(want) || c.metric("vllm:generation_tokens_total") != 8 {
				t.Fatal("the metrics disagree")
			}
		})
	}
}

func TestResponsesStream(t *testing.T) {
	c := newClient(t, fast())
	events := c.stream("/v1/responses", `{"input":[{"role":"user","content":[{"type":"input_text","text":"hello"}]}],"stream":true}`)
	var text strings.Builder
	for i, e := range events {
		v := parse(t, e.data)
		if v["type"] != e.name || num(t, v, "sequence_number") != i {
			t.Fatalf("event %d: %+v", i, e)
		}
		if e.name == "response.output_text.delta" {
			text.WriteString(v["delta"].(string))
		}
	}
	last := events[len(events)-1]
	v := parse(t, last.data)
	if events[0].name != "response.created" || last.name != "response.completed" || at(t, v, "response", "status") != "completed" ||
		at(t, v, "response", "output", 0, "content", 0, "text") != text.String() ||
		num(t, v, "response", "usage", "output_tokens") != text.Len()/4 {
		t.Fatalf("%q, then %s", text.String(), last.data)
	}
}

func TestMessagesStream(t *testing.T) {
	c := newClient(t, fast())
	events := c.stream("/v1/messages", user("hello", `,"max_tokens":3,"stream":true`))
	var names []string
	for _, e := range events {
		if parse(t, e.data)["type"] != e.name {
			t.Fatal(e)
		}
		names = append(names, e.name)
	}
	want := "message_start content_block_start content_block_delta content_block_delta content_block_delta content_block_stop message_delta message_stop"
	if got := strings.Join(names, " "); got != want {
		t.Fatal(got)
	}
	start, delta := parse(t, events[0].data), parse(t, events[6].data)
	if num(t, start, "message", "usage", "input_tokens") == 0 || num(t, delta, "usage", "output_tokens") != 3 ||
		at(t, delta, "delta", "stop_reason") != "max_tokens" {
		t.Fatal(events)
	}
	if n := c.ok("/v1/messages/count_tokens", user("hello", "")); num(t, n, "input_tokens") != num(t, start, "message", "usage", "input_tokens") {
		t.Fatal(n)
	}
}

func TestCompletionChoices(t *testing.T) {
	c := newClient(t, fast())
	v := c.ok("/v1/completions", `{"prompt":["one","two"],"n":2,"max_tokens":3}`)
	texts := map[any]bool{}
	for i := range 4 {
		if num(t, v, "choices", i, "index") != i {
			t.Fatal(v)
		}
		texts[at(t, v, "choices", i, "text")] = true
	}
	if len(texts) < 3 || num(t, v, "usage", "completion_tokens") != 12 || num(t, v, "usage", "prompt_tokens") != 2 {
		t.Fatal(v)
	}
	ended := map[int]bool{}
	events := c.stream("/v1/completions", `{"prompt":[[1,2,3],[4]],"max_tokens":3,"stream":true}`)
	for _, e := range events[:len(events)-1] {
		v := parse(t, e.data)
		i := num(t, v, "choices", 0, "index")
		if ended[i] {
			t.Fatalf("choice %d goes on: %s", i, e.data)
		}
		ended[i] = at(t, v, "choices", 0, "finish_reason") != nil
	}
	if len(events) != 2*4+1 || !ended[0] || !ended[1] {
		t.Fatal(events)
	}
}

func TestEcho(t *testing.T) {
	config := fast()
	config.Echo = true
	c := newClient(t, config)
	const said = "Grüße, 世界! <&> 🙂🙂🙂 ok"
	var text strings.Builder
	events := c.stream("/v1/chat/completions", user(said, `,"stream":true`))
	for _, e := range events[:len(events)-1] {
		text.WriteString(at(t, parse(t, e.data), "choices", 0, "delta", "content").(string))
	}
	if text.String() != said {
		t.Fatalf("%q", text.String())
	}
	v := c.ok("/v1/chat/completions", user(said, `,"max_completion_tokens":1`))
	if at(t, v, "choices", 0, "finish_reason") != "length" || at(t, v, "choices", 0, "message", "content") != "Grü" {
		t.Fatal(v)
	}
}

func TestEmbeddings(t *testing.T) {
	c := newClient(t, fast())
	v := c.ok("/v1/embeddings", `{"model":"sim","input":["a","b","a"],"dimensions":16}`)
	sum := 0.0
	for _, x := range at(t, v, "data", 0, "embedding").([]any) {
		sum += x.(float64) * x.(float64)
	}
	one, other, same := fmt.Sprint(at(t, v, "data", 0, "embedding")), fmt.Sprint(at(t, v, "data", 1, "embedding")), fmt.Sprint(at(t, v, "data", 2, "embedding"))
	if math.Abs(sum-1) > 1e-5 || one == other || one != same || num(t, v, "usage", "prompt_tokens") != 3 || num(t, v, "usage", "completion_tokens") != 0 {
		t.Fatal(v)
	}
	v = c.ok("/v1/embeddings", `{"input":"a","encoding_format":"base64"}`)
	raw, err := base64.StdEncoding.DecodeString(at(t, v, "data", 0, "embedding").(string))
	if err != nil || len(raw) != 4*defaultDimensions {
		t.Fatal(len(raw), err)
	}
	if c.metric("vllm:generation_tokens_total") != 0 {
		t.Fatal("an embedding generates no tokens")
	}
}

func TestTokenize(t *testing.T) {
	c := newClient(t, fast())
	v := c.ok("/tokenize", `{"prompt":"hello, world"}`)
	if num(t, v, "count") != 3 || num(t, v, "max_model_len") != 16384*16 {
		t.Fatal(v)
	}
	b, _ := json.Marshal(map[string]any{"tokens": v["tokens"]})
	if v := c.ok("/detokenize", string(b)); v["prompt"] != "hello, world" {
		t.Fatal(v)
	}
	if v := c.ok("/tokenize", user("hello", "")); num(t, v, "count") < 2 {
		t.Fatal(v)
	}
}

func TestErrors(t *testing.T) {
	config := fast()
	config.MaxModelLen, config.MaxBody = 100, 4096
	c := newClient(t, config)
	for name, tc := range map[string]struct {
		path, body string
		status     int
		mention    string
	}{
		"bad JSON":            {"/v1/chat/completions", `{"model":`, 400, "BadRequestError"},
		"wrong type":          {"/v1/chat/completions", `{"messages":7}`, 400, "messages"},
		"no messages":         {"/v1/chat/completions", `{"model":"sim"}`, 400, "messages"},
		"bad content":         {"/v1/chat/completions", `{"messages":[{"role":"user","content":7}]}`, 400, "messages[0].content"},
		"unknown model":       {"/v1/chat/completions", `{"model":"gpt","messages":[{}]}`, 404, "The model `gpt` does not exist."},
		"no tokens":           {"/v1/chat/completions", user("x", `,"max_tokens":0`), 400, "max_tokens"},
		"zero choices":        {"/v1/chat/completions", user("x", `,"n":0`), 400, "n must"},
		"many choices":        {"/v1/chat/completions", user("x", `,"n":1000000000000000000`), 400, "n must"},
		"long answer":         {"/v1/chat/completions", user("x", `,"max_tokens":100`), 400, "maximum context length is 100 tokens"},
		"long prompt":         {"/v1/chat/completions", user(strings.Repeat("x", 401), ``), 400, "maximum context length is 100 tokens"},
		"large body":          {"/v1/chat/completions", user(strings.Repeat("x", 5000), ``), 413, "4096 bytes"},
		"no prompt":           {"/v1/completions", `{}`, 400, "prompt"},
		"odd prompt":          {"/v1/completions", `{"prompt":{"a":1}}`, 400, "prompt"},
		"mixed prompt":        {"/v1/completions", `{"prompt":["a",1]}`, 400, "prompt"},
		"no input":            {"/v1/embeddings", `{}`, 400, "input"},
		"dimensions":          {"/v1/embeddings", `{"input":"a","dimensions":1000000000}`, 400, "dimensions"},
		"encoding":            {"/v1/embeddings", `{"input":"a","encoding_format":"x"}`, 400, "encoding_format"},
		"responses no input":  {"/v1/responses", `{}`, 400, "input"},
		"previous response":   {"/v1/responses", `{"input":"x","previous_response_id":"r"}`, 404, "previous_response_id"},
		"anthropic no max":    {"/v1/messages", user("x", ``), 400, `"type":"invalid_request_error"`},
		"anthropic model":     {"/v1/messages", `{"model":"claude"}`, 404, `"type":"not_found_error"`},
		"anthropic bad JSON":  {"/v1/messages", `{`, 400, `"type":"error"`},
		"tokenize nothing":    {"/tokenize", `{}`, 400, "prompt"},
		"detokenize bad JSON": {"/detokenize", `[`, 400, "BadRequestError"},
		"unknown path":        {"/v1/nothing", "", 404, "Not Found"},
		"wrong method":        {"/v1/chat/completions", "", 405, "Method Not Allowed"},
		"admin field":         {"/admin/config", `{"errorRat":1}`, 400, "errorRat"},
		"admin range":         {"/admin/config", `{"errorRate":2}`, 400, "errorRate"},
		"admin duration":      {"/admin/config", `{"startDelay":"soon"}`, 400, "soon"},
	} {
		status, body := c.do(tc.path, tc.body)
		if status != tc.status || !strings.Contains(body, tc.mention) || parse(t, body)["error"] == nil {
			t.Errorf("%s: %d %s", name, status, body)
		}
	}
	if s := c.s.driver.eng.Stats(); s.Finished != 0 {
		t.Fatal("a refused request ran")
	}
}

func TestSmallEndpoints(t *testing.T) {
	config := fast()
	config.Name, config.Model = "server-7", "m"
	c := newClient(t, config)
	for path, want := range map[string]string{"/health": "", "/ping": "", "/version": vllmVersion, "/v1/models": `"id":"m"`} {
		res, err := c.send(t.Context(), http.MethodGet, path, "")
		if err != nil {
			t.Fatal(err)
		}
		res.Body.Close()
		status, body := c.do(path, "")
		if status != 200 || !strings.Contains(body, want) || res.Header.Get("x-sim-server") != "server-7" {
			t.Errorf("%s: %d %s %v", path, status, body, res.Header)
		}
	}
	v := c.ok("/v1/chat/completions", `{"messages":[{"role":"user","content":"x"}]}`)
	if v["system_fingerprint"] != "server-7" || v["model"] != "m" {
		t.Fatal(v)
	}
}

// FuzzRequest posts any body to any endpoint.
func FuzzRequest(f *testing.F) {
	paths := []string{"/v1/chat/completions", "/v1/completions", "/v1/embeddings", "/v1/responses", "/v1/messages", "/tokenize",
		"/detokenize", "/v1/messages/count_tokens", "/v1/load_lora_adapter", "/v1/unload_lora_adapter"}
	f.Add(byte(0), user("hello", `,"n":2,"stream":true,"max_tokens":4`))
	f.Add(byte(0), `{"messages":[{"role":"user","content":[{"type":"text","text":"x"},{"type":"image_url","image_url":{"url":"u"}}],"tool_calls":[{}]}],"tools":[{}]}`)
	f.Add(byte(1), `{"prompt":[[1,2],[3]],"min_tokens":-1}`)
	f.Add(byte(2), `{"input":["a"],"dimensions":3,"encoding_format":"base64"}`)
	f.Add(byte(3), `{"input":[{"role":"user","content":"x"}],"instructions":"i"}`)
	f.Add(byte(4), user("hello", `,"system":"s","max_tokens":9`))
	f.Add(byte(6), `{"tokens":[4294967295]}`)
	config := fast()
	config.MaxModelLen, config.MaxBody, config.Speed = 2000, 64<<10, maxSpeed
	f.Fuzz(func(t *testing.T, which byte, body string) {
		c := newClient(t, config)
		path := paths[int(which)%len(paths)]
		if body == "" {
			return
		}
		if status, answer := c.do(path, body); status >= 500 {
			t.Fatalf("%d %s", status, answer)
		}
		if s := c.s.driver.eng.Stats(); s.Running+s.Waiting != 0 {
			t.Fatalf("left behind: %+v", s)
		}
	})
}
