package aibackend_test

import (
	"flag"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/fairway-ai/fairway/aibackend"
	"github.com/fairway-ai/fairway/aibackend/internal/transcript"
)

var rewrite = flag.Bool("rewrite", false, "write what comes out into the transcripts")

// TestTranscripts plays every transcript of testdata.
func TestTranscripts(t *testing.T) {
	for _, tr := range transcript.All(t, "testdata") {
		t.Run(tr.File, func(t *testing.T) {
			r := tr.Run(t)
			got := tr.Text(&r)
			if *rewrite {
				if err := os.WriteFile(tr.File, []byte(got), 0o644); err != nil {
					t.Fatal(err)
				}
				return
			}
			want, err := os.ReadFile(tr.File)
			if err != nil {
				t.Fatal(err)
			}
			if diff := cmp.Diff(string(want), got); diff != "" {
				t.Errorf("(-want +got)\n%s", diff)
			}
		})
	}
}

// TestChunksDoNotMatter cuts the provider's bytes in two at every place, and into
// single bytes: the client gets the same.
func TestChunksDoNotMatter(t *testing.T) {
	for _, tr := range transcript.All(t, "testdata") {
		t.Run(tr.File, func(t *testing.T) {
			whole := tr.Run(t)
			if whole.Status == 0 || !whole.Sent {
				t.Skip("no response")
			}
			n := len(tr.Wire)
			check := func(cuts ...int) {
				got := tr.Run(t, cuts...)
				if string(got.Body) != string(whole.Body) || got.Usage != whole.Usage || got.Model != whole.Model || got.Status != whole.Status {
					t.Fatalf("cut at %v: status %d, usage %s, body\n%s", cuts, got.Status, got.Usage, got.Body)
				}
			}
			every := make([]int, 0, n)
			step := 1
			if tr.Out.Headers.Get("content-type") == "application/json" || testing.Short() {
				step = 13 // collected whole, cuts matter less
			}
			for i := 1; i < n; i++ {
				every = append(every, i)
				if i%step == 0 {
					check(i)
				}
			}
			check(every...)
		})
	}
}

// TestAnsweredModel: answers that name a model say which, streams too, and errors never.
func TestAnsweredModel(t *testing.T) {
	models := map[string]string{
		"anthropic-anthropic-tools": "claude-opus-4-7", "anthropic-anthropic-tools-stream": "claude-opus-4-7",
		"anthropic-anthropic-cut": "claude-opus-4-7", "anthropic-anthropic-error": "",
		"anthropic-awsanthropic-tools-stream": "claude-opus-4-7", "openai-gcpanthropic-tools-stream": "claude-opus-4-7",
		"anthropic-azure-tools": "gpt-5.4-2026", "anthropic-azure-tools-stream": "gpt-5.4-2026", "openai-azure-error": "",
		"openai-openai-tools": "gpt-5.4-2026", "openai-openai-strip-stream": "gpt-5.4-2026",
		"openai-gemini-tools": "gemini-3-pro", "openai-gemini-tools-stream": "gemini-3-pro", "openai-gemini-error": "",
		"openai-bedrock-tools": "", "openai-bedrock-tools-stream": "", // Converse does not tell
		"pass-openai-responses": "gpt-5.4-2026", "pass-openai-responses-stream": "gpt-5.4-2026",
		"pass-openai-completions-stream": "gpt-5.4-2026", "pass-openai-moderations": "omni", "pass-cohere-rerank": "",
		"pass-openai-embeddings-error": "", "turn-vertex-embeddings": "",
	}
	for _, tr := range transcript.All(t, "testdata") {
		name := strings.TrimSuffix(filepath.Base(tr.File), ".txt")
		want, there := models[name]
		if !there {
			continue
		}
		delete(models, name)
		if r := tr.Run(t); !r.Sent || r.Model != want {
			t.Errorf("%s: %q has answered, want %q", name, r.Model, want)
		}
	}
	if len(models) > 0 {
		t.Errorf("there are no transcripts %v", models)
	}
}

// TestAnsweredModelIsBounded: what a provider calls itself is kept up to a length, and is
// text.
func TestAnsweredModelIsBounded(t *testing.T) {
	long := strings.Repeat("m", 255) + "éé"
	for path, answers := range map[string][]string{
		"/v1/chat/completions": {
			`{"model":"` + long + `","choices":[{"message":{"role":"assistant","content":"a"},"finish_reason":"stop"}]}`,
			"data: {\"model\":\"" + long + "\",\"choices\":[{\"delta\":{\"content\":\"a\"},\"finish_reason\":\"stop\"}]}\n\ndata: [DONE]\n\n",
		},
		"/v1/responses": {
			`{"model":"` + long + `"}`,
			"data: {\"type\":\"response.created\",\"response\":{\"model\":\"" + long + "\"}}\n\ndata: {\"model\":\"other\"}\n\n",
		},
	} {
		for i, answer := range answers {
			body, kind := `{"model":"a","messages":[],"input":"b"}`, "application/json"
			if i == 1 {
				body, kind = `{"stream":true,`+body[1:], "text/event-stream"
			}
			x, err := aibackend.NewExchange(path, http.Header{}, []byte(body), aibackend.Backend{Schema: aibackend.OpenAI})
			if err != nil {
				t.Fatal(err)
			}
			x.Response(200, http.Header{"Content-Type": {kind}})
			if _, err := x.Body([]byte(answer), true); err != nil {
				t.Fatal(err)
			}
			if got := x.AnsweredModel(); got != strings.Repeat("m", 255) {
				t.Errorf("%s: %d bytes, %q", path, len(got), got)
			}
			x.Close()
		}
	}
}
