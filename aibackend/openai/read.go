package openai

import (
	"cmp"
	"encoding/json"
	"net/http"

	"github.com/fairway-ai/fairway/aibackend/chat"
	"github.com/fairway-ai/fairway/aibackend/internal/jsonx"
)

const provider = "the OpenAI backend"

// wireUsage has the names of the older APIs and those of the newer ones, such as
// responses.
type wireUsage struct {
	PromptTokens      int64              `json:"prompt_tokens"`
	CompletionTokens  int64              `json:"completion_tokens"`
	PromptDetails     *promptDetails     `json:"prompt_tokens_details"`
	CompletionDetails *completionDetails `json:"completion_tokens_details"`

	InputTokens   int64              `json:"input_tokens"`
	OutputTokens  int64              `json:"output_tokens"`
	InputDetails  *promptDetails     `json:"input_tokens_details"`
	OutputDetails *completionDetails `json:"output_tokens_details"`
}

type promptDetails struct {
	CachedTokens     int64 `json:"cached_tokens"`
	CacheWriteTokens int64 `json:"cache_write_tokens"`
}

type completionDetails struct {
	ReasoningTokens int64 `json:"reasoning_tokens"`
}

// ParseUsage reads a usage object of any of the APIs. It is zero for anything else.
func ParseUsage(v []byte) (u chat.Usage) {
	var w *wireUsage
	if json.Unmarshal(v, &w) != nil || w == nil {
		return u
	}
	u = chat.Usage{Input: cmp.Or(w.PromptTokens, w.InputTokens), Output: cmp.Or(w.CompletionTokens, w.OutputTokens), Known: true}
	if d := cmp.Or(w.PromptDetails, w.InputDetails); d != nil {
		u.Cached, u.CacheWrite = d.CachedTokens, d.CacheWriteTokens
	}
	if d := cmp.Or(w.CompletionDetails, w.OutputDetails); d != nil {
		u.Reasoning = d.ReasoningTokens
	}
	return u
}

type wireResponse struct {
	ID      string `json:"id"`
	Model   string `json:"model"`
	Choices []struct {
		Message *struct {
			Content          *string `json:"content"`
			Refusal          string  `json:"refusal"`
			ReasoningContent string  `json:"reasoning_content"`
			Reasoning        string  `json:"reasoning"`
			ToolCalls        []struct {
				ID       string `json:"id"`
				Function struct {
					Name      string `json:"name"`
					Arguments string `json:"arguments"`
				} `json:"function"`
			} `json:"tool_calls"`
		} `json:"message"`
		FinishReason string          `json:"finish_reason"`
		StopReason   json.RawMessage `json:"stop_reason"`
	} `json:"choices"`
	Usage json.RawMessage `json:"usage"`
}

// ParseResponse reads a provider's whole answer.
func ParseResponse(body []byte) (*chat.Response, *chat.Error) {
	var w wireResponse
	if err := json.Unmarshal(body, &w); err != nil {
		return nil, chat.Malformed(provider, "%v", err)
	}
	if len(w.Choices) == 0 {
		if e := ParseError(http.StatusBadGateway, body); e != nil {
			return nil, e
		}
		return nil, chat.Malformed(provider, "it has no choices")
	}
	r := &chat.Response{ID: w.ID, Model: w.Model, Usage: ParseUsage(w.Usage)}
	for _, choice := range w.Choices {
		m := choice.Message
		if m == nil {
			return nil, chat.Malformed(provider, "a choice has no message")
		}
		var c chat.Choice
		if m.ReasoningContent == "" {
			m.ReasoningContent = m.Reasoning
		}
		if m.ReasoningContent != "" {
			c.Parts = append(c.Parts, chat.Part{Kind: chat.Thinks, Text: m.ReasoningContent})
		}
		if m.Content != nil && *m.Content != "" {
			c.Parts = append(c.Parts, chat.Part{Kind: chat.Text, Text: *m.Content})
		}
		if m.Refusal != "" {
			c.Parts = append(c.Parts, chat.Part{Kind: chat.Refusal, Text: m.Refusal})
		}
		for _, t := range m.ToolCalls {
			args := json.RawMessage(t.Function.Arguments)
			if len(args) == 0 {
				args = json.RawMessage("{}")
			}
			if jsonx.Valid(args) != nil || jsonx.KindOf(args) != jsonx.Object {
				return nil, chat.Malformed(provider, "the arguments of a call to %q are no JSON object", t.Function.Name)
			}
			c.Parts = append(c.Parts, chat.Part{Kind: chat.ToolUse, ID: t.ID, Name: t.Function.Name, Args: args})
		}
		c.Finish, c.StopSequence = finishOf(choice.FinishReason, choice.StopReason)
		if c.Finish == chat.FinishStop && m.Refusal != "" {
			c.Finish = chat.FinishRefusal
		}
		r.Choices = append(r.Choices, c)
	}
	return r, nil
}

// finishOf reads the reasons. vLLM tells the stop sequence as stop_reason.
func finishOf(reason string, stop []byte) (chat.Finish, string) {
	switch reason {
	case "length":
		return chat.FinishLength, ""
	case "tool_calls", "function_call":
		return chat.FinishToolUse, ""
	case "content_filter":
		return chat.FinishFilter, ""
	}
	if s, ok := jsonx.Unquote(stop); ok {
		return chat.FinishStopSequence, s
	}
	return chat.FinishStop, ""
}
