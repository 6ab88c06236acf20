package sdktest

import (
	"bytes"
	"context"
	"encoding/base64"
	"encoding/json"
	"io"
	"net/http"
	"strings"
	"testing"

	"github.com/anthropics/anthropic-sdk-go"
	"github.com/aws/aws-sdk-go-v2/service/bedrockruntime/schemas"
	"github.com/google/go-cmp/cmp"
	"google.golang.org/genai"

	"github.com/fairway-ai/fairway/aibackend"
	"github.com/fairway-ai/fairway/aibackend/internal/transcript"
)

// checkOther checks requests that are neither chat nor of a type that an SDK has. It
// reports false for others.
func checkOther(t *testing.T, tr *transcript.Transcript, r *transcript.Result) bool {
	t.Helper()
	path := r.Request.Path
	switch {
	case strings.HasSuffix(path, "/count-tokens"):
		body := decode(t, r.Request.Body)
		checkSmithy(t, "", schemas.CountTokensRequest, body)
		input := body.(map[string]any)["input"].(map[string]any)["invokeModel"].(map[string]any)["body"].(string)
		invoke, err := base64.StdEncoding.DecodeString(input)
		if err != nil {
			t.Fatal(err)
		}
		var p anthropic.MessageNewParams
		roundTrip(t, invoke, &p, "anthropic_version", "anthropic_beta")
		if p.MaxTokens < 1 {
			t.Error("Claude wants max_tokens")
		}
	case strings.HasSuffix(path, "count-tokens:rawPredict"):
		var p anthropic.MessageCountTokensParams
		roundTrip(t, r.Request.Body, &p, "anthropic_version")
	case strings.Contains(path, "/v2/embed"):
		checkMembers(t, r.Request.Body, "model", "texts", "input_type", "embedding_types", "output_dimension?", "truncate")
	case strings.Contains(path, "cohere.embed-"):
		checkMembers(t, r.Request.Body, "texts", "input_type", "embedding_types", "output_dimension?", "truncate")
	case strings.Contains(path, "titan-embed-text-v1"):
		checkMembers(t, r.Request.Body, "inputText")
	case strings.Contains(path, "titan-embed-text-v2"):
		checkMembers(t, r.Request.Body, "inputText", "dimensions?", "normalize?")
	case strings.Contains(path, "amazon.rerank-") && tr.To.Schema == aibackend.AWSBedrock:
		checkMembers(t, r.Request.Body, "query", "documents", "top_n?")
	case strings.Contains(path, "cohere.rerank-") && tr.To.Schema == aibackend.AWSBedrock:
		checkMembers(t, r.Request.Body, "query", "documents", "top_n?", "max_tokens_per_doc?", "api_version")
	case strings.HasSuffix(path, "/rerank"):
		checkMembers(t, r.Request.Body, "model", "query", "documents", "top_n?", "return_documents?")
	case strings.HasSuffix(path, "tokenize"):
		checkMembers(t, r.Request.Body, "model", "prompt?", "tokens?")
	case strings.HasSuffix(path, ":predict"):
		comparePredict(t, tr, r)
	case strings.HasPrefix(string(r.Request.Body), "--"): // a form, see TestForms in aibackend
	default:
		return false
	}
	return true
}

// checkMembers checks that the document has the members and no others; those with a
// question mark may be missing.
func checkMembers(t *testing.T, doc []byte, names ...string) {
	t.Helper()
	m := decode(t, doc).(map[string]any)
	for _, name := range names {
		name, optional := strings.CutSuffix(name, "?")
		if _, ok := m[name]; !ok && !optional {
			t.Errorf("no %s in %s", name, doc)
		}
		delete(m, name)
	}
	if len(m) > 0 {
		t.Errorf("%v is too much", m)
	}
}

// predicted keeps what Google's SDK sends, and answers with the transcript's answer.
type predicted struct {
	path   string
	body   []byte
	answer string
}

func (p *predicted) RoundTrip(q *http.Request) (*http.Response, error) {
	p.path = q.URL.Path
	var err error
	if p.body, err = io.ReadAll(q.Body); err != nil {
		return nil, err
	}
	return &http.Response{StatusCode: 200, Header: http.Header{"Content-Type": {"application/json"}}, Body: io.NopCloser(strings.NewReader(p.answer)), Request: q}, nil
}

// comparePredict compares a request with what Google's own SDK makes of the same wish.
func comparePredict(t *testing.T, tr *transcript.Transcript, r *transcript.Result) {
	t.Helper()
	sent := &predicted{answer: tr.Out.Body}
	client, err := genai.NewClient(context.Background(), &genai.ClientConfig{
		Backend: genai.BackendVertexAI, Project: tr.To.Project, Location: tr.To.Region,
		HTTPClient:  &http.Client{Transport: sent},
		HTTPOptions: genai.HTTPOptions{BaseURL: "https://vertex.test", APIVersion: "v1"},
	})
	if err != nil {
		t.Fatal(err)
	}
	var in struct {
		Prompt     string
		N          int32
		Size       string
		Input      any
		Dimensions *int32
		InputType  string `json:"input_type"`
		Format     string `json:"output_format"`
		Quality    *int32 `json:"output_compression"`
	}
	if err := json.Unmarshal([]byte(tr.In.Body), &in); err != nil {
		t.Fatal(err)
	}
	if in.Prompt != "" {
		config := &genai.GenerateImagesConfig{NumberOfImages: in.N, IncludeRAIReason: true, OutputCompressionQuality: in.Quality}
		config.AspectRatio = map[string]string{"1024x1024": "1:1", "1408x768": "16:9"}[in.Size]
		if in.Format != "" {
			config.OutputMIMEType = "image/" + in.Format
		}
		_, err = client.Models.GenerateImages(context.Background(), tr.To.Model, in.Prompt, config)
	} else {
		texts, ok := in.Input.([]any)
		if !ok {
			texts = []any{in.Input}
		}
		config := &genai.EmbedContentConfig{OutputDimensionality: in.Dimensions}
		if in.InputType == "search_document" {
			config.TaskType = "RETRIEVAL_DOCUMENT"
		}
		var contents []*genai.Content
		for _, text := range texts {
			contents = append(contents, genai.NewContentFromText(text.(string), ""))
		}
		_, err = client.Models.EmbedContent(context.Background(), tr.To.Model, contents, config)
	}
	if err != nil && tr.Out.Line == "200" {
		t.Fatalf("Google's SDK refuses the answer in testdata: %v", err)
	}
	ours, theirs := decode(t, r.Request.Body), decode(t, bytes.TrimSpace(sent.body))
	if parameters, ok := ours.(map[string]any)["parameters"].(map[string]any); ok {
		delete(parameters, "autoTruncate") // the SDK leaves it to the model
		if len(parameters) == 0 {
			delete(ours.(map[string]any), "parameters")
		}
	}
	if diff := cmp.Diff(theirs, ours); diff != "" {
		t.Errorf("(-theirs +ours)\n%s", diff)
	}
	if sent.path != r.Request.Path {
		t.Errorf("path %s, theirs %s", r.Request.Path, sent.path)
	}
}
