package prefix

import (
	"math/bits"
	"slices"
)

// holders is the set of slots that hold one block, packed into a word so that a
// table entry is two words. The low 16 bits say what the rest is: 1 to 3, that
// many slots of 16 bits each; setMark, the number of a wideSet in the shard. Zero
// is the empty set, which a table never stores.
type holders uint64

const (
	inlineSlots = 3
	setMark     = 0xffff
	kindMask    = 0xffff
	// listSlots is where a list turns into a bitset: below it the list is smaller
	// and as fast to search.
	listSlots = 32
	// maxSlots is what 16 bits can name.
	maxSlots = 1 << 16
)

func oneHolder(slot uint16) holders { return holders(uint64(slot)<<16 | 1) }

func (h holders) wide() bool            { return h&kindMask == setMark }
func (h holders) number() uint32        { return uint32(h >> 16) }
func (h holders) inlineLen() int        { return int(h & kindMask) }
func (h holders) inlineAt(i int) uint16 { return uint16(h >> (16 * (i + 1))) }

func (h holders) inlineIndex(slot uint16) int {
	for i := range h.inlineLen() {
		if h.inlineAt(i) == slot {
			return i
		}
	}
	return -1
}

// wideSet is a set of more than inlineSlots slots: a list while small, then a
// bitset. Exactly one of the two is in use.
type wideSet struct {
	n    int32
	list []uint16
	bits []uint64
}

func (w *wideSet) has(slot uint16) bool {
	if w.bits == nil {
		return slices.Contains(w.list, slot)
	}
	i := int(slot >> 6)
	return i < len(w.bits) && w.bits[i]&(1<<(slot&63)) != 0
}

func (w *wideSet) add(slot uint16) bool {
	if w.has(slot) {
		return false
	}
	if w.bits == nil {
		w.n++
		if len(w.list) < listSlots {
			w.list = append(w.list, slot)
			return true
		}
		for _, s := range w.list {
			w.setBit(s)
		}
		w.list = nil
		w.setBit(slot)
		return true
	}
	w.n++
	w.setBit(slot)
	return true
}

func (w *wideSet) setBit(slot uint16) {
	i := int(slot >> 6)
	if i >= len(w.bits) {
		w.bits = append(w.bits, make([]uint64, i+1-len(w.bits))...)
	}
	w.bits[i] |= 1 << (slot & 63)
}

func (w *wideSet) remove(slot uint16) bool {
	if !w.has(slot) {
		return false
	}
	w.n--
	if w.bits == nil {
		i := slices.Index(w.list, slot)
		w.list[i] = w.list[len(w.list)-1]
		w.list = w.list[:len(w.list)-1]
		return true
	}
	w.bits[slot>>6] &^= 1 << (slot & 63)
	if w.n <= listSlots/2 { // half, so that a set at the edge does not flap
		w.list = make([]uint16, 0, listSlots)
		for i, word := range w.bits {
			for ; word != 0; word &= word - 1 {
				w.list = append(w.list, uint16(i<<6+bits.TrailingZeros64(word)))
			}
		}
		w.bits = nil
	}
	return true
}
