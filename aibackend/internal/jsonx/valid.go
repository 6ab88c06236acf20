package jsonx

import (
	"encoding/json"
	"errors"

	"github.com/fairway-ai/fairway/internal/jsonscan"
)

// Valid checks a document once, before it is walked: it is valid if encoding/json says
// so, and the error is encoding/json's. Nesting is bounded to its 10,000 levels.
func Valid(doc []byte) error {
	if jsonscan.Valid(doc) {
		return nil
	}
	var v json.RawMessage
	if err := json.Unmarshal(doc, &v); err != nil {
		return err
	}
	return errors.New("invalid JSON")
}
