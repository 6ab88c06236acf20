package anthropic

import (
	"encoding/json"
	"strings"

	"github.com/fairway-ai/fairway/aibackend/chat"
	"github.com/fairway-ai/fairway/aibackend/internal/fields"
	"github.com/fairway-ai/fairway/aibackend/internal/jsonx"
)

func (r *request) message(i int, v []byte) {
	m := chat.Message{At: i}
	role, _ := jsonx.Unquote(fields.Member(v, "role"))
	switch role {
	case "user":
	case "assistant":
		m.Role = chat.Assistant
	case "system":
		r.q.System = append(r.q.System, r.textParts(fields.Member(v, "content"))...)
		return
	default:
		r.Fail("role must be user or assistant")
		return
	}
	r.Each(v, func(key, v []byte) {
		switch string(key) {
		case "role":
		case "content":
			m.Parts = r.content(v)
		default:
			r.q.DropNamed(r.Path())
		}
	})
	if len(m.Parts) > 0 {
		r.q.Messages = append(r.q.Messages, m)
	}
}

func (r *request) block(v []byte) chat.Part {
	var p chat.Part
	kind, _ := jsonx.Unquote(fields.Member(v, "type"))
	switch kind {
	case "text":
	case "image":
		p.Kind = chat.Image
	case "document":
		p.Kind = chat.Document
	case "thinking":
		p.Kind = chat.Thinks
	case "redacted_thinking":
		p.Kind = chat.Redacted
	case "tool_use":
		p.Kind = chat.ToolUse
	case "tool_result":
		p.Kind = chat.ToolResult
	case "search_result":
		return r.searchResult(v)
	case "":
		r.Fail("has no type")
	default:
		r.Refuse("blocks of type " + clip(kind) + " belong to tools on Anthropic's servers")
	}
	r.Each(v, func(key, v []byte) {
		switch k := string(key); {
		case k == "type":
		case k == "cache_control":
			p.Cache = r.Cache(v)
		case !r.member(&p, k, v):
			if s := string(v); s != "[]" && s != "{}" {
				r.q.DropNamed(r.Path())
			}
		}
	})
	r.check(&p)
	return p
}

func clip(s string) string {
	if len(s) > 64 {
		return s[:64]
	}
	return s
}

// member reads one member of a block. It reports false for those it does not know.
func (r *request) member(p *chat.Part, key string, v []byte) bool {
	switch {
	case key == "text" && p.Kind == chat.Text,
		key == "thinking" && p.Kind == chat.Thinks:
		p.Text = r.String(v)
	case key == "signature" && p.Kind == chat.Thinks,
		key == "data" && p.Kind == chat.Redacted:
		p.Signature = r.String(v)
	case key == "source" && (p.Kind == chat.Image || p.Kind == chat.Document):
		name, context := "", ""
		if p.Media != nil {
			name, context = p.Media.Name, p.Media.Context
		}
		if p.Media = r.source(v); p.Media != nil {
			p.Media.Name, p.Media.Context = name, context
		}
	case key == "title" && p.Kind == chat.Document:
		media(p).Name = r.String(v)
	case key == "context" && p.Kind == chat.Document:
		media(p).Context = r.String(v)
	case key == "id" && p.Kind == chat.ToolUse,
		key == "tool_use_id" && p.Kind == chat.ToolResult:
		p.ID = r.String(v)
	case key == "name" && p.Kind == chat.ToolUse:
		p.Name = r.String(v)
	case key == "input" && p.Kind == chat.ToolUse:
		p.Args = r.Object(v)
	case key == "content" && p.Kind == chat.ToolResult:
		p.Content = r.content(v)
	case key == "is_error" && p.Kind == chat.ToolResult:
		p.Failed = r.Bool(v)
	case key == "caller" && p.Kind == chat.ToolUse:
	default:
		return false
	}
	return true
}

func (r *request) check(p *chat.Part) {
	switch p.Kind {
	case chat.ToolUse:
		if p.ID == "" || p.Name == "" {
			r.Fail("has no id or no name")
		}
		if p.Args == nil {
			p.Args = json.RawMessage("{}")
		}
	case chat.ToolResult:
		if p.ID == "" {
			r.Fail("has no tool_use_id")
		}
		for _, c := range p.Content {
			if c.Kind != chat.Text && c.Kind != chat.Image && c.Kind != chat.Document {
				r.Fail("content must be text, images and documents")
			}
		}
	case chat.Image, chat.Document:
		if p.Media == nil || p.Media.Data == "" && p.Media.URL == "" && p.Media.Plain == "" {
			r.Fail("has no source")
		}
	}
}

func (r *request) source(v []byte) *chat.Media {
	m := &chat.Media{}
	kind, _ := jsonx.Unquote(fields.Member(v, "type"))
	r.Each(v, func(key, v []byte) {
		switch k := string(key); {
		case k == "type":
		case k == "media_type":
			m.Type = strings.ToLower(r.String(v))
		case k == "data" && kind == "base64":
			m.Data = r.String(v)
		case k == "data" && kind == "text":
			m.Plain = r.String(v)
		case k == "url" && kind == "url":
			m.URL = r.String(v)
			if !strings.HasPrefix(m.URL, "https://") && !strings.HasPrefix(m.URL, "http://") {
				r.Fail("must be an http or https URL")
			}
		case k == "content" && kind == "content":
			m.Type = "text/plain"
			for _, p := range r.textParts(v) {
				m.Plain += p.Text
			}
		case kind == "file":
			r.Refuse("the file is kept by Anthropic, send its data")
		default:
			r.q.DropNamed(r.Path())
		}
	})
	return m
}

// searchResult reads a search_result block as a document of plain text: what is
// lost is only that the answer may cite it.
func (r *request) searchResult(v []byte) chat.Part {
	p := chat.Part{Kind: chat.Document, Media: &chat.Media{Type: "text/plain"}}
	r.Each(v, func(key, v []byte) {
		switch string(key) {
		case "type":
		case "title":
			p.Media.Name = r.String(v)
		case "source":
			p.Media.Context = r.String(v)
		case "content":
			for _, t := range r.textParts(v) {
				p.Media.Plain += t.Text
			}
		case "cache_control":
			p.Cache = r.Cache(v)
		default:
			r.q.DropNamed(r.Path())
		}
	})
	return p
}

// media is the part's, which may come after what describes it.
func media(p *chat.Part) *chat.Media {
	if p.Media == nil {
		p.Media = &chat.Media{}
	}
	return p.Media
}
