package tokens

import "encoding/json"

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
