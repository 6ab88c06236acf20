// Package fields reads the fields of a client's request with the first error kept
// and named by its path, as in "messages[2].content[0].text".
//
// It must never know a schema but for the few objects that several share. Callers: the schema packages of aibackend.
package fields

import (
	"encoding/json"
	"strconv"
	"strings"

	"github.com/fairway-ai/fairway/aibackend/chat"
	"github.com/fairway-ai/fairway/aibackend/internal/jsonx"
)

// Reader reads one valid document. After the first error nothing more is read.
type Reader struct {
	Err  *chat.Error
	path []step
}

type step struct {
	key   []byte
	index int
}

// Path is where the reader stands.
func (r *Reader) Path() string {
	var b strings.Builder
	for _, s := range r.path {
		if s.key == nil {
			b.WriteByte('[')
			b.WriteString(strconv.Itoa(s.index))
			b.WriteByte(']')
			continue
		}
		if b.Len() > 0 {
			b.WriteByte('.')
		}
		key := string(s.key)
		if len(key) > 64 {
			key = key[:64]
		}
		b.WriteString(strings.ToValidUTF8(key, "\ufffd"))
	}
	return b.String()
}

// Fail notes the first error, about where the reader stands.
func (r *Reader) Fail(format string, args ...any) {
	if r.Err == nil {
		r.Err = chat.Invalid(r.Path(), format, args...)
	}
}

// Refuse notes that what stands here has no counterpart in any other schema.
func (r *Reader) Refuse(why string) {
	if r.Err == nil {
		r.Err = chat.Unsupported(r.Path(), "a backend of another schema", why)
	}
}

// Each reads an object. Members that are null are skipped. null itself is an empty
// object.
func (r *Reader) Each(v []byte, fn func(key, v []byte)) {
	if r.Err != nil || isNull(v) {
		return
	}
	ok, _ := jsonx.Each(v, func(key, v []byte) error {
		if isNull(v) {
			return nil
		}
		r.path = append(r.path, step{key: key})
		fn(key, v)
		if r.Err != nil {
			return r.Err
		}
		r.path = r.path[:len(r.path)-1]
		return nil
	})
	if !ok {
		r.Fail("must be an object")
	}
}

// Items reads an array. null is an empty one.
func (r *Reader) Items(v []byte, fn func(i int, v []byte)) {
	if r.Err != nil || isNull(v) {
		return
	}
	ok, _ := jsonx.Items(v, func(i int, v []byte) error {
		r.path = append(r.path, step{index: i})
		fn(i, v)
		if r.Err != nil {
			return r.Err
		}
		r.path = r.path[:len(r.path)-1]
		return nil
	})
	if !ok {
		r.Fail("must be an array")
	}
}

// Member is the value of one member of an object, nil when it is absent or null.
func Member(v []byte, name string) (found []byte) {
	_, _ = jsonx.Each(v, func(key, v []byte) error {
		if string(key) == name && !isNull(v) {
			found = v
		}
		return nil
	})
	return found
}

// String reads a string.
func (r *Reader) String(v []byte) string {
	s, ok := jsonx.Unquote(v)
	if !ok {
		r.Fail("must be a string")
	}
	return s
}

// Strings reads an array of strings.
func (r *Reader) Strings(v []byte) (list []string) {
	r.Items(v, func(_ int, v []byte) { list = append(list, r.String(v)) })
	return list
}

// Int reads a whole number.
func (r *Reader) Int(v []byte) int64 {
	n, err := strconv.ParseInt(string(v), 10, 64)
	if err != nil {
		var f float64
		if json.Unmarshal(v, &f) == nil && f == float64(int64(f)) {
			return int64(f)
		}
		r.Fail("must be a whole number")
	}
	return n
}

// IntPtr reads a whole number.
func (r *Reader) IntPtr(v []byte) *int64 { n := r.Int(v); return &n }

// Float reads a number.
func (r *Reader) Float(v []byte) *float64 {
	f, err := strconv.ParseFloat(string(v), 64)
	if err != nil || jsonx.KindOf(v) != jsonx.Number {
		r.Fail("must be a number")
	}
	return &f
}

// Bool reads a boolean.
func (r *Reader) Bool(v []byte) bool {
	if string(v) != "true" && string(v) != "false" {
		r.Fail("must be a boolean")
	}
	return string(v) == "true"
}

// BoolPtr reads a boolean.
func (r *Reader) BoolPtr(v []byte) *bool { b := r.Bool(v); return &b }

// Object reads an object without looking into it.
func (r *Reader) Object(v []byte) json.RawMessage {
	if jsonx.KindOf(v) != jsonx.Object {
		r.Fail("must be an object")
	}
	return json.RawMessage(v)
}

func isNull(v []byte) bool { return string(v) == "null" }
