package anthropic

import (
	"github.com/cespare/xxhash/v2"

	"github.com/fairway-ai/fairway/aibackend/chat"
	"github.com/fairway-ai/fairway/aibackend/internal/fields"
	"github.com/fairway-ai/fairway/aibackend/internal/jsonx"
)

// request is a chat.Request being read.
type request struct {
	fields.Reader
	q *chat.Request
}

// ParseRequest reads a valid JSON document as a client's request. Fields of this
// schema that no other knows are refused, or dropped where that is harmless.
// Documents in the result are parts of body.
func ParseRequest(body []byte) (*chat.Request, *chat.Error) {
	r := &request{q: &chat.Request{N: 1, Names: fieldName, Digest: xxhash.Sum64(body), StreamUsage: true}}
	r.Each(body, r.top)
	switch {
	case r.Err != nil:
		return nil, r.Err
	case len(r.q.Messages) == 0:
		return nil, chat.Invalid("messages", "must not be empty")
	case r.q.MaxTokens == 0:
		return nil, chat.Invalid("max_tokens", "must be given")
	}
	return r.q, nil
}

func (r *request) top(key, v []byte) {
	q := r.q
	switch string(key) {
	case "model":
		q.Model = r.String(v)
	case "messages":
		r.Items(v, r.message)
	case "system":
		q.System = append(q.System, r.textParts(v)...)
	case "tools":
		r.Items(v, r.tool)
	case "tool_choice":
		r.toolChoice(v)
	case "output_config":
		r.outputConfig(v)
	case "output_format": // its name before output_config
		r.format(v)
	case "max_tokens":
		if q.MaxTokens = r.Int(v); q.MaxTokens < 1 {
			r.Fail("must be at least 1")
		}
	case "temperature":
		q.Temperature = r.Float(v)
	case "top_p":
		q.TopP = r.Float(v)
	case "top_k":
		q.TopK = r.IntPtr(v)
	case "stop_sequences":
		q.Stop = r.Strings(v)
	case "thinking":
		q.Thinking = r.Thinking(v, q.Thinking)
	case "metadata":
		r.Each(v, func(key, v []byte) {
			if string(key) == "user_id" {
				q.User = r.String(v)
				return
			}
			q.DropNamed(r.Path())
		})
	case "stream":
		q.Stream = r.Bool(v)
	case "service_tier", "cache_control", "speed", "diagnostics", "context_management", "betas":
		// They concern price, speed or a context that is sent whole anyway.
		q.DropNamed(string(key))
	case "anthropic_version":
	default:
		r.Refuse("the field has no counterpart")
	}
}

func (r *request) tool(_ int, v []byte) {
	var t chat.Tool
	kind := "custom"
	r.Each(v, func(key, v []byte) {
		switch string(key) {
		case "type":
			kind = r.String(v)
		case "name":
			t.Name = r.String(v)
		case "description":
			t.Description = r.String(v)
		case "input_schema":
			t.Schema = r.Object(v)
		case "strict":
			t.Strict = r.BoolPtr(v)
		case "cache_control":
			t.Cache = r.Cache(v)
		default:
			if kind == "custom" {
				r.q.DropNamed(r.Path())
			}
		}
	})
	if kind != "custom" {
		r.Refuse("the tool runs on Anthropic's servers")
	}
	if t.Name == "" {
		r.Fail("has no name")
	}
	r.q.Tools = append(r.q.Tools, t)
}

func (r *request) toolChoice(v []byte) {
	c := &r.q.ToolChoice
	r.Each(v, func(key, v []byte) {
		switch string(key) {
		case "type":
			switch r.String(v) {
			case "auto":
				c.Mode = chat.ToolAuto
			case "any":
				c.Mode = chat.ToolRequired
			case "tool":
				c.Mode = chat.ToolNamed
			case "none":
				c.Mode = chat.ToolNone
			default:
				r.Fail("must be auto, any, tool or none")
			}
		case "name":
			c.Name = r.String(v)
		case "disable_parallel_tool_use":
			parallel := !r.Bool(v)
			r.q.ParallelTools = &parallel
		default:
			r.q.DropNamed(r.Path())
		}
	})
	if c.Mode == chat.ToolNamed && c.Name == "" {
		r.Fail("has no name")
	}
}

func (r *request) outputConfig(v []byte) {
	r.Each(v, func(key, v []byte) {
		switch string(key) {
		case "effort":
			r.q.Thinking.Effort = r.String(v)
			switch r.q.Thinking.Effort {
			case "low", "medium", "high", "xhigh", "max":
			default:
				r.Fail("must be low, medium, high, xhigh or max")
			}
		case "format":
			r.format(v)
		default:
			r.Refuse("the field has no counterpart")
		}
	})
}

func (r *request) format(v []byte) {
	f := &r.q.Format
	r.Each(v, func(key, v []byte) {
		switch string(key) {
		case "type":
			if r.String(v) != "json_schema" {
				r.Refuse("only json_schema can be translated")
			}
			f.Mode = chat.FormatSchema
		case "schema":
			f.Schema = r.Object(v)
		default:
			r.q.DropNamed(r.Path())
		}
	})
	if f.Schema == nil {
		r.Fail("has no schema")
	}
}

// textParts reads a string or a list of text blocks.
func (r *request) textParts(v []byte) []chat.Part {
	parts := r.content(v)
	for _, p := range parts {
		if p.Kind != chat.Text {
			r.Fail("must be text")
		}
	}
	return parts
}

// content reads a string or a list of blocks.
func (r *request) content(v []byte) (parts []chat.Part) {
	if jsonx.KindOf(v) == jsonx.String {
		return []chat.Part{{Kind: chat.Text, Text: r.String(v)}}
	}
	r.Items(v, func(i int, v []byte) {
		p := r.block(v)
		p.At = i
		parts = append(parts, p)
	})
	return parts
}

var fieldNames = [...]string{
	chat.FieldModel: "model", chat.FieldMessages: "messages", chat.FieldTools: "tools",
	chat.FieldToolChoice: "tool_choice", chat.FieldParallelTools: "tool_choice.disable_parallel_tool_use",
	chat.FieldFormat: "output_config.format", chat.FieldMaxTokens: "max_tokens",
	chat.FieldTemperature: "temperature", chat.FieldTopP: "top_p", chat.FieldTopK: "top_k",
	chat.FieldSeed: "seed", chat.FieldFrequencyPenalty: "frequency_penalty",
	chat.FieldPresencePenalty: "presence_penalty", chat.FieldN: "n", chat.FieldStop: "stop_sequences",
	chat.FieldThinking: "thinking", chat.FieldEffort: "output_config.effort",
	chat.FieldUser: "metadata.user_id", chat.FieldCache: "cache_control",
}

func fieldName(f chat.Field) string { return fieldNames[f] }
