package anthropic

import (
	"strconv"

	"github.com/fairway-ai/fairway/aibackend/chat"
	"github.com/fairway-ai/fairway/aibackend/internal/jsonx"
)

// StreamWriter writes a streamed answer for a client.
type StreamWriter struct {
	index   int64
	finish  chat.Finish
	stopSeq string
	why     string
	counts  chat.Usage
	done    bool
	// held is a call that began but was not written yet, because its signature, which
	// has to stand before it, may follow.
	held     bool
	id, name string
	buf      []byte
}

// NewStreamWriter makes a writer.
func NewStreamWriter() *StreamWriter { return &StreamWriter{} }

// Append writes an event. Nothing comes after an End or an error.
func (s *StreamWriter) Append(dst []byte, e *chat.Event) []byte {
	if s.done {
		return dst
	}
	if s.held && e.Kind != chat.Signature && e.Kind != chat.Failed {
		dst = s.release(dst)
	}
	switch e.Kind {
	case chat.Start:
		return s.start(dst, e)
	case chat.PartStart:
		return s.partStart(dst, e)
	case chat.Delta:
		return s.delta(dst, e)
	case chat.Signature:
		return s.signature(dst, e)
	case chat.PartStop:
		dst = s.stop(dst)
	case chat.Ended:
		s.finish, s.stopSeq, s.why = e.Finish, e.StopSequence, e.Why
	case chat.Counts:
		s.counts = e.Usage
	case chat.End:
		s.done = true
		w := event(dst, "message_delta")
		w.OpenKey("delta")
		appendStop(&w, s.finish, s.stopSeq, s.why)
		w.Close()
		appendUsage(&w, s.counts)
		w = event(end(w), "message_stop")
		return end(w)
	case chat.Failed:
		s.done = true
		return AppendErrorEvent(dst, e.Err)
	}
	return dst
}

// AppendErrorEvent writes an error inside of a stream.
func AppendErrorEvent(dst []byte, e *chat.Error) []byte {
	dst = append(dst, "event: error\ndata: "...)
	return append(AppendError(dst, e), "\n\n"...)
}

func event(dst []byte, name string) jsonx.Writer {
	dst = append(append(dst, "event: "...), name...)
	dst = append(dst, "\ndata: {\"type\":\""...)
	return jsonx.Writer{B: append(append(dst, name...), '"')}
}

func end(w jsonx.Writer) []byte { return append(w.B, "}\n\n"...) }

func (s *StreamWriter) start(dst []byte, e *chat.Event) []byte {
	w := event(dst, "message_start")
	w.OpenKey("message")
	w.String("id", e.ID)
	w.String("type", "message")
	w.String("role", "assistant")
	w.String("model", e.Model)
	w.OpenArrayKey("content")
	w.CloseArray()
	w.Raw("stop_reason", null)
	w.Raw("stop_sequence", null)
	appendUsage(&w, e.Usage)
	w.Close()
	return end(w)
}

func (s *StreamWriter) partStart(dst []byte, e *chat.Event) []byte {
	if e.Part == chat.ToolUse {
		s.held, s.id, s.name = true, e.CallID, e.Name
		return dst
	}
	w := s.openBlock(dst)
	switch e.Part {
	case chat.Thinks:
		w.String("type", "thinking")
		w.String("thinking", "")
		w.String("signature", "")
	case chat.Redacted:
		w.String("type", "redacted_thinking")
		w.Raw("data", e.Text)
	default:
		w.String("type", "text")
		w.String("text", "")
	}
	w.Close()
	return end(w)
}

func (s *StreamWriter) openBlock(dst []byte) jsonx.Writer {
	w := event(dst, "content_block_start")
	w.Int("index", s.index)
	w.OpenKey("content_block")
	return w
}

// release writes the beginning of the held call.
func (s *StreamWriter) release(dst []byte) []byte {
	s.held = false
	w := s.openBlock(dst)
	w.String("type", "tool_use")
	w.String("id", s.id)
	w.String("name", s.name)
	w.Raw("input", []byte("{}"))
	w.Close()
	return end(w)
}

func (s *StreamWriter) stop(dst []byte) []byte {
	w := event(dst, "content_block_stop")
	w.Int("index", s.index)
	s.index++
	return end(w)
}

func (s *StreamWriter) delta(dst []byte, e *chat.Event) []byte {
	switch e.Part {
	case chat.Thinks:
		return s.appendDelta(dst, "thinking_delta", "thinking", e.Text)
	case chat.ToolUse:
		return s.appendDelta(dst, "input_json_delta", "partial_json", e.Text)
	}
	return s.appendDelta(dst, "text_delta", "text", e.Text)
}

func (s *StreamWriter) appendDelta(dst []byte, kind, key string, text []byte) []byte {
	dst = append(dst, "event: content_block_delta\ndata: {\"type\":\"content_block_delta\",\"index\":"...)
	dst = strconv.AppendInt(dst, s.index, 10)
	dst = append(append(dst, `,"delta":{"type":"`...), kind...)
	dst = append(append(dst, `","`...), key...)
	dst = append(append(dst, `":`...), text...)
	return append(dst, "}}\n\n"...)
}

func (s *StreamWriter) signature(dst []byte, e *chat.Event) []byte {
	if e.Part != chat.ToolUse {
		return s.appendDelta(dst, "signature_delta", "signature", e.Text)
	}
	if !s.held {
		return dst
	}
	// The signature of a call stands in a thinking block before it.
	w := s.openBlock(dst)
	w.String("type", "thinking")
	w.String("thinking", "")
	w.String("signature", "")
	w.Close()
	s.buf = append(append(s.buf[:0], `"`+chat.GeminiSignature...), e.Text[1:]...)
	dst = s.appendDelta(end(w), "signature_delta", "signature", s.buf)
	return s.stop(dst)
}
