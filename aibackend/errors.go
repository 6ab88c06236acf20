package aibackend

import (
	"unicode/utf8"

	"github.com/fairway-ai/fairway/aibackend/chat"
)

// Error is a refusal or a failure, with the answer for the client.
type Error struct {
	// Status is the HTTP status for the client, 400 to 599.
	Status int
	// Body is the error in the client's schema, as JSON.
	Body []byte
	// Cause is the error in its neutral form.
	Cause *chat.Error
}

func (e *Error) Error() string { return e.Cause.Message }

// Unwrap gives the cause.
func (e *Error) Unwrap() error { return e.Cause }

// maxMessage bounds what a provider's error can say to a client, in bytes.
const maxMessage = 4 << 10

// render writes the error for the client.
func render(c client, e *chat.Error) *Error {
	if e.Status < 400 || e.Status > 599 {
		e.Status = 502
	}
	e.Message = clip(e.Message, maxMessage)
	e.Type, e.Code, e.Param = clip(e.Type, 256), clip(e.Code, 256), clip(e.Param, 256)
	return &Error{Status: e.Status, Cause: e, Body: c.fail(nil, e)}
}

// clip bounds s to n bytes, and to whole runes of them.
func clip(s string, n int) string {
	if len(s) <= n {
		return s
	}
	for cut := n; cut > 0 && cut > n-utf8.UTFMax; cut-- {
		if utf8.RuneStart(s[cut]) {
			return s[:cut]
		}
	}
	return s[:n] // no UTF-8
}
