package scan

import (
	"encoding/binary"
	"math"

	"github.com/fairway-ai/fairway/extproc/internal/grpcwire"
	"github.com/fairway-ai/fairway/scheduler/prefix"
)

// WireError is a gRPC request that is not one message as protobuf writes it.
type WireError = grpcwire.Error

// maxPlaces is how many messages and fields can be in each other: the request, its
// media, one of their placeholders.
const maxPlaces = 4

// message is what a Scanner knows of a gRPC request. It is its reader's handler.
type message struct {
	s      *Scanner
	call   Call
	wire   grpcwire.Reader
	places [maxPlaces]place // by depth
	depth  int
	json   bool // there is JSON
	text   bool // the prompt is text so far
	ids    bool // or token ids
	filled int  // bytes in the media buffer
	// offsets are where in the token ids the first MaxMedia items that are not text begin.
	offsets []uint32
}

// ResetCall prepares for the body of a gRPC request. What the last Finish returned is
// invalid from here on.
func (s *Scanner) ResetCall(c Call) {
	s.Reset(c.API())
	s.res.GRPC = true
	m := &s.message
	*m = message{s: s, call: c, offsets: m.offsets[:0]}
	m.wire.Reset(m, true)
}

// Message implements grpcwire.Handler.
func (m *message) Message() {
	m.places[0] = calls[m.call].root
	if !m.call.JSON() {
		m.s.startPrompt(&m.s.main)
	}
}

// End implements grpcwire.Handler.
func (m *message) End() {
	if !m.call.JSON() {
		m.s.endPrompt()
	}
}

// Length implements grpcwire.Handler.
func (m *message) Length(num grpcwire.Number, _ uint64) grpcwire.Action {
	s, p := m.s, m.places[m.depth].field(num)
	action := grpcwire.Enter
	switch p {
	case placeNone:
		return grpcwire.Skip
	case placeJSON:
		// The last one counts.
		s.resetJSON()
		m.json = true
		action = grpcwire.Bytes
	case placeText:
		m.restart()
		m.text = true
		s.block.tag(tagString)
		action = grpcwire.Bytes
	case tokenized:
		if m.text {
			m.restart() // of text and token ids the last one counts
		}
	case placeIDs:
		action = grpcwire.Varints
	case placeAdapter:
		s.salt.reset()
		s.salt.kind = captureText
		action = grpcwire.Bytes
	case placeMedia:
		s.media.start(nil)
		m.filled = 0
		action = grpcwire.Bytes
	case placeholder:
		if len(m.offsets) < MaxMedia {
			m.offsets = append(m.offsets, 0)
		}
	}
	m.depth++
	m.places[m.depth] = p
	return action
}

// restart forgets the prompt so far.
func (m *message) restart() {
	images, media := m.s.main.images, m.s.main.media
	m.s.startPrompt(&m.s.main)
	m.s.main.images, m.s.main.media = images, media
	m.text, m.ids = false, false
}

// Close implements grpcwire.Handler.
func (m *message) Close() {
	if m.places[m.depth] == placeMedia {
		p := &m.s.main
		p.images++
		if len(p.media) < MaxMedia {
			p.media = append(p.media, m.s.media.sum(m.filled))
		}
	}
	m.depth--
}

// Varint implements grpcwire.Handler.
func (m *message) Varint(num grpcwire.Number, v uint64) {
	s, p := m.s, m.places[m.depth]
	switch {
	case p.hasID(num):
		m.id(uint32(v))
	case p == sampling && num == maxOutput:
		s.maxTokens = 0
		if v <= math.MaxInt64 { // less than 0 otherwise
			s.maxTokens = int64(min(v, math.MaxInt32))
		}
	case p == placeholder && num == 1 && len(m.offsets) > 0:
		m.offsets[len(m.offsets)-1] = uint32(min(v, math.MaxUint32))
	case m.depth == 0 && num > 0 && int(num) == calls[m.call].stream:
		s.stream = v != 0
	}
}

// id takes a token id of the prompt.
func (m *message) id(v uint32) {
	b := &m.s.block
	if !m.ids {
		m.ids = true
		b.tag(tagArray)
	}
	b.ids++
	b.tag(tagID)
	var raw [4]byte
	binary.LittleEndian.PutUint32(raw[:], v)
	for _, c := range raw {
		b.tag(c)
	}
}

// Bytes implements grpcwire.Handler.
func (m *message) Bytes(p []byte) {
	s := m.s
	switch m.places[m.depth] {
	case placeJSON:
		// The lexer keeps an error, for Finish.
		_ = s.lex.Write(p)
	case placeText:
		s.block.bytes(p)
	case placeAdapter:
		c := &s.salt
		c.n += copy(c.buf[c.n:], p)
		if c.n == len(c.buf) {
			c.kind = captureTooLong
		}
	case placeMedia:
		for len(p) > 0 {
			n := copy(s.media.buf[m.filled:], p)
			p = p[n:]
			if m.filled += n; m.filled == len(s.media.buf) {
				s.media.flush()
				m.filled = 0
			}
		}
	}
}

// finish ends a gRPC request.
func (m *message) finish() (*Result, error) {
	s := m.s
	if err := m.wire.Finish(); err != nil {
		return nil, err
	}
	if m.call.JSON() {
		if !m.json {
			return nil, &FieldError{Field: "body", Msg: "the message must hold the request as JSON"}
		}
		r, err := s.finishJSON()
		if err != nil {
			return nil, err
		}
		// Lengths stand before the JSON, so the name cannot just be replaced.
		r.ModelStart, r.ModelEnd = 0, 0
		return r, nil
	}
	var err error
	if s.res.CacheSalt, err = s.salt.text("lora"); err != nil {
		return nil, err
	}
	s.res.Stream, s.res.MaxTokens = s.stream, s.maxTokens
	m.place()
	s.chain()
	return &s.res, nil
}

// idBytes is what a token id takes in a prompt field's stream, behind the one tag that
// the ids begin with.
const idBytes = 5

// place puts the digest of each item that is not text into the block that it begins in:
// the token ids in its place are the same for all items of its size. These ids are its
// tokens, so that it counts for no more.
func (m *message) place() {
	s, p := m.s, &m.s.main
	p.images = max(p.images, len(m.offsets))
	p.text = max(0, p.text-int64(len(m.offsets))*TokensPerImage*BytesPerToken)
	for i, at := range m.offsets[:min(len(m.offsets), len(p.media))] {
		if b := s.blockAt(p.blocks, 1+int64(at)*idBytes); b != nil {
			b.Hash = mix(b.Hash, p.media[i])
		}
	}
}

// blockAt is the block that has the byte at an offset of its field's stream, nil when it
// is in none of them.
func (s *Scanner) blockAt(blocks []prefix.Block, at int64) *prefix.Block {
	pos := int64(0)
	for i := range blocks {
		if pos += int64(s.opts.blockSize(pos)); at < pos {
			return &blocks[i]
		}
	}
	return nil
}
