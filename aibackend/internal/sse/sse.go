// Package sse reads server-sent events as they come, in chunks cut anywhere, with
// lines that end in LF, CRLF or CR.
//
// It must never see what an event means. Callers: package aibackend and its schema
// packages.
package sse

import (
	"bytes"
	"fmt"
)

// MaxEvent bounds one event in bytes.
const MaxEvent = 8 << 20

// Event is one event. Its slices are valid until the function it was passed to
// returns.
type Event struct {
	// Name is the event field, empty when there is none.
	Name []byte
	// Data is the data fields, joined by newlines.
	Data []byte
	// Raw is the event as it came, with its blank line. The LF of a CRLF that ends it may
	// stand at the start of the next one.
	Raw []byte
}

type span struct{ lo, hi int }

// Reader reads one stream. The zero value is ready.
type Reader struct {
	buf []byte
	// All places count from the start of the current event.
	pos, line int
	name      span
	data      span
	datas     int
	joined    []byte
	skipLF    bool
	begun     bool
	err       error
}

// Write reads a chunk and calls fn for every event that it completes. fn's error, or
// an event beyond MaxEvent, ends the stream: it is returned now and by all later
// calls.
func (r *Reader) Write(chunk []byte, fn func(Event) error) error {
	if r.err != nil {
		return r.err
	}
	b := chunk
	if len(r.buf) > 0 {
		r.buf = append(r.buf, chunk...)
		b = r.buf
	}
	start := 0
	for {
		at := start + r.pos
		n := lineEnd(b[at:])
		if n < 0 {
			r.pos = len(b) - start
			break
		}
		end := at + n
		c := b[end]
		r.pos = end + 1 - start
		if c == '\n' && r.skipLF && end == start+r.line {
			r.skipLF = false
			r.line = r.pos
			continue
		}
		r.skipLF = c == '\r'
		if end > start+r.line {
			r.field(b[start:], r.line, end-start)
			r.line = r.pos
			continue
		}
		if r.err = r.dispatch(b[start:start+r.pos], fn); r.err != nil {
			return r.err
		}
		start += r.pos
		r.pos, r.line = 0, 0
	}
	if len(b)-start > MaxEvent {
		r.err = fmt.Errorf("an event is larger than %d bytes", MaxEvent)
		return r.err
	}
	r.buf = append(r.buf[:0], b[start:]...)
	return nil
}

// Close tells the last event, if the stream ended without the blank line after it.
func (r *Reader) Close(fn func(Event) error) error {
	if r.err != nil || len(r.buf) == 0 {
		return r.err
	}
	if len(r.buf) > r.line {
		r.field(r.buf, r.line, len(r.buf))
	}
	r.err = r.dispatch(r.buf, fn)
	r.buf = nil
	r.pos, r.line = 0, 0
	return r.err
}

func lineEnd(b []byte) int {
	n := bytes.IndexByte(b, '\n')
	if n < 0 {
		return bytes.IndexByte(b, '\r')
	}
	if cr := bytes.IndexByte(b[:n], '\r'); cr >= 0 {
		return cr
	}
	return n
}

// field takes the line b[lo:hi], which is not empty.
func (r *Reader) field(b []byte, lo, hi int) {
	line := b[lo:hi]
	if !r.begun {
		r.begun = true
		if trimmed := bytes.TrimPrefix(line, []byte("\ufeff")); len(trimmed) < len(line) {
			lo += len(line) - len(trimmed)
			line = trimmed
		}
	}
	colon := bytes.IndexByte(line, ':')
	if colon < 0 {
		colon = len(line)
	}
	value := span{min(lo+colon+1, hi), hi}
	if value.lo < hi && b[value.lo] == ' ' {
		value.lo++
	}
	switch string(line[:colon]) {
	case "event":
		r.name = value
	case "data":
		switch r.datas++; r.datas {
		case 1:
			r.data = value
			return
		case 2:
			r.joined = append(r.joined[:0], b[r.data.lo:r.data.hi]...)
		}
		r.joined = append(r.joined, '\n')
		r.joined = append(r.joined, b[value.lo:value.hi]...)
	}
}

func (r *Reader) dispatch(raw []byte, fn func(Event) error) error {
	e := Event{Name: raw[r.name.lo:r.name.hi], Raw: raw}
	if r.datas == 1 {
		e.Data = raw[r.data.lo:r.data.hi]
	} else if r.datas > 1 {
		e.Data = r.joined
	}
	r.begun = true
	r.name, r.data, r.datas = span{}, span{}, 0
	return fn(e)
}
