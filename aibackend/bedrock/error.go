package bedrock

import (
	"encoding/json"
	"errors"
	"net/http"
	"strings"

	"github.com/fairway-ai/fairway/aibackend/chat"
	"github.com/fairway-ai/fairway/aibackend/internal/eventstream"
)

const provider = "AWS Bedrock"

// ParseError reads a failed response. name is the x-amzn-errortype header. It is nil
// if the body is no error of this schema.
func ParseError(status int, name string, body []byte) *chat.Error {
	var w struct {
		Type     string `json:"__type"`
		Message  string `json:"message"`
		Original int    `json:"originalStatusCode"`
	}
	if json.Unmarshal(body, &w) != nil {
		return nil
	}
	// ThrottlingException:http://…, or com.amazon.…#ThrottlingException
	name, _, _ = strings.Cut(name, ":")
	if name == "" {
		_, name, _ = strings.Cut(w.Type, "#")
	}
	if name == "" {
		name = w.Type
	}
	if name == "" && w.Message == "" {
		return nil
	}
	e := &chat.Error{Status: status, Type: name, Message: w.Message}
	if status == http.StatusFailedDependency { // the model failed, which is no client's fault
		e.Status = http.StatusBadGateway
	}
	if e.Message == "" {
		e.Message = "AWS Bedrock: " + name
	}
	return e
}

// ParseFailure reads a frame that is no event: the stream has failed.
func ParseFailure(f eventstream.Frame) error {
	e := &chat.Error{Type: string(f.Name), Message: string(f.Message)}
	var w struct {
		Message string `json:"message"`
	}
	if json.Unmarshal(f.Payload, &w) == nil && w.Message != "" {
		e.Message = w.Message
	}
	if e.Message == "" {
		e.Message = "AWS Bedrock failed inside of the stream: " + e.Type
	}
	e.Status = statusOf(e.Type)
	return e
}

// AsError is the error of a frame, or says that the stream could not be read.
func AsError(err error) *chat.Error {
	var e *chat.Error
	if errors.As(err, &e) {
		return e
	}
	return chat.Malformed(provider, "%v", err)
}

func statusOf(name string) int {
	switch strings.ToLower(name) {
	case "validationexception":
		return http.StatusBadRequest
	case "accessdeniedexception":
		return http.StatusForbidden
	case "resourcenotfoundexception":
		return http.StatusNotFound
	case "throttlingexception", "servicequotaexceededexception", "modelnotreadyexception":
		return http.StatusTooManyRequests
	case "serviceunavailableexception":
		return http.StatusServiceUnavailable
	case "modeltimeoutexception":
		return http.StatusGatewayTimeout
	case "modelstreamerrorexception", "modelerrorexception":
		return http.StatusBadGateway
	}
	return http.StatusInternalServerError
}
