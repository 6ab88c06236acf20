package rewrite

// walker knows where in a JSON object a byte is, as deep as names can be.
type walker struct {
	// depth is the number of containers around, and object whether the outermost ones
	// are objects.
	depth  int
	object [maxDepth + 1]bool
	// inside says that the object at depth 2 is one whose model counts.
	inside bool

	str, escaped bool // within a string, behind its backslash
	isKey        bool // the string is a key
	key          field
	text         [maxKey]byte // of a key, as far as it fits
	n            int
	// value says that a value must come, rather than a key.
	value bool
	// done says that the object is complete, or was none.
	done bool
}

const (
	maxDepth = 2
	maxKey   = len("response") + 1
)

// field is what a key means.
type field uint8

const (
	other field = iota
	model
	nested // an object that has a model
)

// found is what a byte is the end or the beginning of.
type found uint8

const (
	nothing found = iota
	wanted        // a string begins that may be a name
	closed        // a string ended
)

// next follows a byte.
func (w *walker) next(c byte) found {
	if w.str {
		return w.inString(c)
	}
	if w.done {
		return nothing
	}
	switch c {
	case '"':
		return w.begin()
	case '{', '[':
		w.open(c == '{')
	case '}', ']':
		w.close()
	case ':':
		w.value = true
	case ',':
		w.value = w.depth <= maxDepth && !w.object[w.depth]
		w.key = other
	case ' ', '\t', '\n', '\r':
	default:
		if w.depth == 0 {
			w.done = true
		}
	}
	return nothing
}

// begin begins a string.
func (w *walker) begin() found {
	if w.depth == 0 {
		w.done = true
		return nothing
	}
	w.str, w.escaped = true, false
	w.isKey = w.depth <= maxDepth && w.object[w.depth] && !w.value
	w.n = 0
	if !w.isKey && w.key == model && (w.depth == 1 || w.depth == maxDepth && w.inside) {
		w.key = other
		return wanted
	}
	return nothing
}

func (w *walker) inString(c byte) found {
	switch {
	case w.escaped:
		w.escaped = false
	case c == '\\':
		w.escaped = true
	case c == '"':
		w.str = false
		if w.isKey {
			w.key = w.meaning()
		}
		return closed
	}
	if w.isKey && w.n < maxKey {
		w.text[w.n] = c
		w.n++
	}
	return nothing
}

// meaning is that of the key in text.
func (w *walker) meaning() field {
	switch string(w.text[:w.n]) {
	case "model":
		return model
	case "message", "response":
		if w.depth == 1 {
			return nested
		}
	}
	return other
}

func (w *walker) open(object bool) {
	w.depth++
	if w.depth <= maxDepth {
		w.object[w.depth] = object
	}
	if w.depth == maxDepth {
		w.inside = object && w.key == nested && w.object[1]
	}
	w.key, w.value = other, !object
}

func (w *walker) close() {
	if w.depth--; w.depth <= 0 {
		w.depth, w.done = 0, true
	}
	w.key, w.value = other, false
}

// broken says that a line ended: within a string there is none in JSON, so what follows
// is not looked at.
func (w *walker) broken() {
	if w.str {
		w.str, w.done = false, true
	}
}
