package gemini

import (
	"encoding/json"

	"github.com/fairway-ai/fairway/aibackend/chat"
	"github.com/fairway-ai/fairway/aibackend/embed"
	"github.com/fairway-ai/fairway/aibackend/internal/jsonx"
)

// taskTypes are Google's words, "" to leave it to the model.
var taskTypes = [...]string{
	embed.Any: "", embed.Document: "RETRIEVAL_DOCUMENT", embed.Query: "RETRIEVAL_QUERY",
	embed.Classification: "CLASSIFICATION", embed.Clustering: "CLUSTERING",
}

// AppendEmbed writes a request for the method predict of a model for text embeddings.
// Texts that are too long are an error, as they are for OpenAI.
func AppendEmbed(dst []byte, q *embed.Request) []byte {
	w := jsonx.Writer{B: dst}
	w.Open()
	w.OpenArrayKey("instances")
	for _, text := range q.Texts {
		w.Open()
		w.String("content", text)
		w.Text("task_type", taskTypes[q.Purpose])
		w.Close()
	}
	w.CloseArray()
	w.OpenKey("parameters")
	w.Bool("autoTruncate", false)
	w.IntPtr("outputDimensionality", q.Dimensions)
	w.Close()
	w.Close()
	return w.B
}

// ParseEmbed reads the answer.
func ParseEmbed(body []byte) (*embed.Response, *chat.Error) {
	var w struct {
		Predictions []struct {
			Embeddings struct {
				Values     json.RawMessage `json:"values"`
				Statistics struct {
					Tokens *float64 `json:"token_count"`
				} `json:"statistics"`
			} `json:"embeddings"`
		} `json:"predictions"`
	}
	if err := json.Unmarshal(body, &w); err != nil {
		return nil, chat.Malformed(provider, "%v", err)
	}
	r := &embed.Response{}
	for _, p := range w.Predictions {
		r.Vectors = append(r.Vectors, p.Embeddings.Values)
		if n := p.Embeddings.Statistics.Tokens; n != nil && *n >= 0 && *n < 1<<53 {
			r.Usage.Input += int64(*n)
			r.Usage.Known = true
		}
	}
	return r, nil
}
