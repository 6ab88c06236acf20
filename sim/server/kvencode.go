package server

import (
	"encoding/binary"
	"math"
	"time"

	"github.com/fairway-ai/fairway/sim/engine"
)

// kvBatch collects what happens in the KV cache between two messages, and encodes
// it as vLLM does: positional, or as maps.
type kvBatch struct {
	maps        bool
	blockTokens int
	events      []byte // encoded
	n           int
	// The blocks that the event to come is about.
	kind    kvKind
	request *engine.Request
	first   int // of the request's blocks
	count   int
	removed []uint64
}

type kvKind uint8

const (
	kvNone kvKind = iota
	kvStored
	kvRemoved
)

// stored adds block i of a request. Blocks of one request that follow each other
// make one event.
func (b *kvBatch) stored(r *engine.Request, i int) {
	if b.kind == kvStored && b.request == r && b.first+b.count == i {
		b.count++
		return
	}
	b.flush()
	b.kind, b.request, b.first, b.count = kvStored, r, i, 1
}

func (b *kvBatch) evicted(hash uint64) {
	if b.kind != kvRemoved {
		b.flush()
		b.kind = kvRemoved
	}
	b.removed = append(b.removed, hash)
}

func (b *kvBatch) cleared() {
	b.flush()
	b.begin("AllBlocksCleared", 0)
	b.n++
}

// flush encodes the event that was being collected.
func (b *kvBatch) flush() {
	switch b.kind {
	case kvStored:
		b.encodeStored()
	case kvRemoved:
		b.begin("BlockRemoved", 2)
		b.key("block_hashes")
		b.hashes(b.removed)
		b.key("medium")
		b.text("GPU")
		b.removed = b.removed[:0]
	default:
		return
	}
	b.n++
	b.kind, b.request = kvNone, nil
}

func (b *kvBatch) encodeStored() {
	r := b.request
	p := r.Payload.(*answer).prompt
	b.begin("BlockStored", 8)
	b.key("block_hashes")
	b.hashes(r.Hashes[b.first : b.first+b.count])
	b.key("parent_block_hash")
	if b.first == 0 {
		b.null()
	} else {
		b.hash(r.Hashes[b.first-1])
	}
	b.key("token_ids")
	b.header(0x90, 0xdc, b.count*b.blockTokens)
	at := b.first * b.blockTokens * tokenBytes
	for range b.count * b.blockTokens {
		b.uint(uint64(binary.LittleEndian.Uint32(p.flat[at:])))
		at += tokenBytes
	}
	b.key("block_size")
	b.uint(uint64(b.blockTokens))
	b.key("lora_id")
	b.null()
	b.key("medium")
	b.text("GPU")
	b.key("lora_name")
	b.textOrNull(r.Adapter)
	b.key("extra_keys")
	b.extraKeys(r.Adapter, r.Payload.(*answer).salt)
}

// extraKeys are what a block's hash covers besides its tokens: the adapter, and in
// a prompt's first block the cache salt.
func (b *kvBatch) extraKeys(adapter, salt string) {
	if adapter == "" && (salt == "" || b.first > 0) {
		b.null()
		return
	}
	b.header(0x90, 0xdc, b.count)
	for i := range b.count {
		salted := salt != "" && b.first+i == 0
		n := 0
		if adapter != "" {
			n++
		}
		if salted {
			n++
		}
		if n == 0 {
			b.null()
			continue
		}
		b.header(0x90, 0xdc, n)
		if adapter != "" {
			b.text(adapter)
		}
		if salted {
			b.text(salt)
		}
	}
}

// take returns the batch's payload, nil when nothing has happened, and begins the
// next one.
func (b *kvBatch) take(now time.Time) []byte {
	b.flush()
	if b.n == 0 {
		return nil
	}
	body := b.events
	n := b.n
	b.events, b.n = make([]byte, 0, len(body)+64), 0
	if b.maps {
		b.header(0x80, 0xde, 3)
	} else {
		b.header(0x90, 0xdc, 3)
	}
	b.key("ts")
	b.events = binary.BigEndian.AppendUint64(append(b.events, 0xcb), math.Float64bits(float64(now.UnixNano())/1e9))
	b.key("events")
	b.header(0x90, 0xdc, n)
	b.events = append(b.events, body...)
	b.key("data_parallel_rank")
	b.uint(0)
	payload := b.events
	b.events = body[:0]
	return payload
}

// begin starts an event of the given number of fields.
func (b *kvBatch) begin(kind string, fields int) {
	if b.maps {
		b.header(0x80, 0xde, fields+1)
		b.text("type")
	} else {
		b.header(0x90, 0xdc, fields+1)
	}
	b.text(kind)
}

// key names the next field, in the form that has names.
func (b *kvBatch) key(name string) {
	if b.maps {
		b.text(name)
	}
}

func (b *kvBatch) null() { b.events = append(b.events, 0xc0) }

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

func (b *kvBatch) hash(h uint64) { b.events = binary.BigEndian.AppendUint64(append(b.events, 0xcf), h) }

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
