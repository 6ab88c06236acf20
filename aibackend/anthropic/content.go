package anthropic

import (
	"encoding/base64"
	"fmt"
	"strings"

	"github.com/fairway-ai/fairway/aibackend/chat"
	"github.com/fairway-ai/fairway/aibackend/internal/jsonx"
)

func appendCache(w *jsonx.Writer, c chat.Cache) {
	if c.On {
		w.OpenKey("cache_control")
		w.String("type", "ephemeral")
		w.Text("ttl", c.TTL)
		w.Close()
	}
}

func appendText(w *jsonx.Writer, p *chat.Part) {
	if p.Text == "" { // refused, and says nothing
		return
	}
	w.Open()
	w.String("type", "text")
	w.String("text", p.Text)
	appendCache(w, p.Cache)
	w.Close()
}

// appendMessages writes the turns. Consecutive messages of one role are one turn.
func appendMessages(w *jsonx.Writer, q *chat.Request) *chat.Error {
	w.OpenArrayKey("messages")
	open := false
	for i := range q.Messages {
		m := &q.Messages[i]
		if !open {
			w.Open()
			w.String("role", [...]string{chat.User: "user", chat.Assistant: "assistant"}[m.Role])
			w.OpenArrayKey("content")
			open = true
		}
		for k := range m.Parts {
			if err := appendPart(w, q, m, &m.Parts[k]); err != nil {
				return err
			}
		}
		if i+1 == len(q.Messages) || q.Messages[i+1].Role != m.Role {
			w.CloseArray()
			w.Close()
			open = false
		}
	}
	w.CloseArray()
	return nil
}

func appendPart(w *jsonx.Writer, q *chat.Request, m *chat.Message, p *chat.Part) *chat.Error {
	switch p.Kind {
	case chat.Text, chat.Refusal:
		appendText(w, p)
	case chat.Image:
		w.Open()
		w.String("type", "image")
		appendSource(w, p.Media)
		appendCache(w, p.Cache)
		w.Close()
	case chat.Document:
		return appendDocument(w, m, p)
	case chat.Thinks:
		// The API refuses reasoning that it did not sign.
		if p.Signature == "" || strings.HasPrefix(p.Signature, chat.GeminiSignature) {
			q.DropNamed("messages.thinking_blocks of another provider")
			return nil
		}
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
	case chat.ToolUse:
		if p.Signature != "" {
			q.DropNamed("messages.tool_calls.extra_content")
		}
		w.Open()
		w.String("type", "tool_use")
		w.String("id", chat.SafeID(p.ID))
		w.String("name", p.Name)
		w.Document("input", p.Args)
		appendCache(w, p.Cache)
		w.Close()
	case chat.ToolResult:
		return appendResult(w, q, m, p)
	default:
		return chat.Unsupported(m.Place(p), provider, p.Kind.String()+" is not understood")
	}
	return nil
}

func appendResult(w *jsonx.Writer, q *chat.Request, m *chat.Message, p *chat.Part) *chat.Error {
	w.Open()
	w.String("type", "tool_result")
	w.String("tool_use_id", chat.SafeID(p.ID))
	w.OpenArrayKey("content")
	for i := range p.Content {
		if err := appendPart(w, q, m, &p.Content[i]); err != nil {
			return err
		}
	}
	w.CloseArray()
	if p.Failed {
		w.Bool("is_error", true)
	}
	appendCache(w, p.Cache)
	w.Close()
	return nil
}

func appendSource(w *jsonx.Writer, m *chat.Media) {
	w.OpenKey("source")
	switch {
	case m.URL != "":
		w.String("type", "url")
		w.String("url", m.URL)
	case m.Plain != "":
		w.String("type", "text")
		w.String("media_type", "text/plain")
		w.String("data", m.Plain)
	default:
		w.String("type", "base64")
		w.String("media_type", m.Type)
		w.String("data", m.Data)
	}
	w.Close()
}

func appendDocument(w *jsonx.Writer, m *chat.Message, p *chat.Part) *chat.Error {
	media := *p.Media
	if media.Data != "" && media.Type != "application/pdf" {
		text, err := base64.StdEncoding.DecodeString(media.Data)
		if err != nil || !strings.HasPrefix(media.Type, "text/") {
			return chat.Unsupported(m.Place(p), provider, fmt.Sprintf("documents must be PDF or text, not %.64s", media.Type))
		}
		media.Plain, media.Data = string(text), ""
	}
	w.Open()
	w.String("type", "document")
	appendSource(w, &media)
	w.Text("title", media.Name)
	w.Text("context", media.Context)
	appendCache(w, p.Cache)
	w.Close()
	return nil
}
