package forms

import "slices"

// maxHead bounds the headers of a part, in bytes.
const maxHead = 8 << 10

// Field is a field that was asked for.
type Field struct {
	Name string
	// Value is what was found. It belongs to the Reader and is valid until Reset. One
	// that is longer than the limit is cut there, and Long is set.
	Value []byte
	// Start and End bound the value in the body. Found says that it is there.
	Start, End  int64
	Found, Long bool
}

type state uint8

const (
	inContent  state = iota // of a part
	inHead                  // of a part
	inBoundary              // behind one, up to the end of its line
	inEnd                   // behind the last boundary
)

// broken is what stands before a possible boundary.
type broken uint8

const (
	nothing broken = iota // no line break: there can be none
	cr                    // a carriage return alone
	lf                    // a line feed alone
	crlf
	start // the start of the body, where a boundary may stand
	blank // the blank line behind a part's headers, where none may
)

func (b broken) text() string { return [...]string{"", "\r", "\n", "\r\n", "", ""}[b] }

// Reader reads one body at a time and is reused with Reset. The zero value is ready
// for Reset.
type Reader struct {
	fields []Field
	limit  int
	dash   []byte // "--" and the boundary

	state   state
	before  broken
	matched int // bytes of dash
	pos     int64
	line    []byte // what is kept of a head, or of the line of a boundary
	field   int    // that the content belongs to, -1 when it is none of fields
	err     error
}

// Reset prepares for a body with this boundary. Of the fields named, at most limit
// bytes each are kept.
func (r *Reader) Reset(boundary string, limit int, names ...string) {
	*r = Reader{fields: r.fields[:0], dash: append(append(r.dash[:0], "--"...), boundary...), line: r.line[:0], limit: limit, before: start, field: -1}
	for _, name := range names {
		r.fields = append(r.fields, Field{Name: name})
	}
}

// Field is the field of the name, which must be one of Reset's.
func (r *Reader) Field(name string) *Field {
	i := slices.IndexFunc(r.fields, func(f Field) bool { return f.Name == name })
	return &r.fields[i]
}

// Write reads the next bytes. An error is an *Error, and final.
func (r *Reader) Write(b []byte) error {
	for i := 0; i < len(b) && r.err == nil; {
		if r.state == inContent && r.before == nothing {
			// The rest of a line cannot hold a boundary.
			n := i
			for n < len(b) && b[n] != '\r' && b[n] != '\n' {
				n++
			}
			r.keep(b[i:n])
			r.pos += int64(n - i)
			if i = n; i == len(b) {
				break
			}
		}
		c := b[i]
		i++
		switch r.state {
		case inContent:
			r.content(c)
		case inHead:
			r.head(c)
		case inBoundary:
			r.boundary(c)
		case inEnd:
			if c != '\r' && c != '\n' && c != ' ' && c != '\t' {
				r.fail("there is something behind the end")
			}
		}
		r.pos++
	}
	return r.err
}

// Finish ends the body. An error is an *Error.
func (r *Reader) Finish() error {
	if r.err == nil && r.state != inEnd {
		r.fail("it ends without its last boundary")
	}
	return r.err
}

func (r *Reader) fail(msg string) {
	if r.err == nil {
		r.err = &Error{Offset: r.pos, Msg: msg}
	}
}

// content takes a byte that may be part of a boundary or of the line break before it.
func (r *Reader) content(c byte) {
	if r.before != nothing && c == r.dash[r.matched] {
		if r.matched++; r.matched == len(r.dash) {
			r.found()
		}
		return
	}
	if r.before == start {
		r.fail("it does not begin with the boundary")
		return
	}
	if r.before == cr && r.matched == 0 && c == '\n' {
		r.before = crlf
		return
	}
	r.keep([]byte(r.before.text()))
	r.keep(r.dash[:r.matched])
	r.before, r.matched = nothing, 0
	switch c {
	case '\r':
		r.before = cr
	case '\n':
		r.before = lf
	default:
		r.keep([]byte{c})
	}
}

// found takes a boundary.
func (r *Reader) found() {
	switch r.before {
	case crlf:
		if r.field >= 0 {
			r.fields[r.field].End = r.pos + 1 - int64(len(r.dash)) - 2
		}
	case start:
	default:
		r.fail("a boundary does not stand on a line of its own")
		return
	}
	r.state, r.before, r.matched, r.line, r.field = inBoundary, nothing, 0, r.line[:0], -1
}

// boundary takes a byte of the line of a boundary.
func (r *Reader) boundary(c byte) {
	n := len(r.line)
	switch {
	case n == 0 && c == '-', n > 0 && r.line[n-1] == '\r' && c == '\n':
	case n == 1 && r.line[0] == '-' && c == '-':
		r.state = inEnd
		return
	case n > 0 && (r.line[n-1] == '\r' || r.line[0] == '-'), c != ' ' && c != '\t' && c != '\r', n > maxBoundary:
		r.fail("the line of a boundary goes on")
		return
	}
	if r.line = append(r.line, c); c == '\n' {
		r.state, r.line = inHead, r.line[:0]
	}
}

// head takes a byte of a part's headers.
func (r *Reader) head(c byte) {
	if r.line = append(r.line, c); len(r.line) > maxHead {
		r.fail("the headers of a part are too long")
		return
	}
	n := len(r.line)
	if c != '\n' || n < 4 || string(r.line[n-4:]) != "\r\n\r\n" {
		return
	}
	name, file, odd, err := partName(r.line[:n-4])
	if err != nil {
		r.fail(err.Error())
		return
	}
	r.line = r.line[:0]
	r.state, r.before = inContent, blank
	for i := range r.fields {
		f := &r.fields[i]
		if f.Name != name {
			continue
		}
		if f.Found || file {
			r.fail("the field " + f.Name + " is given twice, or as a file")
			return
		}
		r.field, f.Found, f.Start = i, true, r.pos+1
	}
	if odd && (r.field >= 0 || !file) {
		r.fail("a part's name or encoding can be read in two ways")
	}
}

// keep takes bytes of a part's content.
func (r *Reader) keep(b []byte) {
	if r.field < 0 {
		return
	}
	f := &r.fields[r.field]
	if room := r.limit - len(f.Value); len(b) > room {
		b, f.Long = b[:room], true
	}
	f.Value = append(f.Value, b...)
}
