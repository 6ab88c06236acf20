package cohere

import (
	"encoding/json"

	"github.com/fairway-ai/fairway/aibackend/chat"
	"github.com/fairway-ai/fairway/aibackend/internal/fields"
	"github.com/fairway-ai/fairway/aibackend/internal/jsonx"
)

// Rerank is a request to rank documents.
type Rerank struct {
	Query     string
	Documents []string
	// TopN is how many results are wanted, nil for all.
	TopN *int64
	// MaxTokensPerDoc bounds what is read of a document, nil for the model's own bound.
	MaxTokensPerDoc *int64
	// ReturnDocuments is version 1's wish to get the texts back.
	ReturnDocuments bool
	Dropped         []string
}

// ParseRerank reads a request. body must be valid JSON.
func ParseRerank(body []byte) (*Rerank, *chat.Error) {
	q := &Rerank{}
	var dropped chat.Request
	var r fields.Reader
	r.Each(body, func(key, v []byte) {
		switch string(key) {
		case "query":
			q.Query = r.String(v)
		case "documents":
			q.Documents = nil
			r.Items(v, func(_ int, v []byte) { q.Documents = append(q.Documents, document(&r, v)) })
		case "top_n":
			if q.TopN = r.IntPtr(v); *q.TopN < 1 {
				r.Fail("must be at least 1")
			}
		case "max_tokens_per_doc":
			q.MaxTokensPerDoc = r.IntPtr(v)
		case "return_documents":
			q.ReturnDocuments = r.Bool(v)
		case "rank_fields":
			r.Refuse("documents are texts there")
		case "model":
		default:
			dropped.DropNamed(string(key))
		}
	})
	switch {
	case r.Err != nil:
		return nil, r.Err
	case q.Query == "":
		return nil, chat.Invalid("query", "must be given")
	case len(q.Documents) == 0:
		return nil, chat.Invalid("documents", "must have a document")
	}
	q.Dropped = dropped.Dropped
	return q, nil
}

// document is a text, or an object with nothing but one.
func document(r *fields.Reader, v []byte) (text string) {
	if jsonx.KindOf(v) != jsonx.Object {
		return r.String(v)
	}
	found := false
	r.Each(v, func(key, v []byte) {
		if string(key) != "text" {
			r.Refuse("documents are texts there")
			return
		}
		text, found = r.String(v), true
	})
	if !found {
		r.Fail("must have a text")
	}
	return text
}

// AppendInvokeRerank writes the request for a model on AWS Bedrock. Amazon's own model
// takes the first three fields only.
func AppendInvokeRerank(dst []byte, q *Rerank, amazon bool) []byte {
	w := jsonx.Writer{B: dst}
	w.Open()
	w.String("query", q.Query)
	w.Strings("documents", q.Documents)
	w.IntPtr("top_n", q.TopN)
	if amazon {
		if q.MaxTokensPerDoc != nil {
			q.Dropped = append(q.Dropped, "max_tokens_per_doc")
		}
	} else {
		w.IntPtr("max_tokens_per_doc", q.MaxTokensPerDoc)
		w.Int("api_version", 2)
	}
	w.Close()
	return w.B
}

// AppendRanked writes the client's answer to what a model on AWS Bedrock answered. id
// names it, and usage is what it took.
func AppendRanked(dst []byte, q *Rerank, body []byte, id string, usage chat.Usage) ([]byte, *chat.Error) {
	var in struct {
		Results []struct {
			Index int             `json:"index"`
			Score json.RawMessage `json:"relevance_score"`
		} `json:"results"`
	}
	if err := json.Unmarshal(body, &in); err != nil {
		return dst, chat.Malformed("AWS Bedrock", "%v", err)
	}
	if in.Results == nil {
		return dst, chat.Malformed("AWS Bedrock", "it has no results")
	}
	w := jsonx.Writer{B: dst}
	w.Open()
	w.String("id", id)
	w.OpenArrayKey("results")
	for _, r := range in.Results {
		if r.Index < 0 || r.Index >= len(q.Documents) || jsonx.KindOf(r.Score) != jsonx.Number {
			return dst, chat.Malformed("AWS Bedrock", "a result is of no document, or has no score")
		}
		w.Open()
		w.Int("index", int64(r.Index))
		w.Raw("relevance_score", r.Score)
		if q.ReturnDocuments {
			w.OpenKey("document")
			w.String("text", q.Documents[r.Index])
			w.Close()
		}
		w.Close()
	}
	w.CloseArray()
	w.OpenKey("meta")
	w.OpenKey("api_version")
	w.String("version", "2")
	w.Close()
	if usage.Known {
		w.OpenKey("tokens")
		w.Int("input_tokens", usage.Input)
		w.Int("output_tokens", usage.Output)
		w.Close()
	}
	w.Close()
	w.Close()
	return w.B, nil
}
