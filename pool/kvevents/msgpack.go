package kvevents

import (
	"encoding/binary"
	"errors"
	"math"
)

// Errors of reading MessagePack.
var (
	errTruncated = errors.New("the message ends early")
	errType      = errors.New("a value has an unexpected type")
	errInvalid   = errors.New("not MessagePack")
)

// reader reads MessagePack from a slice. It checks bounds and never allocates.
type reader struct {
	b  []byte
	at int
}

func (r *reader) left() int { return len(r.b) - r.at }

// take returns the next n bytes.
func (r *reader) take(n int) ([]byte, error) {
	if n > r.left() {
		return nil, errTruncated
	}
	b := r.b[r.at : r.at+n : r.at+n]
	r.at += n
	return b, nil
}

// peek is the next value's first byte.
func (r *reader) peek() (byte, error) {
	if r.at >= len(r.b) {
		return 0, errTruncated
	}
	return r.b[r.at], nil
}

// big reads an unsigned integer of n bytes, 1 to 8.
func (r *reader) big(n int) (uint64, error) {
	b, err := r.take(n)
	if err != nil {
		return 0, err
	}
	var v uint64
	for _, x := range b {
		v = v<<8 | uint64(x)
	}
	return v, nil
}

// null consumes a nil if there is one.
func (r *reader) null() bool {
	if r.at < len(r.b) && r.b[r.at] == 0xc0 {
		r.at++
		return true
	}
	return false
}

// integer reads an integer of any width, as 64 bits of two's complement.
func (r *reader) integer() (uint64, error) {
	c, err := r.peek()
	if err != nil {
		return 0, err
	}
	switch {
	case c < 0x80:
		r.at++
		return uint64(c), nil
	case c >= 0xe0:
		r.at++
		return uint64(int64(int8(c))), nil
	case c >= 0xcc && c <= 0xcf:
		r.at++
		return r.big(1 << (c - 0xcc))
	case c >= 0xd0 && c <= 0xd3:
		r.at++
		n := 1 << (c - 0xd0)
		v, err := r.big(n)
		shift := 64 - 8*n
		return uint64(int64(v<<shift) >> shift), err
	}
	return 0, errType
}

// token reads a token id.
func (r *reader) token() (uint32, error) {
	// The two forms that nearly all token ids have.
	if b := r.b[r.at:]; len(b) >= 3 {
		switch {
		case b[0] < 0x80:
			r.at++
			return uint32(b[0]), nil
		case b[0] == 0xcd:
			r.at += 3
			return uint32(b[1])<<8 | uint32(b[2]), nil
		case b[0] == 0xce && len(b) >= 5:
			r.at += 5
			return binary.BigEndian.Uint32(b[1:]), nil
		}
	}
	v, err := r.integer()
	if err == nil && v > math.MaxUint32 {
		err = errType
	}
	return uint32(v), err
}

// firstOfPair reads a token that stands with the one behind it, as where an engine's
// draft model looks at both.
func (r *reader) firstOfPair() (uint32, error) {
	n, err := r.array()
	if err != nil {
		return 0, err
	}
	if n != 2 {
		return 0, errType
	}
	first, err := r.token()
	if err == nil {
		_, err = r.token()
	}
	return first, err
}

// data reads a string or binary value, in place.
func (r *reader) data() ([]byte, error) {
	c, err := r.peek()
	if err != nil {
		return nil, err
	}
	r.at++
	var n uint64
	switch {
	case c >= 0xa0 && c <= 0xbf:
		n = uint64(c & 0x1f)
	case c == 0xd9 || c == 0xc4:
		n, err = r.big(1)
	case c == 0xda || c == 0xc5:
		n, err = r.big(2)
	case c == 0xdb || c == 0xc6:
		n, err = r.big(4)
	default:
		r.at--
		return nil, errType
	}
	if err != nil {
		return nil, err
	}
	return r.take(int(n))
}

// isData reports whether the next value is a string or binary.
func (r *reader) isData() bool {
	c, err := r.peek()
	return err == nil && (c >= 0xa0 && c <= 0xbf || c >= 0xd9 && c <= 0xdb || c >= 0xc4 && c <= 0xc6)
}

func (r *reader) isArray() bool {
	c, err := r.peek()
	return err == nil && (c >= 0x90 && c <= 0x9f || c == 0xdc || c == 0xdd)
}

func (r *reader) isMap() bool {
	c, err := r.peek()
	return err == nil && (c >= 0x80 && c <= 0x8f || c == 0xde || c == 0xdf)
}

// array reads an array's length, which is never more than the bytes that follow.
func (r *reader) array() (int, error) { return r.header(0x90, 0xdc, 1) }

// object reads a map's number of pairs.
func (r *reader) object() (int, error) { return r.header(0x80, 0xde, 2) }

func (r *reader) header(fix, long byte, each int) (int, error) {
	c, err := r.peek()
	if err != nil {
		return 0, err
	}
	r.at++
	var n uint64
	switch {
	case c >= fix && c < fix+16:
		n = uint64(c - fix)
	case c == long:
		n, err = r.big(2)
	case c == long+1:
		n, err = r.big(4)
	default:
		r.at--
		return 0, errType
	}
	if err == nil && n > uint64(r.left()/each) {
		err = errTruncated
	}
	return int(n), err
}

// skip passes over one value of any type and depth.
func (r *reader) skip() error {
	for todo := uint64(1); todo > 0; todo-- {
		// Runs of integers are what messages consist of.
		c, err := r.peek()
		if err != nil {
			return err
		}
		r.at++
		var n, inner uint64
		switch {
		case c < 0x80 || c >= 0xe0 || c == 0xc0 || c == 0xc2 || c == 0xc3:
			continue
		case c <= 0x8f:
			inner = 2 * uint64(c&0xf)
		case c <= 0x9f:
			inner = uint64(c & 0xf)
		case c <= 0xbf:
			n = uint64(c & 0x1f)
		case c >= 0xcc && c <= 0xcf:
			n = 1 << (c - 0xcc)
		case c >= 0xd0 && c <= 0xd3:
			n = 1 << (c - 0xd0)
		case c == 0xca || c == 0xcb: // floats
			n = 4 << (c - 0xca)
		case c >= 0xc4 && c <= 0xc6:
			n, err = r.big(1 << (c - 0xc4))
		case c >= 0xd9 && c <= 0xdb:
			n, err = r.big(1 << (c - 0xd9))
		case c >= 0xc7 && c <= 0xc9: // extensions: their length, then a type
			n, err = r.big(1 << (c - 0xc7))
			n++
		case c >= 0xd4 && c <= 0xd8:
			n = 1 + 1<<(c-0xd4)
		case c == 0xdc || c == 0xdd:
			inner, err = r.big(2 << (c - 0xdc))
		case c == 0xde || c == 0xdf:
			inner, err = r.big(2 << (c - 0xde))
			inner *= 2
		default:
			return errInvalid
		}
		if err != nil {
			return err
		}
		// Each inner value takes a byte at least, which also bounds todo.
		if n > uint64(r.left()) || inner > uint64(r.left()) {
			return errTruncated
		}
		r.at += int(n)
		todo += inner
	}
	return nil
}
