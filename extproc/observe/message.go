package observe

import (
	"bytes"

	"github.com/fairway-ai/fairway/extproc/internal/grpcwire"
	"github.com/fairway-ai/fairway/extproc/internal/jsonlex"
	"github.com/fairway-ai/fairway/extproc/scan"
)

// maxPlaces is how many messages and fields can be in each other.
const maxPlaces = 4

// messages is what an Observer knows of a gRPC response. It is its reader's handler.
type messages struct {
	o      *Observer
	call   scan.Call
	wire   grpcwire.Reader
	places [maxPlaces]place // by depth, zero above it
	depth  int

	// Of the message at hand: whether it has a token, whether it is the last, what it
	// reports, its part of parts and whole, and in a metaEntry what the value counts.
	token, last bool
	reported    counts
	ids, tokens int64
	meta        node
	filled      int // bytes of the observer's text
	// parts counts the token ids in chunks, whole the tokens that complete answers have: of
	// a stream, that may be only those of its last chunk.
	parts, whole int64
	ended        bool // a message said that it is the last
	// documents says that the JSON is a document, or one in each message, and not
	// server-sent events; known says that this is known.
	documents, known bool
}

// ResetCall prepares for the response to a gRPC call other than NoCall. streamed says
// that the client asked for a stream.
func (o *Observer) ResetCall(c scan.Call, streamed bool) {
	o.Reset(streamed)
	m := &o.messages
	*m = messages{o: o, call: c}
	m.wire.Reset(m, false)
}

// write follows the body's next bytes.
func (m *messages) write(b []byte) {
	if !m.o.streamed {
		m.o.first = true
	}
	// An error ends the interest in the body and is kept by the reader.
	_ = m.wire.Write(b)
}

// Message implements grpcwire.Handler.
func (m *messages) Message() {
	m.places[0] = roots[m.call]
	m.token, m.last, m.reported, m.ids, m.tokens = false, false, counts{}, 0, 0
}

// End implements grpcwire.Handler.
func (m *messages) End() {
	o := m.o
	if m.token {
		o.first = true
		if o.streamed {
			o.chunks++
		}
	}
	o.usage.raise(&m.reported)
	m.parts += m.ids
	m.whole = min(m.whole+m.tokens, maxCount)
	if !m.call.JSON() && m.call.API() == scan.Embeddings {
		m.last = true
	}
	m.ended = m.ended || m.last
}

// Length implements grpcwire.Handler.
func (m *messages) Length(num grpcwire.Number, n uint64) grpcwire.Action {
	p := m.places[m.depth].field(num)
	action := grpcwire.Enter
	switch p {
	case placeNone:
		return grpcwire.Skip
	case placeIDs:
		action = grpcwire.Varints
	case placeJSON:
		m.beginJSON()
		action = grpcwire.Bytes
	case placeText:
		m.token = m.token || n > 0
		action = grpcwire.Skip
	case complete:
		m.last = true
	case metaEntry:
		m.meta = nodeOther
	case placeKey, placeValue:
		m.filled = 0
		action = grpcwire.Bytes
	}
	if action == grpcwire.Skip {
		return action
	}
	m.depth++
	m.places[m.depth] = p
	return action
}

// Varint implements grpcwire.Handler.
func (m *messages) Varint(num grpcwire.Number, v uint64) {
	p := m.places[m.depth]
	switch {
	case p == placeIDs, (p == chunk || p == complete || p == sglangIDs) && num == 1:
		m.token = true
		if m.places[1] == chunk {
			m.ids++
		}
	case (p == sglangText || p == sglangIDs) && num == 3, p == sglangChunk && num == 2:
		m.last = m.last || v != 0
	default:
		n := p.count(m.call, num)
		switch {
		case n == nodeCompletion:
			m.tokens = int64(min(v, maxCount))
		case n != nodeOther:
			m.reported.put(n, v)
		}
	}
}

// Bytes implements grpcwire.Handler.
func (m *messages) Bytes(p []byte) {
	switch m.places[m.depth] {
	case placeJSON:
		m.json(p)
	case placeKey, placeValue:
		m.filled += copy(m.o.text[m.filled:], p)
	}
}

// Close implements grpcwire.Handler.
func (m *messages) Close() {
	o := m.o
	text := o.text[:m.filled]
	switch m.places[m.depth] {
	case placeJSON:
		if m.documents && o.lex.Complete() {
			m.endDocument()
		}
	case placeKey:
		// SGLang's names are those of OpenAI's usage.
		if m.meta = nodeUsage.child(text); string(text) == "cached_tokens" || string(text) == "reasoning_tokens" {
			m.meta = nodeDetails.child(text)
		}
	case placeValue:
		if v, ok := jsonlex.Int(text); ok && v >= 0 && m.meta >= nodePrompt {
			m.reported.put(m.meta, uint64(v))
		}
	}
	m.places[m.depth] = placeNone
	m.depth--
}

// beginJSON begins a piece of JSON, or of a stream of it.
func (m *messages) beginJSON() {
	if o := m.o; m.documents && (o.settled || o.lex.Err() != nil) {
		o.begin()
	}
}

// json follows bytes of JSON. The pieces of all messages together are a body as HTTP
// would have it: one document or server-sent events, as the first byte tells. A document
// in each message is understood as well.
func (m *messages) json(p []byte) {
	o := m.o
	if !m.known {
		if p = bytes.TrimLeft(p, " \t\r\n"); len(p) == 0 {
			return
		}
		m.known, m.documents = true, p[0] == '{'
	}
	if !m.documents {
		before := o.chunks
		o.stream(p)
		m.token = m.token || o.chunks > before
		o.chunks = before // the message is counted, at its end
		return
	}
	_ = o.lex.Write(p) // what is not JSON carries nothing
}

// endDocument takes a document.
func (m *messages) endDocument() {
	o := m.o
	o.settled = true
	o.usage.merge(&o.event.usage)
	o.done = o.done || o.event.last || !o.streamed
	m.token = m.token || o.event.carriesToken()
}

// count adds what messages said of generated tokens to the observer's counts. Where
// chunks and complete answers disagree, one of them counts only a part.
func (m *messages) count() {
	if n := max(m.parts, m.whole); m.call != scan.NoCall && n > 0 {
		var c counts
		c.put(nodeCompletion, uint64(n))
		m.o.usage.raise(&c)
	}
}
