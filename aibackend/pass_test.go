package aibackend_test

import (
	"bytes"
	"encoding/json"
	"maps"
	"net/http"
	"slices"
	"strings"
	"testing"

	"github.com/fairway-ai/fairway/aibackend"
	"github.com/fairway-ai/fairway/aibackend/internal/transcript"
)

// passing are the transcripts of APIs that only pass, without those that were
// refused.
func passing(t testing.TB) (list []*transcript.Transcript) {
	for _, tr := range transcript.All(t, "testdata") {
		if strings.HasPrefix(tr.File, "testdata/pass-") && !strings.HasPrefix(tr.File, "testdata/pass-refused-") {
			tr.Prepare(t)
			list = append(list, tr)
		}
	}
	if len(list) < 25 {
		t.Fatalf("only %d transcripts", len(list))
	}
	return list
}

// TestEveryByteOfAnAnswerPasses changes each byte of each answer: the client gets
// the changed one, and nothing else changes.
func TestEveryByteOfAnAnswerPasses(t *testing.T) {
	for _, tr := range passing(t) {
		t.Run(tr.File, func(t *testing.T) {
			if tr.Out.Line != "200" {
				if got := tr.Run(t); !bytes.Equal(got.Body, tr.Wire) {
					t.Errorf("got %s", got.Body)
				}
				return // a changed error may be none of the schema
			}
			for i := -1; i < len(tr.Wire); i++ {
				changed := *tr
				changed.Wire = bytes.Clone(tr.Wire)
				if i >= 0 {
					changed.Wire[i] ^= 0x11
				}
				got := changed.Run(t, i, i+1)
				if !bytes.Equal(got.Body, changed.Wire) || got.Status != 200 || len(got.Removed) > 0 {
					t.Fatalf("byte %d: status %d, got %s", i, got.Status, got.Body)
				}
			}
		})
	}
}

// TestEveryByteOfARequestPasses changes each byte of each request: it is refused, or
// passes but for the model's name.
func TestEveryByteOfARequestPasses(t *testing.T) {
	for _, tr := range passing(t) {
		body := tr.In.Body
		key := strings.Index(body, `"model"`)
		start := key + len(`"model": `)
		end := start + 1 + strings.Index(body[start+1:], `"`) + 1
		if key < 0 {
			key, start, end = len(body), len(body), len(body)
		}
		model := ""
		if end > start {
			name := tr.To.Model
			if tr.To.Deployment != "" {
				name = tr.To.Deployment
			}
			model = `"` + name + `"`
		}
		passed := 0
		for i := range len(body) {
			b := []byte(body)
			b[i] ^= 0x01
			x, err := aibackend.NewExchange(tr.In.Line, tr.In.Headers, b, tr.To)
			if err != nil {
				if err.Status != 400 {
					t.Fatalf("%s: byte %d: %v", tr.File, i, err)
				}
				continue
			}
			got := string(x.Request().Body)
			x.Close()
			if i >= key && i < end { // the model's name is another, or there is none
				continue
			}
			passed++
			if want := string(b[:start]) + model + string(b[end:]); got != want {
				t.Fatalf("%s: byte %d: got\n%s\nwant\n%s", tr.File, i, got, want)
			}
		}
		if passed < 10 {
			t.Errorf("%s: only %d changed requests passed", tr.File, passed)
		}
	}
}

// TestAnyBytesPass gives answers of every type that are nothing but bytes.
func TestAnyBytesPass(t *testing.T) {
	var all []byte
	for i := range 1 << 16 {
		all = append(all, byte(i*7>>3), byte(i))
	}
	for _, contentType := range []string{"audio/mpeg", "application/octet-stream", "application/json", "text/event-stream", ""} {
		for _, encoding := range []string{"", "gzip", "br"} {
			x := exchange(t, "/v1/audio/speech", hello, aibackend.Backend{Schema: aibackend.OpenAI}, http.Header{"Accept": {"*/*"}})
			if slices.Contains(x.Request().RemoveHeaders, "accept") {
				t.Error("the type that the client accepts is lost")
			}
			x.Response(200, http.Header{"Content-Type": {contentType}, "Content-Encoding": {encoding}})
			var got []byte
			for chunk := range slices.Chunk(all, 1000) {
				out, err := x.Body(chunk, false)
				if err != nil {
					t.Fatal(err)
				}
				got = append(got, out...)
			}
			out, err := x.Body(nil, true)
			if got = append(got, out...); err != nil || !bytes.Equal(got, all) {
				t.Errorf("%s %s: %v, %d bytes of %d", contentType, encoding, err, len(got), len(all))
			}
		}
	}
}

// TestTheLastEventCounts: some servers end a stream without the blank line.
func TestTheLastEventCounts(t *testing.T) {
	x := exchange(t, "/v1/responses", `{"model":"m","stream":true}`, aibackend.Backend{Schema: aibackend.OpenAI}, http.Header{})
	x.Response(200, http.Header{"Content-Type": {"text/event-stream"}})
	if _, err := x.Body([]byte(`data: {"type":"response.completed","response":{"usage":{"input_tokens":3,"output_tokens":4}}}`), true); err != nil {
		t.Fatal(err)
	}
	if u := x.Usage(); !u.Known || u.Input != 3 || u.Output != 4 {
		t.Errorf("usage %+v", u)
	}
}

// TestWhatPassesWhere compares CanTranslate with what NewExchange does, and both with
// the table.
func TestWhatPassesWhere(t *testing.T) {
	openAIs := []aibackend.Schema{aibackend.OpenAI, aibackend.AzureOpenAI}
	table := map[string][]aibackend.Schema{
		"/v1/chat/completions": allSchemas, "/v1/messages": allSchemas,
		"/v1/completions": openAIs, "/v1/responses": openAIs,
		"/v1/embeddings":         {aibackend.OpenAI, aibackend.AzureOpenAI, aibackend.AWSBedrock, aibackend.GCPVertexAI, aibackend.Cohere},
		"/v1/images/generations": {aibackend.OpenAI, aibackend.AzureOpenAI, aibackend.GCPVertexAI},
		"/v1/images/edits":       openAIs, "/v1/images/variations": openAIs[:1],
		"/v1/audio/speech": openAIs, "/v1/audio/transcriptions": openAIs, "/v1/audio/translations": openAIs,
		"/v1/moderations":           openAIs[:1],
		"/v1/messages/count_tokens": {aibackend.Anthropic, aibackend.AWSAnthropic, aibackend.GCPAnthropic},
		"/v1/rerank":                {aibackend.OpenAI, aibackend.Cohere, aibackend.AWSBedrock},
		"/v2/rerank":                {aibackend.OpenAI, aibackend.Cohere, aibackend.AWSBedrock},
		"/tokenize":                 openAIs[:1], "/detokenize": openAIs[:1],
		"/v1/messages/batches": nil, "/v1/responses/resp_1": nil, "/v1/files": nil, "/": nil, "": nil,
	}
	// A body that every API takes.
	const all = `{"model":"amazon.titan-embed-text-v1 amazon.rerank-v1","max_tokens":5,"messages":[{"role":"user","content":"hi"}],` +
		`"input":"x","prompt":"x","query":"x","documents":["x"]}`
	for _, path := range slices.Sorted(maps.Keys(table)) {
		for _, s := range allSchemas {
			want := slices.Contains(table[path], s)
			body := all
			if strings.HasSuffix(path, "/chat/completions") || strings.HasSuffix(path, "/messages") {
				body = hello
			}
			x, err := aibackend.NewExchange(path+"?a=b", http.Header{}, []byte(body), aibackend.Backend{Schema: s})
			if can := aibackend.CanTranslate(path+"?a=b", s); can != want || (err == nil) != want {
				t.Errorf("%s to %s: can %t, %v", path, s, can, err)
			}
			if err == nil {
				x.Close()
				continue
			}
			code := 422
			if table[path] == nil {
				code = 404
			}
			if err.Status != code || code == 422 && !strings.Contains(err.Cause.Message, string(s)) {
				t.Errorf("%s to %s: %d %v", path, s, err.Status, err)
			}
			if anthropic := strings.Contains(path, "/messages"); anthropic != strings.HasPrefix(string(err.Body), `{"type":"error"`) {
				t.Errorf("%s: the error is not in the client's schema: %s", path, err.Body)
			}
		}
	}
}

func TestAzureNeedsAModel(t *testing.T) {
	b := aibackend.Backend{Schema: aibackend.AzureOpenAI, Version: "1"}
	_, err := aibackend.NewExchange("/v1/images/generations", http.Header{}, []byte(`{"prompt":"x"}`), b)
	if err == nil || err.Status != 400 || err.Cause.Param != "model" {
		t.Errorf("got %v", err)
	}
}

// FuzzPass gives any bytes as the answer to an API that only passes: they pass, and
// the usage is the same wherever they are cut.
func FuzzPass(f *testing.F) {
	for _, tr := range passing(f) {
		f.Add(tr.Wire, tr.Out.Headers.Get("content-type"), 10)
	}
	f.Fuzz(func(t *testing.T, wire []byte, contentType string, cut int) {
		cut = min(max(cut, 0), len(wire))
		play := func(cut int) (usage any) {
			x, err := aibackend.NewExchange("/v1/responses", http.Header{}, []byte(hello), aibackend.Backend{Schema: aibackend.OpenAI})
			if err != nil {
				t.Fatal(err)
			}
			defer x.Close()
			x.Response(200, http.Header{"Content-Type": {contentType}})
			first, e := x.Body(bytes.Clone(wire[:cut]), false)
			out := bytes.Clone(first)
			if e != nil {
				t.Fatal("an error before the end")
			}
			rest, e := x.Body(bytes.Clone(wire[cut:]), true)
			if out = append(out, rest...); !bytes.Equal(out, wire) {
				t.Fatalf("got %q", out)
			}
			if e != nil && !json.Valid(e.Body) {
				t.Fatalf("the error is %s", e.Body)
			}
			return x.Usage()
		}
		if whole, got := play(0), play(cut); whole != got {
			t.Fatalf("cut at %d: usage %+v, whole %+v", cut, got, whole)
		}
	})
}
