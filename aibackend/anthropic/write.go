package anthropic

import (
	"github.com/fairway-ai/fairway/aibackend/chat"
	"github.com/fairway-ai/fairway/aibackend/internal/jsonx"
)

var null = []byte("null")

// AppendResponse writes a whole answer for a client.
func AppendResponse(dst []byte, r *chat.Response) []byte {
	w := jsonx.Writer{B: dst}
	w.Open()
	w.String("id", r.ID)
	w.String("type", "message")
	w.String("role", "assistant")
	w.String("model", r.Model)
	w.OpenArrayKey("content")
	var c chat.Choice
	if len(r.Choices) > 0 {
		c = r.Choices[0]
	}
	for i := range c.Parts {
		appendAnswerPart(&w, &c.Parts[i])
	}
	w.CloseArray()
	appendStop(&w, c.Finish, c.StopSequence, c.Why)
	appendUsage(&w, r.Usage)
	w.Close()
	return w.B
}

func appendAnswerPart(w *jsonx.Writer, p *chat.Part) {
	switch p.Kind {
	case chat.Thinks:
		w.Open()
		w.String("type", "thinking")
		w.String("thinking", p.Text)
		w.String("signature", p.Signature)
	case chat.Redacted:
		w.Open()
		w.String("type", "redacted_thinking")
		w.String("data", p.Signature)
	case chat.ToolUse:
		if p.Signature != "" {
			w.Open()
			w.String("type", "thinking")
			w.String("thinking", "")
			w.String("signature", chat.GeminiSignature+p.Signature)
			w.Close()
		}
		w.Open()
		w.String("type", "tool_use")
		w.String("id", p.ID)
		w.String("name", p.Name)
		w.Document("input", p.Args)
	default:
		w.Open()
		w.String("type", "text")
		w.String("text", p.Text)
	}
	w.Close()
}

func appendStop(w *jsonx.Writer, f chat.Finish, sequence, why string) {
	reason := stopReason(f)
	if reason == "refusal" && why != "" {
		w.OpenKey("stop_details")
		w.String("type", "refusal")
		w.String("explanation", why)
		w.Raw("category", null)
		w.Close()
	}
	w.String("stop_reason", reason)
	if sequence == "" {
		w.Raw("stop_sequence", null)
		return
	}
	w.String("stop_sequence", sequence)
}

func stopReason(f chat.Finish) string {
	switch f {
	case chat.FinishStopSequence:
		return "stop_sequence"
	case chat.FinishLength:
		return "max_tokens"
	case chat.FinishContext:
		return "model_context_window_exceeded"
	case chat.FinishToolUse:
		return "tool_use"
	case chat.FinishRefusal, chat.FinishFilter:
		return "refusal"
	case chat.FinishPause:
		return "pause_turn"
	}
	return "end_turn"
}

// appendUsage writes usage as this schema counts it: the input without what was read
// from or written to the cache.
func appendUsage(w *jsonx.Writer, u chat.Usage) {
	w.OpenKey("usage")
	w.Int("input_tokens", max(u.Input-u.Cached-u.CacheWrite, 0))
	w.Int("cache_creation_input_tokens", u.CacheWrite)
	w.Int("cache_read_input_tokens", u.Cached)
	if u.CacheWrite > 0 {
		w.OpenKey("cache_creation")
		w.Int("ephemeral_5m_input_tokens", max(u.CacheWrite-u.CacheWriteHour, 0))
		w.Int("ephemeral_1h_input_tokens", u.CacheWriteHour)
		w.Close()
	}
	w.Int("output_tokens", u.Output)
	if u.Reasoning > 0 {
		w.OpenKey("output_tokens_details")
		w.Int("thinking_tokens", u.Reasoning)
		w.Close()
	}
	w.Close()
}
