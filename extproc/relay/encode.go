package relay

import (
	"google.golang.org/grpc/mem"
	"google.golang.org/protobuf/encoding/protowire"

	"github.com/fairway-ai/fairway/extproc"
)

// Field numbers of ProcessingRequest; an answer's in ProcessingResponse is one less.
const (
	fieldRequestHeaders  = 2
	fieldResponseHeaders = 3
	fieldRequestBody     = 4
	fieldResponseBody    = 5
)

// modeDuplex is BodySendMode FULL_DUPLEX_STREAMED.
const modeDuplex = 4

// maxChunk is the longest body part sent in one message, in bytes. gRPC servers
// accept 4 MiB by default.
const maxChunk = 1 << 20

// encodeHead encodes a headers message; first adds what a stream begins with.
func encodeHead(num protowire.Number, h *extproc.Head, first bool) *outgoing {
	var headers []byte
	for _, f := range h.Headers {
		var hv []byte
		hv = protowire.AppendTag(hv, 1, protowire.BytesType)
		hv = protowire.AppendString(hv, f.Name)
		hv = protowire.AppendTag(hv, 3, protowire.BytesType) // raw_value
		hv = protowire.AppendString(hv, f.Value)
		headers = appendBytes(headers, 1, hv)
	}
	httpHeaders := appendBytes(nil, 1, headers)
	if h.End {
		httpHeaders = appendBool(httpHeaders, 3)
	}
	b := appendBytes(nil, num, httpHeaders)
	if len(h.Metadata) > 0 {
		b = appendBytes(b, 8, h.Metadata)
	}
	for _, entry := range h.Attributes {
		b = appendBytes(b, 9, entry)
	}
	if first {
		var config []byte
		for _, mode := range []protowire.Number{1, 2} { // request, response
			config = protowire.AppendTag(config, mode, protowire.VarintType)
			config = protowire.AppendVarint(config, modeDuplex)
		}
		b = appendBytes(b, 11, config)
	}
	return &outgoing{bufs: mem.BufferSlice{mem.SliceBuffer(b)}}
}

// encodeBody encodes a body message around the part, whose references it takes over.
func encodeBody(num protowire.Number, part mem.BufferSlice, end bool) *outgoing {
	n := part.Len()
	size := 0
	if end {
		size = 2
	}
	if n > 0 {
		size += 1 + protowire.SizeBytes(n)
	}
	b := protowire.AppendTag(make([]byte, 0, 32), num, protowire.BytesType)
	b = protowire.AppendVarint(b, uint64(size))
	if end {
		b = appendBool(b, 2)
	}
	if n > 0 {
		b = protowire.AppendTag(b, 1, protowire.BytesType)
		b = protowire.AppendVarint(b, uint64(n))
	}
	return &outgoing{bufs: append(mem.BufferSlice{mem.SliceBuffer(b)}, part...)}
}

func appendBytes(b []byte, num protowire.Number, v []byte) []byte {
	b = protowire.AppendTag(b, num, protowire.BytesType)
	return protowire.AppendBytes(b, v)
}

func appendBool(b []byte, num protowire.Number) []byte {
	b = protowire.AppendTag(b, num, protowire.VarintType)
	return protowire.AppendVarint(b, 1)
}

// chunks cuts part into messages' worth and calls each for them, always at least
// once when end. It takes over part.
func chunks(part mem.BufferSlice, end bool, each func(chunk mem.BufferSlice, end bool)) {
	total := part.Len()
	if total == 0 {
		part.Free()
		if end {
			each(nil, true)
		}
		return
	}
	var chunk mem.BufferSlice
	room := maxChunk
	for _, b := range part {
		for b.Len() > room {
			chunk = append(chunk, b.Slice(0, room))
			rest := b.Slice(room, b.Len())
			b.Free()
			b = rest
			total -= room
			each(chunk, false)
			chunk, room = nil, maxChunk
		}
		chunk = append(chunk, b)
		room -= b.Len()
		total -= b.Len()
		if room == 0 || total == 0 {
			each(chunk, end && total == 0)
			chunk, room = nil, maxChunk
		}
	}
}
