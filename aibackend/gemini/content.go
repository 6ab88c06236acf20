package gemini

import (
	"encoding/json"
	"fmt"
	"path"
	"strings"

	"github.com/fairway-ai/fairway/aibackend/chat"
	"github.com/fairway-ai/fairway/aibackend/internal/jsonx"
)

// noSignature is the base64 of the value that Google defines for calls that Gemini
// did not make.
const noSignature = "c2tpcF90aG91Z2h0X3NpZ25hdHVyZV92YWxpZGF0b3I="

// contents writes the turns.
type contents struct {
	*jsonx.Writer
	q *chat.Request
	// names are those of the calls so far, by ID.
	names map[string]string
	// pending is the signature for the next call, from a thinking block before it.
	pending string
	// signed is set when a call of the turn has a signature: the first one needs one.
	signed bool
}

func (w *contents) append() *chat.Error {
	w.OpenArrayKey("contents")
	open := false
	messages := w.q.Messages
	for i := range messages {
		m := &messages[i]
		if !open {
			w.Open()
			w.String("role", [...]string{chat.User: "user", chat.Assistant: "model"}[m.Role])
			w.OpenArrayKey("parts")
			open, w.pending, w.signed = true, "", false
		}
		for k := range m.Parts {
			if err := w.part(m, &m.Parts[k]); err != nil {
				return err
			}
		}
		if i+1 == len(messages) || messages[i+1].Role != m.Role {
			w.CloseArray()
			w.Close()
			open = false
		}
	}
	w.CloseArray()
	return nil
}

func (w *contents) part(m *chat.Message, p *chat.Part) *chat.Error {
	dropCache(w.q, p)
	switch p.Kind {
	case chat.Text, chat.Refusal:
		if p.Text != "" {
			w.text(p.Text)
		}
	case chat.Image, chat.Audio, chat.Document:
		return w.media(m, p)
	case chat.Thinks:
		s, ours := strings.CutPrefix(p.Signature, chat.GeminiSignature)
		if ours {
			w.pending = s
		} else if p.Signature != "" {
			w.q.DropNamed("messages.thinking_blocks of another provider")
		}
	case chat.Redacted:
		w.q.DropNamed("messages.thinking_blocks of another provider")
	case chat.ToolUse:
		w.call(p)
	case chat.ToolResult:
		return w.result(m, p)
	}
	return nil
}

func (w *contents) text(s string) {
	w.Open()
	w.String("text", s)
	w.Close()
}

func (w *contents) call(p *chat.Part) {
	w.names[p.ID] = p.Name
	signature := p.Signature
	if signature == "" {
		signature = w.pending
	}
	w.pending = ""
	if signature == "" && !w.signed {
		signature = noSignature
	}
	w.signed = true
	w.Open()
	w.OpenKey("functionCall")
	w.String("name", p.Name)
	w.Document("args", p.Args)
	w.Close()
	w.Text("thoughtSignature", signature)
	w.Close()
}

// result writes what a tool gave. Media follows the result as parts of its own,
// which every Gemini understands.
func (w *contents) result(m *chat.Message, p *chat.Part) *chat.Error {
	name, ok := w.names[p.ID]
	if !ok {
		return chat.Invalid(m.Place(p), "is the result of a call that is not in the conversation")
	}
	var text strings.Builder
	for _, c := range p.Content {
		text.WriteString(c.Text)
	}
	w.Open()
	w.OpenKey("functionResponse")
	w.String("name", name)
	out := []byte(text.String())
	switch {
	case p.Failed:
		w.OpenKey("response")
		w.String("error", text.String())
		w.Close()
	case jsonx.KindOf(out) == jsonx.Object && json.Valid(out):
		w.Document("response", out)
	default:
		w.OpenKey("response")
		w.String("output", text.String())
		w.Close()
	}
	w.Close()
	w.Close()
	for i := range p.Content {
		if c := &p.Content[i]; c.Kind != chat.Text {
			if err := w.part(m, c); err != nil {
				return err
			}
		}
	}
	return nil
}

func (w *contents) media(m *chat.Message, p *chat.Part) *chat.Error {
	media := p.Media
	if media.Context != "" {
		w.q.DropNamed("messages.content.context")
	}
	if media.Plain != "" {
		w.text(media.TitledText())
		return nil
	}
	typ := media.Type
	if typ == "" {
		typ = typeByName(media.URL)
	}
	if typ == "" && p.Kind == chat.Document {
		typ = "application/pdf"
	}
	if typ == "" {
		return chat.Unsupported(m.Place(p), provider, fmt.Sprintf("the URL of the %s does not tell its media type", p.Kind))
	}
	w.Open()
	if media.URL != "" {
		w.OpenKey("fileData")
		w.String("mimeType", typ)
		w.String("fileUri", media.URL)
	} else {
		w.OpenKey("inlineData")
		w.String("mimeType", typ)
		w.String("data", media.Data)
	}
	w.Close()
	w.Close()
	return nil
}

func typeByName(url string) string {
	url, _, _ = strings.Cut(url, "?")
	switch strings.ToLower(path.Ext(url)) {
	case ".png":
		return "image/png"
	case ".jpg", ".jpeg":
		return "image/jpeg"
	case ".gif":
		return "image/gif"
	case ".webp":
		return "image/webp"
	case ".heic":
		return "image/heic"
	case ".pdf":
		return "application/pdf"
	}
	return ""
}
