package tokens

import (
	"bytes"
	"encoding/json"
	"fmt"
	"time"

	"github.com/fairway-ai/fairway/extproc/scan"
)

// byAPI says where a request of an API is rendered, or that it brings its ids. It fails
// for other APIs.
func (p *prompt) byAPI(a scan.API) error {
	switch a {
	case scan.ChatCompletions:
		p.chat, p.render, p.turns = true, chatRender, "messages"
	case scan.Completions:
		p.render = completionRender
	case scan.Messages:
		p.chat, p.render, p.turns, p.tokenizable = true, messagesRender, "messages", false
	case scan.Responses:
		p.chat, p.render, p.turns, p.tokenizable = true, responsesRender, "input", false
	case scan.Generate:
		p.ids = true
	default:
		return ErrUnsupported
	}
	return nil
}

// onlyRendered is the route without which requests to path have no tokens, if there is
// just one.
func onlyRendered(path string) (r route, ok bool) {
	switch scan.APIFromPath(path) {
	case scan.Messages:
		return messagesRender, true
	case scan.Responses:
		return responsesRender, true
	}
	return 0, false
}

// lacked reports whether all of the endpoints are known not to have the route.
func (p *places) lacked(endpoints []string, r route, now time.Time) bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	for _, at := range endpoints {
		if s := p.state[at]; s == nil || !now.Before(s.missing[r]) {
			return false
		}
	}
	return len(endpoints) > 0
}

// question is what an endpoint is asked at a route. A Messages request without a bound
// for its answer is refused, and how large that is changes nothing.
func (p *prompt) question(r route) []byte {
	if r != messagesRender {
		return p.body
	}
	const bound = `{"max_tokens":1,`
	return append(append(make([]byte, 0, len(bound)+len(p.body)), bound...), p.body[1:]...)
}

// readTurns checks a chat's messages or input.
func (p *prompt) readTurns() error {
	raw := p.get(p.turns)
	switch {
	case len(raw) > 0 && (raw[0] == '[' || p.render == responsesRender && raw[0] == '"'):
	case p.render == responsesRender:
		return fmt.Errorf("%w: input is neither text nor a list", ErrMalformed)
	default:
		return fmt.Errorf("%w: messages is not a list", ErrMalformed)
	}
	if p.render == responsesRender && p.anyOf("previous_response_id", "conversation", "prompt") {
		return ErrUnsupported // part of it is elsewhere
	}
	return nil
}

// readIDs reads a request that brings its token ids: vLLM's token_ids, or SGLang's
// input_ids. Of several prompts the first one stands for all. What changes an engine's
// blocks in a way that is not known here has no tokens.
func (p *prompt) readIDs() error {
	raw := p.get("token_ids")
	if !given(raw) {
		raw = p.get("input_ids")
		if !given(raw) || p.anyOf("text", "input_embeds", "image_data", "video_data", "audio_data",
			"positional_embed_overrides", "session_params", "lora_path", "lora_id", "extra_key") {
			return ErrUnsupported
		}
		var list []json.RawMessage
		if inner := bytes.TrimLeft(raw[1:], " \t\r\n"); raw[0] == '[' && len(inner) > 0 && inner[0] == '[' {
			if json.Unmarshal(raw, &list) != nil {
				return fmt.Errorf("%w: input_ids is no list", ErrMalformed)
			}
			raw, p.partial = list[0], len(list) > 1
		}
	}
	var ids idList
	if json.Unmarshal(raw, &ids) != nil || len(ids) == 0 {
		return fmt.Errorf("%w: these are no token ids", ErrMalformed)
	}
	if raw := p.get("features"); given(raw) {
		var f features
		err := json.Unmarshal(raw, &f)
		if err == nil {
			p.images, err = f.images(len(ids))
		}
		if err != nil {
			return fmt.Errorf("%w: features are not understood", ErrMalformed)
		}
	}
	p.known = ids
	return nil
}

// given reports whether a member is there, and not null.
func given(raw []byte) bool { return len(raw) > 0 && string(raw) != "null" }

// anyOf reports whether one of the members is given.
func (p *prompt) anyOf(names ...string) bool {
	for _, name := range names {
		if given(p.get(name)) {
			return true
		}
	}
	return false
}

// textual are the kinds of parts that have no images in them, unless in their content.
func textual(kind string) bool {
	switch kind {
	case "", "message", "text", "input_text", "output_text", "refusal", "thinking", "redacted_thinking",
		"tool_use", "tool_result", "tool_reference",
		"function_call", "function_call_output", "reasoning", "reasoning_text", "summary_text":
		return true
	}
	return false
}

// maxNested is how deep parts can be in parts: a message, a tool's result, and its parts.
const maxNested = 3

// hasImages reports whether a chat has parts that are not text.
func (p *prompt) hasImages() bool { return p.chat && hasMedia(p.messages, 0) }

// hasMedia reports whether turns, or parts of one, have anything that is not text.
// Where nothing is known, the worst is assumed.
func hasMedia(turns json.RawMessage, depth int) bool {
	if !given(turns) || turns[0] == '"' {
		return false
	}
	var parts []struct {
		Type    string          `json:"type"`
		Content json.RawMessage `json:"content"`
		Output  json.RawMessage `json:"output"`
	}
	if depth == maxNested || json.Unmarshal(turns, &parts) != nil {
		return true
	}
	for i := range parts {
		part := &parts[i]
		if !textual(part.Type) || part.Type == "" && depth > 0 || hasMedia(part.Content, depth+1) || hasMedia(part.Output, depth+1) {
			return true
		}
	}
	return false
}
