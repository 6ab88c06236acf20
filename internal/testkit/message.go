package testkit

import (
	"encoding/binary"
	"fmt"
	"math"

	"google.golang.org/protobuf/encoding/protowire"
)

// Message is a protobuf message: each field is a number, an int, and a value, an int for
// a varint, a string or []byte for bytes, a float32 for four bytes.
func Message(fields ...any) (out []byte) {
	for i := 0; i < len(fields); i += 2 {
		num := protowire.Number(fields[i].(int))
		switch v := fields[i+1].(type) {
		case int:
			out = protowire.AppendVarint(protowire.AppendTag(out, num, protowire.VarintType), uint64(v))
		case string:
			out = protowire.AppendString(protowire.AppendTag(out, num, protowire.BytesType), v)
		case []byte:
			out = protowire.AppendBytes(protowire.AppendTag(out, num, protowire.BytesType), v)
		case float32:
			out = protowire.AppendFixed32(protowire.AppendTag(out, num, protowire.Fixed32Type), math.Float32bits(v))
		default:
			panic(fmt.Sprintf("field %d is a %T", num, v))
		}
	}
	return out
}

// Frames are messages as a gRPC body has them, not compressed.
func Frames(messages ...[]byte) (out []byte) {
	for _, m := range messages {
		out = append(binary.BigEndian.AppendUint32(append(out, 0), uint32(len(m))), m...)
	}
	return out
}
