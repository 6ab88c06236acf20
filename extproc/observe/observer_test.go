package observe

import (
	"encoding/json"
	"fmt"
	"strings"
	"testing"
)

// outcome is all that an Observer tells.
type outcome struct {
	first  int // the Write that returned true, -1 for none
	chunks int64
	done   bool
	usage  Usage
}

func observe(o *Observer, streamed bool, pieces ...string) outcome {
	o.Reset(streamed)
	r := outcome{first: -1}
	for i, p := range pieces {
		b := []byte(p)
		if o.Write(b) {
			if r.first >= 0 {
				panic("first token twice")
			}
			r.first = i
		}
		for i := range b {
			b[i] = 0xaa // to catch an observer that keeps a reference
		}
	}
	r.usage, r.chunks, r.done = o.Usage(), o.Chunks(), o.Done()
	return r
}

// streams are by name a stream's events.
var streams = map[string]struct {
	events []string
	want   outcome
}{
	"vLLM chat": {[]string{
		`data: {"id":"c","object":"chat.completion.chunk","created":1,"model":"m","choices":[{"index":0,"delta":{"role":"assistant","content":""},"logprobs":null,"finish_reason":null}]}`,
		`data: {"id":"c","object":"chat.completion.chunk","created":1,"model":"m","choices":[{"index":0,"delta":{"reasoning_content":"Hm"},"logprobs":null,"finish_reason":null}],"usage":{"prompt_tokens":11,"total_tokens":12,"completion_tokens":1}}`,
		`data: {"id":"c","choices":[{"index":0,"delta":{"content":" \"usage\":{\"prompt_tokens\":9}"}}]}`,
		`data: {"id":"c","choices":[{"index":0,"delta":{"content":""},"finish_reason":"stop","stop_reason":null}]}`,
		`data: {"id":"c","choices":[],"usage":{"prompt_tokens":11,"total_tokens":13,"completion_tokens":2,"prompt_tokens_details":{"cached_tokens":8}}}`,
		`data: [DONE]`,
	}, outcome{1, 2, true, Usage{true, 11, 2, 8, 0, 0}}},
	"OpenAI tools": {[]string{
		`data:{"choices":[{"delta":{"role":"assistant","content":null,"tool_calls":[],"refusal":null}}],"usage":null}`,
		`data:{"choices":[{"delta":{"tool_calls":[{"index":0,"id":"x","function":{"name":"f","arguments":""}}]}}],"usage":null}`,
		`data:{"choices":[{"delta":{}}],"usage":null}`,
		`data:{"choices":[{"delta":{"refusal":"No"}},{"delta":{"content":"x"}}],"usage":null}`,
		`data:  [DONE] `,
	}, outcome{1, 2, true, Usage{}}},
	"completions": {[]string{
		`: a comment with data: {"choices":[{"text":"no"}]}`,
		`data: {"choices":[{"index":0,"text":"","finish_reason":null}],"usage":null}`,
		`data: {"choices":[{"index":0,"text":"a"}]}`,
		`data: {"usage":{"completion_tokens":1,"prompt_tokens":5,"prompt_tokens_details":null},"choices":[{"index":0,"text":""}]}`,
		`data: [DONE]`,
	}, outcome{2, 1, true, Usage{true, 5, 1, 0, 0, 0}}},
	"Responses": {[]string{
		"event: response.created\ndata: {\"type\":\"response.created\",\"response\":{\"id\":\"r\",\"usage\":null,\"output\":[]}}",
		"event: response.output_item.added\ndata: {\"type\":\"response.output_item.added\",\"item\":{\"content\":[{\"text\":\"x\"}]}}",
		"event: response.output_text.delta\ndata: {\"delta\":\"\",\"type\":\"response.output_text.delta\"}",
		"event: response.output_text.delta\ndata: {\"delta\":\"Hi\",\"type\":\"response.output_text.delta\"}",
		"event: response.function_call_arguments.delta\ndata: {\"type\":\"response.function_call_arguments.delta\",\"delta\":\"{\"}",
		"event: response.output_text.done\ndata: {\"type\":\"response.output_text.done\",\"text\":\"Hi\"}",
		"event: response.completed\ndata: {\"type\":\"response.completed\",\"response\":{\"output\":[{\"usage\":{\"input_tokens\":99}}],\"usage\":{\"input_tokens\":20,\"input_tokens_details\":{\"cached_tokens\":16},\"output_tokens\":2,\"output_tokens_details\":{\"reasoning_tokens\":1},\"total_tokens\":22}}}",
	}, outcome{3, 2, true, Usage{true, 20, 2, 16, 0, 1}}},
	"Anthropic": {[]string{
		"event: message_start\ndata: {\"type\":\"message_start\",\"message\":{\"role\":\"assistant\",\"content\":[],\"usage\":{\"input_tokens\":3,\"cache_creation_input_tokens\":10,\"cache_read_input_tokens\":100,\"output_tokens\":1}}}",
		"event: content_block_start\ndata: {\"type\":\"content_block_start\",\"index\":0,\"content_block\":{\"type\":\"text\",\"text\":\"\"}}",
		"event: ping\ndata: {\"type\": \"ping\"}",
		"event: content_block_delta\ndata: {\"type\":\"content_block_delta\",\"index\":0,\"delta\":{\"type\":\"input_json_delta\",\"partial_json\":\"\"}}",
		"event: content_block_delta\ndata: {\"index\":0,\"delta\":{\"type\":\"text_delta\",\"text\":\"Hello\"},\"type\":\"content_block_delta\"}",
		"event: content_block_delta\ndata: {\"type\":\"content_block_delta\",\"index\":1,\"delta\":{\"type\":\"thinking_delta\",\"thinking\":\"x\"}}",
		"event: content_block_stop\ndata: {\"type\":\"content_block_stop\",\"index\":0}",
		"event: message_delta\ndata: {\"type\":\"message_delta\",\"delta\":{\"stop_reason\":\"end_turn\"},\"usage\":{\"output_tokens\":15}}",
		"event: message_stop\ndata: {\"type\":\"message_stop\"}",
	}, outcome{4, 2, true, Usage{true, 113, 15, 100, 10, 0}}},
	"many lines of data": {[]string{
		"id: 1\ndata: {\"choices\":\ndata: [{\"text\":\ndata:\ndata:\"a\"}]}\nretry: 5",
		"data: {\"choices\":[{\"text\":\"a\ndata: b\"}]}",
		"data\ndata: {\"usage\":{\"prompt_tokens\":1,\ndata:\"completion_tokens\":2}}",
	}, outcome{0, 1, false, Usage{true, 1, 2, 0, 0, 0}}},
	"nothing of use": {[]string{
		"", ":", "data:", "data", "dat: {}", "database: {\"choices\":[{\"text\":\"a\"}]}", "data: null", "data: [1]", "data: {\"choices\":[{\"text\":\"a\"}]",
		"data: {\"choices\":{\"text\":\"a\"}}", "data: {\"choices\":[[{\"text\":\"a\"}]]}", "data: {\"x\":{\"choices\":[{\"text\":\"a\"}]}}",
		"data: {\"x\":{\"usage\":{\"prompt_tokens\":1}},\"usage\":[{\"prompt_tokens\":1}]}", "data: {\"usage\":{\"prompt_tokens\":\"1\",\"completion_tokens\":{\"input_tokens\":1}}}",
		"data: {\"usage\":{\"prompt_tokens\":-1,\"completion_tokens\":1.5}}", "data: {\"usage\":{\"prompt_tokens\":1}}}", "data: {\"usage\":5,\"choices\":7,\"delta\":\"x\",\"type\":\"other\"}",
		"data: {\"type\":\"response.delta.x\",\"delta\":\"x\"}", "data: {\"" + strings.Repeat("usage", 20) + "\":{\"prompt_tokens\":1}}",
		"data: [DONE]x", "data: {\"error\":{\"message\":\"[DONE]\"}}",
	}, outcome{-1, 0, false, Usage{}}},
}

func TestStreams(t *testing.T) {
	o := new(Observer)
	for name, tt := range streams {
		for _, eol := range []string{"\n", "\r\n", "\r"} {
			var events []string
			for _, e := range tt.events {
				events = append(events, strings.ReplaceAll(e+"\n\n", "\n", eol))
			}
			got := observe(o, true, events...)
			if got != tt.want {
				t.Errorf("%s with %q:\ngot  %+v\nwant %+v", name, eol, got, tt.want)
			}
			all := strings.Join(events, "")
			for i := range len(all) + 1 {
				got := observe(o, true, all[:i], all[i:])
				got.first = tt.want.first // which Write it was differs
				if got != tt.want {
					t.Fatalf("%s with %q cut at %d:\ngot  %+v\nwant %+v", name, eol, i, got, tt.want)
				}
			}
			if got := observe(o, true, strings.Split(all, "")...); got.chunks != tt.want.chunks || got.usage != tt.want.usage || got.done != tt.want.done || got.first < 0 != (tt.want.first < 0) {
				t.Fatalf("%s with %q byte by byte:\ngot  %+v\nwant %+v", name, eol, got, tt.want)
			}
		}
	}
}

func TestEndWithoutLineBreak(t *testing.T) {
	o := new(Observer)
	got := observe(o, true, "data: {\"choices\":[{\"text\":\"a\"}]}\n\n", `data: {"usage":{"prompt_tokens":1}}`)
	if want := (outcome{0, 1, false, Usage{true, 1, 0, 0, 0, 0}}); got != want {
		t.Errorf("got %+v, want %+v", got, want)
	}
	if got := observe(o, true, "data: [DONE]"); !got.done {
		t.Error("the end was missed")
	}
	// Events that no empty line separates.
	got = observe(o, true, "data: {\"choices\":[{\"text\":\"a\"}]}\ndata: {\"choices\":[{\"text\":\"b\"}]}\n")
	if got.chunks != 2 {
		t.Errorf("got %+v", got)
	}
}

func TestBodies(t *testing.T) {
	long := strings.Repeat(`\"usage\":{\"prompt_tokens\":7} `, 10000)
	for _, tt := range []struct {
		name, body string
		want       Usage
	}{
		{"chat", `{"choices":[{"message":{"role":"assistant","content":"` + long + `"},"usage":{"prompt_tokens":7}}],"usage":{"prompt_tokens":10,"completion_tokens":20,"total_tokens":30,"prompt_tokens_details":{"cached_tokens":4}}}`, Usage{true, 10, 20, 4, 0, 0}},
		{"usage first", `{"usage":{"completion_tokens":20,"prompt_tokens":10},"choices":[]}` + "\n", Usage{true, 10, 20, 0, 0, 0}},
		{"embeddings", `{"data":[{"embedding":[0.1,-2e-3]}],"usage":{"prompt_tokens":10,"total_tokens":10}}`, Usage{true, 10, 0, 0, 0, 0}},
		{"responses", `{"object":"response","usage":{"input_tokens":5,"input_tokens_details":{"cached_tokens":2},"output_tokens":6}}`, Usage{true, 5, 6, 2, 0, 0}},
		{"anthropic", `{"type":"message","content":[{"type":"text","text":"x"}],"usage":{"input_tokens":5,"cache_read_input_tokens":7,"cache_creation_input_tokens":null,"output_tokens":6}}`, Usage{true, 12, 6, 7, 0, 0}},
		{"null", `{"usage":null}`, Usage{}},
		{"no usage", `{"error":{"message":"x"}}`, Usage{}},
		{"cut short", `{"usage":{"prompt_tokens":10,"completion_tokens":20}`, Usage{}},
		{"not JSON", "<html>\"usage\":{\"prompt_tokens\":10}", Usage{}},
		{"gzip", "\x1f\x8b\x08\x00", Usage{}},
		{"too deep", `{"a":` + strings.Repeat("[", 300) + strings.Repeat("]", 300) + `,"usage":{"prompt_tokens":1}}`, Usage{}},
		{"absurd", `{"usage":{"prompt_tokens":1e300,"completion_tokens":1,"prompt_tokens_details":{"cached_tokens":1e300}}}`, Usage{true, 1 << 40, 1, 1 << 40, 0, 0}},
	} {
		o := new(Observer)
		if got, want := observe(o, false, "", tt.body), (outcome{1, 0, false, tt.want}); got != want {
			t.Errorf("%s: got %+v, want %+v", tt.name, got, want)
		}
		if len(tt.body) > 1000 {
			continue
		}
		for i := range len(tt.body) {
			if got := observe(o, false, tt.body[:i], tt.body[i:]); got.usage != tt.want {
				t.Errorf("%s cut at %d: got %+v", tt.name, i, got)
			}
		}
	}
}

// TestTextIsNoUsage streams texts that look like what the observer looks for.
func TestTextIsNoUsage(t *testing.T) {
	o := new(Observer)
	for _, text := range []string{
		`"usage":{"prompt_tokens":1}`, `\"usage\":{\"prompt_tokens\":1}`, `"}}],"usage":{"prompt_tokens":1}}`,
		"\n\ndata: {\"usage\":{\"prompt_tokens\":1}}\n\n", "data: [DONE]", "[DONE]", `\`, `\\"`,
	} {
		e, err := json.Marshal(map[string]any{"choices": []any{map[string]any{"delta": map[string]any{"content": text}}}})
		if err != nil {
			t.Fatal(err)
		}
		got := observe(o, true, "data: "+string(e)+"\n\n")
		if want := (outcome{0, 1, false, Usage{}}); got != want {
			t.Errorf("%q: got %+v", text, got)
		}
	}
}

func FuzzObserver(f *testing.F) {
	for _, s := range streams {
		f.Add([]byte(strings.Join(s.events, "\n\n")+"\n\n"), uint16(30), true)
		f.Add([]byte(strings.Join(s.events, "\r\n\r\n")), uint16(60), true)
		f.Add([]byte(s.events[len(s.events)-1]), uint16(6), false)
	}
	f.Add([]byte(`{"usage":{"prompt_tokens":1,"completion_tokens":2}}`), uint16(9), false)
	o := new(Observer)
	f.Fuzz(func(t *testing.T, body []byte, cut uint16, streamed bool) {
		whole := observe(o, streamed, string(body))
		c := int(cut) % (len(body) + 1)
		cuts := observe(o, streamed, string(body[:c/2]), string(body[c/2:c]), string(body[c:]))
		if (whole.first < 0) != (cuts.first < 0) {
			t.Fatalf("whole %+v, cut %+v", whole, cuts)
		}
		if cuts.first = whole.first; whole != cuts {
			t.Fatalf("whole %+v, cut %+v", whole, cuts)
		}
		u := whole.usage
		if u.PromptTokens < u.CachedTokens || u.CachedTokens < 0 || u.CompletionTokens < 0 || !u.Known && u != (Usage{}) {
			t.Fatalf("usage %+v", u)
		}
		if !streamed && json.Valid(body) && len(body) > 0 && body[0] == '{' && !u.Known {
			var v struct{ Usage map[string]json.Number }
			if json.Unmarshal(body, &v) == nil && len(v.Usage) == 1 && len(v.Usage["prompt_tokens"]) == 1 && strings.Count(string(body), `"usage"`) == 1 && strings.Count(strings.ToLower(string(body)), `usage`) == 1 {
				t.Fatalf("missed the usage in %q", body)
			}
		}
	})
}

func fiftyEvents() [][]byte {
	events := [][]byte{[]byte(`data: {"id":"chatcmpl-0123456789abcdef","object":"chat.completion.chunk","created":1700000000,"model":"meta-llama/Llama-3.1-8B-Instruct","choices":[{"index":0,"delta":{"role":"assistant","content":""},"logprobs":null,"finish_reason":null}]}` + "\n\n")}
	for i := range 48 {
		events = append(events, fmt.Appendf(nil, "data: {\"id\":\"chatcmpl-0123456789abcdef\",\"object\":\"chat.completion.chunk\",\"created\":1700000000,\"model\":\"meta-llama/Llama-3.1-8B-Instruct\",\"choices\":[{\"index\":0,\"delta\":{\"content\":\" token%d\"},\"logprobs\":null,\"finish_reason\":null}]}\n\n", i))
	}
	return append(events, []byte(`data: {"id":"chatcmpl-0123456789abcdef","choices":[],"usage":{"prompt_tokens":1000,"total_tokens":1048,"completion_tokens":48}}`+"\n\n"))
}

func TestNoAllocations(t *testing.T) {
	o := new(Observer)
	events := fiftyEvents()
	run := func() {
		o.Reset(true)
		for _, e := range events {
			o.Write(e)
		}
		if u := o.Usage(); u.CompletionTokens != 48 || o.Chunks() != 48 {
			t.Fatalf("%+v, %d chunks", u, o.Chunks())
		}
	}
	run()
	if n := testing.AllocsPerRun(10, run); n != 0 {
		t.Fatalf("%v allocations", n)
	}
}

func BenchmarkStream50Events(b *testing.B) {
	o := new(Observer)
	events := fiftyEvents()
	n := 0
	for _, e := range events {
		n += len(e)
	}
	b.SetBytes(int64(n))
	b.ReportAllocs()
	for b.Loop() {
		o.Reset(true)
		for _, e := range events {
			o.Write(e)
		}
	}
}

// What is asked for in between changes nothing of what is found.
func TestSoFar(t *testing.T) {
	o := &Observer{}
	o.Reset(true)
	write := func(s string, first bool, want Usage) {
		t.Helper()
		if got := o.Write([]byte(s)); got != first {
			t.Errorf("first token %v in %q", got, s)
		}
		if got := o.SoFar(); got != want {
			t.Errorf("%+v after %q, want %+v", got, s, want)
		}
	}
	write(`data: {"choices":[{"text":"a"}]}`, false, Usage{}) // the line may go on
	write("\n\n", true, Usage{})
	write(`data: {"usage":{"prompt_tokens":7}}`, false, Usage{})
	write("\n", false, Usage{Known: true, PromptTokens: 7})
	if o.Chunks() != 1 {
		t.Errorf("%d chunks", o.Chunks())
	}
	o.Reset(false)
	write(`{"usage":{"prompt_tokens":7,"completion_tokens":3,"completion_tokens_details":{"reasoning_tokens":9}}`, true, Usage{})
	write(`}`, false, Usage{Known: true, PromptTokens: 7, CompletionTokens: 3, ReasoningTokens: 3})
}
