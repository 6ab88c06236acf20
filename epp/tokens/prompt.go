package tokens

import (
	"crypto/sha256"
	"encoding/json"
	"fmt"
	"slices"

	"github.com/fairway-ai/fairway/extproc/scan"
)

// unread are the members of a request that do not change its prompt. What is not
// here is sent on and is part of the cache's key: a member missing here costs hits
// and never makes an answer wrong.
var unread = map[string]bool{
	"allowed_token_ids": true, "bad_words": true, "best_of": true, "cache_salt": true, "echo": true,
	"frequency_penalty": true, "ignore_eos": true, "include_stop_str_in_output": true,
	"kv_transfer_params": true, "length_penalty": true, "logit_bias": true, "logits_processors": true,
	"logprobs": true, "max_completion_tokens": true, "max_tokens": true, "metadata": true, "min_p": true,
	"min_tokens": true, "n": true, "parallel_tool_calls": true, "presence_penalty": true, "priority": true,
	"prompt_cache_key": true, "prompt_logprobs": true, "repetition_penalty": true, "request_id": true,
	"return_token_ids": true, "return_tokens_as_token_ids": true, "safety_identifier": true, "seed": true,
	"service_tier": true, "skip_special_tokens": true, "spaces_between_special_tokens": true, "stop": true,
	"stop_token_ids": true, "store": true, "stream": true, "stream_options": true, "temperature": true,
	"top_k": true, "top_logprobs": true, "top_p": true, "use_beam_search": true, "user": true,
	"vllm_xargs": true,
}

// plain are the members with which /tokenize gives the same tokens as the API.
var plain = map[string]bool{
	"model": true, "messages": true, "prompt": true, "tools": true, "add_generation_prompt": true,
	"continue_final_message": true, "add_special_tokens": true, "chat_template": true,
	"chat_template_kwargs": true,
}

// prompt is a request reduced to what its prompt is made of.
type prompt struct {
	chat  bool
	model string
	salt  string
	// known are the ids if the request has them itself.
	known []uint32
	// partial is true if there are prompts besides the first one.
	partial bool
	// text is a completion's prompt.
	text string
	// special is false if the tokenizer must add no special tokens to text.
	special bool
	// body is what an endpoint is asked; key is its hash.
	body []byte
	key  [sha256.Size]byte
	// tokenizable is true if /tokenize gives the same tokens as the API.
	tokenizable bool
	// messages is the part of body with that name.
	messages json.RawMessage
}

// readPrompt reads a request of at most limit bytes.
func readPrompt(r Request, limit int) (*prompt, error) {
	p := &prompt{model: r.Model, special: true, tokenizable: true}
	switch scan.APIFromPath(r.Path) {
	case scan.ChatCompletions:
		p.chat = true
	case scan.Completions:
	default:
		return nil, ErrUnsupported
	}
	if len(r.Body) > limit {
		return nil, ErrTooLarge
	}
	var members map[string]json.RawMessage
	if json.Unmarshal(r.Body, &members) != nil || members == nil {
		return nil, ErrMalformed // the cause would quote the prompt
	}
	if raw, ok := members["cache_salt"]; ok && json.Unmarshal(raw, &p.salt) != nil {
		return nil, fmt.Errorf("%w: cache_salt is not a string", ErrMalformed)
	}
	if p.model != "" {
		members["model"], _ = json.Marshal(p.model) // a string always can be
	} else if raw, ok := members["model"]; ok && json.Unmarshal(raw, &p.model) != nil {
		return nil, fmt.Errorf("%w: model is not a string", ErrMalformed)
	}
	if err := p.readText(members); err != nil {
		return nil, err
	}
	if p.known == nil {
		p.seal(members)
	}
	return p, nil
}

// readText reads messages or prompt. Of a completion's several prompts the first
// stands for all: they go to one endpoint together.
func (p *prompt) readText(members map[string]json.RawMessage) error {
	if p.chat {
		if raw := members["messages"]; len(raw) == 0 || raw[0] != '[' {
			return fmt.Errorf("%w: messages is not a list", ErrMalformed)
		}
		return nil
	}
	raw := members["prompt"]
	if len(raw) > 0 && raw[0] == '[' {
		var list []json.RawMessage
		if json.Unmarshal(raw, &list) != nil || len(list) == 0 {
			return fmt.Errorf("%w: prompt is empty", ErrMalformed)
		}
		if c := list[0][0]; c == '"' || c == '[' {
			raw, p.partial = list[0], len(list) > 1
		}
		members["prompt"] = raw
	}
	if raw, ok := members["add_special_tokens"]; ok && json.Unmarshal(raw, &p.special) != nil {
		return fmt.Errorf("%w: add_special_tokens is not a boolean", ErrMalformed)
	}
	if len(raw) > 0 && raw[0] == '[' {
		p.tokenizable = false
		var ids idList
		if json.Unmarshal(raw, &ids) != nil || len(ids) == 0 {
			return fmt.Errorf("%w: prompt is not a list of token ids", ErrMalformed)
		}
		if cut, ok := members["truncate_prompt_tokens"]; !ok || string(cut) == "null" {
			p.known = ids
		}
		return nil
	}
	if len(raw) == 0 || raw[0] != '"' || json.Unmarshal(raw, &p.text) != nil {
		return fmt.Errorf("%w: prompt is neither text nor token ids", ErrMalformed)
	}
	return nil
}

// seal writes what an endpoint is asked, and its hash.
func (p *prompt) seal(members map[string]json.RawMessage) {
	names := make([]string, 0, len(members))
	size := 2
	for name, raw := range members {
		if !unread[name] && string(raw) != "null" {
			names = append(names, name)
			size += len(name) + len(raw) + 4
		}
	}
	slices.Sort(names)
	b := append(make([]byte, 0, size), '{')
	var from, to int
	for i, name := range names {
		if i > 0 {
			b = append(b, ',')
		}
		quoted, _ := json.Marshal(name) // a string always can be
		b = append(append(b, quoted...), ':')
		start := len(b)
		b = append(b, members[name]...)
		if name == "messages" {
			from, to = start, len(b)
		}
		if !plain[name] && (name != "tool_choice" || string(members[name]) != `"auto"`) {
			p.tokenizable = false
		}
	}
	p.body = append(b, '}')
	p.messages = p.body[from:to]
	h := sha256.New()
	if p.chat {
		_, _ = h.Write([]byte{1})
	} else {
		_, _ = h.Write([]byte{0})
	}
	_, _ = h.Write(p.body) // never fails
	h.Sum(p.key[:0])
}

// hasImages reports whether a chat has parts that are not text.
func (p *prompt) hasImages() bool {
	var messages []struct {
		Content json.RawMessage `json:"content"`
	}
	if !p.chat {
		return false
	}
	if json.Unmarshal(p.messages, &messages) != nil {
		return true // nothing is known, so the worst is assumed
	}
	for _, m := range messages {
		if len(m.Content) == 0 || m.Content[0] != '[' {
			continue
		}
		var parts []struct {
			Type string `json:"type"`
		}
		if json.Unmarshal(m.Content, &parts) != nil {
			return true
		}
		for _, part := range parts {
			switch part.Type {
			case "text", "input_text", "output_text", "refusal", "thinking":
			default:
				return true
			}
		}
	}
	return false
}
