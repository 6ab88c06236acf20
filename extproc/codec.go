package extproc

import (
	"fmt"

	"google.golang.org/grpc/encoding"
	// Registers the standard codec that ours falls back to.
	_ "google.golang.org/grpc/encoding/proto"
	"google.golang.org/grpc/mem"
)

// codec is gRPC's proto codec with a way around it for our own messages, whose
// bodies are read and sent in the buffers gRPC received them in.
type codec struct{ encoding.CodecV2 }

func newCodec() codec { return codec{encoding.GetCodecV2("proto")} }

// Marshal implements encoding.CodecV2.
func (c codec) Marshal(v any) (mem.BufferSlice, error) {
	if a, ok := v.(*answer); ok {
		bufs := a.bufs
		a.bufs = nil
		return bufs, nil
	}
	return c.CodecV2.Marshal(v)
}

// Unmarshal implements encoding.CodecV2.
func (c codec) Unmarshal(data mem.BufferSlice, v any) error {
	if m, ok := v.(*message); ok {
		if err := m.unmarshal(data); err != nil {
			return fmt.Errorf("decode ProcessingRequest: %w", err)
		}
		return nil
	}
	return c.CodecV2.Unmarshal(data, v)
}
