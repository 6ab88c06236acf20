package prefix

import (
	"math"
	"math/bits"
	"slices"
)

// Matches is the result of a lookup: by slot, the matched tokens and blocks.
// It is reused from request to request.
type Matches struct {
	tokens, blocks []int32
	alive          []uint64 // scratch of the linear walk, by slot
	at             int      // blocks summed up so far
	sum            int64    // their tokens
}

// Tokens is the matched prompt tokens of a slot.
func (m *Matches) Tokens(slot int32) int32 { return m.tokens[slot] }

// Blocks is the matched prompt blocks of a slot.
func (m *Matches) Blocks(slot int32) int32 { return m.blocks[slot] }

func (m *Matches) reset(slots int) {
	m.tokens = slices.Grow(m.tokens[:0], slots)[:slots]
	m.blocks = slices.Grow(m.blocks[:0], slots)[:slots]
	clear(m.tokens)
	clear(m.blocks)
	m.at, m.sum = 0, 0
}

// advance sums the tokens up to and with block k; k never decreases.
func (m *Matches) advance(blocks []Block, k int) {
	for ; m.at <= k; m.at++ {
		m.sum += int64(max(0, blocks[m.at].Tokens))
	}
}

func (m *Matches) mark(slot uint16, n int) {
	if int(slot) < len(m.tokens) {
		m.tokens[slot] = int32(min(m.sum, math.MaxInt32))
		m.blocks[slot] = int32(n)
	}
}

// Match fills m for slots 0..slots-1: how much of the chain, contiguous from its
// start, each slot holds. It does not allocate once m has grown to the pool.
//
// What endpoints hold is contiguous (see Insert), so the sets of holders along
// the chain are nested, S0 ⊇ S1 ⊇ …, and two that are equal in size are equal.
// Bisecting the chain wherever sizes differ finds every endpoint's end in
// O(ends × log blocks) probes. Engine events promise no such order, so where
// there are any the chain is walked.
func (x *Index) Match(blocks []Block, slots int, m *Matches) {
	m.reset(slots)
	if len(blocks) == 0 || slots <= 0 {
		return
	}
	x.lookups.Add(1)
	first := x.count(blocks[0].Hash)
	if first == 0 {
		return
	}
	x.hits.Add(1)
	if x.reporting.Load() > 0 {
		x.walk(blocks, m)
		return
	}
	last := len(blocks) - 1
	end := x.count(blocks[last].Hash)
	x.bisect(blocks, m, 0, first, last, end)
	if end > 0 {
		x.markAll(blocks, m, last)
	}
}

// bisect marks the slots whose match ends in [lo, hi), in order, given the
// number of holders of blocks lo and hi.
func (x *Index) bisect(blocks []Block, m *Matches, lo, nlo, hi, nhi int) {
	if nlo <= nhi {
		return
	}
	if hi-lo == 1 {
		x.markAll(blocks, m, lo)
		return
	}
	mid := int(uint(lo+hi) / 2)
	n := x.count(blocks[mid].Hash)
	x.bisect(blocks, m, lo, nlo, mid, n)
	x.bisect(blocks, m, mid, n, hi, nhi)
}

func (x *Index) count(hash uint64) int {
	s := x.shard(hash)
	s.mu.RLock()
	n := s.count(hash)
	s.mu.RUnlock()
	return n
}

// markAll says of every holder of block k that it matches up to there; those
// that match further are marked again later.
func (x *Index) markAll(blocks []Block, m *Matches, k int) {
	m.advance(blocks, k)
	s := x.shard(blocks[k].Hash)
	s.mu.RLock()
	defer s.mu.RUnlock()
	set := s.entries[s.find(blocks[k].Hash)].set
	if !set.wide() {
		for i := range set.inlineLen() {
			m.mark(set.inlineAt(i), k+1)
		}
		return
	}
	w := &s.wide[set.number()]
	for _, slot := range w.list {
		m.mark(slot, k+1)
	}
	for i, word := range w.bits {
		for ; word != 0; word &= word - 1 {
			m.mark(uint16(i<<6+bits.TrailingZeros64(word)), k+1)
		}
	}
}

// walk goes along the chain block by block with the slots that held everything
// so far.
func (x *Index) walk(blocks []Block, m *Matches) {
	words := (len(m.tokens) + 63) / 64
	m.alive = slices.Grow(m.alive[:0], words)[:words]
	for i := range m.alive {
		m.alive[i] = ^uint64(0)
	}
	for k := range blocks {
		left := x.keepHolders(blocks, m, k)
		m.advance(blocks, k)
		if !left {
			return
		}
	}
	for i, word := range m.alive {
		for ; word != 0; word &= word - 1 {
			m.mark(uint16(i<<6+bits.TrailingZeros64(word)), len(blocks))
		}
	}
}

// keepHolders marks those alive slots that do not hold block k as ending before
// it, and reports whether any is left.
func (x *Index) keepHolders(blocks []Block, m *Matches, k int) bool {
	s := x.shard(blocks[k].Hash)
	s.mu.RLock()
	defer s.mu.RUnlock()
	set := s.entries[s.find(blocks[k].Hash)].set
	var w *wideSet
	if set.wide() {
		w = &s.wide[set.number()]
	}
	left := uint64(0)
	for i, alive := range m.alive {
		if alive == 0 {
			continue
		}
		held := uint64(0)
		switch {
		case w == nil:
			for j := range set.inlineLen() {
				held |= bit(set.inlineAt(j), i)
			}
		case w.bits != nil:
			if i < len(w.bits) {
				held = w.bits[i]
			}
		default:
			for _, slot := range w.list {
				held |= bit(slot, i)
			}
		}
		if k > 0 {
			for gone := alive &^ held; gone != 0; gone &= gone - 1 {
				m.mark(uint16(i<<6+bits.TrailingZeros64(gone)), k)
			}
		}
		m.alive[i] = alive & held
		left |= m.alive[i]
	}
	return left != 0
}

// bit is the slot's bit in word i of a bitset, 0 when it is in another word.
func bit(slot uint16, i int) uint64 {
	if int(slot>>6) != i {
		return 0
	}
	return 1 << (slot & 63)
}

// MatchOne is Match for one slot, in tokens.
func (x *Index) MatchOne(blocks []Block, slot int32) int64 {
	e := x.at(slot)
	if e == nil || len(blocks) == 0 {
		return 0
	}
	n := 0
	if e.reported.Load() {
		for n < len(blocks) && x.has(blocks[n].Hash, e.slot) {
			n++
		}
	} else {
		// The smallest number of blocks of which the last is not held.
		lo, hi := 0, len(blocks)
		for lo < hi {
			mid := int(uint(lo+hi) / 2)
			if x.has(blocks[mid].Hash, e.slot) {
				lo = mid + 1
			} else {
				hi = mid
			}
		}
		n = lo
	}
	var sum int64
	for _, b := range blocks[:n] {
		sum += int64(max(0, b.Tokens))
	}
	return sum
}

func (x *Index) has(hash uint64, slot uint16) bool {
	s := x.shard(hash)
	s.mu.RLock()
	ok := s.has(hash, slot)
	s.mu.RUnlock()
	return ok
}
