package scan

import (
	"encoding/json"
	"errors"
	"strings"
	"testing"
	"unicode/utf8"
)

// seeds are bodies with something odd about each.
var seeds = []string{
	``, ` `, `null`, `[]`, `"a"`, `{}`, `{} x`, `{,}`, `{"a"}`, `{"a":1,}`, `{"a":01}`, `{"a":-}`, `{"a":1.}`, `{"a":1e}`, `{"a":1e+5}`, `{"a":tru}`,
	"{\"a\":\"\n\"}", `{"a":"\x"}`, `{"a":"\u12g4"}`, `{"a":[1,]}`, `{"a":[}`, `{"a":{]}`, `{"a":-0.5E-3}`,
	`{"model":"m","stream":true,"max_tokens":1e3,"user":"u","cache_salt":"s","messages":[{"role":"user","content":"hi"}]}`,
	`{"mod\u0065l":"\u00e9\ud83d\ude00","model":null}`,
	`{"model":"\ud800","user":"\ud800\ud83d\ude00\udc00x","cache_salt":"\ud800\n\ud800\u0041"}`,
	"{\"model\":\"a\xff\xe4\\u00b8\xe4\xb8\xad\",\"prompt\":\"\xf0\x28\"}",
	`{"model":1,"model":"m"}`, `{"model":"m","model":{}}`, `{"user":["u"]}`, `{"cache_salt":true}`,
	`{"max_tokens":5,"max_completion_tokens":7}`, `{"max_completion_tokens":7,"max_tokens":5}`, `{"max_completion_tokens":null,"max_tokens":5,"max_output_tokens":9}`,
	`{"max_tokens":-3}`, `{"max_tokens":1.5}`, `{"max_tokens":99999999999999999999999}`, `{"max_tokens":"5"}`, `{"max_tokens":1000e-3}`,
	`{"metadata":{"user_id":"a","x":{"user_id":"b"}},"metadata":{"user_id":"c","user_id":"d"}}`, `{"metadata":[{"user_id":"a"}]}`, `{"metadata":{"user_id":1}}`,
	`{"prompt":["a","b"],"input":["a","b"]}`, `{"prompt":[1,2,3,4294967295,4294967296,-1,1.5,1e2],"input":[[1,2],[3,123456789012345678]]}`,
	`{"prompt":5,"input":true,"messages":null,"instructions":"be nice","tools":[],"system":[{"type":"text","text":"be nice"}]}`,
	`{"messages":[{"content":"first"}],"messages":[{"content":[{"type":"text","text":"second"}]}],"tools":[{"function":{"name":"f"}}]}`,
	`{"messages":[{"role":"user","content":[{"type":"image_url","image_url":{"url":"data:image/png;base64,AAAA"}},{"type":"image_url","image_url":{"url":"https://x/y"}},{"type":"image_url","image_url":{"url":"file"}}]}]}`,
	`{"messages":[{"content":[{"type":"image","source":{"type":"base64","data":"AAAA"}},{"source":{"type":"text","data":"plain"}},{"source":{"data":"late","type":"text"}},{"input_audio":{"data":"AA","format":"wav"}}]}]}`,
	`{"input":[{"role":"user","content":[{"type":"input_image","image_url":"http://x"},{"type":"input_file","file_data":"AA","file_url":"https://a"},{"file":{"file_data":"","url":"data:"}}]}],"tools":[{"image_url":"data:x"}]}`,
	`{"` + strings.Repeat("k", 70) + `":1,"messages":[{"` + strings.Repeat("source", 20) + `":{"data":"x"}}]}`,
	`{"messages":[{"source":{"type":"text\u0000","type":"textextext","data":"x"}}]}`,
	`{"model":"rerank","query":"which?","documents":["one",{"text":"two","image_url":"https://x"}],"top_n":1}`,
	`{"input_ids":[1,2,3],"sampling_params":{"max_new_tokens":7,"x":{"max_tokens":8},"temperature":1},"stream":true}`,
	`{"model":"m","text":"hello","token_ids":[[4294967295]],"sampling_params":{"max_tokens":5,"max_new_tokens":null},"cache_salt":"s"}`,
	`{"token_ids":[1],"text":["a","b"],"sampling_params":[{"max_tokens":5}],"sampling_params":{"max_tokens":"6"}}`,
	`{"input":"` + strings.Repeat(`a\n\"é`, 200) + `"}`,
}

func FuzzScanner(f *testing.F) {
	for _, s := range seeds {
		for api := ChatCompletions; api <= Generate; api++ {
			f.Add([]byte(s), uint8(api), uint16(7), uint8(1))
		}
	}
	f.Add(chatBody(3000), uint8(ChatCompletions), uint16(999), uint8(0))
	opts := [...]Options{{}, {BlockBytes: 16, MaxDepth: 8, MaxField: 20}, {BlockBytes: 33, MaxBlocks: 5}}
	var scanners [len(opts)]*Scanner
	for i, o := range opts {
		scanners[i] = New(o)
	}
	f.Fuzz(func(t *testing.T, body []byte, a uint8, cut uint16, option uint8) {
		api := ChatCompletions + API(a)%Generate
		o := int(option) % len(opts)
		checkScan(t, scanners[o], api, body, int(cut), opts[o])
	})
}

// checkScan compares scans of body, whole and cut, with the oracle.
func checkScan(t *testing.T, s *Scanner, api API, body []byte, cut int, opts Options) {
	t.Helper()
	want, syntaxOK, field := oracle(api, body, opts)
	a := 0
	if len(body) > 0 {
		a = cut % (len(body) + 1)
	}
	for _, cuts := range [][]int{nil, {a}, {a / 2, a, (a + len(body)) / 2}} {
		got, err := scanAll(s, api, body, cuts...)
		var syntax *SyntaxError
		var fieldErr *FieldError
		switch {
		case !syntaxOK:
			if !errors.As(err, &syntax) || syntax.Offset < 0 || syntax.Offset > int64(len(body)) {
				t.Fatalf("want a syntax error, got %v", err)
			}
			continue
		case field != "" && utf8.Valid(body):
			if !errors.As(err, &fieldErr) || fieldErr.Field != field {
				t.Fatalf("want an error for field %q, got %v", field, err)
			}
			continue
		case field != "":
			continue // U+FFFD may be longer than what it stands for
		case err != nil:
			t.Fatalf("unexpected error: %v", err)
		}
		sameResult(t, got, &want, utf8.Valid(body))
		if got.ModelEnd > 0 {
			var m string
			if err := json.Unmarshal(body[got.ModelStart:got.ModelEnd], &m); err != nil || m != got.Model {
				t.Fatalf("model at [%d,%d) is %q: %v", got.ModelStart, got.ModelEnd, m, err)
			}
		} else if got.Model != "" {
			t.Fatal("no offsets for the model")
		}
		var tokens int64
		for _, b := range got.Blocks {
			tokens += int64(b.Tokens)
		}
		if tokens > got.PromptTokens() {
			t.Fatalf("blocks have %d tokens, the prompt %d", tokens, got.PromptTokens())
		}
	}
}

func TestEverySplit(t *testing.T) {
	s := New(Options{BlockBytes: 32})
	for _, body := range append(seeds, string(chatBody(1000))) {
		if len(body) > 2000 {
			continue
		}
		for api := ChatCompletions; api <= Detokenize; api++ {
			want, err := scanAll(s, api, []byte(body))
			var first Result
			if err == nil {
				first = *want
				first.Blocks = append(first.Blocks[:0:0], first.Blocks...)
			}
			for i := range len(body) + 1 {
				got, gotErr := scanAll(s, api, []byte(body), i)
				if (err == nil) != (gotErr == nil) || err != nil && err.Error() != gotErr.Error() {
					t.Fatalf("%s: cut at %d: error %v, want %v", body, i, gotErr, err)
				}
				if err == nil {
					sameResult(t, got, &first, true)
				}
			}
			every := make([]int, len(body))
			for i := range every {
				every[i] = i
			}
			if got, gotErr := scanAll(s, api, []byte(body), every...); gotErr == nil {
				sameResult(t, got, &first, true)
			} else if err == nil || err.Error() != gotErr.Error() {
				t.Fatalf("%s: byte by byte: error %v, want %v", body, gotErr, err)
			}
		}
	}
}
