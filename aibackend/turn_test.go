package aibackend_test

import (
	"bytes"
	"encoding/binary"
	"encoding/json"
	"math"
	"mime"
	"mime/multipart"
	"net/http"
	"slices"
	"strings"
	"testing"

	"github.com/fairway-ai/fairway/aibackend"
	"github.com/fairway-ai/fairway/aibackend/internal/transcript"
)

// otherPaths are those of every API but chat.
var otherPaths = []string{
	"/v1/messages/count_tokens", "/v1/embeddings", "/v1/images/generations", "/v1/images/edits", "/v1/images/variations",
	"/v1/audio/speech", "/v1/audio/transcriptions", "/v1/audio/translations", "/v1/moderations", "/v2/rerank", "/tokenize",
}

// TestBase64IsTheSameNumbers asks for vectors as numbers and as bytes.
func TestBase64IsTheSameNumbers(t *testing.T) {
	const answer = `{"embedding":[0.1,-2e-3,3,1e30],"inputTextTokenCount":2}`
	read := func(format string) json.RawMessage {
		x := exchange(t, "/v1/embeddings", `{"model":"amazon.titan-embed-text-v2:0","input":"x","encoding_format":"`+format+`"}`, aibackend.Backend{Schema: aibackend.AWSBedrock}, http.Header{})
		x.Response(200, http.Header{"Content-Type": {"application/json"}})
		out, err := x.Body([]byte(answer), true)
		if err != nil {
			t.Fatal(err)
		}
		var r struct {
			Data []struct{ Embedding json.RawMessage }
		}
		if err := json.Unmarshal(out, &r); err != nil {
			t.Fatal(err)
		}
		return r.Data[0].Embedding
	}
	var numbers []float64
	if err := json.Unmarshal(read("float"), &numbers); err != nil || !slices.Equal(numbers, []float64{0.1, -2e-3, 3, 1e30}) {
		t.Fatal(numbers, err)
	}
	var packed []byte
	if err := json.Unmarshal(read("base64"), &packed); err != nil || len(packed) != 4*len(numbers) {
		t.Fatal(packed, err)
	}
	for i, n := range numbers {
		if got := math.Float32frombits(binary.LittleEndian.Uint32(packed[4*i:])); got != float32(n) {
			t.Errorf("number %d is %g, not %g", i, got, n)
		}
	}
}

// TestForms sends a form with another model and compares it, part by part, with what
// the client sent.
func TestForms(t *testing.T) {
	file := []byte("RIFF\r\n--\r\n\x00\xff")
	for _, client := range []string{"whisper-1", ""} {
		var b bytes.Buffer
		w := multipart.NewWriter(&b)
		part, _ := w.CreateFormFile("image", "a.png")
		_, _ = part.Write(file)
		if client != "" {
			_ = w.WriteField("model", client)
		}
		_ = w.WriteField("prompt", "model=x")
		_ = w.Close()
		h := http.Header{"Content-Type": {w.FormDataContentType()}, "Content-Length": {"1"}}
		x := exchange(t, "/v1/images/edits", b.String(), aibackend.Backend{Schema: aibackend.OpenAI, Model: "gpt-image-1"}, h)
		q := x.Request()
		if !slices.Contains(q.RemoveHeaders, "content-length") || !slices.Contains(q.Headers, aibackend.Header{Name: "content-type", Value: w.FormDataContentType()}) {
			t.Errorf("headers %v, without %v", q.Headers, q.RemoveHeaders)
		}
		form, err := multipart.NewReader(bytes.NewReader(q.Body), w.Boundary()).ReadForm(1 << 20)
		if err != nil {
			t.Fatal(err)
		}
		f, err := form.File["image"][0].Open()
		if err != nil {
			t.Fatal(err)
		}
		var got bytes.Buffer
		_, _ = got.ReadFrom(f)
		if !bytes.Equal(got.Bytes(), file) || !slices.Equal(form.Value["model"], []string{"gpt-image-1"}) || !slices.Equal(form.Value["prompt"], []string{"model=x"}) {
			t.Errorf("got %v, %q", form.Value, got.Bytes())
		}
		if client != "" {
			if want := strings.Replace(b.String(), client, "gpt-image-1", 1); string(q.Body) != want {
				t.Errorf("more than the model was changed: %q", q.Body)
			}
		}
	}
}

// FuzzOther sends any body to every API that is not chat, and gives any bytes as the
// answer.
func FuzzOther(f *testing.F) {
	for _, tr := range transcript.All(f, "testdata") {
		if strings.HasPrefix(tr.File, "testdata/turn-") || strings.HasPrefix(tr.File, "testdata/form-") || strings.HasPrefix(tr.File, "testdata/pass-") {
			tr.Prepare(f)
			f.Add([]byte(tr.In.Body), tr.To.Model, tr.In.Headers.Get("content-type"), []byte(tr.Out.Body))
		}
	}
	f.Fuzz(func(t *testing.T, body []byte, model, contentType string, answer []byte) {
		before := bytes.Clone(body)
		for _, s := range allSchemas {
			for _, path := range otherPaths {
				b := aibackend.Backend{Schema: s, Project: "p", Region: "r", Model: model}
				x, err := aibackend.NewExchange(path, http.Header{"Content-Type": {contentType}}, body, b)
				if err != nil {
					if !json.Valid(err.Body) || err.Status < 400 || err.Status > 499 {
						t.Fatalf("%s to %s: %d %s", path, s, err.Status, err.Body)
					}
					continue
				}
				q := x.Request()
				if strings.ContainsAny(q.Path, " \r\n\x00") {
					t.Fatalf("%s to %s: path %q", path, s, q.Path)
				}
				if bytes.HasPrefix(q.Body, []byte("--")) {
					checkForm(t, contentType, model, q.Body)
				} else if !json.Valid(q.Body) {
					t.Fatalf("%s to %s: sends %s", path, s, q.Body)
				}
				x.Response(200, http.Header{"Content-Type": {"application/json"}})
				out, e := x.Body(answer, true)
				if (s == aibackend.AWSBedrock || e != nil) && !json.Valid(out) {
					t.Fatalf("%s to %s: answers %s", path, s, out)
				}
				x.Close()
			}
		}
		if !bytes.Equal(body, before) {
			t.Fatal("the body was changed")
		}
	})
}

// checkForm checks that Go's own reader finds the model, and just one.
func checkForm(t *testing.T, contentType, model string, body []byte) {
	_, params, err := mime.ParseMediaType(contentType)
	if err != nil {
		t.Fatal(err)
	}
	form, err := multipart.NewReader(bytes.NewReader(body), params["boundary"]).ReadForm(1 << 20)
	if err != nil {
		t.Skip(err) // its reader bounds what ours does not
	}
	if got := form.Value["model"]; model != "" && !slices.Equal(got, []string{model}) {
		t.Fatalf("the models are %q, not %q", got, model)
	}
}
