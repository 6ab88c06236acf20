package server

import (
	"encoding/binary"
	"strings"
)

// perGroup calls f for each of the model's groups of layers; once, with -1, where
// events do not tell of them.
func (b *kvBatch) perGroup(f func(group int)) {
	if len(b.groups) == 0 {
		f(-1)
	}
	for i := range b.groups {
		f(i)
	}
}

func (b *kvBatch) encodeStored() {
	if b.count == 0 {
		return
	}
	a := b.request.Payload.(*answer)
	hashes := b.request.Hashes[b.first : b.first+b.count]
	b.perGroup(func(group int) {
		fields := 8
		if group >= 0 {
			fields = 10
		}
		b.begin("BlockStored", fields)
		b.key("block_hashes")
		b.hashes(hashes)
		b.parentAndTokens(b.first, b.count)
		b.key("block_size")
		b.uint(uint64(b.blockTokens))
		b.key("lora_id")
		b.uintOrNull(a.loraID)
		b.key("medium")
		b.text("GPU")
		b.key("lora_name")
		b.textOrNull(b.request.Adapter)
		b.key("extra_keys")
		b.extraKeys(a)
		if group < 0 {
			return
		}
		b.key("group_idx")
		b.uint(uint64(group))
		b.key("kv_cache_spec_kind")
		b.text(b.groups[group])
		if strings.Contains(b.groups[group], "window") && len(hashes) > 1 {
			b.encodeRemovedOf(group, hashes[:len(hashes)-1], "GPU") // out of the window at once
		}
	})
}

// parentAndTokens writes two fields about the request's blocks.
func (b *kvBatch) parentAndTokens(first, count int) {
	b.key("parent_block_hash")
	if first == 0 {
		b.null()
	} else {
		b.hash(b.request.Hashes[first-1])
	}
	b.key("token_ids")
	b.header(0x90, 0xdc, count*b.blockTokens)
	flat := b.request.Payload.(*answer).prompt.flat[first*b.blockTokens*tokenBytes:]
	for i := range count * b.blockTokens {
		b.uint(uint64(binary.LittleEndian.Uint32(flat[i*tokenBytes:])))
	}
}

// encodeSGLang writes a block as SGLang does, which names no adapter. A cache salt is
// in a map behind the other fields.
func (b *kvBatch) encodeSGLang(k kvBlock, medium string) {
	was := b.request
	b.request = k.request
	defer func() { b.request = was }()
	salt := k.request.Payload.(*answer).salt
	fields := 6
	if salt != "" {
		fields = 7
	}
	b.begin("BlockStored", fields)
	b.hashes(k.request.Hashes[k.i : k.i+1])
	b.parentAndTokens(k.i, 1)
	b.uint(uint64(b.blockTokens))
	b.null()
	b.text(medium)
	if salt != "" {
		b.header(0x80, 0xde, 1)
		b.text("cache_salt")
		b.text(salt)
	}
}

func (b *kvBatch) encodeRemoved(hashes []uint64, medium string) {
	b.perGroup(func(group int) { b.encodeRemovedOf(group, hashes, medium) })
}

func (b *kvBatch) encodeRemovedOf(group int, hashes []uint64, medium string) {
	fields := 2
	if group >= 0 {
		fields = 3
	}
	b.begin("BlockRemoved", fields)
	b.key("block_hashes")
	b.hashes(hashes)
	b.key("medium")
	b.text(medium)
	if group >= 0 {
		b.key("group_idx")
		b.uint(uint64(group))
	}
}

// encodeCopies writes what happened in the CPU's memory. vLLM names blocks there by
// their hashes alone, SGLang repeats what it said of them.
func (b *kvBatch) encodeCopies() {
	switch {
	case b.format == KVSGLang:
		for _, k := range b.copies {
			b.encodeSGLang(k, "CPU_PINNED")
		}
		if len(b.gone) > 0 {
			b.encodeRemovedOf(-1, b.gone, "CPU_PINNED")
		}
	case len(b.copies) > 0:
		b.begin("BlockStored", 7)
		b.key("block_hashes")
		b.header(0x90, 0xdc, len(b.copies))
		for _, k := range b.copies {
			b.hash(k.request.Hashes[k.i])
		}
		b.key("parent_block_hash")
		b.null()
		b.key("token_ids")
		b.header(0x90, 0xdc, 0)
		b.key("block_size")
		b.uint(0)
		b.key("lora_id")
		b.null()
		b.key("medium")
		b.text("CPU")
		b.key("lora_name")
		b.null()
	case len(b.gone) > 0:
		b.encodeRemovedOf(-1, b.gone, "CPU")
	}
	b.copies, b.gone = b.copies[:0], b.gone[:0]
}

// extraKeys are what the blocks' hashes cover besides their tokens: the adapter, the
// images and the like with how far after the block's start they begin, and in a
// prompt's first block the cache salt.
func (b *kvBatch) extraKeys(a *answer) {
	adapter, some := b.request.Adapter, false
	counts := make([]int, b.count)
	for i := range counts {
		if adapter != "" {
			counts[i]++
		}
		if a.salt != "" && b.first+i == 0 {
			counts[i]++
		}
		a.prompt.in((b.first+i)*b.blockTokens, (b.first+i+1)*b.blockTokens, func(media, int) { counts[i]++ })
		some = some || counts[i] > 0
	}
	if !some {
		b.null()
		return
	}
	b.header(0x90, 0xdc, b.count)
	for i, n := range counts {
		if n == 0 {
			b.null()
			continue
		}
		b.header(0x90, 0xdc, n)
		if adapter != "" {
			b.text(adapter)
		}
		a.prompt.in((b.first+i)*b.blockTokens, (b.first+i+1)*b.blockTokens, func(m media, offset int) {
			b.header(0x90, 0xdc, 2)
			b.text(m.hash)
			b.int(offset)
		})
		if a.salt != "" && b.first+i == 0 {
			b.text(a.salt)
		}
	}
}
