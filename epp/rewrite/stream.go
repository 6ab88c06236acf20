package rewrite

// line is the place in a line of a stream of events.
type line uint8

const (
	lineStart line = iota // in the field's name
	lineData              // in the data
	lineSkip              // in a line of no interest
)

const fieldName = "data:"

// eventLine is what is known of the line at hand.
type eventLine struct {
	matched int  // bytes of the field's name that were seen
	cr      bool // the last byte was a CR, so an LF ends no line
}

// inData follows a byte of a stream and reports whether it belongs to an event's data.
// A line ends with LF, CR or both, an event with an empty line; one that begins behind
// a complete object is a new event, too.
func (n *Names) inData(c byte) bool {
	e := &n.events
	if e.cr {
		e.cr = false
		if c == '\n' {
			return false
		}
	}
	if c == '\n' || c == '\r' {
		e.cr = c == '\r'
		switch {
		case n.line == lineStart && e.matched == 0:
			n.json = walker{}
		case n.line == lineData:
			n.json.broken()
		}
		n.line, e.matched = lineStart, 0
		return false
	}
	switch n.line {
	case lineData:
		return true
	case lineStart:
		if c != fieldName[e.matched] {
			n.line = lineSkip
			return false
		}
		if e.matched++; e.matched == len(fieldName) {
			n.line = lineData
			if n.json.done {
				n.json = walker{}
			}
		}
	}
	return false
}
