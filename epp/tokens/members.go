package tokens

import (
	"encoding/binary"
	"encoding/json"
	"math/bits"
)

// maxNesting is how deep objects and arrays may be in each other, as in encoding/json.
const maxNesting = 10_000

// member is a name and a value of the request's object, where they stand in its JSON.
type member struct {
	// name is the decoded name; quoted is true if its JSON is no more than the name
	// between quotes.
	name   []byte
	quoted bool
	value  []byte
}

// readMembers appends the members of the object that body is to dst, in their order.
// It reports false for what is not one valid object. It agrees with encoding/json, but
// reads each byte once and keeps nothing.
func readMembers(dst []member, body []byte) ([]member, bool) {
	i := space(body, 0)
	if i == len(body) || body[i] != '{' {
		return nil, false
	}
	if i = space(body, i+1); i < len(body) && body[i] == '}' {
		return dst, space(body, i+1) == len(body)
	}
	for {
		from := i
		end := nameEnd(body, i)
		if i = colon(body, end); i < 0 {
			return nil, false
		}
		m := member{name: body[from+1 : end-1]}
		if m.quoted = simple(m.name); !m.quoted {
			var name string
			if json.Unmarshal(body[from:end], &name) != nil {
				return nil, false
			}
			m.name = []byte(name)
		}
		i = space(body, i)
		if end = valueEnd(body, i); end < 0 {
			return nil, false
		}
		m.value = body[i:end]
		dst = append(dst, m)
		if i = space(body, end); i == len(body) {
			return nil, false
		}
		switch body[i] {
		case ',':
			i = space(body, i+1)
		case '}':
			return dst, space(body, i+1) == len(body)
		default:
			return nil, false
		}
	}
}

// simple reports whether s is the same in JSON, whoever writes it.
func simple[T string | []byte](s T) bool {
	for i := range len(s) {
		if c := s[i]; c < ' ' || c > '~' || c == '"' || c == '\\' || c == '<' || c == '>' || c == '&' {
			return false
		}
	}
	return true
}

// The functions below return the position behind what begins at i, and -1 if nothing
// valid does. i may be -1 or the end of b.

func space(b []byte, i int) int {
	for i < len(b) && (b[i] == ' ' || b[i] == '\n' || b[i] == '\t' || b[i] == '\r') {
		i++
	}
	return i
}

// nameEnd reads a string that is a name.
func nameEnd(b []byte, i int) int {
	if i >= len(b) || b[i] != '"' {
		return -1
	}
	return stringEnd(b, i+1)
}

// colon reads what is between a name and its value, without white space behind.
func colon(b []byte, i int) int {
	if i < 0 {
		return -1
	}
	if i = space(b, i); i == len(b) || b[i] != ':' {
		return -1
	}
	return i + 1
}

// valueEnd reads a value of any kind and depth.
func valueEnd(b []byte, i int) int {
	var objects [maxNesting/64 + 1]uint64 // by depth: is it an object?
	// The object that this is a value of counts.
	for depth := 1; ; {
		if i = space(b, i); i == len(b) {
			return -1
		}
		switch c := b[i]; c {
		case '"':
			i = stringEnd(b, i+1)
		case '{', '[':
			if depth++; depth > maxNesting {
				return -1
			}
			word, bit := &objects[depth/64], uint64(1)<<(depth%64)
			*word &^= bit
			i = space(b, i+1)
			switch {
			case i == len(b):
				return -1
			case b[i] == c+2: // the bracket that closes it
				depth--
				i++
			case c == '{':
				*word |= bit
				if i = colon(b, nameEnd(b, i)); i < 0 {
					return -1
				}
				continue
			default:
				continue
			}
		case 't':
			i = literal(b, i, "true")
		case 'f':
			i = literal(b, i, "false")
		case 'n':
			i = literal(b, i, "null")
		default:
			i = numberEnd(b, i)
		}
		if i < 0 {
			return -1
		}
		if depth, i = closed(b, i, depth, &objects); i < 0 || depth == 1 {
			return i
		}
	}
}

// closed reads from behind a value to where the next one must come, or to the end of
// the outermost one.
func closed(b []byte, i, depth int, objects *[maxNesting/64 + 1]uint64) (int, int) {
	for depth > 1 {
		if i = space(b, i); i == len(b) {
			return depth, -1
		}
		object := objects[depth/64]>>(depth%64)&1 != 0
		switch c := b[i]; {
		case c == ',' && object:
			return depth, colon(b, nameEnd(b, space(b, i+1)))
		case c == ',':
			return depth, i + 1
		case c == '}' && object, c == ']' && !object:
			depth--
			i++
		default:
			return depth, -1
		}
	}
	return depth, i
}

func literal(b []byte, i int, text string) int {
	if len(b)-i < len(text) || string(b[i:i+len(text)]) != text {
		return -1
	}
	return i + len(text)
}

// numberEnd reads a number.
func numberEnd(b []byte, i int) int {
	if i < len(b) && b[i] == '-' {
		i++
	}
	whole := i
	if i = digits(b, i); i < 0 || b[whole] == '0' && i > whole+1 {
		return -1
	}
	if i < len(b) && b[i] == '.' {
		if i = digits(b, i+1); i < 0 {
			return -1
		}
	}
	if i < len(b) && b[i]|0x20 == 'e' {
		if i++; i < len(b) && (b[i] == '+' || b[i] == '-') {
			i++
		}
		return digits(b, i)
	}
	return i
}

// digits reads one digit or more.
func digits(b []byte, i int) int {
	from := i
	for i < len(b) && b[i] >= '0' && b[i] <= '9' {
		i++
	}
	if i == from {
		return -1
	}
	return i
}

// Words of eight equal bytes, for looking at eight bytes at once.
const (
	ones  = 0x0101010101010101
	highs = 0x8080808080808080
)

// special marks, by the top bit, the first byte of w that is a quote, a backslash or a
// control character; bytes behind it may be marked wrongly. With bit 1 flipped, the
// quote comes right behind the control characters.
func special(w uint64) uint64 {
	return (((w ^ 0x02*ones) - 0x21*ones) | ((w ^ '\\'*ones) - ones)) &^ w & highs
}

// stringEnd reads a string from behind its first quote.
func stringEnd(b []byte, i int) int {
	for {
		for len(b)-i >= 16 {
			s := b[i : i+16 : i+16]
			v, w := special(binary.LittleEndian.Uint64(s)), special(binary.LittleEndian.Uint64(s[8:]))
			if v != 0 {
				i += bits.TrailingZeros64(v) / 8
				break
			}
			if w != 0 {
				i += 8 + bits.TrailingZeros64(w)/8
				break
			}
			i += 16
		}
		for i < len(b) && b[i] >= ' ' && b[i] != '"' && b[i] != '\\' {
			i++
		}
		switch {
		case i == len(b) || b[i] < ' ':
			return -1
		case b[i] == '"':
			return i + 1
		}
		if i = escapeEnd(b, i+1); i < 0 {
			return -1
		}
	}
}

// escapeEnd reads an escape from behind its backslash.
func escapeEnd(b []byte, i int) int {
	if i == len(b) {
		return -1
	}
	switch b[i] {
	case '"', '\\', '/', 'b', 'f', 'n', 'r', 't':
		return i + 1
	case 'u':
		if len(b)-i < 5 {
			return -1
		}
		for _, c := range b[i+1 : i+5] {
			if !(c >= '0' && c <= '9' || c|0x20 >= 'a' && c|0x20 <= 'f') {
				return -1
			}
		}
		return i + 5
	}
	return -1
}
