package cohere

import (
	"encoding/json"

	"github.com/fairway-ai/fairway/aibackend/chat"
	"github.com/fairway-ai/fairway/aibackend/embed"
	"github.com/fairway-ai/fairway/aibackend/internal/jsonx"
)

const provider = "Cohere"

// inputTypes are Cohere's words. It wants one, and vectors that nobody said more
// about are mostly made to be found.
var inputTypes = [...]string{
	embed.Any: "search_document", embed.Document: "search_document", embed.Query: "search_query",
	embed.Classification: "classification", embed.Clustering: "clustering",
}

// AppendEmbed writes a request for embeddings. model is for the body, "" where the
// path has it. Texts that are too long are an error, as they are for OpenAI.
func AppendEmbed(dst []byte, q *embed.Request, model string) []byte {
	w := jsonx.Writer{B: dst}
	w.Open()
	w.Text("model", model)
	w.Strings("texts", q.Texts)
	w.String("input_type", inputTypes[q.Purpose])
	w.Strings("embedding_types", []string{"float"})
	w.IntPtr("output_dimension", q.Dimensions)
	w.String("truncate", "NONE")
	w.Close()
	return w.B
}

// ParseEmbed reads an answer. embeddings is a list of vectors by type, or, from models
// that were not asked for a type, just the list.
func ParseEmbed(body []byte) (*embed.Response, *chat.Error) {
	var w struct {
		Embeddings json.RawMessage `json:"embeddings"`
		Meta       json.RawMessage `json:"meta"`
	}
	if err := json.Unmarshal(body, &w); err != nil {
		return nil, chat.Malformed(provider, "%v", err)
	}
	list := w.Embeddings
	if jsonx.KindOf(list) == jsonx.Object {
		var byType struct {
			Float json.RawMessage `json:"float"`
		}
		if err := json.Unmarshal(list, &byType); err != nil {
			return nil, chat.Malformed(provider, "%v", err)
		}
		list = byType.Float
	}
	r := &embed.Response{Usage: ParseUsage(w.Meta)}
	if err := json.Unmarshal(list, &r.Vectors); err != nil {
		return nil, chat.Malformed(provider, "it has no embeddings of type float")
	}
	return r, nil
}
