package chat

import (
	"fmt"
	"net/http"
	"strings"
)

// Field is a field of a Request that a provider may be unable to express.
type Field uint8

// The fields.
const (
	FieldModel Field = iota
	FieldMessages
	FieldTools
	FieldToolChoice
	FieldParallelTools
	FieldFormat
	FieldMaxTokens
	FieldTemperature
	FieldTopP
	FieldTopK
	FieldSeed
	FieldFrequencyPenalty
	FieldPresencePenalty
	FieldN
	FieldStop
	FieldThinking
	FieldEffort
	FieldUser
	FieldCache
)

// Name is what the client calls the field.
func (r *Request) Name(f Field) string {
	if r.Names == nil {
		return fmt.Sprintf("field %d", f)
	}
	return r.Names(f)
}

// Place is where a part stands in the client's request.
func (m *Message) Place(p *Part) string {
	return fmt.Sprintf("messages[%d].content[%d]", m.At, p.At)
}

const (
	// maxDropped bounds what is reported as dropped, maxDroppedName each of the names.
	maxDropped     = 32
	maxDroppedName = 96
)

// Drop notes that the field is left out because the provider cannot express it and
// the answer does not depend on it.
func (r *Request) Drop(f Field) { r.DropNamed(r.Name(f)) }

// DropNamed is Drop for a field given in the client's words. They may come from the
// request and go into a header, so only what is harmless there is kept of them.
func (r *Request) DropNamed(name string) {
	if len(r.Dropped) >= maxDropped {
		return
	}
	name = strings.Map(headerRune, name[:min(len(name), maxDroppedName)])
	for _, d := range r.Dropped {
		if d == name {
			return
		}
	}
	r.Dropped = append(r.Dropped, name)
}

func headerRune(r rune) rune {
	switch {
	case 'a' <= r && r <= 'z', 'A' <= r && r <= 'Z', '0' <= r && r <= '9':
		return r
	case strings.ContainsRune("_-.[] ", r):
		return r
	}
	return '_'
}

// Refuse is the error for a field that the provider cannot express.
func (r *Request) Refuse(f Field, provider, why string) *Error {
	return Unsupported(r.Name(f), provider, why)
}

// Unsupported is a 422: the request is right, but this provider cannot serve it.
// Another backend might.
func Unsupported(param, provider, why string) *Error {
	return &Error{
		Status:  http.StatusUnprocessableEntity,
		Code:    "unsupported_by_backend",
		Param:   param,
		Message: fmt.Sprintf("%s: %s cannot express this: %s", param, provider, why),
	}
}

// Invalid is a 400: the request is wrong in its own schema.
func Invalid(param, format string, args ...any) *Error {
	return &Error{
		Status:  http.StatusBadRequest,
		Code:    "invalid_value",
		Param:   param,
		Message: param + ": " + fmt.Sprintf(format, args...),
	}
}

// CodeMalformed is the code of [Malformed]'s errors.
const CodeMalformed = "malformed_provider_response"

// Malformed is a 502: the provider's answer could not be read.
func Malformed(provider, format string, args ...any) *Error {
	return &Error{
		Status:  http.StatusBadGateway,
		Code:    CodeMalformed,
		Message: fmt.Sprintf("the answer of %s could not be read: %s", provider, fmt.Sprintf(format, args...)),
	}
}
