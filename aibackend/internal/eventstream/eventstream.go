// Package eventstream reads application/vnd.amazon.eventstream as it comes, in
// chunks cut anywhere. Both checksums of every frame are checked: a corrupt length
// must not make the reader wait for bytes that never come.
//
// It must never see what a payload means. Callers: package aibackend and its bedrock
// package.
package eventstream

import (
	"encoding/binary"
	"errors"
	"fmt"
	"hash/crc32"
)

const (
	// MaxFrame bounds a frame in bytes. AWS allows 16 MiB of payload.
	MaxFrame   = 16<<20 + maxHeaders + overhead
	maxHeaders = 128 << 10
	prelude    = 12
	overhead   = prelude + 4
)

// ErrTruncated says that the stream ended inside of a frame.
var ErrTruncated = errors.New("the event stream ends inside of a frame")

var errHeaders = errors.New("the headers of a frame are broken")

// Frame is one message. Its slices are valid until the function it was passed to
// returns.
type Frame struct {
	// Kind is ":message-type": "event", "exception" or "error".
	Kind []byte
	// Name is ":event-type", ":exception-type" or ":error-code".
	Name []byte
	// Message is ":error-message".
	Message []byte
	Payload []byte
}

// Reader reads one stream. The zero value is ready.
type Reader struct {
	buf []byte
	err error
}

// Write reads a chunk and calls fn for every frame that it completes. fn's error, or
// a broken frame, ends the stream: it is returned now and by all later calls.
func (r *Reader) Write(chunk []byte, fn func(Frame) error) error {
	if r.err != nil {
		return r.err
	}
	b := chunk
	if len(r.buf) > 0 {
		r.buf = append(r.buf, chunk...)
		b = r.buf
	}
	for len(b) >= prelude {
		var n int
		if n, r.err = frameLen(b); r.err != nil {
			return r.err
		}
		if len(b) < n {
			break
		}
		var f Frame
		if f, r.err = parse(b[:n]); r.err == nil {
			r.err = fn(f)
		}
		if r.err != nil {
			return r.err
		}
		b = b[n:]
	}
	r.buf = append(r.buf[:0], b...)
	return nil
}

// Close reports whether the stream ended between two frames.
func (r *Reader) Close() error {
	if r.err == nil && len(r.buf) > 0 {
		r.err = ErrTruncated
	}
	return r.err
}

func frameLen(b []byte) (int, error) {
	if crc32.ChecksumIEEE(b[:8]) != binary.BigEndian.Uint32(b[8:]) {
		return 0, errors.New("the checksum of a frame's prelude is wrong")
	}
	total, headers := binary.BigEndian.Uint32(b), binary.BigEndian.Uint32(b[4:])
	if total > MaxFrame || headers > maxHeaders || uint64(headers)+overhead > uint64(total) {
		return 0, fmt.Errorf("a frame of %d bytes with %d bytes of headers is not allowed", total, headers)
	}
	return int(total), nil
}

func parse(b []byte) (Frame, error) {
	end := len(b) - 4
	if crc32.ChecksumIEEE(b[:end]) != binary.BigEndian.Uint32(b[end:]) {
		return Frame{}, errors.New("the checksum of a frame is wrong")
	}
	headers := int(binary.BigEndian.Uint32(b[4:]))
	f := Frame{Payload: b[prelude+headers : end]}
	return f, f.headers(b[prelude : prelude+headers])
}

// widths are the sizes of the header values of fixed size, by type.
var widths = [...]int{0: 0, 1: 0, 2: 1, 3: 2, 4: 4, 5: 8, 8: 8, 9: 16}

const (
	typeBytes  = 6
	typeString = 7
)

func (f *Frame) headers(b []byte) error {
	for len(b) > 0 {
		n := int(b[0])
		if len(b) < n+2 {
			return errHeaders
		}
		name, typ := b[1:n+1], int(b[n+1])
		b = b[n+2:]
		width := 0
		switch {
		case typ == typeBytes || typ == typeString:
			if len(b) < 2 {
				return errHeaders
			}
			width = int(binary.BigEndian.Uint16(b))
			b = b[2:]
		case typ < len(widths):
			width = widths[typ]
		default:
			return errHeaders
		}
		if len(b) < width {
			return errHeaders
		}
		value := b[:width]
		b = b[width:]
		if typ != typeString {
			continue
		}
		switch string(name) {
		case ":message-type":
			f.Kind = value
		case ":event-type", ":exception-type", ":error-code":
			f.Name = value
		case ":error-message":
			f.Message = value
		}
	}
	return nil
}
