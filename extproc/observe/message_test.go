package observe

import (
	"slices"
	"strings"
	"testing"

	"github.com/fairway-ai/fairway/extproc/scan"
	"github.com/fairway-ai/fairway/internal/testkit"
)

func pb(fields ...any) []byte { return testkit.Message(fields...) }

func framed(messages ...[]byte) []byte { return testkit.Frames(messages...) }

// observeCall follows the response to a call; first is the offset of the last byte of
// the Write that returned true, -1 for none.
func observeCall(o *Observer, c scan.Call, streamed bool, body []byte, cuts ...int) outcome {
	o.ResetCall(c, streamed)
	r, from := outcome{first: -1}, 0
	for _, at := range append(slices.Clone(cuts), len(body)) {
		part := slices.Clone(body[from:at])
		if o.Write(part) {
			if r.first >= 0 {
				panic("first token twice")
			}
			r.first = at
		}
		clear(part)
		from = at
	}
	r.usage, r.chunks, r.done = o.Usage(), o.Chunks(), o.Done()
	return r
}

func everyByte(body []byte) []int {
	cuts := make([]int, len(body))
	for i := range cuts {
		cuts[i] = i
	}
	return cuts
}

var responses = map[string]struct {
	call     scan.Call
	streamed bool
	messages [][]byte
	// first is the message that has the first token, -1 for the first byte.
	first  int
	chunks int64
	done   bool
	usage  Usage
}{
	"vLLM": {scan.VLLMGenerate, true, [][]byte{
		pb(1, pb(2, 11)),
		pb(1, pb(1, "\x05\xac\x02", 2, 11, 3, 2, 4, 8)),
		pb(1, pb(1, 7, 2, 11, 3, 1, 4, 8, 5, pb(1, 2))),
		pb(2, pb(1, "\x07", 2, "stop", 3, 11, 4, 1, 5, 8)), // again what the last chunk had
	}, 1, 3, true, Usage{true, 11, 3, 8, 0, 0}},
	"vLLM cut": {scan.VLLMGenerate, true, [][]byte{
		pb(1, pb(1, "\x05", 2, 11, 3, 1)), pb(1, pb(1, "\x05", 2, 11, 3, 1)),
	}, 0, 2, false, Usage{true, 11, 2, 0, 0, 0}},
	"vLLM whole":          {scan.VLLMGenerate, false, [][]byte{pb(2, pb(1, "\x05\x06", 2, "length", 3, 11, 4, 2, 5, 99))}, -1, 0, true, Usage{true, 11, 2, 11, 0, 0}},
	"vLLM several":        {scan.VLLMGenerate, false, [][]byte{pb(2, pb(1, "\x05\x06", 3, 11, 4, 2)), pb(2, pb(1, "\x05", 3, 11, 4, 1, 8, 1))}, -1, 0, true, Usage{true, 11, 3, 0, 0, 0}},
	"vLLM embeddings":     {scan.VLLMEmbed, false, [][]byte{pb(1, "12345678", 2, 11, 3, 2)}, -1, 0, true, Usage{true, 11, 0, 0, 0, 0}},
	"vLLM nothing":        {scan.VLLMGenerate, true, [][]byte{nil}, -2, 0, false, Usage{}},
	"SGLang scheduler":    {scan.SchedulerGenerate, true, [][]byte{pb(1, "id", 2, pb(1, "\x05", 2, 11, 3, 1)), pb(2, pb(1, "\x05", 2, 11, 3, 2, 9, 1)), pb(3, pb(1, "\x05\x05", 3, 11, 4, 2, 5, 4, 12, 1))}, 0, 3, true, Usage{true, 11, 2, 4, 0, 1}},
	"SGLang scheduler it": {scan.SchedulerEmbed, false, [][]byte{pb(4, 2, 5, "12345678", 6, 11)}, -1, 0, true, Usage{true, 11, 0, 0, 0, 0}},
	"SGLang text": {scan.SGLangTextGenerate, true, [][]byte{
		pb(1, "", 2, pb(1, "id", 2, "7")),
		pb(1, "He", 2, pb(1, "prompt_tokens", 2, "11"), 2, pb(1, "completion_tokens", 2, "1")),
		pb(1, "Hello", 2, pb(1, "prompt_tokens", 2, "11"), 2, pb(2, "4", 1, "x"), 2, pb(1, "completion_tokens", 2, "2"), 2, pb(1, "cached_tokens", 2, "4"), 2, pb(1, "prompt_tokens", 2, "many"), 3, 1),
	}, 1, 2, true, Usage{true, 11, 2, 4, 0, 0}},
	"SGLang ids":        {scan.SGLangGenerate, true, [][]byte{pb(1, "\x05", 3, 0), pb(1, 6, 2, pb(1, "completion_tokens", 2, "2"), 3, 1)}, 0, 2, true, Usage{true, 0, 2, 0, 0, 0}},
	"SGLang embeddings": {scan.SGLangEmbed, false, [][]byte{pb(1, "1234", 2, pb(1, "prompt_tokens", 2, "11"))}, -1, 0, true, Usage{true, 11, 0, 0, 0, 0}},
	"SGLang chat": {scan.SGLangChatComplete, true, [][]byte{
		pb(1, `{"choices":[{"delta":{"role":"assistant"}}]}`), pb(1, `{"choices":[{"delta":{"content":"x"}}]}`),
		pb(1, `{"choices":[],"usage":{"prompt_tokens":11,"completion_tokens":1}}`), pb(2, 1),
	}, 1, 1, true, Usage{true, 11, 1, 0, 0, 0}},
	"SGLang completion": {scan.SGLangComplete, true, [][]byte{
		pb(1, "data: {\"choices\":[{\"text\":\"x\"}]}\n\n"), pb(1, "data: [DONE]\n\n", 2, 1),
	}, 0, 1, true, Usage{}},
	"Vertex AI": {scan.VertexChatCompletions, false, [][]byte{pb(1, "application/json", 2, `{"choices":[{"message":{}}],"usage":{"prompt_tokens":11,`),
		pb(2, `"completion_tokens":7,"prompt_tokens_details":{"cached_tokens":5}}}`)}, -1, 0, true, Usage{true, 11, 7, 5, 0, 0}},
	"Vertex AI events": {scan.VertexChatCompletions, true, [][]byte{
		pb(1, "text/event-stream", 2, "\ndata: {\"choices\":[{\"delta\":{\"content\":\"x\"}}"), pb(2, "]}\n\ndata: {\"choices\":[{\"delta\":{\"content\":\"y\"}}]}\n\n"),
		pb(2, "data: {\"choices\":[],\"usage\":{\"prompt_tokens\":11,\"completion_tokens\":2}}\n\ndata: [DONE]\n\n"),
	}, 1, 1, true, Usage{true, 11, 2, 0, 0, 0}},
	"Vertex AI documents": {scan.VertexStreamRawPredict, true, [][]byte{
		pb(2, `{"type":"response.created"}`), pb(2, "not JSON"), pb(2, `{"type":"response.output_text.delta",`), pb(2, `"delta":"x"}`+"\n"),
		pb(2, `{"type":"response.completed","response":{"usage":{"input_tokens":11,"output_tokens":2}}}`),
	}, 3, 1, true, Usage{true, 11, 2, 0, 0, 0}},
	"Vertex AI nothing": {scan.VertexRawPredict, false, [][]byte{pb(2, " "), pb(2, "")}, -1, 0, false, Usage{}},
}

// TestResponses follows each response whole, cut in two at every byte, and by the byte.
func TestResponses(t *testing.T) {
	o := new(Observer)
	for name, test := range responses {
		body := framed(test.messages...)
		want := outcome{chunks: test.chunks, done: test.done, usage: test.usage}
		for at := -1; at <= len(body); at++ {
			cuts := []int{max(at, 0)}
			if at < 0 {
				cuts = everyByte(body)
			}
			got := observeCall(o, test.call, test.streamed, body, cuts...)
			first := got.first
			got.first = 0
			if got != want {
				t.Errorf("%s, cut at %d:\ngot  %+v\nwant %+v", name, at, got, want)
			}
			if at >= 0 {
				continue
			}
			end := -1
			switch {
			case test.first == -1:
				end = 1
			case test.first >= 0:
				end = len(framed(test.messages[:test.first+1]...))
			}
			if first != end && test.call != scan.SGLangComplete && !strings.Contains(name, "events") { // an event ends before its message
				t.Errorf("%s: the first token was seen at byte %d, want %d", name, first, end)
			}
		}
	}
}

// TestResponseUnreadable: what cannot be read counts nothing, and what came before it
// stays.
func TestResponseUnreadable(t *testing.T) {
	o := new(Observer)
	good := framed(pb(1, pb(1, "\x05", 2, 11)))
	for name, rest := range map[string]string{"malformed": "\x00\x00\x00\x00\x01\xff", "cut": "\x00\x00\x00\x00\x09\x0a", "compressed": "\x01\x00\x00\x00\x02ab"} {
		got := observeCall(o, scan.VLLMGenerate, true, append(slices.Clone(good), rest...))
		if got.chunks != 1 || got.usage != (Usage{Known: true, PromptTokens: 11, CompletionTokens: 1}) || got.done {
			t.Errorf("%s: %+v", name, got)
		}
	}
	// And the next response is one over HTTP.
	if got := observe(o, true, "data: {\"choices\":[{\"text\":\"x\"}]}\n\n", "data: [DONE]\n\n"); got.first != 0 || got.chunks != 1 || !got.done || got.usage.Known {
		t.Errorf("then, over HTTP: %+v", got)
	}
}

func FuzzResponse(f *testing.F) {
	for _, r := range responses {
		f.Add(framed(r.messages...), uint8(r.call), r.streamed, uint16(9))
	}
	o := new(Observer)
	f.Fuzz(func(t *testing.T, body []byte, c uint8, streamed bool, cut uint16) {
		call := scan.VertexChatCompletions + scan.Call(c)%scan.SchedulerEmbed
		at := int(cut) % (len(body) + 1)
		whole := observeCall(o, call, streamed, body)
		parts := observeCall(o, call, streamed, body, at/2, at)
		whole.first, parts.first = min(whole.first, 0), min(parts.first, 0)
		if whole != parts {
			t.Fatalf("cut at %d and %d: %+v\nwhole: %+v", at/2, at, parts, whole)
		}
		if u := whole.usage; u.PromptTokens < u.CachedTokens || u.CompletionTokens < u.ReasoningTokens || u.PromptTokens < 0 || u.CompletionTokens < 0 {
			t.Fatalf("impossible usage %+v", u)
		}
	})
}
