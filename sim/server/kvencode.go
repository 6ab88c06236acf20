package server

import (
	"encoding/binary"
	"math"
	"time"

	"github.com/fairway-ai/fairway/sim/engine"
)

// kvBatch collects what happens in the KV caches between two messages, and encodes
// it: as vLLM does, positional or as maps, or as SGLang does.
type kvBatch struct {
	format      string
	groups      []string
	rank        int
	blockTokens int
	events      []byte // encoded
	n           int
	// The blocks that the event to come is about.
	kind    kvKind
	request *engine.Request
	first   int // of the request's blocks
	count   int
	removed []uint64
	// The copies in the CPU's memory that the events after it are about; one of the
	// lists is empty.
	copies []kvBlock
	gone   []uint64
}

type kvKind uint8

const (
	kvNone kvKind = iota
	kvStored
	kvRemoved
)

// kvBlock is block i of a request's prompt.
type kvBlock struct {
	request *engine.Request
	i       int
}

// stored adds block i of a request. Blocks of one request that follow each other
// make one event, in vLLM.
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

// copied says that the block that was stored last is in the CPU's memory, too.
func (b *kvBatch) copied() {
	if len(b.gone) > 0 {
		b.flushCopies()
	}
	if b.request != nil {
		b.copies = append(b.copies, kvBlock{b.request, b.first + b.count - 1})
	}
}

// dropped says that a copy is gone.
func (b *kvBatch) dropped(hash uint64) {
	if len(b.copies) > 0 {
		b.flushCopies()
	}
	b.gone = append(b.gone, hash)
}

func (b *kvBatch) cleared() {
	b.flush()
	b.begin("AllBlocksCleared", 0)
}

// flush encodes the events that were being collected.
func (b *kvBatch) flush() {
	switch b.kind {
	case kvStored:
		if b.format == KVSGLang { // an event for each block
			for i := range b.count {
				b.encodeSGLang(kvBlock{b.request, b.first + i}, "GPU")
			}
		} else {
			b.encodeStored()
		}
	case kvRemoved:
		b.encodeRemoved(b.removed, "GPU")
		b.removed = b.removed[:0]
	}
	b.encodeCopies()
	b.kind, b.request = kvNone, nil
}

// flushCopies encodes what is there, and goes on with the event that was begun.
func (b *kvBatch) flushCopies() {
	kind, r, next := b.kind, b.request, b.first+b.count
	b.flush()
	if kind == kvStored {
		b.kind, b.request, b.first, b.count = kind, r, next, 0
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
	if b.format == KVMap {
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
	b.uint(uint64(b.rank))
	payload := b.events
	b.events = body[:0]
	return payload
}

// begin starts an event of the given number of fields.
func (b *kvBatch) begin(kind string, fields int) {
	b.n++
	if b.format == KVMap {
		b.header(0x80, 0xde, fields+1)
		b.text("type")
	} else {
		b.header(0x90, 0xdc, fields+1)
	}
	b.text(kind)
}

// key names the next field, in the form that has names.
func (b *kvBatch) key(name string) {
	if b.format == KVMap {
		b.text(name)
	}
}
