package anthropic

import "github.com/fairway-ai/fairway/aibackend/internal/jsonx"

// AppendCount writes the answer to a request to count tokens.
func AppendCount(dst []byte, tokens int64) []byte {
	w := jsonx.Writer{B: dst}
	w.Open()
	w.Int("input_tokens", tokens)
	w.Close()
	return w.B
}
