package aibackend

import (
	"bytes"
	"strings"

	"github.com/fairway-ai/fairway/aibackend/chat"
	"github.com/fairway-ai/fairway/aibackend/internal/fields"
	"github.com/fairway-ai/fairway/aibackend/internal/jsonx"
	"github.com/fairway-ai/fairway/aibackend/internal/sse"
	"github.com/fairway-ai/fairway/aibackend/openai"
)

// see watches an event that has passed.
func (x *passthrough) see(e sse.Event) error {
	x.read += int64(len(e.Raw))
	failed := x.err != nil
	x.watch.Event(e.Data)
	if !failed && x.err != nil && !x.told {
		x.bad = x.read
	}
	return nil
}

// counted watches a stream that passes whatever it says, and however it ends: its end
// has no mark that all of these APIs share.
func (x *passthrough) counted(chunk []byte, end bool) ([]byte, *Error) {
	// What cannot be read is the client's to find out: it gets the same bytes.
	_ = x.in.decode(chunk, end, func(b []byte) { _ = x.events.Write(b, x.count) })
	if !end {
		return chunk, nil
	}
	_ = x.events.Close(x.count)
	if x.err == nil {
		return chunk, nil
	}
	return chunk, render(x.call.client, x.err)
}

// count takes the usage of an event that has passed, and the failure it tells of.
func (x *passthrough) count(e sse.Event) error {
	usage, model, err := openai.ReadEvent(e.Data)
	if x.model == "" && model != nil {
		name, _ := jsonx.Unquote(model)
		x.model = toldModel("", name)
	}
	if usage.Known {
		x.usage = usage
	}
	if err != nil && x.err == nil {
		x.err = err
	}
	return nil
}

// pass lets an event pass unless it only has the usage, or comes behind one that could not
// be read, which is where the stream ends.
func (x *passthrough) pass(e sse.Event) error {
	if x.err != nil && !x.told {
		return nil
	}
	x.watch.Event(e.Data)
	if !x.bare() {
		x.out = append(x.out, e.Raw...)
	}
	return nil
}

func (x *passthrough) take(err error) {
	if err != nil && x.err == nil {
		x.err = chat.Malformed("the provider", "%v", err)
		x.told = false
	}
}

// event takes what the watched stream says. Its errors pass like the rest; only a cut
// stream has to be told of.
func (x *passthrough) event(e *chat.Event) {
	switch e.Kind {
	case chat.Start:
		x.model = toldModel(x.model, e.Model)
	case chat.Counts:
		x.usage = e.Usage
	case chat.End:
		x.ended = true
	case chat.Failed:
		if x.err == nil {
			x.err = e.Err
			// What cannot be read, such as half an event, tells clients nothing.
			x.told = x.told || x.mode != passFrames && e.Err.Code != chat.CodeMalformed
		}
	}
}

// finish ends a stream. A cut one gets an error event after what there was of it.
func (x *passthrough) finish(out []byte, err *chat.Error, end bool) ([]byte, *Error) {
	if err != nil && x.err == nil {
		x.err, x.told = err, false
		end = true
	}
	if x.err == nil && end {
		x.watch.Close()
		if x.err != nil {
			x.told = false
		}
	}
	if len(out) > 0 {
		x.open = !bytes.HasSuffix(out, []byte("\n"))
	}
	if x.err == nil || x.told && !end {
		return out, nil
	}
	if x.told {
		return out, render(x.call.client, x.err)
	}
	return x.tell(out)
}

// tell adds the error to the stream, and ends it.
func (x *passthrough) tell(out []byte) ([]byte, *Error) {
	x.over = true
	if x.err.RequestID == "" {
		x.err.RequestID = x.meta.requestID
	}
	e := render(x.call.client, x.err)
	if x.open { // end its line
		out = append(out[:len(out):len(out)], '\n')
	}
	out = append(out[:len(out):len(out)], '\n')
	return x.call.client.failEvent(out, x.err), e
}

// appendEvent writes an event of InvokeModel's stream as Anthropic's own API does.
func (x *passthrough) appendEvent(data []byte) {
	if x.err != nil {
		return // what comes after a failure in the same chunk is as lost as what comes later
	}
	kind, _ := jsonx.Unquote(fields.Member(data, "type"))
	if jsonx.Valid(data) != nil || strings.ContainsAny(kind, "\r\n") {
		return // read as a failure next
	}
	x.told = kind == "error"
	x.out = append(append(x.out, "event: "...), kind...)
	x.out = append(x.out, "\ndata: "...)
	for _, c := range data {
		if c != '\n' && c != '\r' { // blank in JSON
			x.out = append(x.out, c)
		}
	}
	x.out = append(x.out, "\n\n"...)
}

func (x *passthrough) framed(chunk []byte, end bool) ([]byte, *Error) {
	err := x.in.decode(chunk, end, x.frames.Write)
	if err != nil && x.err == nil {
		x.err, x.told = err, false
	}
	if end && x.err == nil {
		x.frames.Close()
	}
	switch {
	case x.err == nil:
		return x.out, nil
	case x.told:
		x.over = true
		return x.out, render(x.call.client, x.err)
	}
	return x.tell(x.out)
}
