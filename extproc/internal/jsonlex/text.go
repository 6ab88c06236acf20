package jsonlex

import (
	"encoding/binary"
	"math/bits"
	"unicode/utf16"
	"unicode/utf8"
)

// begin starts a string at chunk position i.
func (l *Lexer) begin(i int, k Kind) int {
	l.kind, l.state = k, stString
	l.Out, l.N = nil, 0
	l.h.Begin(k, l.base+int64(i))
	return i + 1
}

// str reads a string's content from chunk position i on.
func (l *Lexer) str(b []byte, i int) int {
	if l.hi != 0 {
		if b[i] == '\\' {
			l.state = stEscape // perhaps the pair's other half
			return i + 1
		}
		l.loneSurrogate()
	}
	for {
		i = l.plain(b, i)
		if i == len(b) {
			return i
		}
		switch c := b[i]; c {
		case '"':
			l.state = stAfter
			if l.kind == Key {
				l.state = stColon
			}
			l.h.End(l.kind, l.base+int64(i)+1)
			l.Out = nil
			return i + 1
		case '\\':
			if i+1 < len(b) {
				if e := unescape[b[i+1]]; e != 0 {
					l.put(e)
					i += 2
					continue
				}
			}
			l.state = stEscape
			return i + 1
		default:
			return l.fail(i, "control character %q in a string", c)
		}
	}
}

// Words of eight equal bytes, for looking at eight bytes at once.
const (
	ones  = 0x0101010101010101
	highs = 0x8080808080808080
)

// special returns a word whose lowest set bit is the top bit of the first byte
// of w, in little-endian order, that ends a plain run in a string: a quote, a
// backslash or a control character. Flipping bit 1 moves the quote (0x22) to
// 0x20 and keeps the control characters below it, so that one comparison with
// 0x21 finds both.
func special(w uint64) uint64 {
	x := w ^ 0x02*ones
	y := w ^ '\\'*ones
	return ((x - 0x21*ones) | (y - ones)) &^ w & highs
}

func isSpecial(c byte) bool { return c < 0x20 || c == '"' || c == '\\' }

// plain takes the bytes from position i up to the next special one that is not
// a short escape, or to the end of the chunk, and returns where that is.
func (l *Lexer) plain(b []byte, i int) int {
	for {
		out, n := l.Out, l.N
		if out == nil {
			return skip(b, i)
		}
		k, taken := copyText(out[n:], b[i:])
		n += k
		i += taken
		l.N = n
		if n < len(out) {
			return i
		}
		l.h.Full()
	}
}

const (
	// stride is how many bytes copyPlain looks at together.
	stride = 64
	// longRun is how many plain bytes in a row make it worth while.
	longRun = 128
)

// copyText decodes src into dst until dst is full or src ends or has something
// other than plain bytes and whole short escapes. It returns the bytes written
// and taken; what dst has behind those is undefined.
func copyText(dst, src []byte) (n, i int) {
	for {
		// Words are copied whole; the bytes up to the first special one count.
		var m uint64
		for end := i + min(len(src)-i, len(dst)-n, longRun)&^15; i < end; {
			s, d := src[i:i+16:i+16], dst[n:n+16:n+16]
			v, w := binary.LittleEndian.Uint64(s), binary.LittleEndian.Uint64(s[8:])
			binary.LittleEndian.PutUint64(d, v)
			binary.LittleEndian.PutUint64(d[8:], w)
			if m = special(v); m != 0 {
				break
			}
			if m = special(w); m != 0 {
				i += 8
				n += 8
				break
			}
			i += 16
			n += 16
		}
		if m == 0 && len(src)-i >= stride && len(dst)-n >= stride {
			k := copyPlain(dst[n:], src[i:])
			n += k
			i += k
			continue
		}
		if m != 0 {
			k := bits.TrailingZeros64(m) / 8
			i += k
			n += k
		} else {
			for i < len(src) && n < len(dst) && !isSpecial(src[i]) {
				dst[n] = src[i]
				i++
				n++
			}
		}
		if n >= len(dst) || len(src)-i < 2 || src[i] != '\\' {
			return n, i
		}
		e := unescape[src[i+1]]
		if e == 0 {
			return n, i
		}
		dst[n] = e
		n++
		i += 2
	}
}

// copyPlain copies whole strides of plain bytes and returns how many bytes it
// took. Text without escapes is rare in a chat, but long where it occurs.
func copyPlain(dst, src []byte) (n int) {
	for len(src)-n >= stride && len(dst)-n >= stride {
		s, d := (*[stride]byte)(src[n:]), (*[stride]byte)(dst[n:])
		m := copyWord(d[0:], s[0:]) | copyWord(d[8:], s[8:]) | copyWord(d[16:], s[16:]) | copyWord(d[24:], s[24:]) |
			copyWord(d[32:], s[32:]) | copyWord(d[40:], s[40:]) | copyWord(d[48:], s[48:]) | copyWord(d[56:], s[56:])
		if m != 0 {
			break
		}
		n += stride
	}
	return n
}

// copyWord copies eight bytes and returns what special says of them.
func copyWord(dst, src []byte) uint64 {
	w := binary.LittleEndian.Uint64(src)
	binary.LittleEndian.PutUint64(dst, w)
	return special(w)
}

// skip is plain for text that nobody wants.
func skip(b []byte, i int) int {
	for len(b)-i >= 8 {
		if m := special(binary.LittleEndian.Uint64(b[i:])); m != 0 {
			return i + bits.TrailingZeros64(m)/8
		}
		i += 8
	}
	for i < len(b) && !isSpecial(b[i]) {
		i++
	}
	return i
}

// unescape is, by c, the byte that a backslash and c stand for, 0 when that is
// none or c is u.
var unescape = [256]byte{
	'"': '"', '\\': '\\', '/': '/',
	'b': '\b', 'f': '\f', 'n': '\n', 'r': '\r', 't': '\t',
}

func (l *Lexer) escape(b []byte, i int) int {
	if b[i] == 'u' {
		l.state, l.hex, l.hexN = stHex, 0, 0
		return i + 1
	}
	e := unescape[b[i]]
	if e == 0 {
		return l.fail(i, "unexpected %q behind a backslash", b[i])
	}
	if l.hi != 0 {
		l.loneSurrogate()
	}
	l.put(e)
	l.state = stString
	return i + 1
}

func (l *Lexer) hexDigit(b []byte, i int) int {
	c := b[i]
	var d byte
	switch {
	case c >= '0' && c <= '9':
		d = c - '0'
	case c >= 'a' && c <= 'f':
		d = c - 'a' + 10
	case c >= 'A' && c <= 'F':
		d = c - 'A' + 10
	default:
		return l.fail(i, "unexpected %q in a \\u escape", c)
	}
	l.hex = l.hex<<4 | rune(d)
	if l.hexN++; l.hexN == 4 {
		l.state = stString
		l.unit(l.hex)
	}
	return i + 1
}

// unit takes a \u escape's UTF-16 code unit. Like encoding/json it makes a pair
// of surrogates one rune and every lone one U+FFFD.
func (l *Lexer) unit(r rune) {
	if l.hi != 0 {
		if pair := utf16.DecodeRune(l.hi, r); pair != utf8.RuneError {
			l.hi = 0
			l.putRune(pair)
			return
		}
		l.loneSurrogate()
	}
	if r >= 0xd800 && r < 0xdc00 {
		l.hi = r
		return
	}
	l.putRune(r) // a lone low surrogate is encoded as U+FFFD
}

func (l *Lexer) loneSurrogate() {
	l.hi = 0
	l.putRune(utf8.RuneError)
}

func (l *Lexer) putRune(r rune) {
	var buf [utf8.UTFMax]byte
	for _, c := range buf[:utf8.EncodeRune(buf[:], r)] {
		l.put(c)
	}
}

func (l *Lexer) put(c byte) {
	if l.Out == nil {
		return
	}
	l.Out[l.N] = c
	if l.N++; l.N == len(l.Out) {
		l.h.Full()
	}
}
