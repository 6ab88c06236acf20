package extproc

import (
	"errors"

	"google.golang.org/grpc/mem"
)

// errWire is what every malformed protobuf message is reported as. One value for
// all of them: the peer is a proxy, and where it went wrong is of no use to it.
var errWire = errors.New("malformed protobuf message")

// Protobuf wire types.
const (
	wireVarint  = 0
	wireFixed64 = 1
	wireBytes   = 2
	wireFixed32 = 5
)

const maxFieldNumber = 1<<29 - 1

// span is a range of bytes in a message, by offset.
type span struct{ off, n int }

// cursor reads protobuf from a message that spans buffers, without joining them.
// Offsets count from the start of the message.
type cursor struct {
	bufs mem.BufferSlice
	cur  []byte // unread rest of the current buffer
	next int    // index in bufs of the buffer after cur
	pos  int
	end  int
}

func (c *cursor) more() bool { return c.pos < c.end }

// fill makes cur non-empty, or reports that the buffers are used up.
func (c *cursor) fill() bool {
	for len(c.cur) == 0 {
		if c.next >= len(c.bufs) {
			return false
		}
		c.cur = c.bufs[c.next].ReadOnlyData()
		c.next++
	}
	return true
}

func (c *cursor) varint() (uint64, error) {
	var v uint64
	for shift := uint(0); shift < 64; shift += 7 {
		if c.pos >= c.end || !c.fill() {
			return 0, errWire
		}
		b := c.cur[0]
		c.cur = c.cur[1:]
		c.pos++
		if shift == 63 && b > 1 {
			return 0, errWire
		}
		v |= uint64(b&0x7f) << shift
		if b < 0x80 {
			return v, nil
		}
	}
	return 0, errWire
}

// tag reads a field's number and wire type.
func (c *cursor) tag() (num, typ int, err error) {
	v, err := c.varint()
	if err != nil {
		return 0, 0, err
	}
	if n := v >> 3; n == 0 || n > maxFieldNumber {
		return 0, 0, errWire
	}
	return int(v >> 3), int(v & 7), nil
}

// bytes reads a length and skips so many bytes, which it returns as a span.
func (c *cursor) bytes() (span, error) {
	v, err := c.varint()
	if err != nil || v > uint64(c.end-c.pos) {
		return span{}, errWire
	}
	s := span{c.pos, int(v)}
	return s, c.skip(s.n)
}

func (c *cursor) skip(n int) error {
	if n > c.end-c.pos {
		return errWire
	}
	c.pos += n
	for n > 0 {
		if !c.fill() {
			return errWire
		}
		k := min(n, len(c.cur))
		c.cur = c.cur[k:]
		n -= k
	}
	return nil
}

// skipField skips a value whose tag was just read. Groups, which no message of
// this protocol has, are malformed.
func (c *cursor) skipField(typ int) error {
	switch typ {
	case wireVarint:
		_, err := c.varint()
		return err
	case wireFixed64:
		return c.skip(8)
	case wireFixed32:
		return c.skip(4)
	case wireBytes:
		_, err := c.bytes()
		return err
	}
	return errWire
}

// field is one protobuf field of a message in one piece. For wireBytes the value
// is message[lo:hi].
type field struct {
	num, typ int
	lo, hi   int
	val      uint64
}

// nextField reads the field at m[i:] and returns the offset after it.
func nextField[T string | []byte](m T, i int) (f field, next int, err error) {
	tag, i := uvarint(m, i)
	if i < 0 || tag>>3 == 0 || tag>>3 > maxFieldNumber {
		return field{}, 0, errWire
	}
	f.num, f.typ = int(tag>>3), int(tag&7)
	switch f.typ {
	case wireVarint:
		if f.val, i = uvarint(m, i); i < 0 {
			return field{}, 0, errWire
		}
		return f, i, nil
	case wireBytes:
		n, j := uvarint(m, i)
		if j < 0 || n > uint64(len(m)-j) {
			return field{}, 0, errWire
		}
		f.lo, f.hi = j, j+int(n)
		return f, f.hi, nil
	case wireFixed64:
		i += 8
	case wireFixed32:
		i += 4
	default:
		return field{}, 0, errWire
	}
	if i > len(m) {
		return field{}, 0, errWire
	}
	return f, i, nil
}

// uvarint reads a varint at m[i:] and returns the offset after it, negative when
// malformed.
func uvarint[T string | []byte](m T, i int) (uint64, int) {
	var v uint64
	for shift := uint(0); shift < 64 && i < len(m); shift += 7 {
		b := m[i]
		i++
		if shift == 63 && b > 1 {
			return 0, -1
		}
		v |= uint64(b&0x7f) << shift
		if b < 0x80 {
			return v, i
		}
	}
	return 0, -1
}
