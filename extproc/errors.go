package extproc

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"strings"

	"github.com/fairway-ai/fairway/extproc/scan"
)

// schema is whose error shape a client understands.
type schema uint8

const (
	openAI schema = iota
	anthropic
	grpcStatus
)

// schemaOf tells the schema from the API, or for paths that are none from the
// header every Anthropic client sends. gRPC has its own.
func schemaOf(api scan.API, grpc bool, path string, h *Headers) schema {
	if grpc {
		return grpcStatus
	}
	if api.Anthropic() || strings.HasPrefix(path, "/v1/messages/") ||
		api == scan.Other && h.Get("anthropic-version") != "" {
		return anthropic
	}
	return openAI
}

// failure is an error as it is told to a client.
type failure struct {
	status  int
	code    string
	param   string
	message string
	headers []Header
}

// errorOf turns an error into what the client is told. What is not meant for the
// client becomes a bare 500, and internal is true.
func errorOf(err error) (f failure, internal bool) {
	var rejection *Rejection
	var syntax *scan.SyntaxError
	var fieldErr *scan.FieldError
	var wire *scan.WireError
	var fail *failureError
	switch {
	case errors.As(err, &fail):
		return fail.failure, false
	case errors.As(err, &rejection):
		status := rejection.Status
		if status < 400 || status > 599 {
			status = http.StatusInternalServerError
		}
		return failure{status: status, code: rejection.Code, message: rejection.Message, headers: rejection.Headers}, false
	case errors.As(err, &fieldErr):
		return failure{status: http.StatusBadRequest, code: "invalid_value", param: fieldErr.Field, message: fieldErr.Error()}, false
	case errors.As(err, &syntax):
		return failure{status: http.StatusBadRequest, code: "invalid_json", message: syntax.Error()}, false
	case errors.As(err, &wire) && wire.Compressed:
		return failure{status: http.StatusUnsupportedMediaType, code: "unsupported_content_encoding", message: wire.Error()}, false
	case errors.As(err, &wire):
		return failure{status: http.StatusBadRequest, code: "invalid_message", message: wire.Error()}, false
	}
	return failure{status: http.StatusInternalServerError, code: "internal_error", message: "internal error"}, true
}

// failureError is an error of this package's own that says what to answer.
type failureError struct{ failure }

func (e *failureError) Error() string { return e.message }

func tooLarge(limit int64) error {
	return &failureError{failure{
		status:  http.StatusRequestEntityTooLarge,
		code:    "request_too_large",
		message: fmt.Sprintf("the request body is larger than the limit of %d bytes", limit),
	}}
}

func overloaded() error {
	return &failureError{failure{
		status:  http.StatusServiceUnavailable,
		code:    "overloaded",
		message: "the gateway holds too many request bodies, try again later",
	}}
}

func encodedBody(encoding string) error {
	return &failureError{failure{
		status:  http.StatusUnsupportedMediaType,
		code:    "unsupported_content_encoding",
		message: fmt.Sprintf("content-encoding %q is not supported, send the body unencoded", clip(encoding, 64)),
	}}
}

// body renders the failure in a client's schema.
func (f *failure) body(s schema, requestID string) []byte {
	if s == grpcStatus {
		return []byte(f.message) // Envoy makes it grpc-message
	}
	if s == anthropic {
		return marshal(anthropicError{
			Type:      "error",
			Error:     anthropicDetail{Type: anthropicType(f.status), Message: f.message},
			RequestID: requestID,
		})
	}
	e := openAIError{Error: openAIDetail{Message: f.message, Type: openAIType(f.status)}}
	if f.param != "" {
		e.Error.Param = &f.param
	}
	if f.code != "" {
		e.Error.Code = &f.code
	}
	return marshal(e)
}

type openAIError struct {
	Error openAIDetail `json:"error"`
}

type openAIDetail struct {
	Message string  `json:"message"`
	Type    string  `json:"type"`
	Param   *string `json:"param"`
	Code    *string `json:"code"`
}

type anthropicError struct {
	Type      string          `json:"type"`
	Error     anthropicDetail `json:"error"`
	RequestID string          `json:"request_id,omitempty"`
}

type anthropicDetail struct {
	Type    string `json:"type"`
	Message string `json:"message"`
}

func openAIType(status int) string {
	switch {
	case status == http.StatusTooManyRequests:
		return "rate_limit_error"
	case status < 500:
		return "invalid_request_error"
	case status == http.StatusServiceUnavailable:
		return "service_unavailable_error"
	}
	return "server_error"
}

func anthropicType(status int) string {
	switch status {
	case http.StatusUnauthorized:
		return "authentication_error"
	case http.StatusForbidden:
		return "permission_error"
	case http.StatusNotFound:
		return "not_found_error"
	case http.StatusRequestEntityTooLarge:
		return "request_too_large"
	case http.StatusTooManyRequests:
		return "rate_limit_error"
	case http.StatusServiceUnavailable, 529:
		return "overloaded_error"
	case http.StatusGatewayTimeout:
		return "timeout_error"
	}
	if status < 500 {
		return "invalid_request_error"
	}
	return "api_error"
}

// marshal cannot fail on the types above. It does not escape <, > and &, which
// only HTML needs.
func marshal(v any) []byte {
	var b bytes.Buffer
	enc := json.NewEncoder(&b)
	enc.SetEscapeHTML(false)
	_ = enc.Encode(v)
	return bytes.TrimSuffix(b.Bytes(), []byte("\n"))
}

// details is the failure for Envoy's access log, where it may hold no spaces.
func (f *failure) details() string {
	code := strings.Map(func(r rune) rune {
		if r <= ' ' || r > '~' {
			return '_'
		}
		return r
	}, clip(f.code, 64))
	if code == "" {
		code = "rejected"
	}
	return "fairway_" + code
}

func clip(s string, n int) string {
	if len(s) > n {
		return s[:n]
	}
	return s
}
