package cohere

import (
	"github.com/fairway-ai/fairway/aibackend/chat"
	"github.com/fairway-ai/fairway/aibackend/internal/fields"
	"github.com/fairway-ai/fairway/aibackend/internal/jsonx"
)

// AppendError writes an error as Cohere's API does.
func AppendError(dst []byte, e *chat.Error) []byte {
	w := jsonx.Writer{B: dst}
	w.Open()
	w.Text("id", e.RequestID)
	w.String("message", e.Message)
	w.Close()
	return w.B
}

// IsError reports whether the body is an error of this schema.
func IsError(body []byte) bool {
	return jsonx.Valid(body) == nil && jsonx.KindOf(fields.Member(body, "message")) == jsonx.String
}
