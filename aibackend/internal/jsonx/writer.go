package jsonx

import "strconv"

// Writer appends JSON to B and puts the commas where they belong.
type Writer struct{ B []byte }

// comma separates the next value or key from the one before it. A value never ends
// in one of the bytes that need no comma after them.
func (w *Writer) comma() {
	if n := len(w.B); n > 0 {
		switch w.B[n-1] {
		case '{', '[', ':', ' ', '\n':
		default:
			w.B = append(w.B, ',')
		}
	}
}

// Open begins an object, Close ends it.
func (w *Writer) Open() { w.comma(); w.B = append(w.B, '{') }

// Close ends an object.
func (w *Writer) Close() { w.B = append(w.B, '}') }

// OpenArray begins an array, CloseArray ends it.
func (w *Writer) OpenArray() { w.comma(); w.B = append(w.B, '[') }

// CloseArray ends an array.
func (w *Writer) CloseArray() { w.B = append(w.B, ']') }

// Key writes a member's key, which must need no escapes.
func (w *Writer) Key(k string) {
	w.comma()
	w.B = append(w.B, '"')
	w.B = append(w.B, k...)
	w.B = append(w.B, '"', ':')
}

// OpenKey writes a key and begins its object.
func (w *Writer) OpenKey(k string) { w.Key(k); w.B = append(w.B, '{') }

// OpenArrayKey writes a key and begins its array.
func (w *Writer) OpenArrayKey(k string) { w.Key(k); w.B = append(w.B, '[') }

// Value writes a string as an element.
func (w *Writer) Value(s string) { w.comma(); w.B = AppendString(w.B, s) }

// RawValue writes JSON as an element.
func (w *Writer) RawValue(v []byte) { w.comma(); w.B = append(w.B, v...) }

// String writes a member.
func (w *Writer) String(k, v string) { w.Key(k); w.B = AppendString(w.B, v) }

// Text writes a member if v is not empty.
func (w *Writer) Text(k, v string) {
	if v != "" {
		w.String(k, v)
	}
}

// Document writes a member whose value is a valid JSON document from elsewhere,
// without the blanks between its tokens.
func (w *Writer) Document(k string, v []byte) { w.Key(k); w.B = AppendCompact(w.B, v) }

// Raw writes a member whose value is JSON already.
func (w *Writer) Raw(k string, v []byte) { w.Key(k); w.B = append(w.B, v...) }

// Int writes a member.
func (w *Writer) Int(k string, v int64) { w.Key(k); w.B = strconv.AppendInt(w.B, v, 10) }

// IntPtr writes a member if v is not nil.
func (w *Writer) IntPtr(k string, v *int64) {
	if v != nil {
		w.Int(k, *v)
	}
}

// Float writes a member if v is not nil.
func (w *Writer) Float(k string, v *float64) {
	if v != nil {
		w.Key(k)
		w.B = strconv.AppendFloat(w.B, *v, 'g', -1, 64)
	}
}

// Bool writes a member.
func (w *Writer) Bool(k string, v bool) { w.Key(k); w.B = strconv.AppendBool(w.B, v) }

// BoolPtr writes a member if v is not nil.
func (w *Writer) BoolPtr(k string, v *bool) {
	if v != nil {
		w.Bool(k, *v)
	}
}

// Strings writes an array of strings if there are any.
func (w *Writer) Strings(k string, v []string) {
	if len(v) == 0 {
		return
	}
	w.OpenArrayKey(k)
	for _, s := range v {
		w.Value(s)
	}
	w.CloseArray()
}

// Quote writes a member whose value is the bytes as a JSON string.
func (w *Writer) Quote(k string, v []byte) { w.Key(k); w.B = AppendQuoted(w.B, v) }
