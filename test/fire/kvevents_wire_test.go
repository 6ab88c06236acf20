package fire

import (
	"encoding/binary"
	"math"
	"sync"
)

// The endpoints' models: the pool's, and one that nobody serves.
const (
	kvModel = "llama"
	kvOther = "another-model"
	// kvBlock is the engines' block size in tokens, which is ours, too.
	kvBlock = 16
)

// kvLasting is held by the honest endpoint throughout, kvLie by none but a liar.
var kvLasting, kvLie = kvPrompt(1), kvPrompt(500_000)

// kvPrompt is a prompt of some blocks that has nothing in common with others.
func kvPrompt(from uint32) []uint32 {
	out := make([]uint32, 4*kvBlock)
	for i := range out {
		out[i] = from + uint32(i)
	}
	return out
}

func kvTopic(address, model string) string { return "kv@" + address + ":8000@" + model }

func kvNumber(n uint64) []byte { return binary.BigEndian.AppendUint64(nil, n) }

// kvPack writes MessagePack.
type kvPack []byte

func (p kvPack) array(n int) kvPack {
	return binary.BigEndian.AppendUint32(append(p, 0xdd), uint32(n))
}

func (p kvPack) text(s string) kvPack {
	return append(append(p, 0xd9, byte(len(s))), s...)
}

func (p kvPack) number(n uint64) kvPack {
	if n < 128 {
		return append(p, byte(n))
	}
	return binary.BigEndian.AppendUint64(append(p, 0xcf), n)
}

func (p kvPack) signed(n int64) kvPack {
	return binary.BigEndian.AppendUint64(append(p, 0xd3), uint64(n))
}

func (p kvPack) null() kvPack { return append(p, 0xc0) }

func (p kvPack) numbers(list []uint64) kvPack {
	p = p.array(len(list))
	for _, n := range list {
		p = p.number(n)
	}
	return p
}

// kvBatch is a message's payload with these events.
func kvBatch(events ...kvPack) []byte {
	p := kvPack(nil).array(2)
	p = binary.BigEndian.AppendUint64(append(p, 0xcb), math.Float64bits(1.5))
	p = p.array(len(events))
	for _, e := range events {
		p = append(p, e...)
	}
	return p
}

// kvStore says that blocks first, first+1, … of a prompt were stored behind parent.
func kvStore(first uint64, parent *uint64, tokens []uint32) kvPack {
	hashes := make([]uint64, len(tokens)/kvBlock)
	for i := range hashes {
		hashes[i] = first + uint64(i)
	}
	return kvStored(hashes, parent, tokens, kvPack(nil).number(kvBlock))
}

// kvStored is any such event, with a block size as it is on the wire.
func kvStored(hashes []uint64, parent *uint64, tokens []uint32, size kvPack) kvPack {
	p := kvPack(nil).array(5).text("BlockStored").numbers(hashes)
	if parent == nil {
		p = p.null()
	} else {
		p = p.number(*parent)
	}
	p = p.array(len(tokens))
	for _, t := range tokens {
		p = p.number(uint64(t))
	}
	return append(p, size...)
}

func kvRemove(hashes ...uint64) kvPack {
	return kvPack(nil).array(2).text("BlockRemoved").numbers(hashes)
}

func kvCleared() kvPack { return kvPack(nil).array(1).text("AllBlocksCleared") }

// kvPayloads are payloads that are large, made once for all attacks.
var kvPayloads = sync.OnceValue(func() (p struct{ wide, removals, clears, full []byte }) {
	// As many blocks' tokens as a message has room for, of one event.
	few := make([]uint64, 32_000)
	for i := range few {
		few[i] = 1<<40 + uint64(i)
	}
	p.wide = kvBatch(kvStored(few, nil, make([]uint32, kvBlock*len(few)), kvPack(nil).number(kvBlock)))
	var removals, clears []kvPack
	for range 16 {
		removals = append(removals, kvPack(nil).array(2).text("BlockRemoved").numbers(make([]uint64, 60_000)))
	}
	p.removals = kvBatch(removals...)
	for range 40_000 {
		clears = append(clears, kvCleared())
	}
	p.clears = kvBatch(clears...)
	p.full = kvBatch(kvStored([]uint64{1}, nil, make([]uint32, kvMaxMessage-200), kvPack(nil).number(kvBlock)))
	return p
})
