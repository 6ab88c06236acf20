package aibackend

import (
	"net/url"
	"strings"

	"github.com/fairway-ai/fairway/aibackend/chat"
	"github.com/fairway-ai/fairway/aibackend/internal/jsonx"
	"github.com/fairway-ai/fairway/aibackend/internal/sse"
	"github.com/fairway-ai/fairway/aibackend/openai"
)

const (
	chatCompletions = "/chat/completions"
	responses       = "/responses"
)

type openAIProvider struct{ azure bool }

func (openAIProvider) speaks(c client) bool { return isOpenAI(c) || isCohere(c) }

func (p openAIProvider) path(c *call, same bool) string {
	query := ""
	if same && c.query != "" {
		query = "?" + c.query
	}
	b := c.backend
	api := chatCompletions
	if same {
		api = c.api.path
	}
	if !p.azure {
		switch {
		case api == rerank:
			return b.prefix(c.rerankVersion("/v1")) + api + query
		case api == tokenize || api == detokenize: // vLLM has them at its root
			return strings.TrimSuffix(b.prefix("/v1"), "/v1") + api + query
		}
		return b.prefix("/v1") + api + query
	}
	if b.Version == "" {
		return b.prefix("/openai/v1") + api
	}
	query = "?api-version=" + url.QueryEscape(b.Version)
	if api == responses { // takes the deployment from the body
		return b.prefix("/openai") + api + query
	}
	return b.prefix("/openai") + "/deployments/" + url.PathEscape(p.wireModel(c)) + api + query
}

func (p openAIProvider) headers(_ *call, same bool) (set []Header, remove []string) {
	if same {
		return nil, nil
	}
	return nil, foreignHeaders[:]
}

// wireModel is the model's name in the body.
func (p openAIProvider) wireModel(c *call) string {
	if p.azure && c.backend.Deployment != "" {
		return c.backend.Deployment
	}
	return c.model
}

func (p openAIProvider) write(q *chat.Request, c *call) ([]byte, bool, *chat.Error) {
	body, err := openai.AppendRequest(c.buffer(), q, openai.Options{
		Model:           p.wireModel(c),
		MaxTokens:       c.backend.LegacyMaxTokens,
		NoStreamOptions: c.backend.NoStreamOptions,
	})
	return body, false, err
}

func (openAIProvider) read(body []byte) (*chat.Response, *chat.Error) {
	return openai.ParseResponse(body)
}

func (openAIProvider) stream(sink chat.Sink, m meta, _ bool) reader {
	return &sseReader{in: openai.NewStreamReader(sink, m.id), sink: sink}
}

func (openAIProvider) streamType() string { return "text/event-stream" }

func (openAIProvider) fail(status int, _ string, body []byte) *chat.Error {
	return openai.ParseError(status, body)
}

func (p openAIProvider) edits(c *call) []jsonx.Edit {
	model := p.wireModel(c)
	if model == "" { // left to the provider
		return nil
	}
	return []jsonx.Edit{{Key: "model", Value: quoted(model)}}
}

// eventReader reads the data of one server-sent event after another.
type eventReader interface {
	Event(data []byte)
	Close()
}

// sseReader feeds an eventReader.
type sseReader struct {
	frames sse.Reader
	in     eventReader
	sink   chat.Sink
	failed bool
}

func (r *sseReader) take(e sse.Event) error {
	r.in.Event(e.Data)
	return nil
}

func (r *sseReader) Write(chunk []byte) { r.check(r.frames.Write(chunk, r.take)) }

func (r *sseReader) Close() {
	r.check(r.frames.Close(r.take))
	if !r.failed {
		r.in.Close()
	}
}

func (r *sseReader) check(err error) {
	if err != nil && !r.failed {
		r.failed = true
		r.sink(&chat.Event{Kind: chat.Failed, Err: chat.Malformed("the provider", "%v", err)})
	}
}
