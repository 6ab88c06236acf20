package server

import (
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
)

// apiError is an answer that is not 200.
type apiError struct {
	status  int
	kind    string // vLLM's error type
	message string
	param   string
}

func badRequest(message, param string) *apiError {
	return &apiError{http.StatusBadRequest, "BadRequestError", message, param}
}

// bodyError is for a body that could not be read.
func bodyError(err error) *apiError {
	var tooLarge *http.MaxBytesError
	if errors.As(err, &tooLarge) {
		return &apiError{http.StatusRequestEntityTooLarge, "BadRequestError",
			fmt.Sprintf("the request body exceeds %d bytes", tooLarge.Limit), ""}
	}
	return badRequest("the request body could not be read", "")
}

func noModel(name string) *apiError {
	return &apiError{http.StatusNotFound, "NotFoundError", fmt.Sprintf("The model `%s` does not exist.", name), "model"}
}

// errorStyle is how an API writes errors.
type errorStyle bool

const (
	openAIStyle    errorStyle = false
	anthropicStyle errorStyle = true
)

// anthropicKinds are Anthropic's names of errors, by status.
func anthropicKind(status int) string {
	switch status {
	case http.StatusUnauthorized:
		return "authentication_error"
	case http.StatusNotFound:
		return "not_found_error"
	case http.StatusTooManyRequests:
		return "rate_limit_error"
	case http.StatusRequestEntityTooLarge:
		return "request_too_large"
	case http.StatusServiceUnavailable:
		return "overloaded_error"
	case http.StatusInternalServerError:
		return "api_error"
	}
	return "invalid_request_error"
}

func (style errorStyle) write(w http.ResponseWriter, e *apiError) {
	if style == anthropicStyle {
		writeJSON(w, e.status, map[string]any{
			"type":  "error",
			"error": map[string]any{"type": anthropicKind(e.status), "message": e.message},
		})
		return
	}
	var param any
	if e.param != "" {
		param = e.param
	}
	writeJSON(w, e.status, map[string]any{
		"error": map[string]any{"message": e.message, "type": e.kind, "param": param, "code": e.status},
	})
}

// writeJSON sends a whole answer. An error means that the client is gone.
func writeJSON(w http.ResponseWriter, status int, v any) {
	b, err := json.Marshal(v)
	if err != nil {
		http.Error(w, err.Error(), http.StatusInternalServerError)
		return
	}
	w.Header().Set("Content-Type", "application/json")
	w.WriteHeader(status)
	_, _ = w.Write(b)
}
