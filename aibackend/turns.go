package aibackend

import (
	"strconv"
	"strings"

	"github.com/fairway-ai/fairway/aibackend/anthropic"
	"github.com/fairway-ai/fairway/aibackend/bedrock"
	"github.com/fairway-ai/fairway/aibackend/chat"
	"github.com/fairway-ai/fairway/aibackend/cohere"
	"github.com/fairway-ai/fairway/aibackend/embed"
	"github.com/fairway-ai/fairway/aibackend/gemini"
	"github.com/fairway-ai/fairway/aibackend/internal/fields"
	"github.com/fairway-ai/fairway/aibackend/internal/jsonx"
	"github.com/fairway-ai/fairway/aibackend/openai"
)

// vectors is the answer to a request for embeddings, once its body is made.
func vectors(c *call, q *embed.Request, read func([]byte) (*embed.Response, *chat.Error)) func(dst, body []byte, m meta) ([]byte, chat.Usage, *chat.Error) {
	model, texts, packed := c.model, len(q.Texts), q.Base64
	return func(dst, body []byte, m meta) ([]byte, chat.Usage, *chat.Error) {
		r, err := read(body)
		if err != nil {
			return dst, chat.Usage{}, err
		}
		if !r.Usage.Known {
			r.Usage = m.counted
		}
		dst, err = embed.AppendResponse(dst, r, texts, packed, model)
		return dst, r.Usage, err
	}
}

func embedOnBedrock(c *call) (*turned, *chat.Error) {
	q, err := embed.Parse(c.body)
	if err != nil {
		return nil, err
	}
	t := &turned{path: bedrockPath(c, "invoke"), dropped: q.Dropped}
	switch {
	case bedrock.IsCohereEmbed(c.model):
		t.body, t.answer = cohere.AppendEmbed(c.buffer(), q, ""), vectors(c, q, cohere.ParseEmbed)
	case bedrock.IsTitanEmbed(c.model):
		t.body, err = bedrock.AppendEmbed(c.buffer(), q, c.model)
		t.answer = vectors(c, q, bedrock.ParseEmbed)
	default:
		err = chat.Unsupported("model", "AWS Bedrock", "only the names of Amazon Titan and Cohere models for text embeddings are known there")
	}
	return t, err
}

func embedOnVertex(c *call) (*turned, *chat.Error) {
	q, err := embed.Parse(c.body)
	if err != nil {
		return nil, err
	}
	return &turned{
		path: vertexPath(c.backend, c.backend.version("v1"), "google", c.model, "predict"), dropped: q.Dropped,
		body: gemini.AppendEmbed(c.buffer(), q), answer: vectors(c, q, gemini.ParseEmbed),
	}, nil
}

func embedAtCohere(c *call) (*turned, *chat.Error) {
	q, err := embed.Parse(c.body)
	if err != nil {
		return nil, err
	}
	return &turned{
		path: c.backend.prefix("") + "/v2/embed", dropped: q.Dropped,
		body: cohere.AppendEmbed(c.buffer(), q, c.model), answer: vectors(c, q, cohere.ParseEmbed),
	}, nil
}

func rankOnBedrock(c *call) (*turned, *chat.Error) {
	amazon := strings.Contains(c.model, "amazon.rerank-")
	if !amazon && !strings.Contains(c.model, "cohere.rerank-") {
		return nil, chat.Unsupported("model", "AWS Bedrock", "only the names of Amazon and Cohere models for ranking are known there")
	}
	q, err := cohere.ParseRerank(c.body)
	if err != nil {
		return nil, err
	}
	body := cohere.AppendInvokeRerank(c.buffer(), q, amazon)
	if !q.ReturnDocuments {
		clear(q.Documents) // only their number is needed from here on
	}
	return &turned{
		path: bedrockPath(c, "invoke"), body: body, dropped: q.Dropped,
		answer: func(dst, body []byte, m meta) ([]byte, chat.Usage, *chat.Error) {
			dst, err := cohere.AppendRanked(dst, q, body, m.id, m.counted)
			return dst, m.counted, err
		},
	}, nil
}

func paintOnVertex(c *call) (*turned, *chat.Error) {
	in, err := openai.ParseImages(c.body)
	if err != nil {
		return nil, err
	}
	aspect, ok := gemini.Aspect(in.Width, in.Height)
	if !ok {
		return nil, chat.Unsupported("size", "Vertex AI", "it has the shapes 1:1, 3:4, 4:3, 9:16 and 16:9")
	}
	q := &gemini.Imagen{Prompt: in.Prompt, N: in.N, Aspect: aspect, Quality: in.Compression}
	if in.Format != "" {
		q.MIMEType = "image/" + in.Format
	}
	return &turned{
		path: vertexPath(c.backend, c.backend.version("v1"), "google", c.model, "predict"),
		body: gemini.AppendImagen(c.buffer(), q), dropped: in.Dropped,
		answer: func(dst, body []byte, m meta) ([]byte, chat.Usage, *chat.Error) {
			images, err := gemini.ParseImagen(body)
			if err != nil {
				return dst, chat.Usage{}, err
			}
			return openai.AppendImages(dst, images, m.created), chat.Usage{}, nil
		},
	}, nil
}

// countOnBedrock asks for the tokens of what InvokeModel would be sent, which must
// bound the answer.
func countOnBedrock(c *call) (*turned, *chat.Error) {
	edits := awsAnthropicProvider{}.edits(c)
	bound := int64(1)
	var r fields.Reader
	if budget := fields.Member(fields.Member(c.body, "thinking"), "budget_tokens"); budget != nil {
		bound += r.Int(budget)
	}
	if r.Err != nil || bound < 1 {
		return nil, chat.Invalid("thinking.budget_tokens", "must be a whole number")
	}
	edits = append(edits, jsonx.Edit{Key: "max_tokens", Value: strconv.AppendInt(nil, bound, 10), Keep: true})
	invoke, e := jsonx.Apply(c.body, edits)
	if e != nil {
		return nil, chat.Invalid("body", "%v", e)
	}
	return &turned{
		path: bedrockPath(c, "count-tokens"), body: bedrock.AppendCountInvoke(c.buffer(), invoke),
		answer: func(dst, body []byte, _ meta) ([]byte, chat.Usage, *chat.Error) {
			n, err := bedrock.ParseCount(body)
			if err != nil {
				return dst, chat.Usage{}, err
			}
			return anthropic.AppendCount(dst, n), chat.Usage{}, nil
		},
	}, nil
}
