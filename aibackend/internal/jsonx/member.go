package jsonx

// maxMember bounds a captured member.
const maxMember = 64 << 10

// Member finds one member of a document's top object as the document comes, in
// chunks cut anywhere, and keeps its value. Nothing else is kept. Where the member is
// there several times, the last one counts.
type Member struct {
	Key string

	value   []byte
	done    []byte
	depth   int
	inStr   bool
	escaped bool
	// key is the string being read at depth 1 where a key stands.
	key     []byte
	atKey   bool
	capture bool
}

// Value is the last whole value found, nil if there was none or it was too large.
func (m *Member) Value() []byte { return m.done }

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
				m.capture = string(m.key) == m.Key
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
		if m.inStr && len(m.key) <= len(m.Key) {
			m.key = append(m.key, c)
		}
		return
	}
	m.keep(c)
}

func (m *Member) keep(c byte) {
	if !m.capture || m.atKey {
		return
	}
	if len(m.value) >= maxMember {
		m.capture = false
		return
	}
	m.value = append(m.value, c)
}

func (m *Member) finish() {
	if m.capture {
		m.done = append(m.done[:0], trim(m.value)...)
	}
	m.capture = false
}
