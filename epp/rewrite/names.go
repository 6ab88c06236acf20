package rewrite

import (
	"bytes"
	"encoding/json"
)

// Names replaces the name of a model in an answer. It follows the answer's JSON as far
// as it must to know in which field it is, and checks nothing. It is not safe for
// concurrent use.
type Names struct {
	from string
	to   []byte // as JSON
	// longest bounds what is kept, in bytes: a name may be written with escapes.
	longest int

	stream bool
	line   line
	events eventLine
	json   walker
	// keeping says that the bytes from a string's start on are in kept.
	keeping bool
	kept    []byte
}

// maxEscape is how many bytes a byte of a name becomes when it is escaped.
const maxEscape = 6

// NewNames returns what replaces from by to. stream says that the answer is
// server-sent events rather than one JSON object.
func NewNames(from, to string, stream bool) *Names {
	var b bytes.Buffer
	e := json.NewEncoder(&b)
	e.SetEscapeHTML(false)
	_ = e.Encode(to) // a string can be encoded
	return &Names{from: from, to: bytes.TrimSuffix(b.Bytes(), []byte("\n")), longest: maxEscape*len(from) + 2, stream: stream}
}

// Append appends to dst what becomes of the next bytes of the answer. It may keep the
// beginning of a string for the next call.
func (n *Names) Append(dst, next []byte) []byte {
	start := 0 // of what is not in dst yet
	for i, c := range next {
		if n.stream && !n.inData(c) {
			if n.keeping { // a line ends within a string
				dst, start = n.giveUp(dst), i
			}
			continue
		}
		if n.keeping {
			n.kept = append(n.kept, c)
		}
		switch n.json.next(c) {
		case wanted:
			n.keeping, n.kept = true, append(n.kept[:0], c)
			dst = append(dst, next[start:i]...)
		case closed:
			if n.keeping {
				dst, start = n.replaced(dst), i+1
			}
		}
		if n.keeping && len(n.kept) > n.longest {
			dst, start = n.giveUp(dst), i+1
		}
	}
	if n.keeping {
		return dst
	}
	return append(dst, next[start:]...)
}

// Keeps reports whether something is kept.
func (n *Names) Keeps() bool { return n.keeping }

// End appends what is still kept, of an answer that was cut.
func (n *Names) End(dst []byte) []byte {
	if !n.keeping {
		return dst
	}
	return n.giveUp(dst)
}

// giveUp appends what is kept as it is: it is not the name.
func (n *Names) giveUp(dst []byte) []byte {
	n.keeping = false
	return append(dst, n.kept...)
}

// replaced appends the string that is kept, or the other name if it is the name.
func (n *Names) replaced(dst []byte) []byte {
	n.keeping = false
	var s string
	if json.Unmarshal(n.kept, &s) == nil && s == n.from {
		return append(dst, n.to...)
	}
	return append(dst, n.kept...)
}
