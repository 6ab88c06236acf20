package aibackend

import (
	"net/http"
	"strings"

	"github.com/fairway-ai/fairway/aibackend/anthropic"
	"github.com/fairway-ai/fairway/aibackend/chat"
	"github.com/fairway-ai/fairway/aibackend/cohere"
	"github.com/fairway-ai/fairway/aibackend/internal/fields"
	"github.com/fairway-ai/fairway/aibackend/internal/jsonx"
	"github.com/fairway-ai/fairway/aibackend/internal/sse"
	"github.com/fairway-ai/fairway/aibackend/openai"
)

// passthrough is an Exchange within one schema: bytes pass, and are watched.
type passthrough struct {
	call *call
	p    provider
	req  Request
	// strip takes the chunk with the usage out, which the client did not ask for.
	strip bool

	status int
	meta   meta
	mode   passMode
	in     input
	events sse.Reader
	watch  eventReader
	bare   func() bool
	frames *invokeReader
	member jsonx.Member
	out    []byte
	usage  chat.Usage
	model  string // that answered
	err    *chat.Error
	told   bool
	// wrong is why a successful answer is none.
	wrong *chat.Error
	// open is set while the client has seen the beginning of an event only.
	open  bool
	ended bool
	over  bool
	// came and read are how many bytes of a stream that passes came, and were events; bad
	// is where the event ends that cannot be read, 0 as long as there is none.
	came, read, bad int64
}

type passMode uint8

const (
	passBlind  passMode = iota // bytes pass unseen
	passWhole                  // a whole answer passes and is watched
	passStream                 // a stream passes and is watched
	passCount                  // a stream of another API than chat passes and is watched for its usage
	passStrip                  // a stream passes event by event
	passFrames                 // the events of InvokeModel's frames become a stream
	passFailed                 // an error, kept whole to see whose it is
)

func newPassthrough(c *call, p provider) (*passthrough, *chat.Error) {
	x := &passthrough{call: c, p: p}
	body, err := x.body(c)
	if err != nil {
		return nil, err
	}
	x.req = c.request(p, true)
	set, remove := p.headers(c, true)
	x.req.Headers = append(x.req.Headers, set...)
	x.req.RemoveHeaders = append(x.req.RemoveHeaders, remove...)
	x.req.Body = body
	// Encodings that cannot be watched are not asked for.
	if !x.strip && strings.Contains(c.headers.Get("accept-encoding"), "gzip") {
		x.req.Headers = append(x.req.Headers, Header{"accept-encoding", "gzip"})
	}
	return x, nil
}

// body is what is sent: what the client sent, edited.
func (x *passthrough) body(c *call) ([]byte, *chat.Error) {
	if c.form != nil {
		model := c.model
		if p, ok := x.p.(openAIProvider); ok {
			model = p.wireModel(c)
		}
		return c.form.withModel(c.body, model)
	}
	edits := x.p.edits(c)
	if c.api.chat && isOpenAI(c.client) && c.stream && !c.backend.NoStreamOptions {
		edit, err := includeUsage(c.body)
		if err != nil {
			return nil, err
		}
		if edit.Key != "" {
			edits = append(edits, edit)
			x.strip = true
		}
	}
	body, e := jsonx.Apply(c.body, edits)
	if e != nil {
		return nil, chat.Invalid("body", "%v", e)
	}
	return body, nil
}

// includeUsage is the edit that asks for usage in a stream, none where the client
// asked already.
func includeUsage(body []byte) (jsonx.Edit, *chat.Error) {
	var options []byte
	_, _ = jsonx.Each(body, func(key, v []byte) error {
		if string(key) == "stream_options" {
			options = v
		}
		return nil
	})
	on := []jsonx.Edit{{Key: "include_usage", Value: []byte("true")}}
	switch jsonx.KindOf(options) {
	case jsonx.None, jsonx.Null:
		return jsonx.Edit{Key: "stream_options", Value: []byte(`{"include_usage":true}`)}, nil
	case jsonx.Object:
	default:
		return jsonx.Edit{}, chat.Invalid("stream_options", "must be an object")
	}
	if string(fields.Member(options, "include_usage")) == "true" {
		return jsonx.Edit{}, nil
	}
	v, err := jsonx.Apply(options, on)
	if err != nil {
		return jsonx.Edit{}, chat.Invalid("stream_options", "%v", err)
	}
	return jsonx.Edit{Key: "stream_options", Value: v}, nil
}

func (x *passthrough) Request() Request      { return x.req }
func (x *passthrough) Usage() chat.Usage     { return x.usage }
func (x *passthrough) AnsweredModel() string { return x.model }
func (x *passthrough) Close()                { x.in.close() }

func (x *passthrough) Response(status int, h Headers) Head {
	x.status = status
	x.req.Body = nil
	x.call.forget()
	x.meta = metaOf(h, 0)
	head := Head{Status: status}
	if id := x.call.client.requestID(); h.Get(id) == "" && x.meta.requestID != "" {
		head.Set = append(head.Set, Header{id, x.meta.requestID})
	}
	ok := succeeded(status) || status == http.StatusNoContent && !x.call.api.chat
	unknown := x.in.begin(h, maxErrorBody, x.call.backend.Budget) != nil
	x.in.json.depth = endless // an error may pass, and then all its bytes do
	got := mediaType(h)
	switch {
	case !ok:
		x.mode = passFailed
		head.Buffered = true
		head.Status = failedStatus(status)
		head.Set = append(head.Set, Header{"content-type", "application/json"})
		head.Remove = []string{"content-length", "content-encoding", "location"}
	case got == "application/vnd.amazon.eventstream" && x.p.streamType() == got:
		x.mode = passFrames
		x.frames = &invokeReader{in: anthropic.NewStreamReader(x.event, "", false), sink: x.event, raw: x.appendEvent}
		head.Set = append(head.Set, Header{"content-type", "text/event-stream"})
		head.Remove = []string{"content-length", "content-encoding"}
	case x.call.api.chat && x.call.stream && !mayStream(got):
		// Clients would read a stream that says nothing, and ends well.
		x.mode = passFailed
		x.status = http.StatusBadGateway
		x.wrong = chat.Malformed("the provider", "its content-type is %.64q", got)
		head.Buffered = true
		head.Status = x.status
		head.Set = append(head.Set, Header{"content-type", "application/json"})
		head.Remove = []string{"content-length", "content-encoding"}
	case unknown:
		x.mode = passBlind
	case got == "text/event-stream" && !x.call.api.chat:
		x.mode = passCount
	case got == "text/event-stream":
		x.mode = passStream
		if x.strip {
			x.mode = passStrip
			head.Remove = []string{"content-length", "content-encoding"}
		}
		x.startWatch()
	case got == "application/json":
		x.mode = passWhole
		x.member = usageMember(x.call.client, x.p)
	}
	return head
}

// mayStream says whether an answer of that type may be a stream of events: some servers
// leave the type out, or do not know the right one.
func mayStream(mediaType string) bool {
	switch mediaType {
	case "text/event-stream", "", "text/plain", "application/octet-stream":
		return true
	}
	return false
}

func (x *passthrough) startWatch() {
	if isAnthropic(x.call.client) {
		x.watch = anthropic.NewStreamReader(x.event, "", false)
		return
	}
	w := openai.NewWatcher(x.event)
	x.watch, x.bare = w, w.Bare
}

func (x *passthrough) Body(chunk []byte, end bool) ([]byte, *Error) {
	x.out = x.out[:0]
	if x.over {
		return nil, nil
	}
	x.over = end
	switch x.mode {
	case passBlind:
		return chunk, nil
	case passFailed:
		return x.failed(chunk, end)
	case passWhole:
		_ = x.in.decode(chunk, end, x.member.Write)
		if end {
			x.setUsage(x.member.Value())
			name, _ := jsonx.Unquote(x.member.OtherValue())
			x.model = toldModel("", name)
		}
		return chunk, nil
	case passCount:
		return x.counted(chunk, end)
	case passFrames:
		return x.framed(chunk, end)
	case passStrip:
		err := x.in.decode(chunk, end, func(b []byte) { x.take(x.events.Write(b, x.pass)) })
		if end && err == nil { // else the rest is lost, and no event
			x.take(x.events.Close(x.pass))
		}
		return x.finish(x.out, err, end)
	}
	x.came += int64(len(chunk))
	err := x.in.decode(chunk, end, func(b []byte) { x.take(x.events.Write(b, x.see)) })
	if end && err == nil {
		x.take(x.events.Close(x.see))
	}
	if x.bad > 0 && x.in.gzip == nil {
		chunk = chunk[:int64(len(chunk))-(x.came-x.bad)] // the error comes right behind it
	}
	return x.finish(chunk, err, end)
}

func (x *passthrough) setUsage(v []byte) {
	switch {
	case isAnthropic(x.call.client):
		x.usage = anthropic.ParseUsage(v)
	case isCohere(x.call.client):
		x.usage = cohere.ParseUsage(v)
	default:
		x.usage = openai.ParseUsage(v)
	}
}

// failed passes an error on if it is in the client's schema, else writes it there.
func (x *passthrough) failed(chunk []byte, end bool) ([]byte, *Error) {
	if !x.in.collectFailed(chunk, end) {
		return nil, nil
	}
	x.over = true
	e := x.wrong
	if e == nil {
		e = failure(x.p, x.status, x.meta, x.in.whole)
	}
	if e.RequestID == "" {
		e.RequestID = x.meta.requestID
	}
	rendered := render(x.call.client, e)
	if x.wrong == nil && x.native() {
		rendered.Body = x.in.whole
	}
	return rendered.Body, rendered
}

// native reports whether the error is in the client's schema.
func (x *passthrough) native() bool {
	if isCohere(x.call.client) {
		return cohere.IsError(x.in.whole)
	}
	if isAnthropic(x.call.client) {
		return anthropic.ParseError(x.status, x.in.whole) != nil && string(fields.Member(x.in.whole, "type")) == `"error"`
	}
	return openai.ParseError(x.status, x.in.whole) != nil && jsonx.KindOf(fields.Member(x.in.whole, "error")) == jsonx.Object
}
