package prefix

import (
	"math/bits"
	"sync/atomic"
)

// A wide set has more than inlineSlots slots. It is a list while small, then a bitset,
// in 2, 4, 8 or so words of its shard's memory. A list's first word is the number of
// slots and three of them, 16 bits each, any other word four slots. A bitset's first
// word is the number of slots.

const (
	// setClasses is the number of sizes, of which the largest has a bit for each slot.
	setClasses = 11
	// listClass is the largest size of a list: a bitset is smaller, or as fast to
	// search.
	listClass = 2
	// listAgain is when a bitset becomes a list: half of the most that a list may
	// have, so that a set at the edge does not flap.
	listAgain = 15
	bitsFlag  = holders(1) << 16
)

// wideAt is the word of a set of a size at a place in the shard's memory.
func wideAt(class int, at uint32, isBits bool) holders {
	h := holders(at)<<32 | holders(class)<<24 | setMark
	if isBits {
		h |= bitsFlag
	}
	return h
}

func (h holders) at() uint32   { return uint32(h >> 32) }
func (h holders) class() int   { return int(h>>24) & 0xf }
func (h holders) isBits() bool { return h&bitsFlag != 0 }

// listRoom is how many slots a list of a size has room for.
func listRoom(class int) int { return 4*classWords(class) - 1 }

func classWords(class int) int { return 2 << class }

// part is a set's memory. It is empty where a reader's view is torn, which leave
// finds.
func (m *memory) part(set holders) []uint64 {
	from, to := int(set.at()), int(set.at())+classWords(set.class())
	if to > len(m.words) {
		return nil
	}
	return m.words[from:to:to]
}

func (m *memory) wideLen(set holders) int {
	part := m.part(set)
	if len(part) == 0 {
		return 0
	}
	n := atomic.LoadUint64(&part[0])
	if set.isBits() {
		return int(n)
	}
	return int(n & kindMask)
}

// listAt is slot i of a list.
func listAt(part []uint64, i int) uint16 {
	return uint16(atomic.LoadUint64(&part[(i+1)/4]) >> ((i + 1) % 4 * 16))
}

// listPut sets slot i of a list.
func listPut(part []uint64, i int, slot uint16) {
	w, shift := &part[(i+1)/4], (i+1)%4*16
	atomic.StoreUint64(w, *w&^(kindMask<<shift)|uint64(slot)<<shift)
}

// listLen is the number of slots of a list. It is no more than there is room for, also
// where a reader's view is torn.
func listLen(part []uint64) int {
	if len(part) == 0 {
		return 0
	}
	return min(int(atomic.LoadUint64(&part[0])&kindMask), 4*len(part)-1)
}

func (m *memory) wideHas(set holders, slot uint16) bool {
	part := m.part(set)
	if set.isBits() {
		i := 1 + int(slot>>6)
		return i < len(part) && atomic.LoadUint64(&part[i])&(1<<(slot&63)) != 0
	}
	return listIndex(part, slot) >= 0
}

func listIndex(part []uint64, slot uint16) int {
	for i := range listLen(part) {
		if listAt(part, i) == slot {
			return i
		}
	}
	return -1
}

// wideSlots makes held the set's slots, as far as there is room.
func (m *memory) wideSlots(set holders, held []uint64) {
	clear(held)
	part := m.part(set)
	if !set.isBits() {
		for i := range listLen(part) {
			if slot := listAt(part, i); int(slot>>6) < len(held) {
				held[slot>>6] |= 1 << (slot & 63)
			}
		}
		return
	}
	for i := 1; i < len(part) && i <= len(held); i++ {
		held[i-1] = atomic.LoadUint64(&part[i])
	}
}

// The functions below are writers'. The caller holds the shard's lock.

// alloc returns the place of unused memory for a set of a size.
func (s *shard) alloc(class int) uint32 {
	s.wide++
	m := s.mem.Load()
	if at := s.free[class]; at != 0 {
		s.free[class] = uint32(m.words[at])
		return at
	}
	at := s.top
	s.top += uint32(classWords(class))
	if need := int(s.top); need > len(m.words) {
		words := make([]uint64, max(need, len(m.words)/2*3, 64))
		copy(words, m.words)
		s.seq.Add(1)
		s.mem.Store(&memory{entries: m.entries, words: words})
		s.seq.Add(1)
	}
	return at
}

// release gives a set's memory back, after e has become set.
func (s *shard) release(e *entry, old, set holders) {
	s.wide--
	s.seq.Add(1)
	atomic.StoreUint64(&e.set, uint64(set))
	atomic.StoreUint64(&s.mem.Load().words[old.at()], uint64(s.free[old.class()]))
	s.free[old.class()] = old.at()
	s.seq.Add(1)
}

// makeList returns a new set, a list of slots.
func (s *shard) makeList(slots []uint16) holders {
	class := 0
	for listRoom(class) < len(slots) {
		class++
	}
	set := wideAt(class, s.alloc(class), false)
	part := s.mem.Load().part(set)
	for i, slot := range slots {
		listPut(part, i, slot)
	}
	atomic.StoreUint64(&part[0], part[0]&^kindMask|uint64(len(slots)))
	return set
}

// makeBits returns a new set, a bitset of slots.
func (s *shard) makeBits(slots []uint16, highest uint16) holders {
	class := 0
	for classWords(class) < 2+int(highest>>6) {
		class++
	}
	set := wideAt(class, s.alloc(class), true)
	part := s.mem.Load().part(set)
	for i := range part {
		atomic.StoreUint64(&part[i], 0)
	}
	for _, slot := range slots {
		w := &part[1+slot>>6]
		atomic.StoreUint64(w, *w|1<<(slot&63))
	}
	atomic.StoreUint64(&part[0], uint64(len(slots)))
	return set
}

// widen turns a full inline set into a wide one with one slot more.
func (s *shard) widen(e *entry, set holders, slot uint16) {
	slots := [inlineSlots + 1]uint16{inlineSlots: slot}
	for i := range inlineSlots {
		slots[i] = set.inlineAt(i)
	}
	atomic.StoreUint64(&e.set, uint64(s.makeList(slots[:])))
}

func (s *shard) addWide(e *entry, set holders, slot uint16) {
	m := s.mem.Load()
	part := m.part(set)
	if m.wideHas(set, slot) {
		return
	}
	if set.isBits() {
		if i := 1 + int(slot>>6); i < len(part) {
			atomic.StoreUint64(&part[i], part[i]|1<<(slot&63))
			atomic.StoreUint64(&part[0], part[0]+1)
			return
		}
		wider := s.makeBits(nil, slot)
		to := s.mem.Load().part(wider)
		for i, w := range part { // makeBits may have replaced the memory, with the same in it
			atomic.StoreUint64(&to[i], w)
		}
		s.addWide(e, wider, slot)
		s.release(e, set, wider)
		return
	}
	n := listLen(part)
	if n < listRoom(set.class()) {
		listPut(part, n, slot)
		atomic.StoreUint64(&part[0], part[0]+1)
		return
	}
	var all [4 << (listClass + 1)]uint16
	highest := slot
	for i := range n {
		all[i] = listAt(part, i)
		highest = max(highest, all[i])
	}
	all[n] = slot
	wider := holders(0)
	if set.class() < listClass {
		wider = s.makeList(all[:n+1])
	} else {
		wider = s.makeBits(all[:n+1], highest)
	}
	s.release(e, set, wider)
}

func (s *shard) removeWide(e *entry, set holders, slot uint16) {
	m := s.mem.Load()
	part := m.part(set)
	if !m.wideHas(set, slot) {
		return
	}
	if set.isBits() {
		w := &part[1+slot>>6]
		atomic.StoreUint64(w, *w&^(1<<(slot&63)))
		atomic.StoreUint64(&part[0], part[0]-1)
		if part[0] <= listAgain {
			var all [listAgain]uint16
			s.release(e, set, s.makeList(bitsSlots(all[:0], part[1:])))
		}
		return
	}
	n := listLen(part)
	if n == inlineSlots+1 {
		narrow := holders(inlineSlots)
		for i, k := 0, 0; i < n; i++ {
			if other := listAt(part, i); other != slot {
				k++
				narrow |= holders(other) << (16 * k)
			}
		}
		s.release(e, set, narrow)
		return
	}
	s.seq.Add(1)
	listPut(part, listIndex(part, slot), listAt(part, n-1))
	atomic.StoreUint64(&part[0], part[0]-1)
	s.seq.Add(1)
}

// bitsSlots appends the slots of a bitset.
func bitsSlots(dst []uint16, words []uint64) []uint16 {
	for i, word := range words {
		for ; word != 0; word &= word - 1 {
			dst = append(dst, uint16(i<<6+bits.TrailingZeros64(word)))
		}
	}
	return dst
}
