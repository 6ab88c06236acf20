package server

import (
	"bytes"
	"encoding/binary"
	"encoding/json"
	"fmt"
	"strings"
)

// message is a chat message of any of the APIs.
type message struct {
	Role       string          `json:"role"`
	Content    json.RawMessage `json:"content"`
	ToolCalls  json.RawMessage `json:"tool_calls"`
	ToolCallID string          `json:"tool_call_id"`
}

// part is a piece of a message's content.
type part struct {
	Type string `json:"type"`
	Text string `json:"text"`
}

// flattenChat applies a simple chat template.
func flattenChat(system json.RawMessage, messages []message, tools json.RawMessage) (*prompt, *apiError) {
	p := new(prompt)
	if given(tools) {
		p.header("tools")
		p.flat = append(p.flat, tools...)
		p.flat = append(p.flat, '\n')
	}
	if given(system) {
		p.header("system")
		if _, err := p.content(system); err != nil {
			return nil, badRequest("system: "+err.Error(), "system")
		}
	}
	for i, m := range messages {
		p.header(m.Role)
		text, err := p.content(m.Content)
		if err != nil {
			return nil, badRequest(fmt.Sprintf("messages[%d].content: %v", i, err), "messages")
		}
		if m.Role == "user" {
			p.lastUser = text
		}
		p.flat = append(p.flat, m.ToolCallID...)
		if given(m.ToolCalls) {
			p.flat = append(p.flat, m.ToolCalls...)
		}
	}
	p.header("assistant")
	return p, nil
}

// given is true for a field that is present and not null.
func given(raw json.RawMessage) bool { return len(raw) > 0 && !bytes.Equal(raw, []byte("null")) }

func (p *prompt) header(role string) {
	p.flat = append(p.flat, "\n<|"...)
	p.flat = append(p.flat, role...)
	p.flat = append(p.flat, "|>\n"...)
}

// content appends a message's content, text or parts, and returns its text.
func (p *prompt) content(raw json.RawMessage) (string, error) {
	if !given(raw) {
		return "", nil
	}
	switch raw[0] {
	case '"':
		var text string
		if err := json.Unmarshal(raw, &text); err != nil {
			return "", err
		}
		p.flat = append(p.flat, text...)
		return text, nil
	case '[':
		var parts []json.RawMessage
		if err := json.Unmarshal(raw, &parts); err != nil {
			return "", err
		}
		var all strings.Builder
		for _, raw := range parts {
			var v part
			if err := json.Unmarshal(raw, &v); err != nil {
				return "", err
			}
			switch v.Type {
			case "text", "input_text", "output_text", "":
				p.flat = append(p.flat, v.Text...)
				all.WriteString(v.Text)
			case "tool_use", "tool_result", "thinking":
				p.flat = append(p.flat, raw...)
			default:
				if err := p.addMedia(v.Type, raw); err != nil {
					return "", err
				}
			}
		}
		return all.String(), nil
	}
	return "", fmt.Errorf("must be text or a list of parts")
}

// flattenInput reads the prompt of a completion or the input of an embedding: a
// text, a list of texts, a list of token ids, or a list of those.
func flattenInput(field string, raw json.RawMessage) ([]*prompt, *apiError) {
	if !given(raw) {
		return nil, badRequest(field+" is required", field)
	}
	var text string
	if json.Unmarshal(raw, &text) == nil {
		return []*prompt{textPrompt(text)}, nil
	}
	var ids []uint32
	if json.Unmarshal(raw, &ids) == nil && len(ids) > 0 {
		return []*prompt{idPrompt(ids)}, nil
	}
	var texts []string
	var lists [][]uint32
	var out []*prompt
	if json.Unmarshal(raw, &texts) == nil {
		for _, t := range texts {
			out = append(out, textPrompt(t))
		}
	} else if json.Unmarshal(raw, &lists) == nil {
		for _, l := range lists {
			out = append(out, idPrompt(l))
		}
	}
	if len(out) == 0 || len(out) > maxChoices {
		return nil, badRequest(fmt.Sprintf("%s must be a text, a list of token ids, or a list of 1 to %d of those", field, maxChoices), field)
	}
	return out, nil
}

func textPrompt(text string) *prompt { return &prompt{flat: []byte(text), lastUser: text} }

func idPrompt(ids []uint32) *prompt {
	p := new(prompt)
	for _, id := range ids {
		p.flat = binary.LittleEndian.AppendUint32(p.flat, id)
	}
	return p
}
