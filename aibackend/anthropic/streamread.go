package anthropic

import (
	"github.com/fairway-ai/fairway/aibackend/chat"
	"github.com/fairway-ai/fairway/aibackend/internal/fields"
	"github.com/fairway-ai/fairway/aibackend/internal/jsonx"
)

// StreamReader reads a provider's streamed answer, event by event.
type StreamReader struct {
	out   chat.Emitter
	usage usage
	// skip is set inside of a block that other schemas do not know.
	skip bool
	buf  []byte
}

// NewStreamReader makes a reader that gives its events to sink. name is used where
// the provider gives no IDs, and unwrap turns calls of chat.FormatTool into text; see
// chat.Emitter.
func NewStreamReader(sink chat.Sink, name string, unwrap bool) *StreamReader {
	return &StreamReader{out: chat.Emitter{Sink: sink, Provider: provider, Name: name, UnwrapFormat: unwrap}}
}

// message is what counts of one event. All of it is parts of the event.
type message struct {
	kind                            []byte
	message, block, delta, usage    []byte
	id, model                       []byte
	blockType, name, data, input    []byte
	text, thinking, sign, args      []byte
	stopReason, sequence, explained []byte
}

// Event reads the data of one event.
func (s *StreamReader) Event(data []byte) {
	if len(data) == 0 || s.out.Done() {
		return
	}
	if err := jsonx.Valid(data); err != nil {
		s.out.Fail(chat.Malformed(provider, "%v", err))
		return
	}
	var m message
	if ok, _ := jsonx.Each(data, m.top); !ok {
		s.out.Fail(chat.Malformed(provider, "an event is no JSON object"))
		return
	}
	switch kind := m.kind; {
	case jsonx.Is(kind, "message_start"):
		_, _ = jsonx.Each(m.message, m.start)
		s.usage.add(m.usage)
		id, _ := jsonx.Unquote(m.id)
		model, _ := jsonx.Unquote(m.model)
		s.out.Begin(id, model, s.usage.counts())
		s.out.Count(s.usage.counts())
	case jsonx.Is(kind, "error"):
		e := ParseError(0, data)
		if e == nil {
			e = &chat.Error{Message: "the provider failed without saying why"}
		}
		e.Status = StatusOf(e.Type)
		s.out.Fail(e)
	case jsonx.Is(kind, "content_block_start"):
		s.needStart()
		_, _ = jsonx.Each(m.block, m.member)
		s.blockStart(&m)
	case jsonx.Is(kind, "content_block_delta"):
		_, _ = jsonx.Each(m.delta, m.member)
		if !s.skip {
			s.out.Write(chat.Text, m.text)
			s.out.Write(chat.Thinks, m.thinking)
			s.out.Write(chat.ToolUse, m.args)
			s.out.Sign(chat.Thinks, m.sign)
		}
	case jsonx.Is(kind, "content_block_stop"):
		s.skip = false
		s.out.Shut()
	case jsonx.Is(kind, "message_delta"):
		s.needStart()
		_, _ = jsonx.Each(m.delta, m.member)
		s.usage.add(m.usage)
		s.out.Count(s.usage.counts())
		if reason, ok := jsonx.Unquote(m.stopReason); ok {
			sequence, _ := jsonx.Unquote(m.sequence)
			why, _ := jsonx.Unquote(fields.Member(m.explained, "explanation"))
			s.out.Finish(finishOf(reason), sequence, why)
		}
	case jsonx.Is(kind, "message_stop"):
		s.out.Close()
	}
}

// needStart fails a stream that does not begin at its beginning.
func (s *StreamReader) needStart() {
	if !s.out.Started() {
		s.out.Fail(chat.Malformed(provider, "the stream does not begin with message_start"))
	}
}

func (m *message) top(key, v []byte) error {
	switch string(key) {
	case "type":
		m.kind = v
	case "message":
		m.message = v
	case "content_block":
		m.block = v
	case "delta":
		m.delta = v
	case "usage":
		m.usage = v
	}
	return nil
}

func (m *message) start(key, v []byte) error {
	switch string(key) {
	case "id":
		m.id = v
	case "model":
		m.model = v
	case "usage":
		m.usage = v
	}
	return nil
}

// member reads a block's or a delta's member.
func (m *message) member(key, v []byte) error {
	switch k := string(key); {
	case k == "input":
		m.input = v
	case k == "stop_details":
		m.explained = v
	case jsonx.KindOf(v) != jsonx.String:
	case k == "type":
		m.blockType = v
	case k == "id":
		m.id = v
	case k == "name":
		m.name = v
	case k == "data":
		m.data = v
	case k == "text":
		m.text = v
	case k == "thinking":
		m.thinking = v
	case k == "signature":
		m.sign = v
	case k == "partial_json":
		m.args = v
	case k == "stop_reason":
		m.stopReason = v
	case k == "stop_sequence":
		m.sequence = v
	}
	return nil
}

func (s *StreamReader) blockStart(m *message) {
	s.skip = false
	switch kind := m.blockType; {
	case jsonx.Is(kind, "text"):
		s.out.Open(chat.Text, "", "", nil)
		s.out.Write(chat.Text, m.text)
	case jsonx.Is(kind, "thinking"):
		s.out.Open(chat.Thinks, "", "", nil)
		s.out.Write(chat.Thinks, m.thinking)
		s.out.Sign(chat.Thinks, m.sign)
	case jsonx.Is(kind, "redacted_thinking"):
		s.out.Open(chat.Redacted, "", "", m.data)
	case jsonx.Is(kind, "tool_use"):
		id, _ := jsonx.Unquote(m.id)
		name, _ := jsonx.Unquote(m.name)
		s.out.Open(chat.ToolUse, id, name, nil)
		if len(m.input) > 2 { // whole already
			s.buf = jsonx.AppendQuoted(s.buf[:0], m.input)
			s.out.Write(chat.ToolUse, s.buf)
		}
	default:
		s.skip = true
	}
}

// Close tells that the provider's stream has ended, which it must not before
// message_stop.
func (s *StreamReader) Close() {
	if !s.out.Done() {
		s.out.Fail(chat.Malformed(provider, "the stream ended before message_stop"))
	}
}
