package openai

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
	// allowed, if not nil, are the tools that tool_choice leaves.
	allowed map[string]bool
}

// ParseRequest reads a valid JSON document as a client's request. Fields of this
// schema that no other knows are refused, or dropped where that is harmless.
// Documents in the result are parts of body.
func ParseRequest(body []byte) (*chat.Request, *chat.Error) {
	r := &request{q: &chat.Request{N: 1, Names: fieldName, Digest: xxhash.Sum64(body)}}
	r.Each(body, r.top)
	if r.Err == nil && len(r.q.Messages) == 0 && len(r.q.System) == 0 {
		r.Err = chat.Invalid("messages", "must not be empty")
	}
	if r.Err != nil {
		return nil, r.Err
	}
	if r.allowed != nil {
		kept := r.q.Tools[:0]
		for _, t := range r.q.Tools {
			if r.allowed[t.Name] {
				kept = append(kept, t)
			}
		}
		r.q.Tools = kept
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
	case "tools":
		r.Items(v, r.tool)
	case "tool_choice":
		r.toolChoice(v)
	case "parallel_tool_calls":
		q.ParallelTools = r.BoolPtr(v)
	case "response_format":
		r.format(v)
	case "max_tokens":
		if q.MaxTokens == 0 {
			q.MaxTokens = r.positive(v)
		}
	case "max_completion_tokens":
		q.MaxTokens = r.positive(v)
	case "temperature":
		q.Temperature = r.Float(v)
	case "top_p":
		q.TopP = r.Float(v)
	case "top_k":
		q.TopK = r.IntPtr(v)
	case "seed":
		q.Seed = r.IntPtr(v)
	case "frequency_penalty":
		q.FrequencyPenalty = r.Float(v)
	case "presence_penalty":
		q.PresencePenalty = r.Float(v)
	case "n":
		q.N = r.positive(v)
	case "stop":
		r.stop(v)
	case "reasoning_effort":
		r.effort(v)
	case "thinking":
		q.Thinking = r.Thinking(v, q.Thinking)
	case "user":
		q.User = r.String(v)
	case "safety_identifier":
		if s := r.String(v); q.User == "" {
			q.User = s
		}
	case "stream":
		q.Stream = r.Bool(v)
	case "stream_options":
		r.Each(v, func(key, v []byte) {
			switch string(key) {
			case "include_usage":
				q.StreamUsage = r.Bool(v)
			case "include_obfuscation":
				// Padding against observers; streams of other providers have none.
			default:
				q.DropNamed(r.Path())
			}
		})
	default:
		r.foreign(string(key), v)
	}
}

// foreign takes the fields that only OpenAI knows.
func (r *request) foreign(key string, v []byte) {
	switch key {
	case "store", "metadata", "service_tier", "prompt_cache_key", "prompt_cache_retention",
		"prompt_cache_options", "verbosity", "prediction":
		// They concern bookkeeping, price, speed or style.
		if s := string(v); s != "false" && s != "{}" && s != `"auto"` && s != `"default"` {
			r.q.DropNamed(key)
		}
	case "logprobs":
		if r.Bool(v) {
			r.Refuse("there are no log probabilities")
		}
	case "top_logprobs":
		if r.Int(v) > 0 {
			r.Refuse("there are no log probabilities")
		}
	case "logit_bias":
		if string(v) != "{}" {
			r.Refuse("tokens cannot be biased")
		}
	case "modalities":
		r.Items(v, func(_ int, v []byte) {
			if r.String(v) != "text" {
				r.Refuse("the answer can only be text")
			}
		})
	case "functions":
		r.Refuse("functions are obsolete, use tools")
	case "function_call":
		r.Refuse("function_call is obsolete, use tool_choice")
	default:
		r.Refuse("the field has no counterpart")
	}
}

func (r *request) positive(v []byte) int64 {
	n := r.Int(v)
	if n < 1 {
		r.Fail("must be at least 1")
	}
	return n
}

func (r *request) stop(v []byte) {
	if jsonx.KindOf(v) == jsonx.String {
		r.q.Stop = []string{r.String(v)}
		return
	}
	r.q.Stop = r.Strings(v)
}

func (r *request) effort(v []byte) {
	switch s := r.String(v); s {
	case "none", "minimal", "low", "medium", "high", "xhigh", "max":
		r.q.Thinking.Effort = s
	default:
		r.Fail("must be none, minimal, low, medium, high, xhigh or max")
	}
}

func (r *request) tool(_ int, v []byte) {
	var t chat.Tool
	r.Each(v, func(key, v []byte) {
		switch string(key) {
		case "type":
			if s := r.String(v); s != "function" {
				r.Refuse("only tools of type function can be translated")
			}
		case "function":
			r.Each(v, func(key, v []byte) {
				switch string(key) {
				case "name":
					t.Name = r.String(v)
				case "description":
					t.Description = r.String(v)
				case "parameters":
					t.Schema = r.Object(v)
				case "strict":
					t.Strict = r.BoolPtr(v)
				default:
					r.q.DropNamed(r.Path())
				}
			})
		case "cache_control":
			t.Cache = r.Cache(v)
		default:
			r.q.DropNamed(r.Path())
		}
	})
	if t.Name == "" {
		r.Fail("has no function.name")
	}
	r.q.Tools = append(r.q.Tools, t)
}

func (r *request) toolChoice(v []byte) {
	c := &r.q.ToolChoice
	if jsonx.KindOf(v) == jsonx.String {
		c.Mode = r.toolMode(v)
		return
	}
	r.Each(v, func(key, v []byte) {
		switch string(key) {
		case "type":
			if s := r.String(v); s != "function" && s != "allowed_tools" {
				r.Refuse("only function and allowed_tools can be translated")
			}
		case "function":
			c.Mode, c.Name = chat.ToolNamed, r.String(fields.Member(v, "name"))
		case "allowed_tools":
			r.allowed = map[string]bool{}
			r.Each(v, func(key, v []byte) {
				switch string(key) {
				case "mode":
					c.Mode = r.toolMode(v)
				case "tools":
					r.Items(v, func(_ int, v []byte) {
						r.allowed[r.String(fields.Member(fields.Member(v, "function"), "name"))] = true
					})
				}
			})
		default:
			r.q.DropNamed(r.Path())
		}
	})
}

func (r *request) toolMode(v []byte) chat.ToolMode {
	switch r.String(v) {
	case "none":
		return chat.ToolNone
	case "auto":
		return chat.ToolAuto
	case "required":
		return chat.ToolRequired
	}
	r.Fail("must be none, auto or required")
	return chat.ToolDefault
}

func (r *request) format(v []byte) {
	f := &r.q.Format
	r.Each(v, func(key, v []byte) {
		switch string(key) {
		case "type":
			switch r.String(v) {
			case "text":
			case "json_object":
				f.Mode = chat.FormatJSON
			case "json_schema":
				f.Mode = chat.FormatSchema
			default:
				r.Refuse("only text, json_object and json_schema can be translated")
			}
		case "json_schema":
			r.Each(v, func(key, v []byte) {
				switch string(key) {
				case "name":
					f.Name = r.String(v)
				case "description":
					f.Description = r.String(v)
				case "schema":
					f.Schema = r.Object(v)
				case "strict":
					f.Strict = r.BoolPtr(v)
				default:
					r.q.DropNamed(r.Path())
				}
			})
		default:
			r.q.DropNamed(r.Path())
		}
	})
	if f.Mode == chat.FormatSchema && f.Schema == nil {
		r.Fail("has no json_schema.schema")
	}
}

var fieldNames = [...]string{
	chat.FieldModel: "model", chat.FieldMessages: "messages", chat.FieldTools: "tools",
	chat.FieldToolChoice: "tool_choice", chat.FieldParallelTools: "parallel_tool_calls",
	chat.FieldFormat: "response_format", chat.FieldMaxTokens: "max_completion_tokens",
	chat.FieldTemperature: "temperature", chat.FieldTopP: "top_p", chat.FieldTopK: "top_k",
	chat.FieldSeed: "seed", chat.FieldFrequencyPenalty: "frequency_penalty",
	chat.FieldPresencePenalty: "presence_penalty", chat.FieldN: "n", chat.FieldStop: "stop",
	chat.FieldThinking: "thinking", chat.FieldEffort: "reasoning_effort",
	chat.FieldUser: "user", chat.FieldCache: "cache_control",
}

func fieldName(f chat.Field) string { return fieldNames[f] }
