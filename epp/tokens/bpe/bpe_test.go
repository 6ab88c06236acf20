package bpe

import (
	"encoding/json"
	"errors"
	"os"
	"slices"
	"strings"
	"testing"
)

func load(t testing.TB, name string) []byte {
	t.Helper()
	data, err := os.ReadFile("testdata/" + name + ".json")
	if err != nil {
		t.Fatal(err)
	}
	return data
}

func parse(t testing.TB, name string) *Tokenizer {
	t.Helper()
	k, err := Parse(load(t, name))
	if err != nil {
		t.Fatal(err)
	}
	return k
}

// TestGolden compares with what the library that defines the format does; see
// testdata/make.py.
func TestGolden(t *testing.T) {
	var golden struct {
		Texts  []string
		Golden []struct {
			Tokenizer      string
			Special, Plain [][]uint32
		}
		Patterns []struct {
			Pattern string
			Pieces  [][]string
		}
	}
	if err := json.Unmarshal(load(t, "golden"), &golden); err != nil {
		t.Fatal(err)
	}
	if len(golden.Golden) != 3 || len(golden.Patterns) != 3 || len(golden.Texts) < 200 {
		t.Fatal("the golden file is short")
	}
	for _, p := range golden.Patterns {
		split := patterns()[p.Pattern]
		if split == nil {
			t.Fatalf("%s is not known", p.Pattern)
		}
		for i, rest := range golden.Texts {
			var got []string
			for rest != "" {
				n := split(rest)
				got, rest = append(got, rest[:n]), rest[n:]
			}
			if !slices.Equal(got, p.Pieces[i]) {
				t.Errorf("%s splits %q as %q, want %q", p.Pattern, golden.Texts[i], got, p.Pieces[i])
			}
		}
	}
	for _, g := range golden.Golden {
		t.Run(g.Tokenizer, func(t *testing.T) {
			k := parse(t, g.Tokenizer)
			for i, text := range golden.Texts {
				for _, special := range []bool{true, false} {
					want := g.Plain[i]
					if special {
						want = g.Special[i]
					}
					if got, err := k.Encode(text, special, nil); err != nil || !slices.Equal(got, want) {
						t.Errorf("%q, special %v: %v, %v, want %v", text, special, got, err, want)
					}
				}
			}
		})
	}
}

// TestIgnoreMerges: with it, a piece that is a token needs no merges to become one.
func TestIgnoreMerges(t *testing.T) {
	for name, want := range map[string]int{"llama3": 1, "qwen2": 5} {
		data := strings.Replace(string(load(t, name)), `"vocab":{`, `"vocab":{"xyzzy":9999,`, 1)
		k, err := Parse([]byte(data))
		if err != nil {
			t.Fatal(err)
		}
		if ids, err := k.Encode("xyzzy", false, nil); err != nil || len(ids) != want {
			t.Errorf("%s: %v, %v, want %d ids", name, ids, err, want)
		}
	}
}

func TestRefused(t *testing.T) {
	tests := []struct{ old, new, want string }{
		{`"type":"BPE"`, `"type":"Unigram"`, "only BPE"},
		{`"dropout":null`, `"dropout":0.1`, "dropout"},
		{`"end_of_word_suffix":null`, `"end_of_word_suffix":"</w>"`, "end_of_word_suffix"},
		{`"type":"NFC"`, `"type":"NFKC"`, "only NFC"},
		{`"normalizer":{"type":"NFC"}`, `"normalizer":{"type":"Sequence","normalizers":[null]}`, `normalizer ""`},
		{`"post_processor":null`, `"post_processor":{"type":"Sequence","processors":[null]}`, `post_processor ""`},
		{`\\p{N}|`, `\\p{N}{1,2}|`, "pattern"},
		{`"behavior":"Isolated"`, `"behavior":"Removed"`, "Removed"},
		{`"type":"Split"`, `"type":"Metaspace"`, "Metaspace"},
		{`"use_regex":false`, `"use_regex":true`, "two patterns"},
		{`"add_prefix_space":false`, `"add_prefix_space":true`, "ByteLevel"},
		{`"post_processor":null`, `"post_processor":{"type":"BertProcessing"}`, "BertProcessing"},
		{`"post_processor":null`, `"post_processor":{"type":"TemplateProcessing","single":[]}`, "once"},
		{`"post_processor":null`, `"post_processor":{"type":"TemplateProcessing","single":[{"SpecialToken":{"id":"x"}}]}`, "piece"},
		{`"lstrip":false`, `"lstrip":true`, "lstrip"},
		{`"content":"<tool_call>"`, `"content":""`, "no content"},
		{`"merges":[`, `"merges":[["<",">zzz"],`, "merges[0]"},
		{`"merges":[`, `"merges":[["a"],`, "two tokens"},
		{`"vocab":{`, `"vocab":{"zzz":16777216,`, "16777216"},
		{`"vocab":{`, `"vocab":[`, "tokenizer: "},
		{`"Ā":`, `"ĀĀĀ":`, "byte 0"},
	}
	for _, test := range tests {
		data := string(load(t, "qwen2"))
		broken := strings.Replace(data, test.old, test.new, 1)
		if broken == data {
			t.Errorf("%s is not in the file", test.old)
			continue
		}
		if _, err := Parse([]byte(broken)); err == nil || !strings.Contains(err.Error(), test.want) {
			t.Errorf("%s: %v, want %q", test.new, err, test.want)
		}
	}
	if _, err := Parse(make([]byte, MaxFile+1)); err == nil {
		t.Error("a file of any size is read")
	}
}

// TestMergesInBothForms: older files have "a b" for ["a","b"].
func TestMergesInBothForms(t *testing.T) {
	var m merge
	for in, ok := range map[string]bool{`"a b"`: true, `["a","b"]`: true, `"ab"`: false, `"a b c"`: false, `["a","b","c"]`: false, `1`: false} {
		if err := m.UnmarshalJSON([]byte(in)); (err == nil) != ok || ok && m != (merge{"a", "b"}) {
			t.Errorf("%s: %v, %v", in, m, err)
		}
	}
}

func TestStop(t *testing.T) {
	k := parse(t, "llama3")
	for _, text := range []string{strings.Repeat("a", 1<<20), strings.Repeat("a b\n", 1<<18), strings.Repeat("<|eot|>", 1<<17)} {
		calls := 0
		_, err := k.Encode(text, true, func() bool { calls++; return calls == 3 })
		if !errors.Is(err, ErrStopped) || calls != 3 {
			t.Errorf("%v after %d calls", err, calls)
		}
		if _, err := k.Encode(text, true, nil); err != nil {
			t.Error(err)
		}
	}
}

// FuzzEncode checks that ids are those of the text's bytes, put together.
func FuzzEncode(f *testing.F) {
	k := parse(f, "gpt2")
	text := map[uint32]string{}
	for s, id := range k.vocab {
		text[id] = s
	}
	var file file
	if err := json.Unmarshal(load(f, "gpt2"), &file); err != nil {
		f.Fatal(err)
	}
	for _, a := range file.Added {
		text[a.ID] = a.Content
	}
	f.Add("It's a  test\n\n 123 <|endoftext|> \u00e9\xff")
	f.Fuzz(func(t *testing.T, s string) {
		ids, err := k.Encode(s, true, nil)
		var b strings.Builder
		for _, id := range ids {
			b.WriteString(text[id])
		}
		if err != nil || b.String() != s {
			t.Fatalf("%q becomes %q, %v", s, b.String(), err)
		}
		for _, split := range []splitter{splitLlama3, splitQwen2} {
			for rest := s; rest != ""; {
				n := split(rest)
				if n < 1 || n > len(rest) {
					t.Fatalf("%q: a piece of %d bytes", rest, n)
				}
				rest = rest[n:]
			}
		}
	})
}

func FuzzParse(f *testing.F) {
	f.Add([]byte(`{"model":{"type":"BPE","vocab":{"a":1},"merges":["a b"]},"normalizer":{"type":"Sequence","normalizers":[null]}}`))
	f.Add(load(f, "qwen2"))
	f.Add([]byte(`{"model":{"type":"BPE"},"pre_tokenizer":{"type":"Sequence","pretokenizers":[{"type":"Split"}]}}`))
	f.Fuzz(func(t *testing.T, data []byte) {
		if k, err := Parse(data); err == nil {
			_, _ = k.Encode("It's 12\n", true, nil)
		}
	})
}

func BenchmarkEncode(b *testing.B) {
	k := parse(b, "llama3")
	text := strings.Repeat("What a server has computed for the beginning of a prompt, it need not compute again.\n", 500)
	b.SetBytes(int64(len(text)))
	for b.Loop() {
		if _, err := k.Encode(text, true, nil); err != nil {
			b.Fatal(err)
		}
	}
}
