package anthropic

import (
	"net/http"

	"github.com/fairway-ai/fairway/aibackend/chat"
	"github.com/fairway-ai/fairway/aibackend/internal/fields"
	"github.com/fairway-ai/fairway/aibackend/internal/jsonx"
)

// AppendError writes an error as Anthropic's API does. Its schema has no place for a
// code or the provider's own name of the error; they follow the message.
func AppendError(dst []byte, e *chat.Error) []byte {
	w := jsonx.Writer{B: dst}
	w.Open()
	w.String("type", "error")
	w.OpenKey("error")
	w.String("type", errorType(e.Status))
	message := e.Message
	if own := e.Type; own != "" && own != errorType(e.Status) {
		message += " (" + own + ")"
	}
	w.String("message", message)
	w.Close()
	w.Text("request_id", e.RequestID)
	w.Close()
	return w.B
}

var errorTypes = [...]struct {
	status int
	name   string
}{
	{http.StatusBadRequest, "invalid_request_error"},
	{http.StatusUnauthorized, "authentication_error"},
	{http.StatusPaymentRequired, "billing_error"},
	{http.StatusForbidden, "permission_error"},
	{http.StatusNotFound, "not_found_error"},
	{http.StatusRequestEntityTooLarge, "request_too_large"},
	{http.StatusTooManyRequests, "rate_limit_error"},
	{529, "overloaded_error"},
	{http.StatusServiceUnavailable, "overloaded_error"},
	{http.StatusGatewayTimeout, "timeout_error"},
	{http.StatusInternalServerError, "api_error"},
}

func errorType(status int) string {
	for _, t := range errorTypes {
		if t.status == status {
			return t.name
		}
	}
	if status < 500 {
		return "invalid_request_error"
	}
	return "api_error"
}

// StatusOf is the status that belongs to an error's type, for errors inside of a
// stream.
func StatusOf(name string) int {
	for _, t := range errorTypes {
		if t.name == name {
			return t.status
		}
	}
	return http.StatusInternalServerError
}

// ParseError reads the body of a failed response, or the data of an error event. It
// is nil if the body is no error of this schema.
func ParseError(status int, body []byte) *chat.Error {
	if jsonx.Valid(body) != nil {
		return nil
	}
	v := fields.Member(body, "error")
	if jsonx.KindOf(v) != jsonx.Object {
		return nil
	}
	e := &chat.Error{Status: status}
	e.Type, _ = jsonx.Unquote(fields.Member(v, "type"))
	e.Message, _ = jsonx.Unquote(fields.Member(v, "message"))
	e.RequestID, _ = jsonx.Unquote(fields.Member(body, "request_id"))
	if e.Type == "" {
		return nil
	}
	return e
}
