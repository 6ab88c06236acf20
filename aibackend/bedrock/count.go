package bedrock

import (
	"encoding/base64"
	"encoding/json"

	"github.com/fairway-ai/fairway/aibackend/chat"
	"github.com/fairway-ai/fairway/aibackend/internal/jsonx"
)

// AppendCountInvoke writes a request of CountTokens for what InvokeModel would be sent.
func AppendCountInvoke(dst, invoke []byte) []byte {
	w := jsonx.Writer{B: dst}
	w.Open()
	w.OpenKey("input")
	w.OpenKey("invokeModel")
	w.String("body", base64.StdEncoding.EncodeToString(invoke))
	w.Close()
	w.Close()
	w.Close()
	return w.B
}

// ParseCount reads the answer of CountTokens.
func ParseCount(body []byte) (int64, *chat.Error) {
	var w struct {
		Tokens *int64 `json:"inputTokens"`
	}
	if err := json.Unmarshal(body, &w); err != nil {
		return 0, chat.Malformed(provider, "%v", err)
	}
	if w.Tokens == nil {
		return 0, chat.Malformed(provider, "it has no inputTokens")
	}
	return *w.Tokens, nil
}
