package bedrock

import (
	"encoding/json"
	"strings"

	"github.com/fairway-ai/fairway/aibackend/chat"
	"github.com/fairway-ai/fairway/aibackend/embed"
	"github.com/fairway-ai/fairway/aibackend/internal/jsonx"
)

// IsCohereEmbed reports whether the model is one of Cohere's for embeddings, by the
// name that it has in the names of models, profiles and foundation model ARNs.
func IsCohereEmbed(model string) bool { return strings.Contains(model, "cohere.embed-") }

// titan is Amazon's name for its models for text embeddings.
const titan = "amazon.titan-embed-"

// IsTitanEmbed reports whether the model is Amazon's for text embeddings.
func IsTitanEmbed(model string) bool {
	return strings.Contains(model, titan+"text-") || strings.Contains(model, titan+"g1-text-")
}

// AppendEmbed writes a request for Amazon's model. The first version has vectors of
// one length only.
func AppendEmbed(dst []byte, q *embed.Request, model string) ([]byte, *chat.Error) {
	text, err := q.One()
	if err != nil {
		return dst, err
	}
	first := strings.Contains(model, titan+"text-v1") || strings.Contains(model, titan+"g1-text-")
	if first && q.Dimensions != nil && *q.Dimensions != 1536 {
		return dst, chat.Unsupported("dimensions", provider, "this model's vectors have 1536")
	}
	w := jsonx.Writer{B: dst}
	w.Open()
	w.String("inputText", text)
	if !first {
		w.IntPtr("dimensions", q.Dimensions)
	}
	w.Close()
	return w.B, nil
}

// ParseEmbed reads the answer of Amazon's model.
func ParseEmbed(body []byte) (*embed.Response, *chat.Error) {
	var w struct {
		Embedding json.RawMessage `json:"embedding"`
		Tokens    *int64          `json:"inputTextTokenCount"`
	}
	if err := json.Unmarshal(body, &w); err != nil {
		return nil, chat.Malformed(provider, "%v", err)
	}
	r := &embed.Response{Vectors: []json.RawMessage{w.Embedding}}
	if w.Tokens != nil {
		r.Usage = chat.Usage{Input: *w.Tokens, Known: true}
	}
	return r, nil
}
