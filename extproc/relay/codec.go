package relay

import (
	"fmt"

	"google.golang.org/grpc/mem"
)

// codec passes messages that are encoded already, so that bodies are sent and read
// where they are.
type codec struct{}

// outgoing is an encoded ProcessingRequest.
type outgoing struct{ bufs mem.BufferSlice }

// incoming is an encoded ProcessingResponse, in one piece until free.
type incoming struct{ buf mem.Buffer }

func (m *incoming) free() {
	if m.buf != nil {
		m.buf.Free()
		m.buf = nil
	}
}

// Name implements encoding.CodecV2.
func (codec) Name() string { return "proto" }

// Marshal implements encoding.CodecV2.
func (codec) Marshal(v any) (mem.BufferSlice, error) {
	m, ok := v.(*outgoing)
	if !ok {
		return nil, fmt.Errorf("relay: cannot encode %T", v)
	}
	bufs := m.bufs
	m.bufs = nil
	return bufs, nil
}

// Unmarshal implements encoding.CodecV2.
func (codec) Unmarshal(data mem.BufferSlice, v any) error {
	m, ok := v.(*incoming)
	if !ok {
		return fmt.Errorf("relay: cannot decode into %T", v)
	}
	m.free()
	m.buf = data.MaterializeToBuffer(mem.DefaultBufferPool())
	return nil
}
