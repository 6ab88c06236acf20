package aibackend

import (
	"net/url"
	"strings"

	"github.com/fairway-ai/fairway/aibackend/bedrock"
	"github.com/fairway-ai/fairway/aibackend/chat"
	"github.com/fairway-ai/fairway/aibackend/gemini"
	"github.com/fairway-ai/fairway/aibackend/internal/eventstream"
	"github.com/fairway-ai/fairway/aibackend/internal/jsonx"
)

// bedrockProvider is Bedrock's Converse.
type bedrockProvider struct{}

func (bedrockProvider) speaks(client) bool { return false }

func (bedrockProvider) path(c *call, _ bool) string {
	if c.stream {
		return bedrockPath(c, "converse-stream")
	}
	return bedrockPath(c, "converse")
}

// bedrockPath escapes colons too, as AWS's own clients do: signatures are made of the
// path as it is sent.
func bedrockPath(c *call, verb string) string {
	return c.backend.prefix("") + "/model/" + strings.ReplaceAll(url.PathEscape(c.model), ":", "%3A") + "/" + verb
}

func (bedrockProvider) headers(*call, bool) (set []Header, remove []string) {
	return nil, foreignHeaders[:]
}

func (bedrockProvider) write(q *chat.Request, c *call) ([]byte, bool, *chat.Error) {
	o := bedrock.Options{
		Model: c.model, MaxTokens: c.backend.maxTokens(),
		EffortAsBudget: c.backend.EffortAsBudget,
		FormatByTool:   c.backend.FormatByTool,
	}
	body, err := bedrock.AppendRequest(c.buffer(), q, o)
	return body, o.ByTool(q.Format), err
}

func (bedrockProvider) read(body []byte) (*chat.Response, *chat.Error) {
	return bedrock.ParseResponse(body)
}

func (bedrockProvider) stream(sink chat.Sink, m meta, unwrap bool) reader {
	return &converseReader{in: bedrock.NewStreamReader(sink, m.id, unwrap), sink: sink}
}

func (bedrockProvider) streamType() string { return "application/vnd.amazon.eventstream" }

func (bedrockProvider) fail(status int, name string, body []byte) *chat.Error {
	return bedrock.ParseError(status, name, body)
}

func (bedrockProvider) edits(*call) []jsonx.Edit { return nil }

// converseReader feeds the frames of ConverseStream to its reader.
type converseReader struct {
	frames eventstream.Reader
	in     *bedrock.StreamReader
	sink   chat.Sink
	failed bool
}

func (r *converseReader) take(f eventstream.Frame) error { return r.in.Frame(f) }

func (r *converseReader) Write(chunk []byte) { r.check(r.frames.Write(chunk, r.take)) }

func (r *converseReader) Close() {
	r.check(r.frames.Close())
	if !r.failed {
		r.in.Close()
	}
}

func (r *converseReader) check(err error) {
	if err != nil && !r.failed {
		r.failed = true
		r.sink(&chat.Event{Kind: chat.Failed, Err: bedrock.AsError(err)})
	}
}

// geminiProvider is Vertex's generateContent.
type geminiProvider struct{}

func (geminiProvider) speaks(client) bool { return false }

func (geminiProvider) path(c *call, _ bool) string {
	version := c.backend.version("v1")
	if c.stream {
		return vertexPath(c.backend, version, "google", c.model, "streamGenerateContent?alt=sse")
	}
	return vertexPath(c.backend, version, "google", c.model, "generateContent")
}

func (geminiProvider) headers(*call, bool) (set []Header, remove []string) {
	return nil, foreignHeaders[:]
}

func (geminiProvider) write(q *chat.Request, c *call) ([]byte, bool, *chat.Error) {
	body, err := gemini.AppendRequest(c.buffer(), q, gemini.Options{EffortAsBudget: c.backend.EffortAsBudget})
	return body, false, err
}

func (geminiProvider) read(body []byte) (*chat.Response, *chat.Error) {
	return gemini.ParseResponse(body)
}

func (geminiProvider) stream(sink chat.Sink, m meta, _ bool) reader {
	return &sseReader{in: gemini.NewStreamReader(sink, m.id), sink: sink}
}

func (geminiProvider) streamType() string { return "text/event-stream" }

func (geminiProvider) fail(status int, _ string, body []byte) *chat.Error {
	return failGoogle(status, body)
}

func failGoogle(status int, body []byte) *chat.Error { return gemini.ParseError(status, body) }

func (geminiProvider) edits(*call) []jsonx.Edit { return nil }
