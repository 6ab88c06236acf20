package jsonscan

import (
	"encoding/binary"
	"math/bits"
)

// maxNesting is how deep objects and arrays may be in each other, as in encoding/json.
const maxNesting = 10_000

// Valid reports whether b is one JSON value, as encoding/json does.
func Valid(b []byte) bool {
	end := Value(b, Space(b, 0), 0)
	return end >= 0 && Space(b, end) == len(b)
}

// Space is the position behind the white space that begins at i.
func Space(b []byte, i int) int {
	for i < len(b) && (b[i] == ' ' || b[i] == '\n' || b[i] == '\t' || b[i] == '\r') {
		i++
	}
	return i
}

// Name is the position behind the string that begins at i and is a member's name, -1 if
// there is none.
func Name(b []byte, i int) int {
	if i >= len(b) || b[i] != '"' {
		return -1
	}
	return String(b, i+1)
}

// Colon is the position behind the colon that comes after a name that ends at i, -1 if
// there is none, or i is -1.
func Colon(b []byte, i int) int {
	if i < 0 {
		return -1
	}
	if i = Space(b, i); i == len(b) || b[i] != ':' {
		return -1
	}
	return i + 1
}

// Value is the position behind the value, of any kind and depth, that begins at i or
// behind white space there, -1 if there is no valid one. within is how many objects and
// arrays it is in: they count for the nesting that is allowed.
func Value(b []byte, i, within int) int {
	var objects [maxNesting/64 + 1]uint64 // by depth: is it an object?
	for depth := within; ; {
		if i = Space(b, i); i == len(b) {
			return -1
		}
		switch c := b[i]; c {
		case '"':
			i = String(b, i+1)
		case '{', '[':
			if depth++; depth > maxNesting {
				return -1
			}
			word, bit := &objects[depth/64], uint64(1)<<(depth%64)
			*word &^= bit
			i = Space(b, i+1)
			switch {
			case i == len(b):
				return -1
			case b[i] == c+2: // the bracket that closes it
				depth--
				i++
			case c == '{':
				*word |= bit
				if i = Colon(b, Name(b, i)); i < 0 {
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
		if depth, i = closed(b, i, depth, within, &objects); i < 0 || depth == within {
			return i
		}
	}
}

// closed reads from behind a value to where the next one must come, or to the end of
// the outermost one.
func closed(b []byte, i, depth, within int, objects *[maxNesting/64 + 1]uint64) (int, int) {
	for depth > within {
		if i = Space(b, i); i == len(b) {
			return depth, -1
		}
		object := objects[depth/64]>>(depth%64)&1 != 0
		switch c := b[i]; {
		case c == ',' && object:
			return depth, Colon(b, Name(b, Space(b, i+1)))
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

// String is the position behind the string whose first quote is before i, -1 if it has
// a control character, an escape that is none, or no end.
func String(b []byte, i int) int {
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
