package index

import (
	"encoding/binary"

	"github.com/cespare/xxhash/v2"

	"github.com/fairway-ai/fairway/scheduler/prefix"
)

// Extra is a part of a prompt's identity that is not a token: a cache salt, or the
// hash of an image. It counts from the block on that holds the token At.
type Extra struct {
	At  int
	Key string
}

// Keys appends the keys of a prompt's full blocks to dst, which it returns; it
// allocates nothing when dst is large enough. name is the model or adapter that
// the request is for. extra is in the order of At: a cache salt is at 0; an image
// is at the start of each of the engine's blocks that has a part of it.
func (x *Index) Keys(dst []prefix.Block, name string, tokens []uint32, extra []Extra) []prefix.Block {
	size := x.o.BlockTokens
	state := seed(name)
	for at := 0; at+size <= len(tokens); at += size {
		for len(extra) > 0 && extra[0].At < at+size {
			state = mix(state, extra[0].Key)
			extra = extra[1:]
		}
		state = link(state, tokens[at:at+size])
		dst = append(dst, prefix.Block{Hash: state, Tokens: int32(size)})
	}
	return dst
}

func seed(name string) uint64 { return xxhash.Sum64String(name) }

// mix adds a string to the identity of what follows.
func mix[T string | []byte](state uint64, key T) uint64 {
	var d xxhash.Digest
	d.ResetWithSeed(state)
	var b [64]byte
	b[0] = 1 // tells it from tokens
	for n := 1; ; n = 0 {
		m := copy(b[n:], key)
		_, _ = d.Write(b[:n+m]) // never fails
		if key = key[m:]; len(key) == 0 {
			return d.Sum64()
		}
	}
}

// linkTokens is how many tokens are hashed at once.
const linkTokens = 16

// link is the key of a block behind state.
func link(state uint64, tokens []uint32) uint64 {
	var b [8 + 4*linkTokens]byte
	for len(tokens) > linkTokens {
		state = linkPart(&b, state, tokens[:linkTokens])
		tokens = tokens[linkTokens:]
	}
	return linkPart(&b, state, tokens)
}

func linkPart(b *[8 + 4*linkTokens]byte, state uint64, tokens []uint32) uint64 {
	binary.LittleEndian.PutUint64(b[:], state)
	if len(tokens) == linkTokens {
		t := (*[linkTokens]uint32)(tokens)
		for i := 0; i < linkTokens; i += 2 { // in words, as the hash reads them
			binary.LittleEndian.PutUint64(b[8+4*i:], uint64(t[i])|uint64(t[i+1])<<32)
		}
		return xxhash.Sum64(b[:])
	}
	for i, t := range tokens {
		binary.LittleEndian.PutUint32(b[8+4*i:], t)
	}
	return xxhash.Sum64(b[:8+4*len(tokens)])
}
