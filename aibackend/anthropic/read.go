package anthropic

import (
	"encoding/json"
	"net/http"
	"strconv"

	"github.com/fairway-ai/fairway/aibackend/chat"
	"github.com/fairway-ai/fairway/aibackend/internal/jsonx"
)

// usage are the counts as this schema has them: the input without what was read from
// or written to the cache. A stream tells them in pieces.
type usage struct {
	input, output, read, write, hour, reasoning int64
	known                                       bool
}

func (u *usage) member(key, v []byte) error {
	var to *int64
	switch string(key) {
	case "input_tokens":
		to = &u.input
	case "output_tokens":
		to = &u.output
	case "cache_read_input_tokens":
		to = &u.read
	case "cache_creation_input_tokens":
		to = &u.write
	case "ephemeral_1h_input_tokens":
		to = &u.hour
	case "thinking_tokens":
		to = &u.reasoning
	case "cache_creation", "output_tokens_details":
		_, _ = jsonx.Each(v, u.member)
		return nil
	default:
		return nil
	}
	if n, err := strconv.ParseInt(string(v), 10, 64); err == nil && n >= 0 {
		*to = n
		u.known = true
	}
	return nil
}

func (u *usage) add(v []byte) { _, _ = jsonx.Each(v, u.member) }

func (u *usage) counts() chat.Usage {
	return chat.Usage{
		Input: u.input + u.read + u.write, Output: u.output, Cached: u.read,
		CacheWrite: u.write, CacheWriteHour: u.hour, Reasoning: u.reasoning, Known: u.known,
	}
}

// ParseUsage reads a usage object. It is zero for anything else.
func ParseUsage(v []byte) chat.Usage {
	var u usage
	u.add(v)
	return u.counts()
}

type wireResponse struct {
	ID      string `json:"id"`
	Type    string `json:"type"`
	Model   string `json:"model"`
	Content []struct {
		Type      string          `json:"type"`
		Text      string          `json:"text"`
		Thinking  string          `json:"thinking"`
		Signature string          `json:"signature"`
		Data      string          `json:"data"`
		ID        string          `json:"id"`
		Name      string          `json:"name"`
		Input     json.RawMessage `json:"input"`
	} `json:"content"`
	StopReason   string          `json:"stop_reason"`
	StopSequence string          `json:"stop_sequence"`
	StopDetails  *stopDetails    `json:"stop_details"`
	Usage        json.RawMessage `json:"usage"`
}

type stopDetails struct {
	Explanation string `json:"explanation"`
}

// ParseResponse reads a provider's whole answer.
func ParseResponse(body []byte) (*chat.Response, *chat.Error) {
	var w wireResponse
	if err := json.Unmarshal(body, &w); err != nil {
		return nil, chat.Malformed(provider, "%v", err)
	}
	if w.Type != "message" {
		if e := ParseError(http.StatusBadGateway, body); e != nil {
			return nil, e
		}
		return nil, chat.Malformed(provider, "it is no message")
	}
	var c chat.Choice
	for _, b := range w.Content {
		p := chat.Part{Text: b.Text}
		switch b.Type {
		case "text":
			if b.Text == "" {
				continue
			}
		case "thinking":
			p = chat.Part{Kind: chat.Thinks, Text: b.Thinking, Signature: b.Signature}
		case "redacted_thinking":
			p = chat.Part{Kind: chat.Redacted, Signature: b.Data}
		case "tool_use":
			p = chat.Part{Kind: chat.ToolUse, ID: b.ID, Name: b.Name, Args: b.Input}
			if jsonx.KindOf(b.Input) != jsonx.Object {
				return nil, chat.Malformed(provider, "the input of a call to %q is no JSON object", b.Name)
			}
		default:
			// Of tools on Anthropic's servers, which only Anthropic's clients can ask for.
			continue
		}
		c.Parts = append(c.Parts, p)
	}
	c.Finish, c.StopSequence = finishOf(w.StopReason), w.StopSequence
	if w.StopDetails != nil {
		c.Why = w.StopDetails.Explanation
	}
	return &chat.Response{ID: w.ID, Model: w.Model, Choices: []chat.Choice{c}, Usage: ParseUsage(w.Usage)}, nil
}

func finishOf(reason string) chat.Finish {
	switch reason {
	case "max_tokens":
		return chat.FinishLength
	case "stop_sequence":
		return chat.FinishStopSequence
	case "tool_use":
		return chat.FinishToolUse
	case "pause_turn":
		return chat.FinishPause
	case "refusal":
		return chat.FinishRefusal
	case "model_context_window_exceeded":
		return chat.FinishContext
	}
	return chat.FinishStop
}
