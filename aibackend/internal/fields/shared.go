package fields

import "github.com/fairway-ai/fairway/aibackend/chat"

// Thinking reads a thinking object. It is Anthropic's, and OpenAI's clients may send
// it too.
func (r *Reader) Thinking(v []byte, t chat.Thinking) chat.Thinking {
	r.Each(v, func(key, v []byte) {
		switch string(key) {
		case "type":
			switch r.String(v) {
			case "enabled":
				t.Mode = chat.ThinkingBudget
			case "adaptive":
				t.Mode = chat.ThinkingAdaptive
			case "disabled":
				t.Mode = chat.ThinkingOff
			default:
				r.Refuse("only enabled, adaptive and disabled can be translated")
			}
		case "budget_tokens":
			t.Budget = r.Int(v)
		case "display":
			t.Display = r.String(v)
		default:
			r.Refuse("the field has no counterpart")
		}
	})
	if t.Mode == chat.ThinkingBudget && t.Budget <= 0 {
		r.Fail("budget_tokens must be given")
	}
	return t
}

// Cache reads a cache_control object. It is Anthropic's, and OpenAI's clients may
// send it too.
func (r *Reader) Cache(v []byte) chat.Cache {
	c := chat.Cache{On: true}
	r.Each(v, func(key, v []byte) {
		switch string(key) {
		case "type":
			if r.String(v) != "ephemeral" {
				r.Fail("must be ephemeral")
			}
		case "ttl":
			if c.TTL = r.String(v); c.TTL != "5m" && c.TTL != "1h" {
				r.Fail("must be 5m or 1h")
			}
		}
	})
	return c
}
