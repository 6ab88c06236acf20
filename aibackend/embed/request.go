package embed

import (
	"github.com/fairway-ai/fairway/aibackend/chat"
	"github.com/fairway-ai/fairway/aibackend/internal/fields"
	"github.com/fairway-ai/fairway/aibackend/internal/jsonx"
)

// Purpose is what the vectors are for. Some models make different ones.
type Purpose uint8

// The purposes.
const (
	Any Purpose = iota
	Document
	Query
	Classification
	Clustering
)

// purposes are the values of input_type, Cohere's own and those of others.
var purposes = map[string]Purpose{
	"search_document": Document, "document": Document, "passage": Document,
	"search_query": Query, "query": Query,
	"classification": Classification, "clustering": Clustering,
}

// Request asks for a vector for each text.
type Request struct {
	Texts []string
	// Dimensions is the vectors' length, nil for the model's own.
	Dimensions *int64
	// Base64 says that the client wants bytes instead of numbers.
	Base64 bool
	// Purpose is the member input_type, which OpenAI's API does not have and many
	// OpenAI-compatible servers do.
	Purpose Purpose
	// Dropped names the fields that were left out.
	Dropped []string
}

// provider is what errors call a backend that is not OpenAI's.
const provider = "a backend of another schema"

// Parse reads a request of OpenAI's schema. body must be valid JSON.
func Parse(body []byte) (*Request, *chat.Error) {
	q := &Request{}
	var dropped chat.Request
	var r fields.Reader
	given := false
	r.Each(body, func(key, v []byte) {
		switch string(key) {
		case "input":
			given = true
			q.input(&r, v)
		case "dimensions":
			if q.Dimensions = r.IntPtr(v); *q.Dimensions < 1 {
				r.Fail("must be at least 1")
			}
		case "encoding_format":
			switch f := r.String(v); f {
			case "base64":
				q.Base64 = true
			case "float", "":
			default:
				r.Fail("must be float or base64")
			}
		case "input_type":
			p, ok := purposes[r.String(v)]
			if q.Purpose = p; !ok {
				r.Refuse("only search_document, search_query, classification and clustering can be translated")
			}
		case "model":
		default:
			dropped.DropNamed(string(key))
		}
	})
	if r.Err != nil {
		return nil, r.Err
	}
	if !given || len(q.Texts) == 0 {
		return nil, chat.Invalid("input", "must have a text")
	}
	q.Dropped = dropped.Dropped
	return q, nil
}

func (q *Request) input(r *fields.Reader, v []byte) {
	if jsonx.KindOf(v) == jsonx.String {
		q.Texts = []string{r.String(v)}
		return
	}
	q.Texts = nil
	r.Items(v, func(_ int, v []byte) {
		switch jsonx.KindOf(v) {
		case jsonx.Number, jsonx.Array:
			r.Refuse("token ids mean something to one model only; send text")
		default:
			q.Texts = append(q.Texts, r.String(v))
		}
	})
}

// One is the text of a request for a model that takes one at a time.
func (q *Request) One() (string, *chat.Error) {
	if len(q.Texts) != 1 {
		return "", chat.Unsupported("input", provider, "this model takes one text in a request")
	}
	return q.Texts[0], nil
}
