package jsonlex

import "fmt"

// Kind is the kind of a token that has text.
type Kind uint8

const (
	// Key is an object's key.
	Key Kind = iota
	// String is a string that is not a key.
	String
	// Number is a number; its text is the one in the document.
	Number
)

// Handler is told of a document's tokens in order. Offsets are in bytes from the
// start of the document.
type Handler interface {
	// Open reports an object's or array's start, Close its end.
	Open(object bool)
	Close(object bool)
	// Begin reports the start of a token of kind k at off. The handler may set
	// the lexer's Out and N to receive the token's text; otherwise it is skipped.
	Begin(k Kind, off int64)
	// Full reports that N == len(Out) inside a token. The handler must make room,
	// or set Out to nil to skip the rest of the token.
	Full()
	// End reports the end of the token; off is the first byte behind it. The text
	// not yet taken at a Full is Out[:N].
	End(k Kind, off int64)
	// Literal reports null, false or true by its first letter.
	Literal(c byte)
}

// SyntaxError is a document that is not one valid JSON object.
type SyntaxError struct {
	// Offset is the position in bytes of the byte that is wrong, or the length of
	// a document that ends too early.
	Offset int64
	// Msg says what is wrong, without the document's text.
	Msg string
}

func (e *SyntaxError) Error() string {
	return fmt.Sprintf("invalid JSON body at byte %d: %s", e.Offset, e.Msg)
}

type state uint8

const (
	stStart    state = iota // before the top-level object
	stValue                 // a value must come
	stArrFirst              // a value or ]
	stObjFirst              // a key or }
	stKey                   // a key must come
	stColon                 // a colon must come
	stAfter                 // a comma, or the end of the container
	stEnd                   // behind the top-level object
	stString                // inside a string
	stEscape                // behind a string's backslash
	stHex                   // inside a string's \uXXXX
	stLiteral               // inside null, false or true
	stMinus                 // number: a digit must come
	stZero                  // number: behind a leading 0
	stInt                   // number: in the integer part
	stDot                   // number: a digit must come behind the point
	stFrac                  // number: in the fraction
	stE                     // number: a sign or digit must come behind e
	stESign                 // number: a digit must come behind e's sign
	stExp                   // number: in the exponent
)

// Lexer reads one JSON object. It is reusable with Reset, and not safe for
// concurrent use.
type Lexer struct {
	// Out receives the current token's decoded text; N is how much of it is
	// filled. N < len(Out) must hold whenever the handler returns and Out is not
	// nil.
	Out []byte
	N   int

	h     Handler
	err   error
	base  int64 // bytes of the document before the current chunk
	state state
	kind  Kind // of the current string
	depth int
	stack []bool // by depth: is it an object?

	lit  string // what must still come of a literal
	litC byte
	hex  rune // the escape's value so far
	hexN int
	hi   rune // a high surrogate that waits for its low one, 0 for none
}

// Init prepares a lexer for its first document. maxDepth is the deepest nesting
// of objects and arrays accepted, the top-level object being 1.
func (l *Lexer) Init(h Handler, maxDepth int) {
	*l = Lexer{h: h, stack: make([]bool, maxDepth+1)}
}

// Reset prepares the lexer for another document.
func (l *Lexer) Reset() {
	*l = Lexer{h: l.h, stack: l.stack}
}

// Depth is how many objects and arrays are open.
func (l *Lexer) Depth() int { return l.depth }

// Complete is true when a whole object was read and nothing wrong followed.
func (l *Lexer) Complete() bool { return l.err == nil && l.state == stEnd }

// Err is the error that ended the document, if any.
func (l *Lexer) Err() error { return l.err }

// Finish reports a document that is invalid or ends too early as a *SyntaxError.
func (l *Lexer) Finish() error {
	if l.err == nil && l.state != stEnd {
		msg := "unexpected end of the body"
		if l.state == stStart {
			msg = notObject
		}
		l.err = &SyntaxError{Offset: l.base, Msg: msg}
	}
	return l.err
}

const notObject = "body must be a JSON object"

// Write reads the document's next bytes. An error is a *SyntaxError and final:
// every later call returns it again.
func (l *Lexer) Write(b []byte) error {
	if l.err != nil {
		return l.err
	}
	for i := 0; i < len(b); {
		switch l.state {
		case stString:
			i = l.str(b, i)
		case stEscape:
			i = l.escape(b, i)
		case stHex:
			i = l.hexDigit(b, i)
		case stLiteral:
			i = l.literal(b, i)
		case stMinus, stZero, stInt, stDot, stFrac, stE, stESign, stExp:
			i = l.number(b, i)
		default:
			i = l.structure(b, i)
		}
		if l.err != nil {
			return l.err
		}
	}
	l.base += int64(len(b))
	return nil
}

// fail records an error at chunk position i and returns i.
func (l *Lexer) fail(i int, format string, args ...any) int {
	l.err = &SyntaxError{Offset: l.base + int64(i), Msg: fmt.Sprintf(format, args...)}
	return i
}

// structure reads the bytes between tokens.
func (l *Lexer) structure(b []byte, i int) int {
	c := b[i]
	if c == ' ' || c == '\n' || c == '\t' || c == '\r' {
		return i + 1
	}
	switch l.state {
	case stStart:
		if c != '{' {
			return l.fail(i, notObject)
		}
		return l.open(i, true)
	case stObjFirst, stKey:
		if c == '"' {
			return l.begin(i, Key)
		}
		if c == '}' && l.state == stObjFirst {
			return l.close(i)
		}
		return l.fail(i, "unexpected %q where an object's key must be", c)
	case stColon:
		if c != ':' {
			return l.fail(i, "unexpected %q behind an object's key", c)
		}
		l.state = stValue
		return i + 1
	case stArrFirst:
		if c == ']' {
			return l.close(i)
		}
		return l.value(i, c)
	case stValue:
		return l.value(i, c)
	case stAfter:
		object := l.stack[l.depth]
		switch {
		case c == ',' && object:
			l.state = stKey
			return i + 1
		case c == ',':
			l.state = stValue
			return i + 1
		case c == '}' && object, c == ']' && !object:
			return l.close(i)
		}
		return l.fail(i, "unexpected %q behind a value", c)
	default: // stEnd
		return l.fail(i, "unexpected %q behind the JSON object", c)
	}
}

// value reads a value's first byte.
func (l *Lexer) value(i int, c byte) int {
	switch {
	case c == '"':
		return l.begin(i, String)
	case c == '{':
		return l.open(i, true)
	case c == '[':
		return l.open(i, false)
	case c == '-':
		return l.beginNumber(i, c, stMinus)
	case c == '0':
		return l.beginNumber(i, c, stZero)
	case c >= '1' && c <= '9':
		return l.beginNumber(i, c, stInt)
	case c == 't':
		l.lit = "rue"
	case c == 'f':
		l.lit = "alse"
	case c == 'n':
		l.lit = "ull"
	default:
		return l.fail(i, "unexpected %q where a value must be", c)
	}
	l.litC, l.state = c, stLiteral
	return i + 1
}

func (l *Lexer) literal(b []byte, i int) int {
	if b[i] != l.lit[0] {
		return l.fail(i, "unexpected %q in a literal", b[i])
	}
	if l.lit = l.lit[1:]; l.lit == "" {
		l.state = stAfter
		l.h.Literal(l.litC)
	}
	return i + 1
}

func (l *Lexer) open(i int, object bool) int {
	if l.depth+1 >= len(l.stack) {
		return l.fail(i, "nested deeper than %d levels", len(l.stack)-1)
	}
	l.h.Open(object)
	l.depth++
	l.stack[l.depth] = object
	l.state = stArrFirst
	if object {
		l.state = stObjFirst
	}
	return i + 1
}

func (l *Lexer) close(i int) int {
	object := l.stack[l.depth]
	l.depth--
	l.state = stAfter
	if l.depth == 0 {
		l.state = stEnd
	}
	l.h.Close(object)
	return i + 1
}
