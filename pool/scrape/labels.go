package scrape

import "bytes"

// cutLabels splits what follows an opening brace at the closing one. ok is false
// when the labels are malformed.
func cutLabels(b []byte) (labels, rest []byte, ok bool) {
	all := b
	for {
		if b = trimBlank(b); len(b) == 0 {
			return nil, nil, false
		}
		if b[0] == '}' {
			return all[:len(all)-len(b)], b[1:], true
		}
		if _, _, b, ok = nextLabel(b); !ok {
			return nil, nil, false
		}
		b = trimBlank(b)
		switch {
		case len(b) > 0 && b[0] == ',':
			b = b[1:]
		case len(b) > 0 && b[0] == '}':
		default:
			return nil, nil, false
		}
	}
}

// nextLabel reads one name="value" from the start of b. The value is still
// escaped.
func nextLabel(b []byte) (name, value, rest []byte, ok bool) {
	n := 0
	for n < len(b) && nameByte(b[n], n) {
		n++
	}
	name, b = b[:n], trimBlank(b[n:])
	if n == 0 || len(b) == 0 || b[0] != '=' {
		return nil, nil, nil, false
	}
	b = trimBlank(b[1:])
	if len(b) == 0 || b[0] != '"' {
		return nil, nil, nil, false
	}
	b = b[1:]
	for i := 0; i < len(b); i++ {
		switch b[i] {
		case '"':
			return name, b[:i], b[i+1:], true
		case '\\':
			i++
			if i == len(b) || b[i] != '\\' && b[i] != '"' && b[i] != 'n' {
				return nil, nil, nil, false
			}
		}
	}
	return nil, nil, nil, false
}

func nameByte(c byte, i int) bool {
	return c == '_' || c >= 'a' && c <= 'z' || c >= 'A' && c <= 'Z' || i > 0 && c >= '0' && c <= '9'
}

// label returns the still escaped value of the named label. labels must have come
// from cutLabels.
func label(labels []byte, name string) (value []byte, found bool) {
	for {
		labels = trimBlank(labels)
		if len(labels) > 0 && labels[0] == ',' {
			labels = trimBlank(labels[1:])
		}
		n, v, rest, ok := nextLabel(labels)
		if !ok {
			return nil, false
		}
		if string(n) == name {
			return v, true
		}
		labels = rest
	}
}

// unescape returns a label value's text, in place of b when nothing is escaped.
func unescape(b []byte) []byte {
	if bytes.IndexByte(b, '\\') < 0 {
		return b
	}
	out := make([]byte, 0, len(b))
	for i := 0; i < len(b); i++ {
		c := b[i]
		if c == '\\' && i+1 < len(b) {
			i++
			if c = b[i]; c == 'n' {
				c = '\n'
			}
		}
		out = append(out, c)
	}
	return out
}
