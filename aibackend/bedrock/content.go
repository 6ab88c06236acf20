package bedrock

import (
	"strconv"
	"strings"

	"github.com/fairway-ai/fairway/aibackend/chat"
	"github.com/fairway-ai/fairway/aibackend/internal/jsonx"
)

// appendMessages writes the turns, which must alternate: consecutive messages of one
// role are one turn.
func appendMessages(w *jsonx.Writer, q *chat.Request) *chat.Error {
	w.OpenArrayKey("messages")
	open := false
	names := map[string]int{}
	for i := range q.Messages {
		m := &q.Messages[i]
		if !open {
			w.Open()
			w.String("role", [...]string{chat.User: "user", chat.Assistant: "assistant"}[m.Role])
			w.OpenArrayKey("content")
			open = true
		}
		for k := range m.Parts {
			if err := appendPart(w, q, m, &m.Parts[k], names); err != nil {
				return err
			}
			appendCache(w, cacheOf(&m.Parts[k]))
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

// appendCache writes a mark, which stands after what it ends.
func appendCache(w *jsonx.Writer, c chat.Cache) {
	if c.On {
		w.Open()
		w.OpenKey("cachePoint")
		w.String("type", "default")
		w.Text("ttl", c.TTL)
		w.Close()
		w.Close()
	}
}

// cacheOf is a part's mark. Inside of a tool's result no mark can stand, so one there
// moves behind the result.
func cacheOf(p *chat.Part) chat.Cache {
	c := p.Cache
	for i := range p.Content {
		if p.Content[i].Cache.On {
			c = p.Content[i].Cache
		}
	}
	return c
}

func appendText(w *jsonx.Writer, text string) {
	if text != "" { // refused, and says nothing
		w.Open()
		w.String("text", text)
		w.Close()
	}
}

func appendPart(w *jsonx.Writer, q *chat.Request, m *chat.Message, p *chat.Part, names map[string]int) *chat.Error {
	switch p.Kind {
	case chat.Text, chat.Refusal:
		appendText(w, p.Text)
	case chat.Image, chat.Audio:
		return appendMedia(w, m, p)
	case chat.Document:
		return appendDocument(w, m, p, names)
	case chat.Thinks:
		// Only what the model itself signed is taken back.
		if p.Signature == "" || strings.HasPrefix(p.Signature, chat.GeminiSignature) {
			q.DropNamed("messages.thinking_blocks of another provider")
			return nil
		}
		w.Open()
		w.OpenKey("reasoningContent")
		w.OpenKey("reasoningText")
		w.String("text", p.Text)
		w.String("signature", p.Signature)
		w.Close()
		w.Close()
		w.Close()
	case chat.Redacted:
		w.Open()
		w.OpenKey("reasoningContent")
		w.String("redactedContent", p.Signature)
		w.Close()
		w.Close()
	case chat.ToolUse:
		if p.Signature != "" {
			q.DropNamed("messages.tool_calls.extra_content")
		}
		w.Open()
		w.OpenKey("toolUse")
		w.String("toolUseId", chat.SafeID(p.ID))
		w.String("name", p.Name)
		w.Document("input", p.Args)
		w.Close()
		w.Close()
	case chat.ToolResult:
		return appendResult(w, q, m, p, names)
	}
	return nil
}

func appendResult(w *jsonx.Writer, q *chat.Request, m *chat.Message, p *chat.Part, names map[string]int) *chat.Error {
	w.Open()
	w.OpenKey("toolResult")
	w.String("toolUseId", chat.SafeID(p.ID))
	w.OpenArrayKey("content")
	for i := range p.Content {
		if err := appendPart(w, q, m, &p.Content[i], names); err != nil {
			return err
		}
	}
	w.CloseArray()
	if p.Failed {
		w.String("status", "error")
	}
	w.Close()
	w.Close()
	return nil
}

func appendMedia(w *jsonx.Writer, m *chat.Message, p *chat.Part) *chat.Error {
	if p.Media.Data == "" {
		return chat.Unsupported(m.Place(p), provider, "it fetches no URLs, send the data")
	}
	key := p.Kind.String()
	format := strings.TrimPrefix(p.Media.Type, key+"/")
	if format == "jpg" {
		format = "jpeg"
	}
	switch key + "/" + format {
	case "image/png", "image/jpeg", "image/gif", "image/webp",
		"audio/mp3", "audio/wav", "audio/flac", "audio/ogg", "audio/aac", "audio/opus", "audio/m4a", "audio/webm":
	default:
		return chat.Unsupported(m.Place(p), provider, "it does not know the media type "+clip(p.Media.Type))
	}
	w.Open()
	w.OpenKey(key)
	w.String("format", format)
	w.OpenKey("source")
	w.String("bytes", p.Media.Data)
	w.Close()
	w.Close()
	w.Close()
	return nil
}

func clip(s string) string {
	if len(s) > 64 {
		return s[:64]
	}
	return s
}

func documentFormat(mediaType string) string {
	switch mediaType {
	case "application/pdf":
		return "pdf"
	case "text/plain", "":
		return "txt"
	case "text/csv":
		return "csv"
	case "text/html":
		return "html"
	case "text/markdown":
		return "md"
	case "application/msword":
		return "doc"
	case "application/vnd.openxmlformats-officedocument.wordprocessingml.document":
		return "docx"
	case "application/vnd.ms-excel":
		return "xls"
	case "application/vnd.openxmlformats-officedocument.spreadsheetml.sheet":
		return "xlsx"
	}
	return ""
}

func appendDocument(w *jsonx.Writer, m *chat.Message, p *chat.Part, names map[string]int) *chat.Error {
	format := documentFormat(p.Media.Type)
	switch {
	case p.Media.URL != "":
		return chat.Unsupported(m.Place(p), provider, "it fetches no URLs, send the data")
	case format == "":
		return chat.Unsupported(m.Place(p), provider, "it does not know the media type "+clip(p.Media.Type))
	}
	w.Open()
	w.OpenKey("document")
	w.String("format", format)
	w.String("name", documentName(p.Media.Name, names))
	w.OpenKey("source")
	if p.Media.Plain != "" {
		w.String("text", p.Media.Plain)
	} else {
		w.String("bytes", p.Media.Data)
	}
	w.Close()
	w.Text("context", p.Media.Context)
	w.Close()
	w.Close()
	return nil
}

// documentName is a name as Converse allows: letters, digits, single blanks, hyphens,
// brackets, and different from the others.
func documentName(name string, names map[string]int) string {
	const maxName = 180
	name = strings.Map(func(r rune) rune {
		switch {
		case 'a' <= r && r <= 'z', 'A' <= r && r <= 'Z', '0' <= r && r <= '9',
			r == '-', r == '(', r == ')', r == '[', r == ']':
			return r
		}
		return ' '
	}, name)
	if name = strings.Join(strings.Fields(name), " "); name == "" {
		name = "document"
	}
	name = strings.TrimSpace(name[:min(len(name), maxName)])
	names[name]++
	if n := names[name]; n > 1 {
		name += "-" + strconv.Itoa(n)
	}
	return name
}
