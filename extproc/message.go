package extproc

import (
	"strings"

	"google.golang.org/grpc/mem"
)

// kind is which message a ProcessingRequest carries, as its field number. The
// answer's field number in ProcessingResponse is one less.
type kind int

const (
	kindNone             kind = 0
	kindRequestHeaders   kind = 2
	kindResponseHeaders  kind = 3
	kindRequestBody      kind = 4
	kindResponseBody     kind = 5
	kindRequestTrailers  kind = 6
	kindResponseTrailers kind = 7
)

// bodyMode is ProcessingMode.BodySendMode, and modeUnknown where the proxy is too
// old to say.
type bodyMode int

const (
	modeUnknown  bodyMode = -1
	modeNone     bodyMode = 0
	modeStreamed bodyMode = 1
	modeBuffered bodyMode = 2
	modePartial  bodyMode = 3
	modeDuplex   bodyMode = 4 // FULL_DUPLEX_STREAMED
)

// maxSmall bounds what is copied out of a message in one piece: a header map or
// the metadata. Proxies bound headers far below it.
const maxSmall = 1 << 20

// message is a ProcessingRequest, decoded as far as needed and no further. It
// holds references to the buffers it was received in until release.
type message struct {
	data mem.BufferSlice
	kind kind
	// payload is the header map, the trailer map or the body bytes.
	payload span
	// endOfStream is end_of_stream of headers and bodies.
	endOfStream bool
	metadata    span
	// hasAttributes says that there are any.
	hasAttributes bool
	// observability is set on messages that must not be answered.
	observability bool
	// The protocol_config, sent in a stream's first message.
	requestMode, responseMode bodyMode
	// sendsBody is true when the proxy sends a STREAMED body without waiting for
	// the answer to the headers.
	sendsBody bool

	scratch []byte
}

// unmarshal takes references to data and finds the message's parts in it.
func (m *message) unmarshal(data mem.BufferSlice) error {
	m.release()
	data.Ref()
	m.data = data
	m.kind, m.payload, m.metadata = kindNone, span{}, span{}
	m.endOfStream, m.hasAttributes, m.observability, m.sendsBody = false, false, false, false
	m.requestMode, m.responseMode = modeUnknown, modeUnknown

	c := cursor{bufs: data, end: data.Len()}
	for c.more() {
		num, typ, err := c.tag()
		if err != nil {
			return err
		}
		switch {
		case num >= int(kindRequestHeaders) && num <= int(kindResponseTrailers) && typ == wireBytes:
			err = m.oneof(&c, kind(num))
		case num == 8 && typ == wireBytes:
			m.metadata, err = c.bytes()
		case num == 9 && typ == wireBytes:
			m.hasAttributes = true
			_, err = c.bytes()
		case num == 10 && typ == wireVarint:
			var v uint64
			v, err = c.varint()
			m.observability = v != 0
		case num == 11 && typ == wireBytes:
			err = m.protocolConfig(&c)
		default:
			err = c.skipField(typ)
		}
		if err != nil {
			return err
		}
	}
	return nil
}

// release gives the buffers back.
func (m *message) release() {
	m.data.Free()
	m.data = nil
}

// oneof reads an HttpHeaders, HttpBody or HttpTrailers: its field 1 is the map or
// the bytes, and end_of_stream is field 3 of headers and 2 of bodies.
func (m *message) oneof(c *cursor, k kind) error {
	m.kind, m.payload, m.endOfStream = k, span{}, false
	eos := 0
	switch k {
	case kindRequestHeaders, kindResponseHeaders:
		eos = 3
	case kindRequestBody, kindResponseBody:
		eos = 2
	}
	return c.nested(func(num, typ int) (err error) {
		switch {
		case num == 1 && typ == wireBytes:
			m.payload, err = c.bytes()
		case num == eos && typ == wireVarint:
			var v uint64
			v, err = c.varint()
			m.endOfStream = v != 0
		default:
			err = c.skipField(typ)
		}
		return err
	})
}

func (m *message) protocolConfig(c *cursor) error {
	// proto3 leaves out zeros, so a config without a mode means NONE.
	m.requestMode, m.responseMode, m.sendsBody = modeNone, modeNone, false
	return c.nested(func(num, typ int) error {
		if num > 3 || typ != wireVarint {
			return c.skipField(typ)
		}
		v, err := c.varint()
		switch num {
		case 1:
			m.requestMode = bodyMode(int32(v))
		case 2:
			m.responseMode = bodyMode(int32(v))
		case 3:
			m.sendsBody = v != 0
		}
		return err
	})
}

// nested calls each for every field of the message that starts at c.
func (c *cursor) nested(each func(num, typ int) error) error {
	v, err := c.varint()
	if err != nil || v > uint64(c.end-c.pos) {
		return errWire
	}
	outer := c.end
	c.end = c.pos + int(v)
	for c.more() {
		num, typ, err := c.tag()
		if err != nil {
			return err
		}
		if err := each(num, typ); err != nil {
			return err
		}
	}
	c.end = outer
	return nil
}

// pieces calls each for every buffer that holds bytes of s, with the range of it.
func (m *message) pieces(s span, each func(b mem.Buffer, lo, hi int) error) error {
	pos := 0
	for _, b := range m.data {
		n := b.Len()
		lo, hi := max(s.off-pos, 0), min(s.off+s.n-pos, n)
		if lo < hi {
			if err := each(b, lo, hi); err != nil {
				return err
			}
		}
		if pos += n; pos >= s.off+s.n {
			break
		}
	}
	return nil
}

// bytes returns s in one piece, valid until the next call or release.
func (m *message) bytes(s span) ([]byte, error) {
	if s.n > maxSmall {
		return nil, errWire
	}
	var whole []byte
	m.scratch = m.scratch[:0]
	_ = m.pieces(s, func(b mem.Buffer, lo, hi int) error {
		if hi-lo == s.n {
			whole = b.ReadOnlyData()[lo:hi]
		} else {
			m.scratch = append(m.scratch, b.ReadOnlyData()[lo:hi]...)
		}
		return nil
	})
	if whole != nil {
		return whole, nil
	}
	return m.scratch, nil
}

// headers parses the payload of a headers message into h.
func (m *message) headers(h *Headers) error {
	b, err := m.bytes(m.payload)
	if err != nil {
		return err
	}
	return h.parse(string(b))
}

// served returns the endpoint that the proxy says it sent the request to.
func (m *message) served() (string, error) {
	v, ok, err := m.metadataValue(metadataNamespace, servedKey)
	if err != nil || !ok {
		return "", err
	}
	s, _, err := stringOrList(v, nil)
	return string(s), err
}

// subset returns the endpoints that the proxy restricts the request to, and
// whether it restricts it at all.
func (m *message) subset() ([]string, bool, error) {
	v, ok, err := m.metadataValue(subsetNamespace, subsetKey)
	if err != nil || !ok {
		return nil, false, err
	}
	s, list, err := stringOrList(v, nil)
	if err != nil {
		return nil, false, err
	}
	for part := range strings.SplitSeq(string(s), ",") {
		list = appendEndpoint(list, part)
	}
	return list, true, nil
}

func (m *message) metadataValue(namespace, key string) ([]byte, bool, error) {
	if m.metadata.n == 0 {
		return nil, false, nil
	}
	md, err := m.bytes(m.metadata)
	if err != nil {
		return nil, false, err
	}
	// Metadata.filter_metadata and Struct.fields are both maps in field 1.
	st, ok, err := mapValue(md, namespace)
	if err != nil || !ok {
		return nil, false, err
	}
	return mapValue(st, key)
}

// mapValue looks key up in the map that is field 1 of message b. The last of two
// entries with the same key counts.
func mapValue(b []byte, key string) (value []byte, ok bool, err error) {
	for i := 0; i < len(b); {
		var f field
		if f, i, err = nextField(b, i); err != nil {
			return nil, false, err
		}
		if f.num != 1 || f.typ != wireBytes {
			continue
		}
		entry := b[f.lo:f.hi]
		var k, v []byte
		for j := 0; j < len(entry); {
			var e field
			if e, j, err = nextField(entry, j); err != nil {
				return nil, false, err
			}
			switch {
			case e.num == 1 && e.typ == wireBytes:
				k = entry[e.lo:e.hi]
			case e.num == 2 && e.typ == wireBytes:
				v = entry[e.lo:e.hi]
			}
		}
		if string(k) == key {
			value, ok = v, true
		}
	}
	return value, ok, nil
}

// stringOrList reads a google.protobuf.Value: its string, or the strings of its
// list, appended to list. Both are empty for any other value.
func stringOrList(v []byte, list []string) (s []byte, _ []string, err error) {
	start := len(list)
	for i := 0; i < len(v); {
		var f field
		if f, i, err = nextField(v, i); err != nil {
			return nil, nil, err
		}
		if f.num < 1 || f.num > 6 {
			continue
		}
		// A oneof: the last one counts.
		s, list = nil, list[:start]
		switch {
		case f.num == 3 && f.typ == wireBytes:
			s = v[f.lo:f.hi]
		case f.num == 6 && f.typ == wireBytes:
			if list, err = listStrings(v[f.lo:f.hi], list); err != nil {
				return nil, nil, err
			}
		}
	}
	return s, list, nil
}

func listStrings(b []byte, list []string) (_ []string, err error) {
	for i := 0; i < len(b); {
		var f field
		if f, i, err = nextField(b, i); err != nil {
			return nil, err
		}
		if f.num != 1 || f.typ != wireBytes {
			continue
		}
		for elem, j := b[f.lo:f.hi], 0; j < len(elem); {
			var e field
			if e, j, err = nextField(elem, j); err != nil {
				return nil, err
			}
			if e.num == 3 && e.typ == wireBytes {
				list = appendEndpoint(list, string(elem[e.lo:e.hi]))
			}
		}
	}
	return list, nil
}

func appendEndpoint(list []string, s string) []string {
	if s = strings.TrimSpace(s); s != "" {
		list = append(list, s)
	}
	return list
}
