package embed

import (
	"encoding/base64"
	"encoding/binary"
	"encoding/json"
	"math"

	"github.com/fairway-ai/fairway/aibackend/chat"
	"github.com/fairway-ai/fairway/aibackend/internal/jsonx"
)

// Response has a vector for each text.
type Response struct {
	// Vectors are JSON arrays of numbers.
	Vectors []json.RawMessage
	Usage   chat.Usage
}

// AppendResponse writes the answer as OpenAI's API does, the vectors as bytes in
// base64 if packed. The error is the provider's: a vector that is none, or more or
// fewer of them than texts.
func AppendResponse(dst []byte, r *Response, texts int, packed bool, model string) ([]byte, *chat.Error) {
	if len(r.Vectors) != texts {
		return dst, chat.Malformed("the provider", "it has %d vectors for %d texts", len(r.Vectors), texts)
	}
	w := jsonx.Writer{B: dst}
	w.Open()
	w.String("object", "list")
	w.OpenArrayKey("data")
	for i, v := range r.Vectors {
		w.Open()
		w.String("object", "embedding")
		w.Int("index", int64(i))
		numbers, err := decode(v)
		if err != nil {
			return dst, err
		}
		if packed {
			w.String("embedding", pack(numbers))
		} else {
			w.Document("embedding", v)
		}
		w.Close()
	}
	w.CloseArray()
	w.String("model", model)
	w.OpenKey("usage")
	w.Int("prompt_tokens", r.Usage.Input)
	w.Int("total_tokens", r.Usage.Input)
	w.Close()
	w.Close()
	return w.B, nil
}

// decode reads a vector.
func decode(v []byte) (numbers []float64, err *chat.Error) {
	if jsonx.KindOf(v) != jsonx.Array || json.Unmarshal(v, &numbers) != nil || len(numbers) == 0 {
		return nil, chat.Malformed("the provider", "a vector is no array of numbers")
	}
	return numbers, nil
}

func pack(numbers []float64) string {
	b := make([]byte, 0, 4*len(numbers))
	for _, n := range numbers {
		b = binary.LittleEndian.AppendUint32(b, math.Float32bits(float32(n)))
	}
	return base64.StdEncoding.EncodeToString(b)
}
