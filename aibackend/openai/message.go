package openai

import (
	"encoding/json"
	"strings"

	"github.com/fairway-ai/fairway/aibackend/chat"
	"github.com/fairway-ai/fairway/aibackend/internal/fields"
	"github.com/fairway-ai/fairway/aibackend/internal/jsonx"
)

func (r *request) message(i int, v []byte) {
	role, _ := jsonx.Unquote(fields.Member(v, "role"))
	switch role {
	case "system", "developer":
		r.system(v)
	case "user":
		m := chat.Message{Role: chat.User, At: i}
		r.members(v, func(key string, v []byte) {
			if key == "content" {
				m.Parts = r.content(v)
				return
			}
			r.q.DropNamed(r.Path())
		})
		r.add(m)
	case "tool":
		r.toolMessage(i, v)
	case "assistant":
		r.assistant(i, v)
	case "function":
		r.Refuse("messages of role function are obsolete, use tool")
	default:
		r.Fail("role must be system, developer, user, assistant or tool")
	}
}

func (r *request) add(m chat.Message) {
	if len(m.Parts) == 0 && r.Err == nil {
		r.Fail("has no content")
	}
	r.q.Messages = append(r.q.Messages, m)
}

// members reads a message's members but for its role.
func (r *request) members(v []byte, fn func(key string, v []byte)) {
	r.Each(v, func(key, v []byte) {
		if string(key) != "role" {
			fn(string(key), v)
		}
	})
}

func (r *request) system(v []byte) {
	r.members(v, func(key string, v []byte) {
		if key != "content" {
			r.q.DropNamed(r.Path())
			return
		}
		for _, p := range r.content(v) {
			if p.Kind != chat.Text {
				r.Fail("must be text")
			}
			r.q.System = append(r.q.System, p)
		}
	})
}

func (r *request) toolMessage(i int, v []byte) {
	p := chat.Part{Kind: chat.ToolResult}
	r.members(v, func(key string, v []byte) {
		switch key {
		case "content":
			p.Content = r.content(v)
		case "tool_call_id":
			p.ID = r.String(v)
		case "cache_control":
			p.Cache = r.Cache(v)
		default:
			r.q.DropNamed(r.Path())
		}
	})
	if p.ID == "" {
		r.Fail("has no tool_call_id")
	}
	r.add(chat.Message{Role: chat.User, At: i, Parts: []chat.Part{p}})
}

func (r *request) assistant(i int, v []byte) {
	m := chat.Message{Role: chat.Assistant, At: i}
	var text, calls []chat.Part
	reasoning := ""
	r.members(v, func(key string, v []byte) {
		switch key {
		case "content":
			for _, p := range r.content(v) {
				if p.Kind != chat.Text || p.Text != "" { // as some clients write none
					text = append(text, p)
				}
			}
		case "refusal":
			text = append(text, chat.Part{Kind: chat.Refusal, Text: r.String(v)})
		case "tool_calls":
			r.Items(v, func(_ int, v []byte) { calls = append(calls, r.toolCall(v)) })
		case "reasoning_content", "reasoning":
			if jsonx.KindOf(v) == jsonx.String {
				reasoning = r.String(v)
			}
		case "thinking_blocks":
			r.Items(v, func(_ int, v []byte) { m.Parts = append(m.Parts, r.thinkingBlock(v)) })
		case "function_call":
			r.Refuse("function_call is obsolete, use tool_calls")
		case "audio":
			r.Refuse("audio of earlier answers is kept by OpenAI only")
		default:
			r.q.DropNamed(r.Path())
		}
	})
	if len(m.Parts) == 0 && reasoning != "" {
		m.Parts = append(m.Parts, chat.Part{Kind: chat.Thinks, Text: reasoning})
	}
	m.Parts = append(append(m.Parts, text...), calls...)
	if len(m.Parts) > 0 { // an empty turn says nothing
		r.q.Messages = append(r.q.Messages, m)
	}
}

func (r *request) thinkingBlock(v []byte) chat.Part {
	p := chat.Part{Kind: chat.Thinks}
	r.Each(v, func(key, v []byte) {
		switch string(key) {
		case "type":
			switch r.String(v) {
			case "thinking":
			case "redacted_thinking":
				p.Kind = chat.Redacted
			default:
				r.Fail("must be thinking or redacted_thinking")
			}
		case "thinking":
			p.Text = r.String(v)
		case "signature", "data":
			p.Signature = r.String(v)
		case "index":
		default:
			r.q.DropNamed(r.Path())
		}
	})
	return p
}

func (r *request) toolCall(v []byte) chat.Part {
	p := chat.Part{Kind: chat.ToolUse}
	r.Each(v, func(key, v []byte) {
		switch string(key) {
		case "id":
			p.ID = r.String(v)
		case "type":
			if r.String(v) != "function" {
				r.Refuse("only calls of type function can be translated")
			}
		case "function":
			r.Each(v, func(key, v []byte) {
				switch string(key) {
				case "name":
					p.Name = r.String(v)
				case "arguments":
					p.Args = r.arguments(v)
				default:
					r.q.DropNamed(r.Path())
				}
			})
		case "extra_content":
			if s := fields.Member(fields.Member(v, "google"), "thought_signature"); s != nil {
				p.Signature = r.String(s)
			}
		case "index":
		default:
			r.q.DropNamed(r.Path())
		}
	})
	if p.ID == "" || p.Name == "" {
		r.Fail("has no id or no function.name")
	}
	if p.Args == nil {
		p.Args = json.RawMessage("{}")
	}
	return p
}

// arguments reads a JSON object that is written as a string.
func (r *request) arguments(v []byte) json.RawMessage {
	s := strings.TrimSpace(r.String(v))
	if s == "" {
		return nil
	}
	args := json.RawMessage(s)
	if err := jsonx.Valid(args); err != nil || jsonx.KindOf(args) != jsonx.Object {
		r.Fail("must hold a JSON object")
	}
	return args
}
