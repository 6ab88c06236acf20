package scan

import (
	"fmt"

	"github.com/fairway-ai/fairway/extproc/internal/jsonlex"
)

// SyntaxError is a body that is not one valid JSON object, or is nested deeper
// than Options.MaxDepth. Its Offset is in bytes from the body's start.
type SyntaxError = jsonlex.SyntaxError

// FieldError is a field of the wrong type or length.
type FieldError struct {
	// Field is the field's path, for example "metadata.user_id".
	Field string
	// Msg says what must hold.
	Msg string
}

func (e *FieldError) Error() string { return fmt.Sprintf("field %q: %s", e.Field, e.Msg) }
