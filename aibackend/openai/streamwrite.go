package openai

import (
	"github.com/fairway-ai/fairway/aibackend/chat"
	"github.com/fairway-ai/fairway/aibackend/internal/jsonx"
)

// StreamWriter writes a streamed answer for a client.
type StreamWriter struct {
	created int64
	usage   bool
	// head is what every chunk begins with, up to its choices.
	head   []byte
	calls  int
	blocks int
	block  bool
	counts chat.Usage
	done   bool
}

// NewStreamWriter makes a writer. created is in seconds since 1970.
func NewStreamWriter(q *chat.Request, created int64) *StreamWriter {
	return &StreamWriter{created: created, usage: q.StreamUsage}
}

// Append writes an event. Nothing comes after an End or an error.
func (s *StreamWriter) Append(dst []byte, e *chat.Event) []byte {
	if s.done {
		return dst
	}
	switch e.Kind {
	case chat.Start:
		s.start(e)
		w := s.chunk(dst)
		w.String("role", "assistant")
		w.String("content", "")
		w.Raw("refusal", null)
		return s.endChunk(w, "")
	case chat.PartStart:
		return s.partStart(dst, e)
	case chat.Delta:
		return s.delta(dst, e)
	case chat.Signature:
		return s.signature(dst, e)
	case chat.PartStop:
		if s.block {
			s.blocks++
			s.block = false
		}
	case chat.Ended:
		w := s.chunk(dst)
		if declined(e.Finish) && e.Why != "" {
			w.String("refusal", e.Why)
		}
		return s.endChunk(w, finishReason(e.Finish))
	case chat.Counts:
		s.counts = e.Usage
	case chat.End:
		s.done = true
		if s.usage && s.counts.Known {
			dst = append(append(dst, "data: "...), s.head...)
			w := jsonx.Writer{B: append(dst, ']')}
			appendUsage(&w, s.counts)
			w.Close()
			dst = append(w.B, "\n\n"...)
		}
		return append(dst, "data: [DONE]\n\n"...)
	case chat.Failed:
		s.done = true
		return AppendErrorEvent(dst, e.Err)
	}
	return dst
}

// AppendErrorEvent writes an error inside of a stream. No [DONE] follows it, and the
// SDKs raise it.
func AppendErrorEvent(dst []byte, e *chat.Error) []byte {
	return append(AppendError(append(dst, "data: "...), e), "\n\n"...)
}

var null = []byte("null")

func (s *StreamWriter) start(e *chat.Event) {
	w := jsonx.Writer{}
	w.Open()
	w.String("id", e.ID)
	w.String("object", "chat.completion.chunk")
	w.Int("created", s.created)
	w.String("model", e.Model)
	w.OpenArrayKey("choices")
	s.head = w.B
}

// chunk begins a chunk up to the inside of its delta.
func (s *StreamWriter) chunk(dst []byte) jsonx.Writer {
	dst = append(append(dst, "data: "...), s.head...)
	return jsonx.Writer{B: append(dst, `{"index":0,"delta":{`...)}
}

func (s *StreamWriter) endChunk(w jsonx.Writer, finish string) []byte {
	w.Close()
	w.Raw("logprobs", null)
	nullable(&w, "finish_reason", finish)
	w.Close()
	w.CloseArray()
	if s.usage {
		w.Raw("usage", null)
	}
	w.Close()
	return append(w.B, "\n\n"...)
}

func (s *StreamWriter) partStart(dst []byte, e *chat.Event) []byte {
	switch e.Part {
	case chat.ToolUse:
		s.calls++
		w := s.chunk(dst)
		s.openCall(&w)
		w.String("id", e.CallID)
		w.String("type", "function")
		w.OpenKey("function")
		w.String("name", e.Name)
		w.String("arguments", "")
		w.Close()
		closeCall(&w)
		return s.endChunk(w, "")
	case chat.Thinks:
		s.block = true
	case chat.Redacted:
		s.block = true
		w := s.chunk(dst)
		s.openBlock(&w, "redacted_thinking")
		w.Raw("data", e.Text)
		closeCall(&w)
		return s.endChunk(w, "")
	}
	return dst
}

func (s *StreamWriter) openCall(w *jsonx.Writer) {
	w.OpenArrayKey("tool_calls")
	w.Open()
	w.Int("index", int64(s.calls-1))
}

func closeCall(w *jsonx.Writer) {
	w.Close()
	w.CloseArray()
}

func (s *StreamWriter) openBlock(w *jsonx.Writer, kind string) {
	w.OpenArrayKey("thinking_blocks")
	w.Open()
	w.Int("index", int64(s.blocks))
	w.String("type", kind)
}

func (s *StreamWriter) delta(dst []byte, e *chat.Event) []byte {
	w := s.chunk(dst)
	switch e.Part {
	case chat.Refusal:
		w.Raw("refusal", e.Text)
	case chat.Thinks:
		w.Raw("reasoning_content", e.Text)
		s.openBlock(&w, "thinking")
		w.Raw("thinking", e.Text)
		closeCall(&w)
	case chat.ToolUse:
		s.openCall(&w)
		w.OpenKey("function")
		w.Raw("arguments", e.Text)
		w.Close()
		closeCall(&w)
	default:
		w.Raw("content", e.Text)
	}
	return s.endChunk(w, "")
}

func (s *StreamWriter) signature(dst []byte, e *chat.Event) []byte {
	w := s.chunk(dst)
	if e.Part == chat.ToolUse {
		s.openCall(&w)
		w.OpenKey("extra_content")
		w.OpenKey("google")
		w.Raw("thought_signature", e.Text)
		w.Close()
		w.Close()
		closeCall(&w)
		return s.endChunk(w, "")
	}
	s.openBlock(&w, "thinking")
	w.String("thinking", "")
	w.Raw("signature", e.Text)
	closeCall(&w)
	return s.endChunk(w, "")
}
