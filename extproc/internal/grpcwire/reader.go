package grpcwire

import (
	"encoding/binary"
	"fmt"

	"google.golang.org/protobuf/encoding/protowire"
)

// Number is a field's number.
type Number = protowire.Number

// Action is what to do with a field that has a length.
type Action uint8

const (
	// Skip passes over the field.
	Skip Action = iota
	// Enter reads it as a message.
	Enter
	// Bytes hands its bytes to the handler.
	Bytes
	// Varints reads it as packed numbers.
	Varints
)

// Handler is told of the fields of messages, in order.
type Handler interface {
	// Message reports that a message begins, End that it was read to its end.
	Message()
	End()
	// Length asks about a field of n bytes. Unless it is skipped, Close reports its end.
	Length(num Number, n uint64) Action
	Close()
	// Varint reports a number: a field, or, where Length said Varints, one of several.
	// Of these num is 0.
	Varint(num Number, v uint64)
	// Bytes reports the next bytes of a field, which are valid during the call.
	Bytes(p []byte)
}

// Error is a stream that is not one of valid messages.
type Error struct {
	// Offset is the position of what is wrong, in bytes from the body's start.
	Offset int64
	// Msg says what is wrong, without a message's content.
	Msg string
	// Compressed is true for a compressed message, which may well be valid.
	Compressed bool
}

func (e *Error) Error() string {
	return fmt.Sprintf("invalid gRPC message at byte %d: %s", e.Offset, e.Msg)
}

// headerLen is the length of what comes before each message: whether it is compressed,
// and its length.
const headerLen = 5

// maxDepth is how deep messages may be entered, the outermost being 0.
const maxDepth = 7

type state uint8

const (
	inHeader  state = iota // before a message
	inTag                  // before or in a field's tag
	inLength               // in a field's length
	inVarint               // in a field's number
	inVarints              // before or in one of packed numbers
	inBytes                // in a field for the handler
	inSkipped              // in a field that is passed over
	inOpaque               // in a message that is passed over
)

// Reader reads the messages of one body. It is reused with Reset, and not safe for
// concurrent use.
type Reader struct {
	h       Handler
	request bool
	err     error
	state   state
	off     int64 // bytes read

	header   [headerLen]byte
	n        int // bytes of header
	messages int

	pos   uint64 // in the message
	depth int
	ends  [maxDepth + 1]uint64 // of the messages entered, by depth
	num   Number
	value uint64 // the number at hand, so far
	shift uint   // bits of it
	left  uint64 // bytes of the field or message at hand
}

// Reset prepares the reader for a body. A request has exactly one message, which is
// not compressed.
func (r *Reader) Reset(h Handler, request bool) {
	*r = Reader{h: h, request: request}
}

// Write reads the body's next bytes. An error is an *Error and final: every later call
// returns it again.
func (r *Reader) Write(b []byte) error {
	for len(b) > 0 && r.err == nil {
		n := 1
		switch r.state {
		case inHeader:
			n = copy(r.header[r.n:], b)
			r.off += int64(n)
			if r.n += n; r.n == headerLen {
				r.begin()
			}
		case inBytes, inSkipped, inOpaque:
			n = int(min(uint64(len(b)), r.left))
			if r.state == inBytes {
				r.h.Bytes(b[:n])
			}
			r.off += int64(n)
			r.left -= uint64(n)
			r.pos += uint64(n)
			if r.left == 0 {
				r.endBytes()
			}
		default:
			r.off++
			r.pos++
			r.digit(b[0])
		}
		b = b[n:]
		r.settle()
	}
	return r.err
}

// Err is the error that ended the body, if any.
func (r *Reader) Err() error { return r.err }

// Finish ends the body. An error is an *Error.
func (r *Reader) Finish() error {
	switch {
	case r.err != nil:
	case r.state != inHeader || r.n > 0:
		r.fail("the message ends early")
	case r.request && r.messages == 0:
		r.fail("there is no message")
	}
	return r.err
}

func (r *Reader) fail(msg string) {
	if r.err == nil {
		r.err = &Error{Offset: r.off, Msg: msg}
	}
}

// begin starts the message whose header was read.
func (r *Reader) begin() {
	r.n = 0
	r.messages++
	size := uint64(binary.BigEndian.Uint32(r.header[1:]))
	switch {
	case r.request && r.messages > 1:
		r.fail("there is more than one message")
	case r.header[0] == 1 && r.request:
		r.err = &Error{Offset: r.off, Msg: "it is compressed; send it uncompressed", Compressed: true}
	case r.header[0] == 1:
		if size > 0 {
			r.state, r.left = inOpaque, size
		}
	case r.header[0] != 0:
		r.fail("it is neither compressed nor not")
	default:
		r.state, r.pos, r.depth, r.ends[0] = inTag, 0, 0, size
		r.h.Message()
	}
}

// digit takes the next byte of a number.
func (r *Reader) digit(c byte) {
	if r.shift == 63 && c > 1 {
		r.fail("a number is too large")
		return
	}
	r.value |= uint64(c&0x7f) << r.shift
	if c >= 0x80 {
		if r.shift += 7; r.pos == r.ends[r.depth] {
			r.fail("a number ends early")
		}
		return
	}
	v := r.value
	r.value, r.shift = 0, 0
	switch r.state {
	case inTag:
		r.tag(v)
	case inLength:
		r.length(v)
	case inVarint:
		r.state = inTag
		r.h.Varint(r.num, v)
	case inVarints:
		r.h.Varint(0, v)
	}
}

// tag begins a field.
func (r *Reader) tag(v uint64) {
	num, typ := protowire.DecodeTag(v)
	if num < protowire.MinValidNumber || num > protowire.MaxValidNumber {
		r.fail("a field's number is invalid")
		return
	}
	r.num = num
	switch typ {
	case protowire.VarintType:
		r.state = inVarint
	case protowire.BytesType:
		r.state = inLength
	case protowire.Fixed32Type:
		r.skip(4)
	case protowire.Fixed64Type:
		r.skip(8)
	default:
		r.fail("a field's type is invalid")
	}
	if (r.state == inVarint || r.state == inLength) && r.pos == r.ends[r.depth] {
		r.fail("a field has no value")
	}
}

// room reports whether n bytes fit in what the field is in.
func (r *Reader) room(n uint64) bool {
	if n <= r.ends[r.depth]-r.pos {
		return true
	}
	r.fail("a field is longer than what it is in")
	return false
}

func (r *Reader) skip(n uint64) {
	if !r.room(n) {
		return
	}
	r.state, r.left = inSkipped, n
	if n == 0 {
		r.state = inTag
	}
}

// length begins the content of a field.
func (r *Reader) length(n uint64) {
	if !r.room(n) {
		return
	}
	action := r.h.Length(r.num, n)
	if r.depth == maxDepth && (action == Enter || action == Varints) {
		r.fail("messages are nested too deeply")
		return
	}
	switch action {
	case Enter, Varints:
		r.depth++
		r.ends[r.depth] = r.pos + n
		if r.state = inTag; action == Varints {
			r.state = inVarints
		}
	case Bytes:
		if r.state, r.left = inBytes, n; n == 0 {
			r.endBytes()
		}
	default:
		r.skip(n)
	}
}

// endBytes ends a field, or message, that was read or skipped as bytes.
func (r *Reader) endBytes() {
	switch r.state {
	case inOpaque:
		r.state = inHeader
		return
	case inBytes:
		r.h.Close()
	}
	r.state = inTag
}

// settle ends what is at its end.
func (r *Reader) settle() {
	for r.err == nil && r.shift == 0 && (r.state == inTag || r.state == inVarints) && r.pos == r.ends[r.depth] {
		if r.depth == 0 {
			r.state = inHeader
			r.h.End()
			return
		}
		r.depth--
		r.state = inTag
		r.h.Close()
	}
}
