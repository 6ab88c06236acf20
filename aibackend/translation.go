package aibackend

import (
	"net/http"

	"github.com/fairway-ai/fairway/aibackend/chat"
	"github.com/fairway-ai/fairway/aibackend/internal/jsonx"
)

// mode is what becomes of a response's body.
type mode uint8

const (
	modeWhole  mode = iota // a whole answer
	modeStream             // a streamed answer
	modeFailed             // an error
)

// translation is an Exchange between different schemas.
type translation struct {
	call   *call
	client chatClient // nil with answer
	p      provider
	// q is what the answer has to know of the request; its messages are not kept.
	q      *chat.Request
	req    Request
	unwrap bool
	// answer, if set, makes the client's answer of the provider's. It is for APIs other
	// than chat.
	answer func(dst, body []byte, m meta) ([]byte, chat.Usage, *chat.Error)

	status int
	meta   meta
	mode   mode
	in     input
	reader reader
	writer writer
	out    []byte
	usage  chat.Usage
	model  string // that answered
	// err is the failure that the client was told of; over, that nothing more is said.
	err  *chat.Error
	over bool
}

func newTranslation(c *call, p provider) (*translation, *chat.Error) {
	client, ok := c.client.(chatClient)
	if !ok {
		return nil, unknownPath(c.path)
	}
	q, err := client.parse(c.body)
	if err != nil {
		return nil, err
	}
	t := &translation{call: c, p: p, client: client}
	t.q = &chat.Request{Stream: q.Stream, StreamUsage: q.StreamUsage, Digest: q.Digest}
	body, unwrap, err := p.write(q, c)
	if err != nil {
		return nil, err
	}
	t.unwrap = unwrap
	t.req = c.request(p, false)
	set, remove := p.headers(c, false)
	t.req.Headers = append(t.req.Headers, set...)
	t.req.RemoveHeaders = append(t.req.RemoveHeaders, remove...)
	t.req.Body, t.req.Dropped = body, q.Dropped
	return t, nil
}

func (t *translation) Request() Request      { return t.req }
func (t *translation) Usage() chat.Usage     { return t.usage }
func (t *translation) AnsweredModel() string { return t.model }
func (t *translation) Close()                { t.in.close() }

func (t *translation) Response(status int, h Headers) Head {
	t.status = status
	t.req.Body = nil
	t.call.forget()
	t.meta = metaOf(h, t.q.Digest)
	head := Head{Status: status, Remove: []string{"content-length", "content-encoding"}}
	if t.meta.requestID != "" {
		head.Set = append(head.Set, Header{t.call.client.requestID(), t.meta.requestID})
	}
	ok := succeeded(status)
	contentType := "application/json"
	limit := MaxBuffered
	got := mediaType(h)
	if got == "" { // some servers leave it out
		if got = "application/json"; t.q.Stream {
			got = t.p.streamType()
		}
	}
	switch {
	case !ok:
		t.mode, limit = modeFailed, maxErrorBody
		head.Status = failedStatus(status)
		head.Remove = append(head.Remove, "location")
	case t.q.Stream && got == t.p.streamType():
		t.mode = modeStream
		contentType = "text/event-stream"
		t.reader = t.p.stream(t.event, t.meta, t.unwrap)
		t.writer = t.client.stream(t.q, t.meta)
	case got == "application/json" && !t.q.Stream:
		t.mode = modeWhole
	default:
		t.mode, limit = modeFailed, maxErrorBody
		t.status = http.StatusBadGateway
		t.err = chat.Malformed("the provider", "its content-type is %.64q", got)
		head.Status = t.status
	}
	if err := t.in.begin(h, limit, t.call.backend.Budget); err != nil {
		t.mode, t.err = modeFailed, err
		contentType = "application/json"
		if ok {
			head.Status = err.Status
		}
	}
	head.Buffered = t.mode != modeStream
	head.Set = append(head.Set, Header{"content-type", contentType})
	return head
}

func (t *translation) Body(chunk []byte, end bool) ([]byte, *Error) {
	t.out = t.out[:0]
	if t.over {
		return nil, nil
	}
	var err *chat.Error
	switch t.mode {
	case modeStream:
		err = t.streamed(chunk, end)
	case modeWhole:
		err = t.whole(chunk, end)
	case modeFailed:
		err = t.failed(chunk, end)
	}
	t.over = t.over || end || err != nil
	if err == nil {
		return t.out, nil
	}
	t.in.close()
	if err.RequestID == "" {
		err.RequestID = t.meta.requestID
	}
	e := render(t.call.client, err)
	if t.mode != modeStream {
		t.out = append(t.out[:0], e.Body...)
	}
	return t.out, e
}

func validJSON(body []byte) *chat.Error {
	if err := jsonx.Valid(body); err != nil {
		return chat.Malformed("the provider", "%v", err)
	}
	return nil
}

func (t *translation) whole(chunk []byte, end bool) *chat.Error {
	if done, err := t.in.collect(chunk, end); err != nil || !done {
		return err
	}
	t.over = true
	if t.answer != nil {
		if err := validJSON(t.in.whole); err != nil {
			return err
		}
		out, usage, err := t.answer(t.out, t.in.whole, t.meta)
		t.out, t.usage = out, usage
		return err
	}
	r, err := t.p.read(t.in.whole)
	if err != nil {
		return err
	}
	r.Settle(t.meta.id, t.unwrap)
	if t.model = toldModel("", r.Model); t.model == "" {
		r.Model = t.call.model
	}
	t.usage = r.Usage
	t.out = t.client.response(t.out, r, t.meta)
	return nil
}

// failed answers with an error, once the provider's own is known.
func (t *translation) failed(chunk []byte, end bool) *chat.Error {
	if t.err != nil {
		return t.err
	}
	if !t.in.collectFailed(chunk, end) {
		return nil
	}
	return failure(t.p, t.status, t.meta, t.in.whole)
}

func (t *translation) streamed(chunk []byte, end bool) *chat.Error {
	if err := t.in.decode(chunk, end, t.reader.Write); err != nil {
		t.event(&chat.Event{Kind: chat.Failed, Err: err})
	}
	if end {
		t.reader.Close()
	}
	return t.err
}

// event takes an event of the provider's stream.
func (t *translation) event(e *chat.Event) {
	if t.err != nil || t.over {
		return
	}
	switch e.Kind {
	case chat.Start:
		if t.model = toldModel(t.model, e.Model); t.model == "" {
			e.Model = t.call.model
		}
	case chat.Counts:
		t.usage = e.Usage
	case chat.End:
		t.over = true
	case chat.Failed:
		t.err = e.Err
		if t.err.RequestID == "" {
			t.err.RequestID = t.meta.requestID
		}
	}
	t.out = t.writer.Append(t.out, e)
}
