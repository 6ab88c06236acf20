package openai

import (
	"net/http"

	"github.com/fairway-ai/fairway/aibackend/chat"
	"github.com/fairway-ai/fairway/aibackend/internal/fields"
	"github.com/fairway-ai/fairway/aibackend/internal/jsonx"
)

// AppendError writes an error as OpenAI's API does. The provider's own name for it
// is the code.
func AppendError(dst []byte, e *chat.Error) []byte {
	w := jsonx.Writer{B: dst}
	w.Open()
	w.OpenKey("error")
	w.String("message", e.Message)
	w.String("type", errorType(e.Status))
	nullable(&w, "param", e.Param)
	code := e.Code
	if code == "" {
		code = e.Type
	}
	nullable(&w, "code", code)
	w.Text("request_id", e.RequestID)
	w.Close()
	w.Close()
	return w.B
}

func nullable(w *jsonx.Writer, key, v string) {
	if v == "" {
		w.Raw(key, []byte("null"))
		return
	}
	w.String(key, v)
}

func errorType(status int) string {
	switch {
	case status == http.StatusUnauthorized:
		return "authentication_error"
	case status == http.StatusForbidden:
		return "permission_error"
	case status == http.StatusTooManyRequests:
		return "rate_limit_error"
	case status < 500:
		return "invalid_request_error"
	case status == http.StatusServiceUnavailable || status == 529:
		return "service_unavailable_error"
	}
	return "server_error"
}

// ParseError reads the body of a failed response, or of an event with an error. It
// is nil if the body is no error of this schema.
func ParseError(status int, body []byte) *chat.Error {
	if jsonx.Valid(body) != nil {
		return nil
	}
	v := fields.Member(body, "error")
	switch jsonx.KindOf(v) {
	case jsonx.String: // some servers
		message, _ := jsonx.Unquote(v)
		return &chat.Error{Status: status, Message: message}
	case jsonx.Object:
	default:
		v = body // some servers and gateways have its members at the top
	}
	e := &chat.Error{Status: status}
	_, _ = jsonx.Each(v, func(key, v []byte) error {
		s, ok := jsonx.Unquote(v)
		if !ok && jsonx.KindOf(v) == jsonx.Number {
			s = string(v)
		}
		switch string(key) {
		case "message":
			e.Message = s
		case "type":
			e.Type = s
		case "code":
			e.Code = s
		case "param":
			e.Param = s
		}
		return nil
	})
	if e.Message == "" {
		return nil
	}
	return e
}

// StatusOf guesses the status of an error that came inside of a stream.
func StatusOf(e *chat.Error) int {
	switch e.Code {
	case "rate_limit_exceeded", "insufficient_quota", "429":
		return http.StatusTooManyRequests
	case "invalid_api_key", "401":
		return http.StatusUnauthorized
	case "context_length_exceeded", "invalid_value", "content_filter", "400":
		return http.StatusBadRequest
	case "503":
		return http.StatusServiceUnavailable
	}
	switch e.Type {
	case "rate_limit_error", "tokens", "requests", "insufficient_quota":
		return http.StatusTooManyRequests
	case "invalid_request_error", "BadRequestError":
		return http.StatusBadRequest
	case "service_unavailable_error":
		return http.StatusServiceUnavailable
	}
	return http.StatusInternalServerError
}
