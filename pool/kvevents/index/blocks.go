package index

import (
	"math/bits"
	"sync/atomic"
)

// blocks are one engine's blocks by its own hashes: an open-addressing table (linear
// probing, deletion by shifting back) of 20 bytes an entry, where a Go map of the same
// takes nearly twice that.
type blocks struct {
	mult  uint64 // random and odd: hashes come from a peer, their places must not
	slots []slot
	n     int
}

// slot is an entry, in halves so that it has no padding. A meta of 0 is a free one.
type slot struct {
	hashLow, hashHigh   uint32
	stateLow, stateHigh uint32
	meta                uint32 // refBits for each tier, then keys
}

const (
	refBits  = 7
	maxRefs  = 1<<refBits - 1
	minSlots = 16
)

func (s *slot) hash() uint64 { return uint64(s.hashHigh)<<32 | uint64(s.hashLow) }

func (s *slot) block() block {
	b := block{state: uint64(s.stateHigh)<<32 | uint64(s.stateLow), keys: uint8(s.meta >> (refBits * maxTiers))}
	for t := range b.refs {
		b.refs[t] = uint8(s.meta >> (refBits * t) & maxRefs)
	}
	return b
}

func (t *blocks) home(hash uint64) int {
	hi, _ := bits.Mul64(hash*t.mult, uint64(len(t.slots)))
	return int(hi)
}

// find returns the place of a hash, or of the free one to put it at.
func (t *blocks) find(hash uint64) (at int, ok bool) {
	if t.n >= len(t.slots)/4*3 {
		t.grow()
	}
	for at = t.home(hash); ; {
		s := &t.slots[at]
		if s.meta == 0 || s.hash() == hash {
			return at, s.meta != 0
		}
		if at++; at == len(t.slots) {
			at = 0
		}
	}
}

func (t *blocks) get(hash uint64) (block, bool) {
	at, ok := t.find(hash)
	if !ok {
		return block{}, false
	}
	return t.slots[at].block(), true
}

// put sets the block at a place that find returned, which nothing has changed since.
// Some of the block's refs are not 0.
func (t *blocks) put(at int, hash uint64, b block) {
	s := &t.slots[at]
	if s.meta == 0 {
		t.n++
	}
	meta := uint32(b.keys) << (refBits * maxTiers)
	for tier, n := range b.refs {
		meta |= uint32(n) << (refBits * tier)
	}
	*s = slot{uint32(hash), uint32(hash >> 32), uint32(b.state), uint32(b.state >> 32), meta}
}

// drop frees a place that is in use.
func (t *blocks) drop(at int) {
	size := len(t.slots)
	for j := at; ; {
		if j++; j == size {
			j = 0
		}
		s := t.slots[j]
		if s.meta == 0 {
			break
		}
		if from := t.home(s.hash()); behind(j, from, size) >= behind(j, at, size) {
			t.slots[at] = s
			at = j
		}
	}
	t.slots[at] = slot{}
	t.n--
}

// behind is how far position i is behind position from, around the end of a table.
func behind(i, from, size int) int {
	if i < from {
		i += size
	}
	return i - from
}

func (t *blocks) grow() {
	old := t.slots
	t.slots = make([]slot, max(minSlots, len(old)/2*3))
	for i := range old {
		if s := &old[i]; s.meta != 0 {
			at, _ := t.find(s.hash())
			t.slots[at] = *s
		}
	}
}

// touch has the processor fetch what finding the hashes will read, all together.
func (t *blocks) touch(hashes []uint64) {
	if len(t.slots) == 0 {
		return
	}
	for _, h := range hashes {
		_ = atomic.LoadUint32(&t.slots[t.home(h)].meta)
	}
}

// together is how many blocks' entries are fetched from memory at once.
const together = 16
