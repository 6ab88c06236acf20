package scan

import (
	"errors"
	"slices"
	"strconv"
	"strings"
	"testing"

	"github.com/fairway-ai/fairway/scheduler/prefix"
)

func TestAPIFromPath(t *testing.T) {
	for path, want := range map[string]API{
		"/v1/chat/completions":                       ChatCompletions,
		"/v1/chat/completions?api-version=1&x=/v1/m": ChatCompletions,
		"/openai/deployments/gpt/chat/completions":   ChatCompletions,
		"/chat/completions":                          ChatCompletions,
		"/v1/completions":                            Completions,
		"/tenant/v1/completions":                     Completions,
		"/completions":                               Other,
		"/v1/embeddings":                             Embeddings,
		"/v1/responses":                              Responses,
		"/v1/responses/resp_1":                       Other,
		"/v1/messages":                               Messages,
		"/anthropic/v1/messages?beta=true":           Messages,
		"/v1/messages/count_tokens":                  CountTokens,
		"/v1/images/generations":                     ImageGenerations,
		"/v1/images/edits?x":                         ImageEdits,
		"/v1/images/variations":                      ImageVariations,
		"/v1/audio/speech":                           Speech,
		"/v1/audio/transcriptions":                   Transcriptions,
		"/v1/audio/translations":                     Translations,
		"/v1/moderations":                            Moderations,
		"/v2/rerank":                                 Rerank,
		"/v1/rerank":                                 Rerank,
		"/rerank":                                    Rerank,
		"/tokenize":                                  Tokenize,
		"/detokenize":                                Detokenize,
		"/generate":                                  Generate,
		"/inference/v1/generate":                     Generate,
		"/v1/messages/batches":                       Other,
		"/v1/models":                                 Other,
		"/v1/chat/completions/":                      Other,
		"/x?y=/v1/chat/completions":                  Other,
		"":                                           Other,
	} {
		if got := APIFromPath(path); got != want {
			t.Errorf("%q: got %v, want %v", path, got, want)
		}
	}
}

func TestFields(t *testing.T) {
	for _, tt := range []struct {
		name string
		api  API
		body string
		want Result
	}{
		{"chat", ChatCompletions, `{"model":"m","stream":true,"max_tokens":9,"user":"u","cache_salt":"s","messages":[{"role":"user","content":"hello"}]}`,
			Result{Model: "m", Stream: true, MaxTokens: 9, User: "u", CacheSalt: "s", PromptBytes: 4 + 4 + 7 + 5}},
		{"newer bound wins", ChatCompletions, `{"max_completion_tokens":7,"max_tokens":9}`, Result{MaxTokens: 7}},
		{"null bound does not", ChatCompletions, `{"max_completion_tokens":null,"max_tokens":9}`, Result{MaxTokens: 9}},
		{"other API's bound", Completions, `{"max_completion_tokens":7,"max_output_tokens":9}`, Result{}},
		{"written otherwise", Completions, `{"max_tokens":1.5e3}`, Result{MaxTokens: 1500}},
		{"fraction", Completions, `{"max_tokens":1.5}`, Result{}},
		{"negative", Completions, `{"max_tokens":-1}`, Result{}},
		{"huge", Completions, `{"max_tokens":1e300}`, Result{MaxTokens: 1<<31 - 1}},
		{"hints of another type", Completions, `{"max_tokens":"7","stream":"true"}`, Result{}},
		{"last wins", Completions, `{"model":"a","stream":true,"prompt":"abc","model":"b","stream":false,"prompt":"x"}`, Result{Model: "b", PromptBytes: 1}},
		{"last null wins", Completions, `{"model":"a","prompt":"abc","model":null,"prompt":null}`, Result{}},
		{"wrong then right", Completions, `{"model":1,"model":"b"}`, Result{Model: "b"}},
		{"exact keys", Completions, `{"Model":"a","mod\u0065l":"b","x":{"model":"c"}}`, Result{Model: "b"}},
		{"escapes", Completions, `{"model":"\u0061\n\ud83d\ude00\ud800"}`, Result{Model: "a\n😀\ufffd"}},
		{"not UTF-8", Completions, "{\"model\":\"a\xff\xe4\xb8b\"}", Result{Model: "a\ufffd\ufffd\ufffdb"}},
		{"prompt", Completions, `{"prompt":"hello"}`, Result{PromptBytes: 5}},
		{"prompts", Completions, `{"prompt":["hello","you"]}`, Result{PromptBytes: 8}},
		{"token ids", Completions, `{"prompt":[1,22,128000]}`, Result{PromptBytes: 12}},
		{"lists of token ids", Embeddings, `{"input":[[1,2],[3]]}`, Result{PromptBytes: 12}},
		{"responses", Responses, `{"model":"m","instructions":"abc","input":"defg","max_output_tokens":5,"max_tokens":6,"user":"u"}`,
			Result{Model: "m", MaxTokens: 5, User: "u", PromptBytes: 7}},
		{"SGLang's ids", Generate, `{"input_ids":[1,22,128000],"stream":true,"sampling_params":{"temperature":0,"max_new_tokens":9}}`, Result{Stream: true, MaxTokens: 9, PromptBytes: 12}},
		{"SGLang's text", Generate, `{"text":"hello","prompt":"no","max_tokens":5}`, Result{PromptBytes: 5}},
		{"text beside no ids", Generate, `{"text":"hello","input_ids":null}`, Result{PromptBytes: 5}},
		{"vLLM's ids", Generate, `{"model":"m","token_ids":[1,2],"sampling_params":{"max_tokens":9,"stop":[{"max_tokens":1}]},"cache_salt":"s"}`, Result{Model: "m", MaxTokens: 9, CacheSalt: "s", PromptBytes: 8}},
		{"bounds of several prompts", Generate, `{"text":["a","b"],"sampling_params":[{"max_new_tokens":9}]}`, Result{PromptBytes: 2}},
		{"anthropic", Messages, `{"model":"m","max_tokens":5,"user":"no","metadata":{"user_id":"u","x":{"user_id":"no"}},"system":"abc","messages":[{"content":"x"}]}`,
			Result{Model: "m", MaxTokens: 5, User: "u", PromptBytes: 3 + 7 + 1}},
		{"metadata named again", Messages, `{"metadata":{"user_id":"u"},"metadata":{}}`, Result{}},
		{"image", ChatCompletions, `{"messages":[{"image_url":{"url":"data:image/png;base64,AAAA"}},{"image_url":"https://x"},{"image_url":{"url":"relative"}}]}`,
			Result{PromptBytes: 9 + 3 + 9 + 9 + 3 + 8, Images: 2}},
		{"anthropic image", Messages, `{"messages":[{"source":{"type":"base64","data":"AAAA"}},{"source":{"type":"text","data":"AAAA"}}]}`,
			Result{PromptBytes: 6 + 4 + 6 + 4 + 6 + 4 + 4 + 4 + 4, Images: 1}},
		{"audio and file", ChatCompletions, `{"messages":[{"input_audio":{"data":"AAAA"}},{"file":{"file_data":"AAAA"}}]}`,
			Result{PromptBytes: 11 + 4 + 4 + 9, Images: 2}},
		{"no image in tools", ChatCompletions, `{"tools":[{"image_url":"data:"}]}`, Result{PromptBytes: 14}},
		{"no image in arguments", Messages, `{"messages":[{"input":{"url":"https://x","data":"abc"}}]}`, Result{PromptBytes: 5 + 3 + 9 + 4 + 3}},
		{"not scanned", Other, `{"model":`, Result{}},
	} {
		t.Run(tt.name, func(t *testing.T) {
			got, err := scanAll(New(Options{}), tt.api, []byte(tt.body))
			if err != nil {
				t.Fatal(err)
			}
			tt.want.API = tt.api
			tt.want.Blocks = got.Blocks // TestBlocks and the oracle see to them
			sameResult(t, got, &tt.want, true)
		})
	}
}

// TestMedia: a part has the same digest in every request and of every length of chunk,
// and is there once.
func TestMedia(t *testing.T) {
	s := New(Options{})
	scan := func(api API, body string, cuts ...int) []uint64 {
		t.Helper()
		got, err := scanAll(s, api, []byte(body), cuts...)
		if err != nil {
			t.Fatal(err)
		}
		return slices.Clone(got.Media)
	}
	image := func(url string) string { return `{"image_url":{"url":"` + url + `"}}` }
	one := scan(ChatCompletions, `{"messages":[`+image("https://a")+`]}`)
	two := scan(ChatCompletions, `{"model":"m","messages":["text",`+image("https://b")+`,`+image("https://a")+`,`+image("https://b")+`]}`)
	if len(one) != 1 || len(two) != 2 || two[1] != one[0] || two[0] == one[0] {
		t.Errorf("digests %x and %x", one, two)
	}
	long := `{"messages":[` + image("data:image/png;base64,"+strings.Repeat("QUJD", 2000)) + `]}`
	whole := scan(ChatCompletions, long)
	if cut := scan(ChatCompletions, long, 100, 5000); len(cut) != 1 || cut[0] != whole[0] {
		t.Errorf("digest %x in parts, %x as a whole", cut, whole)
	}
	var many []string
	for i := range 2 * MaxMedia {
		many = append(many, image("https://"+strconv.Itoa(i)))
	}
	if got := scan(ChatCompletions, `{"messages":[`+strings.Join(many, ",")+`]}`); len(got) != MaxMedia {
		t.Errorf("%d digests, want %d", len(got), MaxMedia)
	}
	if got := scan(ChatCompletions, `{"messages":["text"]}`); len(got) != 0 {
		t.Errorf("digests %x of a request without images", got)
	}
}

func TestModelOffsets(t *testing.T) {
	body := `{"model":1, "model" : "m\u0061" ,"x":0}`
	got, err := scanAll(New(Options{}), Completions, []byte(body), 24)
	if err != nil {
		t.Fatal(err)
	}
	if s := body[got.ModelStart:got.ModelEnd]; s != `"m\u0061"` {
		t.Fatalf("model at %q", s)
	}
}

func TestErrors(t *testing.T) {
	s := New(Options{MaxDepth: 4, MaxField: 5})
	for _, tt := range []struct{ body, want string }{
		{`{"model":1}`, `field "model": must be a string`},
		{`{"model":"m","model":{"a":[]}}`, `field "model": must be a string`},
		{`{"model":false}`, `field "model": must be a string`},
		{`{"user":[]}`, `field "user": must be a string`},
		{`{"cache_salt":0}`, `field "cache_salt": must be a string`},
		{`{"model":"123456"}`, `field "model": must be at most 5 bytes`},
		{`[]`, `body must be a JSON object`},
		{``, `body must be a JSON object`},
		{`"x"`, `body must be a JSON object`},
		{`{"a":[[[[]]]]}`, `at byte 8: nested deeper than 4 levels`},
		{`{"a":1`, `at byte 6: unexpected end of the body`},
		{`{"a":1}}`, `at byte 7: unexpected '}'`},
		{`{"a":tru }`, `at byte 8: unexpected ' ' in a literal`},
	} {
		_, err := scanAll(s, ChatCompletions, []byte(tt.body))
		if err == nil || !strings.Contains(err.Error(), tt.want) {
			t.Errorf("%s: got %v, want %s", tt.body, err, tt.want)
		}
		if s.Write([]byte("{}")) == nil {
			var syntax *SyntaxError
			if errors.As(err, &syntax) {
				t.Errorf("%s: Write succeeds after an error", tt.body)
			}
		}
	}
	if _, err := scanAll(s, ChatCompletions, []byte(`{"a":[[[]]],"model":"12345"}`)); err != nil {
		t.Errorf("at the limits: %v", err)
	}
}

func blocksOf(t *testing.T, api API, body any) []prefix.Block {
	t.Helper()
	b, ok := body.([]byte)
	if !ok {
		b = encode(body)
	}
	r, err := scanAll(New(Options{}), api, b)
	if err != nil {
		t.Fatal(err)
	}
	return r.Blocks
}

// common is the number of leading blocks that a and b share.
func common(a, b []prefix.Block) int {
	n := 0
	for n < len(a) && n < len(b) && a[n] == b[n] {
		n++
	}
	return n
}

func TestPrefixProperty(t *testing.T) {
	messages := conversation(1, 30, 1500)
	tools := []any{msg{"type": "function", "function": msg{"name": "f", "description": strings.Repeat("d", 500)}}}
	last := 0
	for n := 1; n <= len(messages); n++ {
		short := blocksOf(t, ChatCompletions, msg{"model": "m", "tools": tools, "messages": messages[:n]})
		full := blocksOf(t, ChatCompletions, msg{"model": "m", "tools": tools, "messages": messages, "stream": true, "zzz": 1})
		if got := common(short, full); got != len(short) {
			t.Fatalf("%d messages: %d of %d blocks kept", n, got, len(short))
		}
		if len(short) < last {
			t.Fatalf("%d messages: %d blocks, fewer than before", n, len(short))
		}
		last = len(short)
	}
	if last < 30 {
		t.Fatalf("only %d blocks", last)
	}
	// Text that grows keeps its blocks as well, at every length.
	text := strings.Repeat("0123456789", 60)
	all := blocksOf(t, Completions, msg{"prompt": text})
	for n := range len(text) {
		b := blocksOf(t, Completions, msg{"prompt": text[:n]})
		if common(b, all) != len(b) || len(b) != (n+1)/256 {
			t.Fatalf("%d bytes: %d of %d blocks kept", n, common(b, all), len(b))
		}
		b = blocksOf(t, Completions, msg{"prompt": []any{text[:n]}})
		longer := blocksOf(t, Completions, msg{"prompt": []any{text[:n], text}})
		if common(b, longer) != len(b) {
			t.Fatalf("list of %d bytes: %d of %d blocks kept", n, common(b, longer), len(b))
		}
	}
}

func TestWhatSeparatesHashes(t *testing.T) {
	messages := conversation(1, 6, 1500)
	base := msg{"model": "m", "cache_salt": "s", "tools": "tools", "messages": messages}
	with := func(k string, v any) msg {
		m := msg{}
		for k, v := range base {
			m[k] = v
		}
		m[k] = v
		return m
	}
	want := blocksOf(t, ChatCompletions, base)
	for _, k := range []string{"model", "cache_salt"} {
		for _, v := range []any{"other", nil} {
			if n := common(want, blocksOf(t, ChatCompletions, with(k, v))); n != 0 {
				t.Errorf("another %s (%v) shares %d blocks", k, v, n)
			}
		}
	}
	seen := map[uint64]bool{}
	for _, b := range want {
		seen[b.Hash] = true
	}
	for _, tools := range []any{"toolz", nil} {
		for _, b := range blocksOf(t, ChatCompletions, with("tools", tools)) {
			if seen[b.Hash] {
				t.Errorf("tools %v share a block", tools)
			}
		}
	}
	changed := append([]any{}, messages...)
	changed[3] = msg{"role": "user", "content": "something else"}
	if n := common(want, blocksOf(t, ChatCompletions, with("messages", changed))); n == 0 || n == len(want) {
		t.Errorf("a changed message in the middle shares %d of %d blocks", n, len(want))
	}
	// A swap of model and salt, or of a side field and the main one, is no match.
	a := blocksOf(t, Responses, msg{"model": "a", "cache_salt": "b", "instructions": strings.Repeat("x", 600), "input": strings.Repeat("y", 600)})
	for _, other := range []msg{
		{"model": "b", "cache_salt": "a", "instructions": strings.Repeat("x", 600), "input": strings.Repeat("y", 600)},
		{"model": "a", "cache_salt": "b", "instructions": strings.Repeat("y", 600), "input": strings.Repeat("x", 600)},
		{"model": "a", "cache_salt": "b", "tools": strings.Repeat("x", 600), "input": strings.Repeat("y", 600)},
	} {
		if n := common(a, blocksOf(t, Responses, other)); n != 0 {
			t.Errorf("%.40v shares %d blocks", other, n)
		}
	}
}

func TestWhatDoesNot(t *testing.T) {
	pad := strings.Repeat("abcdefgh", 100)
	want := blocksOf(t, Messages, []byte(`{"model":"m","tools":[{"name":"f"}],"system":"s","messages":[{"role":"user","content":"A`+pad+`"}]}`))
	if len(want) < 4 {
		t.Fatalf("only %d blocks", len(want))
	}
	for _, body := range []string{
		`{"messages" : [ {"role" : "user" , "content" : "A` + pad + `" } ] , "system":"s","tools":[{"name":"f"}],"model":"m"}`,
		`{"model":"m","tools":[{"name":"f"}],"stream":true,"temperature":0.5,"system":"s","messages":[{"r\u006fle":"user","content":"\u0041` + pad + `"}]}`,
		`{"model":"x","messages":["gone"],"system":[1,2],"model":"m","tools":[{"name":"f"}],"system":"s","messages":[{"role":"user","content":"A` + pad + `"}]}`,
		`{"cache_salt":null,"model":"m","tools":[{"name":"f"}],"system":"s","messages":[{"role":"user","content":"A` + pad + `"}]}`,
	} {
		got := blocksOf(t, Messages, []byte(body))
		if len(got) != len(want) || common(got, want) != len(want) {
			t.Errorf("%.60s: %d of %d blocks the same", body, common(got, want), len(want))
		}
	}
	for _, structure := range []string{
		`["A` + pad + `"]`, `{"A` + pad + `":1}`, `[["A` + pad + `"]]`, `"A` + pad + `"`, `["A","` + pad + `"]`,
	} {
		if n := common(want, blocksOf(t, Messages, []byte(`{"model":"m","tools":[{"name":"f"}],"system":"s","messages":`+structure+`}`))); n > 2 {
			t.Errorf("messages %.20s share %d blocks", structure, n)
		}
	}
}

func TestBlocks(t *testing.T) {
	text := strings.Repeat("x", 300<<10)
	b := blocksOf(t, Completions, msg{"prompt": text})
	if want := 16 + 60 + (236<<10+1)/2048; len(b) != want {
		t.Fatalf("%d blocks, want %d", len(b), want)
	}
	// The first byte of the stream is a tag, so the first block has a byte less.
	for i, want := range map[int]int32{0: 63, 1: 64, 15: 64, 16: 256, 75: 256, 76: 512, len(b) - 1: 512} {
		if b[i].Tokens != want {
			t.Errorf("block %d has %d tokens, want %d", i, b[i].Tokens, want)
		}
	}
	r, err := scanAll(New(Options{BlockBytes: 100, MaxBlocks: 7}), Completions, encode(msg{"prompt": text}))
	if err != nil || len(r.Blocks) != 7 || r.PromptBytes != 300<<10 {
		t.Fatalf("bounded: %v, %d blocks, %d bytes", err, len(r.Blocks), r.PromptBytes)
	}
	// An image is tokens of the block that it falls in, and does not fill it.
	image := msg{"type": "image_url", "image_url": msg{"url": "data:image/png;base64," + strings.Repeat("A", 100000)}}
	b = blocksOf(t, ChatCompletions, msg{"messages": []any{msg{"role": "user", "content": []any{image, msg{"type": "text", "text": text[:500]}}}}})
	if len(b) != 2 || b[0].Tokens < TokensPerImage || b[1].Tokens > 64 {
		t.Fatalf("with an image: %+v", b)
	}
	image["image_url"] = msg{"url": "data:image/png;base64," + strings.Repeat("A", 99999) + "B"}
	c := blocksOf(t, ChatCompletions, msg{"messages": []any{msg{"role": "user", "content": []any{image, msg{"type": "text", "text": text[:500]}}}}})
	if common(b, c) != 0 {
		t.Fatal("another image, the same blocks")
	}
}

func TestFinishTwice(t *testing.T) {
	s := New(Options{})
	want, err := scanAll(s, ChatCompletions, chatBody(5000))
	if err != nil {
		t.Fatal(err)
	}
	n, size := len(want.Blocks), want.PromptBytes
	got, err := s.Finish()
	if err != nil || len(got.Blocks) != n || got.PromptBytes != size {
		t.Fatalf("second Finish: %v, %d blocks, %d bytes", err, len(got.Blocks), got.PromptBytes)
	}
}

func TestNoAllocations(t *testing.T) {
	s := New(Options{})
	body := chatBody(50 << 10)
	if n := testing.AllocsPerRun(10, func() {
		s.Reset(ChatCompletions)
		for i := 0; i < len(body); i += 4096 {
			if err := s.Write(body[i:min(i+4096, len(body))]); err != nil {
				t.Fatal(err)
			}
		}
		if _, err := s.Finish(); err != nil {
			t.Fatal(err)
		}
	}); n != 0 {
		t.Fatalf("%v allocations", n)
	}
}
