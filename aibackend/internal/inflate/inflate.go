// Package inflate decodes gzip as it comes, in chunks cut anywhere.
//
// The decoder of the standard library pulls its input. It runs here as a coroutine
// that is suspended whenever the input is used up, so every compressed byte is
// decoded once and nothing runs beside the caller. Memory is one window and one
// output buffer, whatever the stream expands to.
//
// The package must never see what the bytes mean. Caller: package aibackend.
package inflate

import (
	"compress/gzip"
	"errors"
	"io"
	"iter"
)

const outSize = 16 << 10

// ErrTruncated says that the input ended inside of the gzip stream.
var ErrTruncated = errors.New("the gzip stream ends too early")

// Reader decodes one stream. It must be closed if it is left before its end.
type Reader struct {
	in   []byte
	end  bool
	err  error
	done bool
	next func() ([]byte, bool)
	stop func()
}

// New makes a Reader.
func New() *Reader {
	r := &Reader{}
	r.next, r.stop = iter.Pull(r.run)
	return r
}

// Write decodes a chunk and gives the output to fn in pieces that are valid only
// until fn returns. end marks the last chunk. After an error all calls return it.
func (r *Reader) Write(chunk []byte, end bool, fn func([]byte)) error {
	if r.err != nil || r.done {
		return r.err
	}
	r.in, r.end = chunk, end
	for {
		out, ok := r.next()
		if !ok {
			r.done = true
			return r.err
		}
		if out == nil {
			return nil
		}
		fn(out)
	}
}

// Close frees the decoder.
func (r *Reader) Close() { r.stop() }

func (r *Reader) run(yield func([]byte) bool) {
	src := &source{r: r, yield: yield}
	z, err := gzip.NewReader(src)
	if err != nil {
		r.fail(err)
		return
	}
	buf := make([]byte, outSize)
	for {
		n, err := z.Read(buf)
		if n > 0 && !yield(buf[:n]) {
			return
		}
		if err != nil {
			if err != io.EOF {
				r.fail(err)
			}
			return
		}
	}
}

func (r *Reader) fail(err error) {
	if errors.Is(err, io.EOF) || errors.Is(err, io.ErrUnexpectedEOF) {
		err = ErrTruncated
	}
	r.err = err
}

// source hands the current chunk to the decoder, and suspends it after that.
type source struct {
	r     *Reader
	yield func([]byte) bool
}

func (s *source) wait() bool {
	for len(s.r.in) == 0 {
		if s.r.end || !s.yield(nil) {
			return false
		}
	}
	return true
}

func (s *source) Read(p []byte) (int, error) {
	if !s.wait() {
		return 0, io.EOF
	}
	n := copy(p, s.r.in)
	s.r.in = s.r.in[n:]
	return n, nil
}

// ReadByte keeps the decoder from reading ahead through a buffer of its own.
func (s *source) ReadByte() (byte, error) {
	if !s.wait() {
		return 0, io.EOF
	}
	c := s.r.in[0]
	s.r.in = s.r.in[1:]
	return c, nil
}
