package openai

import (
	"strings"

	"github.com/fairway-ai/fairway/aibackend/chat"
	"github.com/fairway-ai/fairway/aibackend/internal/jsonx"
)

func appendAssistant(w *jsonx.Writer, q *chat.Request, m *chat.Message) {
	var text, refusal strings.Builder
	calls := 0
	for i := range m.Parts {
		switch p := &m.Parts[i]; p.Kind {
		case chat.Text:
			text.WriteString(p.Text)
			dropCache(q, p)
		case chat.Refusal:
			refusal.WriteString(p.Text)
		case chat.ToolUse:
			calls++
			dropCache(q, p)
		case chat.Thinks, chat.Redacted:
			q.DropNamed("messages.content.thinking")
		}
	}
	if calls == 0 && text.Len() == 0 && refusal.Len() == 0 {
		return
	}
	w.Open()
	w.String("role", "assistant")
	if text.Len() > 0 {
		w.String("content", text.String())
	} else {
		w.Raw("content", null)
	}
	w.Text("refusal", refusal.String())
	if calls > 0 {
		w.OpenArrayKey("tool_calls")
		for i := range m.Parts {
			if p := m.Parts[i]; p.Kind == chat.ToolUse {
				p.Signature = ""
				appendCall(w, &p)
			}
		}
		w.CloseArray()
	}
	w.Close()
}

// appendUser writes a turn: the results of tools as messages of their own, what else
// was said after them. Media in a result follows in the user's message, because a
// tool's message can only hold text.
func appendUser(w *jsonx.Writer, q *chat.Request, m *chat.Message) *chat.Error {
	var rest []chat.Part
	for i := range m.Parts {
		p := &m.Parts[i]
		if p.Kind != chat.ToolResult {
			rest = append(rest, *p)
			continue
		}
		dropCache(q, p)
		if p.Failed {
			q.DropNamed("messages.content.is_error")
		}
		var text []chat.Part
		var media []chat.Part
		for _, c := range p.Content {
			c.At = p.At
			switch {
			case c.Kind == chat.Text:
				text = append(text, c)
			case c.Media.Plain != "":
				text = append(text, chat.Part{Kind: chat.Text, Text: c.Media.TitledText(), Cache: c.Cache})
			default:
				media = append(media, c)
			}
		}
		if len(media) > 0 {
			text = append(text, chat.Part{Kind: chat.Text, Text: "(continued in the next message)"})
			rest = append(rest, chat.Part{Kind: chat.Text, Text: "Result of tool call " + p.ID + ":"})
			rest = append(rest, media...)
		}
		w.Open()
		w.String("role", "tool")
		w.String("tool_call_id", p.ID)
		if err := appendContent(w, q, m, text); err != nil {
			return err
		}
		w.Close()
	}
	if len(rest) == 0 {
		return nil
	}
	w.Open()
	w.String("role", "user")
	if err := appendContent(w, q, m, rest); err != nil {
		return err
	}
	w.Close()
	return nil
}

func dropCache(q *chat.Request, p *chat.Part) {
	if p.Cache.On {
		q.Drop(chat.FieldCache)
	}
}

func appendContent(w *jsonx.Writer, q *chat.Request, m *chat.Message, parts []chat.Part) *chat.Error {
	switch {
	case len(parts) == 0:
		w.String("content", "")
		return nil
	case len(parts) == 1 && parts[0].Kind == chat.Text:
		dropCache(q, &parts[0])
		w.String("content", parts[0].Text)
		return nil
	}
	w.OpenArrayKey("content")
	for i := range parts {
		p := &parts[i]
		dropCache(q, p)
		w.Open()
		if err := appendPart(w, q, m, p); err != nil {
			return err
		}
		w.Close()
	}
	w.CloseArray()
	return nil
}

func appendPart(w *jsonx.Writer, q *chat.Request, m *chat.Message, p *chat.Part) *chat.Error {
	switch p.Kind {
	case chat.Text, chat.Refusal:
		w.String("type", "text")
		w.String("text", p.Text)
	case chat.Image:
		w.String("type", "image_url")
		w.OpenKey("image_url")
		url := p.Media.URL
		if url == "" {
			url = "data:" + p.Media.Type + ";base64," + p.Media.Data
		}
		w.String("url", url)
		w.Close()
	case chat.Audio:
		w.String("type", "input_audio")
		w.OpenKey("input_audio")
		w.String("data", p.Media.Data)
		w.String("format", strings.TrimPrefix(p.Media.Type, "audio/"))
		w.Close()
	case chat.Document:
		if p.Media.Context != "" {
			q.DropNamed("messages.content.context")
		}
		switch {
		case p.Media.Plain != "":
			w.String("type", "text")
			w.String("text", p.Media.TitledText())
		case p.Media.Data != "":
			name := p.Media.Name
			if name == "" {
				name = "document"
			}
			w.String("type", "file")
			w.OpenKey("file")
			w.String("filename", name)
			w.String("file_data", "data:"+p.Media.Type+";base64,"+p.Media.Data)
			w.Close()
		default:
			return chat.Unsupported(m.Place(p), provider, "documents cannot be given by URL")
		}
	default:
		return chat.Unsupported(m.Place(p), provider, p.Kind.String()+" cannot stand here")
	}
	return nil
}
