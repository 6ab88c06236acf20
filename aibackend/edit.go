package aibackend

import (
	"errors"
	"fmt"
	"slices"

	"github.com/fairway-ai/fairway/aibackend/internal/jsonx"
)

// Field is a top-level field of a JSON object and its value, in JSON.
type Field struct {
	Name  string
	Value []byte
}

// ErrNotObject says that a body has no fields, because it is no JSON object.
var ErrNotObject = errors.New("the body is not a JSON object")

// EditBody sets and removes top-level fields of a body and leaves every other byte as it
// is. A field that is both is set. It returns body itself when nothing changes, which it
// never changes in place. The error is [ErrNotObject], or tells of a field that is to be
// edited and is there twice, or of a value that is not JSON.
func EditBody(body []byte, set []Field, remove []string) ([]byte, error) {
	if len(set)+len(remove) == 0 {
		return body, nil
	}
	edits := make([]jsonx.Edit, 0, len(set)+len(remove))
	for _, f := range set {
		if err := f.Check(); err != nil {
			return nil, err
		}
		edits = append(edits, jsonx.Edit{Key: f.Name, Value: f.Value})
	}
	for _, name := range remove {
		if !slices.ContainsFunc(set, func(f Field) bool { return f.Name == name }) {
			edits = append(edits, jsonx.Edit{Key: name})
		}
	}
	if jsonx.KindOf(body) != jsonx.Object || jsonx.Valid(body) != nil {
		return nil, ErrNotObject
	}
	return jsonx.Apply(body, edits)
}

// Check says what is wrong with a field, which is never its value's text.
func (f *Field) Check() error {
	if len(f.Value) == 0 || jsonx.Valid(f.Value) != nil {
		return fmt.Errorf("the value of the field %.128q is not JSON", f.Name)
	}
	return nil
}
