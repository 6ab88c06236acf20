package server

import "encoding/binary"

func (b *kvBatch) null() { b.events = append(b.events, 0xc0) }

func (b *kvBatch) uintOrNull(v uint64) {
	if v == 0 {
		b.null()
	} else {
		b.uint(v)
	}
}

func (b *kvBatch) textOrNull(s string) {
	if s == "" {
		b.null()
	} else {
		b.text(s)
	}
}

func (b *kvBatch) text(s string) {
	switch {
	case len(s) < 32:
		b.events = append(b.events, 0xa0|byte(len(s)))
	case len(s) < 1<<8:
		b.events = append(b.events, 0xd9, byte(len(s)))
	default:
		b.events = binary.BigEndian.AppendUint32(append(b.events, 0xdb), uint32(len(s)))
	}
	b.events = append(b.events, s...)
}

func (b *kvBatch) hashes(list []uint64) {
	b.header(0x90, 0xdc, len(list))
	for _, h := range list {
		b.hash(h)
	}
}

// hash writes a block's name: vLLM's are unsigned, SGLang's signed.
func (b *kvBatch) hash(h uint64) {
	kind := byte(0xcf)
	if b.format == KVSGLang {
		kind = 0xd3
	}
	b.events = binary.BigEndian.AppendUint64(append(b.events, kind), h)
}

// int writes a number that may be negative.
func (b *kvBatch) int(v int) {
	if v >= 0 {
		b.uint(uint64(v))
		return
	}
	b.events = binary.BigEndian.AppendUint64(append(b.events, 0xd3), uint64(v))
}

func (b *kvBatch) uint(v uint64) {
	switch {
	case v < 0x80:
		b.events = append(b.events, byte(v))
	case v < 1<<8:
		b.events = append(b.events, 0xcc, byte(v))
	case v < 1<<16:
		b.events = append(b.events, 0xcd, byte(v>>8), byte(v))
	default:
		b.events = binary.BigEndian.AppendUint32(append(b.events, 0xce), uint32(v))
	}
}

// header begins an array or a map.
func (b *kvBatch) header(fix, long byte, n int) {
	switch {
	case n < 16:
		b.events = append(b.events, fix|byte(n))
	case n < 1<<16:
		b.events = append(b.events, long, byte(n>>8), byte(n))
	default:
		b.events = binary.BigEndian.AppendUint32(append(b.events, long+1), uint32(n))
	}
}
