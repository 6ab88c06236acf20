package observe

import (
	"bytes"

	"github.com/fairway-ai/fairway/extproc/internal/jsonlex"
	"github.com/fairway-ai/fairway/extproc/scan"
)

// Observer follows one response body at a time. Its zero value needs a Reset,
// and it is reused with Reset. It is not safe for concurrent use.
type Observer struct {
	lex   jsonlex.Lexer
	ready bool // lex is initialised

	streamed bool
	first    bool // the first token was reported
	done     bool
	chunks   int64
	usage    counts

	// Of a stream: the current line and event.
	line    lineState
	matched int  // bytes of the field name, or of the end mark, seen
	cr      bool // the last byte was a CR, so an LF ends no line
	fresh   bool // no data was seen in this event
	settled bool // this event, or the body that is not streamed, was taken

	event event
	// skipped is the depth of the outermost container whose content is of no
	// interest, 0 when all is.
	skipped int
	nodes   [maxNodes]node // by depth
	next    node           // of the value that comes next
	text    [48]byte       // keys, types and numbers

	messages messages // of a gRPC response
}

// maxDepth is the deepest JSON looked into; what is deeper carries nothing.
const maxDepth = 256

// Reset prepares for another response. streamed says that the body is
// server-sent events; otherwise it is taken for one JSON object. A body with a
// content encoding must not be written.
func (o *Observer) Reset(streamed bool) {
	if !o.ready {
		o.lex.Init(o, maxDepth)
		o.ready = true
	}
	o.streamed, o.first, o.done = streamed, false, false
	o.chunks, o.usage = 0, counts{}
	o.line, o.matched, o.cr = lineStart, 0, false
	o.messages.call, o.messages.ended = scan.NoCall, false
	o.begin()
}

// begin prepares for an event, or for a body that is not streamed.
func (o *Observer) begin() {
	o.lex.Reset()
	o.fresh, o.settled = true, false
	o.event = event{}
	o.skipped, o.next = 0, nodeRoot
}

// Write follows the body's next bytes and keeps no reference to them. It returns
// true once: when the first event that carries a token ends within chunk, or, of
// a body that is not streamed, for the first byte.
func (o *Observer) Write(chunk []byte) (firstToken bool) {
	if len(chunk) == 0 {
		return false
	}
	before := o.first
	if o.messages.call != scan.NoCall {
		o.messages.write(chunk)
	} else if !o.streamed {
		o.first = true
		// An error ends the interest in the body and is kept by the lexer.
		_ = o.lex.Write(chunk)
	} else {
		o.stream(chunk)
	}
	return o.first && !before
}

// Chunks counts a stream's events, or messages, that carried tokens.
func (o *Observer) Chunks() int64 { return o.chunks }

// Done is true when a stream said that it was at its end: with [DONE], or an
// event of type message_stop or response.completed, incomplete or failed. The answer to a
// gRPC call is done with the message that says so, and without a stream with the first.
func (o *Observer) Done() bool {
	return o.done || o.messages.ended || o.line == lineData && o.matched == len(endMark)
}

// Usage is what the server reported, to be asked for behind the last Write. It
// is known only from an event, or a body, that was read to its end.
func (o *Observer) Usage() Usage {
	o.settle()
	o.messages.count()
	return o.usage.usage()
}

// SoFar is what the server has reported in lines, or messages, that are complete; of a body that is
// not streamed, in the whole of it. It may be asked for between Writes.
func (o *Observer) SoFar() Usage {
	if !o.streamed {
		o.settle()
	}
	o.messages.count()
	return o.usage.usage()
}

// settle takes the current event, or body, if it is complete.
func (o *Observer) settle() {
	if o.settled || !o.lex.Complete() {
		return
	}
	o.settled = true
	o.usage.merge(&o.event.usage)
	if !o.streamed {
		return
	}
	if o.event.carriesToken() {
		o.chunks++
		o.first = true
	}
	o.done = o.done || o.event.last
}

// lineState is the place in a line of a stream.
type lineState uint8

const (
	lineStart lineState = iota // in the field's name
	lineData                   // in the data
	lineSkip                   // in a line of no interest
)

const (
	fieldName = "data:"
	endMark   = "[DONE]"
)

// stream follows bytes of a stream of events. A line ends with LF, CR or both.
func (o *Observer) stream(b []byte) {
	if o.cr {
		o.cr = false
		if b[0] == '\n' {
			b = b[1:]
		}
	}
	for len(b) > 0 {
		n := endOfLine(b)
		o.inLine(b[:n])
		if n == len(b) {
			return
		}
		o.endLine()
		c := b[n]
		if b = b[n+1:]; c == '\r' {
			if len(b) == 0 {
				o.cr = true
			} else if b[0] == '\n' {
				b = b[1:]
			}
		}
	}
}

// endOfLine is the length of b up to the first LF or CR.
func endOfLine(b []byte) int {
	if n := bytes.IndexByte(b, '\n'); n >= 0 {
		b = b[:n]
	}
	if n := bytes.IndexByte(b, '\r'); n >= 0 {
		return n
	}
	return len(b)
}

// inLine follows bytes within a line.
func (o *Observer) inLine(b []byte) {
	for o.line == lineStart && len(b) > 0 {
		if b[0] != fieldName[o.matched] {
			o.line = lineSkip
			return
		}
		b = b[1:]
		if o.matched++; o.matched == len(fieldName) {
			o.line, o.matched = lineData, 0
			o.startData()
		}
	}
	if o.line == lineData && len(b) > 0 {
		o.data(b)
	}
}

// startData begins a line of data: a new event's, or one more of the same. A
// server that forgets the empty line between events is understood as well.
func (o *Observer) startData() {
	if o.settled {
		o.begin()
	}
	if !o.fresh {
		// The line break between two lines of data is white space, and an error
		// inside a string, as it must be.
		_ = o.lex.Write([]byte{'\n'})
	}
	o.fresh = false
}

// data follows bytes of a line of data.
func (o *Observer) data(b []byte) {
	_ = o.lex.Write(b)
	if o.matched < 0 {
		return
	}
	for _, c := range b {
		switch {
		case c == ' ' && (o.matched == 0 || o.matched == len(endMark)):
		case o.matched < len(endMark) && c == endMark[o.matched]:
			o.matched++
		default:
			o.matched = -1
			return
		}
	}
}

// endLine ends a line; an empty one ends the event.
func (o *Observer) endLine() {
	switch {
	case o.line == lineData:
		o.done = o.done || o.matched == len(endMark)
		o.settle()
	case o.line == lineStart && o.matched == 0 && !o.fresh:
		o.begin()
	}
	o.line, o.matched = lineStart, 0
}
