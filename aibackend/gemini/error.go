package gemini

import (
	"encoding/json"
	"net/http"

	"github.com/fairway-ai/fairway/aibackend/chat"
	"github.com/fairway-ai/fairway/aibackend/internal/jsonx"
)

const provider = "Vertex AI"

type wireError struct {
	Error *struct {
		Code    int    `json:"code"`
		Message string `json:"message"`
		Status  string `json:"status"`
	} `json:"error"`
}

// ParseError reads a failed response, or an event with an error. It is nil if the
// body is no error of this schema. status is 0 inside of a stream.
func ParseError(status int, body []byte) *chat.Error {
	var w wireError
	if jsonx.KindOf(body) == jsonx.Array {
		var list []wireError
		if json.Unmarshal(body, &list) != nil || len(list) == 0 {
			return nil
		}
		w = list[0]
	} else if json.Unmarshal(body, &w) != nil {
		return nil
	}
	if w.Error == nil || w.Error.Message == "" {
		return nil
	}
	if status == 0 {
		if status = w.Error.Code; status < 400 || status > 599 {
			status = http.StatusInternalServerError
		}
	}
	return &chat.Error{Status: status, Type: w.Error.Status, Message: w.Error.Message}
}
