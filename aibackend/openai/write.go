package openai

import (
	"strings"

	"github.com/fairway-ai/fairway/aibackend/chat"
	"github.com/fairway-ai/fairway/aibackend/internal/jsonx"
)

// AppendResponse writes a whole answer for a client. created is in seconds since
// 1970.
func AppendResponse(dst []byte, r *chat.Response, created int64) []byte {
	w := jsonx.Writer{B: dst}
	w.Open()
	w.String("id", r.ID)
	w.String("object", "chat.completion")
	w.Int("created", created)
	w.String("model", r.Model)
	w.OpenArrayKey("choices")
	for i := range r.Choices {
		w.Open()
		w.Int("index", int64(i))
		appendMessage(&w, &r.Choices[i])
		w.Raw("logprobs", []byte("null"))
		w.String("finish_reason", finishReason(r.Choices[i].Finish))
		w.Close()
	}
	w.CloseArray()
	if r.Usage.Known {
		appendUsage(&w, r.Usage)
	}
	w.Close()
	return w.B
}

func appendMessage(w *jsonx.Writer, c *chat.Choice) {
	var text, reasoning, refusal strings.Builder
	hasText, calls, blocks := false, 0, 0
	for i := range c.Parts {
		switch p := &c.Parts[i]; p.Kind {
		case chat.Text:
			hasText = true
			text.WriteString(p.Text)
		case chat.Thinks:
			blocks++
			reasoning.WriteString(p.Text)
		case chat.Redacted:
			blocks++
		case chat.Refusal:
			refusal.WriteString(p.Text)
		case chat.ToolUse:
			calls++
		}
	}
	if refusal.Len() == 0 && declined(c.Finish) {
		refusal.WriteString(c.Why)
	}
	w.OpenKey("message")
	w.String("role", "assistant")
	if hasText {
		w.String("content", text.String())
	} else {
		w.Raw("content", []byte("null"))
	}
	nullable(w, "refusal", refusal.String())
	if blocks > 0 {
		w.Text("reasoning_content", reasoning.String())
		appendBlocks(w, c.Parts)
	}
	if calls > 0 {
		w.OpenArrayKey("tool_calls")
		for i := range c.Parts {
			if p := &c.Parts[i]; p.Kind == chat.ToolUse {
				appendCall(w, p)
			}
		}
		w.CloseArray()
	}
	w.Close()
}

func appendBlocks(w *jsonx.Writer, parts []chat.Part) {
	w.OpenArrayKey("thinking_blocks")
	for i := range parts {
		switch p := &parts[i]; p.Kind {
		case chat.Thinks:
			w.Open()
			w.String("type", "thinking")
			w.String("thinking", p.Text)
			w.String("signature", p.Signature)
			w.Close()
		case chat.Redacted:
			w.Open()
			w.String("type", "redacted_thinking")
			w.String("data", p.Signature)
			w.Close()
		}
	}
	w.CloseArray()
}

func appendCall(w *jsonx.Writer, p *chat.Part) {
	w.Open()
	w.String("id", p.ID)
	w.String("type", "function")
	w.OpenKey("function")
	w.String("name", p.Name)
	w.Quote("arguments", jsonx.AppendCompact(nil, p.Args))
	w.Close()
	if p.Signature != "" {
		w.OpenKey("extra_content")
		w.OpenKey("google")
		w.String("thought_signature", p.Signature)
		w.Close()
		w.Close()
	}
	w.Close()
}

func appendUsage(w *jsonx.Writer, u chat.Usage) {
	w.OpenKey("usage")
	w.Int("prompt_tokens", u.Input)
	w.Int("completion_tokens", u.Output)
	w.Int("total_tokens", u.Total())
	w.OpenKey("prompt_tokens_details")
	w.Int("cached_tokens", u.Cached)
	w.Int("cache_write_tokens", u.CacheWrite)
	w.Close()
	w.OpenKey("completion_tokens_details")
	w.Int("reasoning_tokens", u.Reasoning)
	w.Close()
	w.Close()
}

func declined(f chat.Finish) bool { return f == chat.FinishRefusal || f == chat.FinishFilter }

func finishReason(f chat.Finish) string {
	switch f {
	case chat.FinishLength, chat.FinishContext:
		return "length"
	case chat.FinishToolUse:
		return "tool_calls"
	case chat.FinishRefusal, chat.FinishFilter:
		return "content_filter"
	}
	return "stop"
}
