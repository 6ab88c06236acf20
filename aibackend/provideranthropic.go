package aibackend

import (
	"encoding/json"
	"fmt"
	"net/url"
	"strings"

	"github.com/fairway-ai/fairway/aibackend/anthropic"
	"github.com/fairway-ai/fairway/aibackend/bedrock"
	"github.com/fairway-ai/fairway/aibackend/chat"
	"github.com/fairway-ai/fairway/aibackend/internal/eventstream"
	"github.com/fairway-ai/fairway/aibackend/internal/jsonx"
)

const messages = "/messages"

// anthropicProvider is Anthropic's own API. The clouds' variants embed it.
type anthropicProvider struct{}

func (anthropicProvider) speaks(c client) bool { return isAnthropic(c) }

func (anthropicProvider) path(c *call, same bool) string {
	query := ""
	if same && c.query != "" {
		query = "?" + c.query
	}
	api := messages
	if same {
		api = c.api.path
	}
	return c.backend.prefix("/v1") + api + query
}

func (anthropicProvider) headers(c *call, same bool) (set []Header, remove []string) {
	if !same {
		remove = foreignHeaders[1:]
	}
	if !same || c.backend.Version != "" || c.headers.Get("anthropic-version") == "" {
		set = append(set, Header{"anthropic-version", c.backend.version(anthropic.Direct.Version())})
	}
	return set, remove
}

func (anthropicProvider) write(q *chat.Request, c *call) ([]byte, bool, *chat.Error) {
	return writeAnthropic(q, c, anthropic.Direct)
}

func writeAnthropic(q *chat.Request, c *call, v anthropic.Variant) ([]byte, bool, *chat.Error) {
	o := anthropic.Options{
		Variant: v, Model: c.model, Version: c.backend.version(v.Version()),
		MaxTokens:      c.backend.maxTokens(),
		EffortAsBudget: c.backend.EffortAsBudget,
		FormatByTool:   c.backend.FormatByTool,
	}
	body, err := anthropic.AppendRequest(c.buffer(), q, o)
	return body, o.ByTool(q.Format), err
}

func (anthropicProvider) read(body []byte) (*chat.Response, *chat.Error) {
	return anthropic.ParseResponse(body)
}

func (anthropicProvider) stream(sink chat.Sink, m meta, unwrap bool) reader {
	return &sseReader{in: anthropic.NewStreamReader(sink, m.id, unwrap), sink: sink}
}

func (anthropicProvider) streamType() string { return "text/event-stream" }

func (anthropicProvider) fail(status int, _ string, body []byte) *chat.Error {
	return anthropic.ParseError(status, body)
}

func (anthropicProvider) edits(c *call) []jsonx.Edit {
	return []jsonx.Edit{{Key: "model", Value: quoted(c.model)}}
}

// gcpAnthropicProvider is Vertex's rawPredict.
type gcpAnthropicProvider struct{ anthropicProvider }

func (gcpAnthropicProvider) path(c *call, _ bool) string {
	if c.api.path == countTokens {
		return vertexPath(c.backend, "v1", "anthropic", "count-tokens", "rawPredict")
	}
	verb := "rawPredict"
	if c.stream {
		verb = "streamRawPredict"
	}
	return vertexPath(c.backend, "v1", "anthropic", c.model, verb)
}

// vertexPath is the path of a publisher's model.
func vertexPath(b Backend, version, publisher, model, verb string) string {
	return fmt.Sprintf("%s/projects/%s/locations/%s/publishers/%s/models/%s:%s", b.prefix("/"+version),
		url.PathEscape(b.Project), url.PathEscape(b.Region), publisher, url.PathEscape(model), verb)
}

func (gcpAnthropicProvider) headers(_ *call, same bool) (set []Header, remove []string) {
	if !same {
		return nil, foreignHeaders[:]
	}
	return nil, []string{"anthropic-version"}
}

func (gcpAnthropicProvider) write(q *chat.Request, c *call) ([]byte, bool, *chat.Error) {
	return writeAnthropic(q, c, anthropic.GCP)
}

func (gcpAnthropicProvider) edits(c *call) []jsonx.Edit {
	model := jsonx.Edit{Key: "model"}
	if c.api.path == countTokens { // the path does not have it
		model.Value = quoted(c.model)
	}
	return []jsonx.Edit{
		{Key: "anthropic_version", Value: quoted(c.backend.version(anthropic.GCP.Version()))},
		model,
	}
}

func (p gcpAnthropicProvider) fail(status int, name string, body []byte) *chat.Error {
	if e := p.anthropicProvider.fail(status, name, body); e != nil {
		return e
	}
	return failGoogle(status, body)
}

// awsAnthropicProvider is Bedrock's InvokeModel.
type awsAnthropicProvider struct{ anthropicProvider }

func (awsAnthropicProvider) path(c *call, _ bool) string {
	verb := "invoke"
	if c.stream {
		verb = "invoke-with-response-stream"
	}
	return bedrockPath(c, verb)
}

func (awsAnthropicProvider) headers(*call, bool) (set []Header, remove []string) {
	return nil, foreignHeaders[:]
}

func (awsAnthropicProvider) write(q *chat.Request, c *call) ([]byte, bool, *chat.Error) {
	return writeAnthropic(q, c, anthropic.AWS)
}

func (awsAnthropicProvider) edits(c *call) []jsonx.Edit {
	edits := []jsonx.Edit{
		{Key: "anthropic_version", Value: quoted(c.backend.version(anthropic.AWS.Version()))},
		{Key: "model"},
		{Key: "stream"},
	}
	if betas := betas(c.headers); len(betas) > 0 {
		w := jsonx.Writer{}
		w.OpenArray()
		for _, b := range betas {
			w.Value(b)
		}
		w.CloseArray()
		edits = append(edits, jsonx.Edit{Key: "anthropic_beta", Value: w.B, Keep: true})
	}
	return edits
}

// betas are the features a client asks for in a header, which Bedrock takes in the
// body.
func betas(h Headers) (list []string) {
	for _, b := range strings.Split(h.Get("anthropic-beta"), ",") {
		if b = strings.TrimSpace(b); b != "" {
			list = append(list, b)
		}
	}
	return list
}

func (awsAnthropicProvider) streamType() string { return "application/vnd.amazon.eventstream" }

func (awsAnthropicProvider) stream(sink chat.Sink, m meta, unwrap bool) reader {
	return &invokeReader{in: anthropic.NewStreamReader(sink, m.id, unwrap), sink: sink}
}

func (awsAnthropicProvider) fail(status int, name string, body []byte) *chat.Error {
	return bedrock.ParseError(status, name, body)
}

// invokeReader feeds the events in the frames of InvokeModelWithResponseStream to a
// reader.
type invokeReader struct {
	frames eventstream.Reader
	in     eventReader
	sink   chat.Sink
	// raw, if set, is told every event before it is read.
	raw    func(event []byte)
	failed bool
}

func (r *invokeReader) take(f eventstream.Frame) error {
	if string(f.Kind) != "event" {
		return bedrock.ParseFailure(f)
	}
	if string(f.Name) != "chunk" {
		return nil
	}
	var payload struct {
		Bytes []byte `json:"bytes"`
	}
	if err := json.Unmarshal(f.Payload, &payload); err != nil {
		return fmt.Errorf("a chunk is broken: %w", err)
	}
	if r.raw != nil {
		r.raw(payload.Bytes)
	}
	r.in.Event(payload.Bytes)
	return nil
}

func (r *invokeReader) Write(chunk []byte) { r.check(r.frames.Write(chunk, r.take)) }

func (r *invokeReader) Close() {
	r.check(r.frames.Close())
	if !r.failed {
		r.in.Close()
	}
}

func (r *invokeReader) check(err error) {
	if err != nil && !r.failed {
		r.failed = true
		r.sink(&chat.Event{Kind: chat.Failed, Err: bedrock.AsError(err)})
	}
}
