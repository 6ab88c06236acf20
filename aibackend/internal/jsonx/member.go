package jsonx

// maxMember bounds a captured member.
const maxMember = 64 << 10

// Member finds one member of a document's top object, or two, as the document comes, in
// chunks cut anywhere, and keeps their values. Nothing else is kept. Where a member is
// there several times, the last one counts.
type Member struct {
	Key string
	// Other is the second member; "" for none.
	Other string

	value   []byte
	done    [2][]byte
	depth   int
	inStr   bool
	escaped bool
	// key is the string being read at depth 1 where a key stands.
	key     []byte
	atKey   bool
	capture capture
}

// capture says whose value is being read.
type capture uint8

const (
	nothing capture = iota
	theKey
	theOther
)

// Value is the last whole value found, nil if there was none or it was too large.
func (m *Member) Value() []byte { return m.done[0] }

// OtherValue is that of Other.
func (m *Member) OtherValue() []byte { return m.done[1] }

// Write reads a chunk.
func (m *Member) Write(chunk []byte) {
	for i := 0; i < len(chunk); i++ {
		c := chunk[i]
		if m.inStr {
			m.inString(c)
			continue
		}
		switch c {
		case '"':
			m.inStr = true
			if m.depth == 1 && m.atKey {
				m.key = m.key[:0]
			}
		case '{', '[':
			m.depth++
			if m.depth == 1 {
				m.atKey = c == '{'
				continue
			}
		case '}', ']':
			m.depth--
			if m.depth == 0 {
				m.finish()
				continue
			}
		case ',':
			if m.depth == 1 {
				m.finish()
				m.atKey = true
				continue
			}
		case ':':
			if m.depth == 1 && m.atKey {
				m.atKey = false
				m.begin()
				m.value = m.value[:0]
				continue
			}
		}
		m.keep(c)
	}
}

func (m *Member) inString(c byte) {
	switch {
	case m.escaped:
		m.escaped = false
	case c == '\\':
		m.escaped = true
	case c == '"':
		m.inStr = false
	}
	if m.depth == 1 && m.atKey {
		if m.inStr && len(m.key) <= max(len(m.Key), len(m.Other)) {
			m.key = append(m.key, c)
		}
		return
	}
	m.keep(c)
}

// begin looks whether the value that comes is wanted.
func (m *Member) begin() {
	switch string(m.key) {
	case m.Key:
		m.capture = theKey
	case "":
		m.capture = nothing
	case m.Other:
		m.capture = theOther
	default:
		m.capture = nothing
	}
}

func (m *Member) keep(c byte) {
	if m.capture == nothing || m.atKey {
		return
	}
	if len(m.value) >= maxMember {
		m.capture = nothing
		return
	}
	m.value = append(m.value, c)
}

func (m *Member) finish() {
	if m.capture != nothing {
		done := &m.done[m.capture-theKey]
		*done = append((*done)[:0], trim(m.value)...)
	}
	m.capture = nothing
}
