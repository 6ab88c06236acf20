package extproc

import (
	"encoding/binary"
	"math"
	"slices"
	"sync"
	"time"

	"google.golang.org/grpc/mem"
)

// maxChunk is the largest body chunk sent in one message. Envoy's limit is 64
// KiB with the message around it.
const maxChunk = 62000

// overwrite is HeaderAppendAction OVERWRITE_IF_EXISTS_OR_ADD.
const overwrite = 2

// answer is an encoded ProcessingResponse. Marshalling it hands its buffers on.
type answer struct{ bufs mem.BufferSlice }

// answerPool recycles the buffers of answers. gRPC pools only buffers of more
// than 1 KiB, so the smallest has 2.
type answerPool struct{ pool sync.Pool }

const (
	answerBuf    = 2 << 10
	maxAnswerBuf = 64 << 10
)

// Get implements mem.BufferPool; the buffer is empty whatever the length.
func (p *answerPool) Get(int) *[]byte {
	if b, ok := p.pool.Get().(*[]byte); ok {
		return b
	}
	b := make([]byte, 0, answerBuf)
	return &b
}

// Put implements mem.BufferPool.
func (p *answerPool) Put(b *[]byte) {
	if cap(*b) <= maxAnswerBuf {
		*b = (*b)[:0]
		p.pool.Put(b)
	}
}

// encoder appends protobuf to b.
type encoder struct{ b []byte }

func (e *encoder) tag(num, typ int) { e.varint(uint64(num)<<3 | uint64(typ)) }

func (e *encoder) varint(v uint64) {
	for v >= 0x80 {
		e.b = append(e.b, byte(v)|0x80)
		v >>= 7
	}
	e.b = append(e.b, byte(v))
}

func (e *encoder) uint(num int, v uint64) {
	e.tag(num, wireVarint)
	e.varint(v)
}

func (e *encoder) double(num int, v float64) {
	e.tag(num, wireFixed64)
	e.b = binary.LittleEndian.AppendUint64(e.b, math.Float64bits(v))
}

func (e *encoder) string(num int, s string) {
	e.tag(num, wireBytes)
	e.varint(uint64(len(s)))
	e.b = append(e.b, s...)
}

// open starts a nested message; close, given what open returned, ends it. One
// byte is kept for the length, and the message moves when that is too few.
func (e *encoder) open(num int) int {
	e.tag(num, wireBytes)
	e.b = append(e.b, 0)
	return len(e.b)
}

func (e *encoder) close(start int) {
	n := len(e.b) - start
	size := varintLen(uint64(n))
	if size > 1 {
		var pad [9]byte
		e.b = slices.Insert(e.b, start, pad[:size-1]...)
	}
	v := uint64(n)
	for i := range size {
		e.b[start-1+i] = byte(v) | 0x80
		v >>= 7
	}
	e.b[start+size-2] &= 0x7f
}

func varintLen(v uint64) int {
	n := 1
	for ; v >= 0x80; v >>= 7 {
		n++
	}
	return n
}

// mutation is what an answer changes.
type mutation struct {
	set    []Header
	remove []string
	// destinations, when not empty, is told as dynamic metadata too.
	destinations string
	// scores go with them.
	scores []EndpointScore
	// metadata is further dynamic metadata, an encoded google.protobuf.Struct.
	metadata        []byte
	clearRouteCache bool
	// skipResponseBody asks by mode_override for no response body.
	skipResponseBody bool
	// wantTrailers asks by mode_override for the response's trailers, beside its body.
	wantTrailers bool
}

// common encodes the answer to a headers or body message: a HeadersResponse or
// BodyResponse with a CommonResponse, status CONTINUE.
func (e *encoder) common(k kind, m *mutation) {
	response := e.open(int(k) - 1)
	if len(m.set)+len(m.remove) > 0 || m.clearRouteCache {
		common := e.open(1)
		if len(m.set)+len(m.remove) > 0 {
			e.headerMutation(2, m.set, m.remove)
		}
		if m.clearRouteCache {
			e.uint(5, 1)
		}
		e.close(common)
	}
	e.close(response)
	e.tail(m)
}

// trailers encodes the answer to a trailers message, which changes no trailer.
func (e *encoder) trailers(k kind, m *mutation) {
	e.close(e.open(int(k) - 1))
	e.tail(m)
}

func (e *encoder) tail(m *mutation) {
	if m.destinations != "" || len(m.metadata) > 0 {
		metadata := e.open(8)
		if m.destinations != "" {
			e.destinationMetadata(m.destinations, m.scores)
		}
		e.b = append(e.b, m.metadata...) // its fields are this message's
		e.close(metadata)
	}
	switch {
	case m.skipResponseBody:
		// A ProcessingMode of zeros: header modes DEFAULT, body modes NONE.
		e.close(e.open(9))
	case m.wantTrailers:
		mode := e.open(9)
		e.uint(4, uint64(modeStreamed)) // response_body_mode
		e.uint(6, 1)                    // response_trailer_mode SEND
		e.close(mode)
	}
}

func (e *encoder) headerMutation(num int, set []Header, remove []string) {
	mutation := e.open(num)
	for _, h := range set {
		e.setHeader(h)
	}
	for _, name := range remove {
		e.string(2, name)
	}
	e.close(mutation)
}

// setHeader encodes a HeaderValueOption of a HeaderMutation.
func (e *encoder) setHeader(h Header) {
	option := e.open(1)
	header := e.open(1)
	e.string(1, h.Name)
	e.string(3, h.Value) // raw_value
	e.close(header)
	e.uint(3, overwrite)
	e.close(option)
}

// destinationMetadata encodes the field {"envoy.lb": {DestinationHeader: destinations}}
// of a Struct, with a struct of numbers by address where there are scores.
func (e *encoder) destinationMetadata(destinations string, scores []EndpointScore) {
	entry := e.open(1)
	e.string(1, metadataNamespace)
	value := e.open(2)
	st := e.open(5)
	inner := e.open(1)
	e.string(1, DestinationHeader)
	str := e.open(2)
	e.string(3, destinations)
	e.close(str)
	e.close(inner)
	if len(scores) > 0 {
		e.scores(scores)
	}
	e.close(st)
	e.close(value)
	e.close(entry)
}

// scores encodes the field {scoresKey: {address: score}} of a Struct.
func (e *encoder) scores(scores []EndpointScore) {
	entry := e.open(1)
	e.string(1, scoresKey)
	value := e.open(2)
	st := e.open(5)
	for _, s := range scores {
		one := e.open(1)
		e.string(1, s.Address)
		number := e.open(2)
		e.double(2, s.Score)
		e.close(number)
		e.close(one)
	}
	e.close(st)
	e.close(value)
	e.close(entry)
}

// messageTimeout encodes an answer that only extends the message timeout.
func (e *encoder) messageTimeout(d time.Duration) {
	timeout := e.open(10)
	if s := d / time.Second; s > 0 {
		e.uint(1, uint64(s))
	}
	if ns := d % time.Second; ns > 0 {
		e.uint(2, uint64(ns))
	}
	e.close(timeout)
}

// immediate encodes an ImmediateResponse, with a gRPC status unless it is noGRPCStatus.
func (e *encoder) immediate(status int, headers []Header, body []byte, grpc int, details string) {
	response := e.open(7)
	e.immediateFields(status, headers, body, grpc, details)
	e.close(response)
}

// immediateFields encodes the fields of an ImmediateResponse.
func (e *encoder) immediateFields(status int, headers []Header, body []byte, grpc int, details string) {
	code := e.open(1)
	e.uint(1, uint64(status))
	e.close(code)
	e.headerMutation(2, headers, nil)
	e.tag(3, wireBytes)
	e.varint(uint64(len(body)))
	e.b = append(e.b, body...)
	if grpc != noGRPCStatus {
		s := e.open(4)
		e.uint(1, uint64(grpc))
		e.close(s)
	}
	e.string(5, details)
}

// chunk encodes a streamed_response of n body bytes up to where the bytes follow.
// They come last so that they can be sent from the buffers they are in.
func (e *encoder) chunk(k kind, n int, endOfStream bool) {
	body := 1 + varintLen(uint64(n)) + n
	if n == 0 {
		body = 0
	}
	streamed := body
	if endOfStream {
		streamed += 2
	}
	bodyMutation := 1 + varintLen(uint64(streamed)) + streamed
	common := 1 + varintLen(uint64(bodyMutation)) + bodyMutation
	response := 1 + varintLen(uint64(common)) + common

	e.tag(int(k)-1, wireBytes) // BodyResponse
	e.varint(uint64(response))
	e.tag(1, wireBytes) // CommonResponse
	e.varint(uint64(common))
	e.tag(3, wireBytes) // BodyMutation
	e.varint(uint64(bodyMutation))
	e.tag(3, wireBytes) // StreamedBodyResponse
	e.varint(uint64(streamed))
	if endOfStream {
		e.uint(2, 1)
	}
	if n > 0 {
		e.tag(1, wireBytes)
		e.varint(uint64(n))
	}
}
