package jsonx

import (
	"bytes"
	"encoding/json"
	"unicode/utf16"
	"unicode/utf8"

	"github.com/fairway-ai/fairway/internal/jsonscan"
)

// Kind is the type of a JSON value.
type Kind byte

// The kinds.
const (
	None Kind = iota // nothing, or not JSON
	Null
	Bool
	Number
	String
	Array
	Object
)

// KindOf tells what a value is by its first byte.
func KindOf(v []byte) Kind {
	v = trim(v)
	if len(v) == 0 {
		return None
	}
	switch c := v[0]; {
	case c == '{':
		return Object
	case c == '[':
		return Array
	case c == '"':
		return String
	case c == 'n':
		return Null
	case c == 't' || c == 'f':
		return Bool
	case c == '-' || '0' <= c && c <= '9':
		return Number
	}
	return None
}

// Each calls fn for every member of an object, with the key unquoted. The value is
// a part of doc. It reports false if doc is no object; fn's error ends the walk.
func Each(doc []byte, fn func(key, value []byte) error) (bool, error) {
	doc = trim(doc)
	if len(doc) == 0 || doc[0] != '{' {
		return false, nil
	}
	for i := space(doc, 1); i < len(doc) && doc[i] == '"'; {
		end := endOfString(doc, i)
		key := unquoteKey(doc[i:end])
		i = space(doc, end)
		if i >= len(doc) || doc[i] != ':' {
			return true, nil
		}
		i = space(doc, i+1)
		end = skip(doc, i)
		if err := fn(key, doc[i:end]); err != nil {
			return true, err
		}
		i = space(doc, end)
		if i >= len(doc) || doc[i] != ',' {
			return true, nil
		}
		i = space(doc, i+1)
	}
	return true, nil
}

// Items calls fn for every element of an array.
func Items(doc []byte, fn func(i int, value []byte) error) (bool, error) {
	doc = trim(doc)
	if len(doc) == 0 || doc[0] != '[' {
		return false, nil
	}
	n := 0
	for i := space(doc, 1); i < len(doc) && doc[i] != ']'; n++ {
		end := skip(doc, i)
		if end == i {
			return true, nil
		}
		if err := fn(n, doc[i:end]); err != nil {
			return true, err
		}
		i = space(doc, end)
		if i >= len(doc) || doc[i] != ',' {
			return true, nil
		}
		i = space(doc, i+1)
	}
	return true, nil
}

// Unquote is the text of a JSON string. It reports false if v is none.
func Unquote(v []byte) (string, bool) {
	v = trim(v)
	if len(v) < 2 || v[0] != '"' || v[len(v)-1] != '"' {
		return "", false
	}
	in := v[1 : len(v)-1]
	if utf8.Valid(in) {
		if n := bytes.IndexByte(in, '\\'); n >= 0 {
			return unescape(in, n)
		}
		return string(in), bytes.IndexByte(in, '"') < 0
	}
	var s string
	if json.Unmarshal(v, &s) != nil {
		return "", false
	}
	return s, true
}

// unescape is the text of the inside of a JSON string whose first backslash is at n.
func unescape(in []byte, n int) (string, bool) {
	out := make([]byte, 0, len(in))
	for n >= 0 {
		out = append(out, in[:n]...)
		if in = in[n+1:]; len(in) == 0 {
			return "", false
		}
		c := in[0]
		in = in[1:]
		switch c {
		case '"', '\\', '/':
			out = append(out, c)
		case 'b':
			out = append(out, '\b')
		case 'f':
			out = append(out, '\f')
		case 'n':
			out = append(out, '\n')
		case 'r':
			out = append(out, '\r')
		case 't':
			out = append(out, '\t')
		case 'u':
			r := hex4(in)
			if r < 0 {
				return "", false
			}
			in = in[4:]
			if utf16.IsSurrogate(r) {
				pair := rune(utf8.RuneError)
				if len(in) >= 6 && in[0] == '\\' && in[1] == 'u' {
					pair = utf16.DecodeRune(r, hex4(in[2:]))
				}
				if r = pair; r != utf8.RuneError {
					in = in[6:]
				}
			}
			out = utf8.AppendRune(out, r)
		default:
			return "", false
		}
		n = bytes.IndexByte(in, '\\')
	}
	return string(append(out, in...)), true
}

// hex4 is the number that the first four bytes stand for, -1 if they do not.
func hex4(b []byte) rune {
	if len(b) < 4 {
		return -1
	}
	n := rune(0)
	for _, c := range b[:4] {
		switch {
		case '0' <= c && c <= '9':
			c -= '0'
		case 'a' <= c && c <= 'f':
			c -= 'a' - 10
		case 'A' <= c && c <= 'F':
			c -= 'A' - 10
		default:
			return -1
		}
		n = n<<4 | rune(c)
	}
	return n
}

// Is reports whether v is the JSON string s, which needs no escapes.
func Is(v []byte, s string) bool {
	return len(v) == len(s)+2 && v[0] == '"' && string(v[1:len(v)-1]) == s
}

func unquoteKey(q []byte) []byte {
	if len(q) >= 2 && bytes.IndexByte(q, '\\') < 0 {
		return q[1 : len(q)-1]
	}
	s, _ := Unquote(q)
	return []byte(s)
}

func isSpace(c byte) bool { return c == ' ' || c == '\n' || c == '\t' || c == '\r' }

func trim(v []byte) []byte {
	for len(v) > 0 && isSpace(v[0]) {
		v = v[1:]
	}
	for len(v) > 0 && isSpace(v[len(v)-1]) {
		v = v[:len(v)-1]
	}
	return v
}

func space(doc []byte, i int) int {
	for i < len(doc) && isSpace(doc[i]) {
		i++
	}
	return i
}

// endOfString is the place after the string that begins at i.
func endOfString(doc []byte, i int) int {
	if end := jsonscan.String(doc, i+1); end >= 0 {
		return end
	}
	return len(doc) // in a valid document it ends
}

// skip is the place after the value that begins at i.
func skip(doc []byte, i int) int {
	if i >= len(doc) {
		return len(doc)
	}
	switch doc[i] {
	case '"':
		return endOfString(doc, i)
	case '{', '[':
		depth := 0
		for i < len(doc) {
			switch doc[i] {
			case '"':
				i = endOfString(doc, i)
				continue
			case '{', '[':
				depth++
			case '}', ']':
				if depth--; depth == 0 {
					return i + 1
				}
			}
			i++
		}
		return len(doc)
	}
	for i < len(doc) {
		switch c := doc[i]; {
		case c == ',' || c == ']' || c == '}' || c == ':' || isSpace(c):
			return i
		}
		i++
	}
	return i
}
