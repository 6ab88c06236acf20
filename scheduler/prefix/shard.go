package prefix

import (
	"math/bits"
	"sync"
)

// shard is one part of the inverted index: an open-addressing table (linear
// probing, deletion by shifting back) from block hash to holders. Its own table
// rather than a Go map because a holder is added or removed in place with one
// probe, and because 16 bytes per entry is all it takes.
type shard struct {
	mu      sync.RWMutex
	entries []entry // length is a power of two
	n       int     // entries in use
	mult    uint64  // random and odd: keys come from prompts, their placement must not
	shift   uint8
	wide    []wideSet
	free    []uint32 // numbers in wide that are not in use
	_       [24]byte // keeps neighbours off this shard's cache lines
}

type entry struct {
	hash uint64
	set  holders // 0: the entry is free
}

const minTable = 16

func (s *shard) init(mult uint64) {
	s.mult = mult
	s.alloc(minTable)
}

func (s *shard) alloc(size int) {
	s.entries = make([]entry, size)
	s.shift = uint8(64 - bits.TrailingZeros64(uint64(size)))
}

// find returns the position of the hash, or of the free entry to put it in.
func (s *shard) find(hash uint64) int {
	mask := len(s.entries) - 1
	i := int(hash * s.mult >> s.shift)
	for s.entries[i].set != 0 && s.entries[i].hash != hash {
		i = (i + 1) & mask
	}
	return i
}

// count is the number of holders of a block. The caller holds the lock.
func (s *shard) count(hash uint64) int {
	set := s.entries[s.find(hash)].set
	if set.wide() {
		return int(s.wide[set.number()].n)
	}
	return set.inlineLen()
}

// has reports whether a slot holds a block. The caller holds the lock.
func (s *shard) has(hash uint64, slot uint16) bool {
	set := s.entries[s.find(hash)].set
	if set.wide() {
		return s.wide[set.number()].has(slot)
	}
	return set.inlineIndex(slot) >= 0
}

// add makes the slot a holder of the block.
func (s *shard) add(hash uint64, slot uint16) {
	s.mu.Lock()
	defer s.mu.Unlock()
	e := &s.entries[s.find(hash)]
	switch {
	case e.set == 0:
		e.hash, e.set = hash, oneHolder(slot)
		s.n++
		if s.n > len(s.entries)/4*3 {
			s.rehash(2 * len(s.entries))
		}
	case e.set.wide():
		s.wide[e.set.number()].add(slot)
	case e.set.inlineIndex(slot) >= 0:
	case e.set.inlineLen() < inlineSlots:
		n := e.set.inlineLen()
		e.set = e.set + 1 | holders(slot)<<(16*(n+1))
	default:
		list := make([]uint16, 0, 2*(inlineSlots+1))
		for i := range inlineSlots {
			list = append(list, e.set.inlineAt(i))
		}
		list = append(list, slot)
		w := wideSet{n: int32(len(list)), list: list}
		var number uint32
		if k := len(s.free); k > 0 {
			number, s.free = s.free[k-1], s.free[:k-1]
			s.wide[number] = w
		} else {
			number = uint32(len(s.wide))
			s.wide = append(s.wide, w)
		}
		e.set = holders(uint64(number)<<16 | setMark)
	}
}

// remove makes the slot no holder of the block any more.
func (s *shard) remove(hash uint64, slot uint16) {
	s.mu.Lock()
	defer s.mu.Unlock()
	i := s.find(hash)
	e := &s.entries[i]
	if e.set == 0 {
		return
	}
	if e.set.wide() {
		number := e.set.number()
		w := &s.wide[number]
		if !w.remove(slot) || w.n > inlineSlots {
			return
		}
		set := holders(w.n)
		for k, sl := range w.list {
			set |= holders(sl) << (16 * (k + 1))
		}
		e.set = set
		*w = wideSet{}
		s.free = append(s.free, number)
		return
	}
	k := e.set.inlineIndex(slot)
	if k < 0 {
		return
	}
	n := e.set.inlineLen()
	if n == 1 {
		s.delete(i)
		return
	}
	last := holders(e.set.inlineAt(n - 1))
	set := e.set &^ (holders(0xffff) << (16 * (k + 1)))
	set |= last << (16 * (k + 1))
	set &^= holders(0xffff) << (16 * n)
	e.set = set - 1
}

// delete frees entry i and moves later ones of its run back, so that no probe
// ever has to step over a hole.
func (s *shard) delete(i int) {
	mask := len(s.entries) - 1
	for j := (i + 1) & mask; s.entries[j].set != 0; j = (j + 1) & mask {
		home := int(s.entries[j].hash * s.mult >> s.shift)
		if (j-home)&mask >= (j-i)&mask {
			s.entries[i] = s.entries[j]
			i = j
		}
	}
	s.entries[i] = entry{}
	s.n--
	if len(s.entries) > minTable && s.n < len(s.entries)/8 {
		s.rehash(len(s.entries) / 2)
	}
}

func (s *shard) rehash(size int) {
	old := s.entries
	s.alloc(size)
	for _, e := range old {
		if e.set != 0 {
			s.entries[s.find(e.hash)] = e
		}
	}
}
