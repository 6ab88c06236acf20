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
	alive, held    []uint64 // scratch of the linear walk, by slot
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

func (x *Index) count(hash uint64) int { return x.shard(hash).count(hash) }

// markAll says of every holder of block k that it matches up to there; those
// that match further are marked again later.
func (x *Index) markAll(blocks []Block, m *Matches, k int) {
	m.advance(blocks, k)
	m.grow()
	x.holders(blocks[k].Hash, m.held)
	m.markWords(m.held, k+1)
}

// holders makes held the slots that hold a block, and returns their set.
func (x *Index) holders(hash uint64, held []uint64) holders {
	set := x.shard(hash).holders(hash, held)
	if !set.wide() {
		set.slots(held)
	}
	return set
}

// slots makes held the slots of an inline set, as far as there is room.
func (h holders) slots(held []uint64) {
	clear(held)
	for i := range h.inlineLen() {
		if slot := h.inlineAt(i); int(slot>>6) < len(held) {
			held[slot>>6] |= 1 << (slot & 63)
		}
	}
}

// grow makes room for one bit for each slot.
func (m *Matches) grow() {
	words := (len(m.tokens) + 63) / 64
	m.alive = slices.Grow(m.alive[:0], words)[:words]
	m.held = slices.Grow(m.held[:0], words)[:words]
}

func (m *Matches) markWords(words []uint64, n int) {
	for i, word := range words {
		for ; word != 0; word &= word - 1 {
			m.mark(uint16(i<<6+bits.TrailingZeros64(word)), n)
		}
	}
}

// ahead is how many blocks are fetched from memory together.
const ahead = 16

// touch fetches what finding blocks from k on will read.
func (x *Index) touch(blocks []Block, k int) { x.Fetch(blocks[k:min(k+ahead, len(blocks))]) }

// walk goes along the chain block by block with the slots that held everything
// so far.
func (x *Index) walk(blocks []Block, m *Matches) {
	m.grow()
	before := x.holders(blocks[0].Hash, m.alive)
	for k := 1; k < len(blocks); k++ {
		if k%ahead == 1 {
			x.touch(blocks, k)
		}
		hash := blocks[k].Hash
		set := x.shard(hash).holders(hash, m.held)
		switch {
		case set.wide():
		case set == before: // nobody has gone
			continue
		default:
			set.slots(m.held)
		}
		before = set
		if !m.keep(blocks, k) {
			return
		}
	}
	m.advance(blocks, len(blocks)-1)
	m.markWords(m.alive, len(blocks))
}

// keep marks those alive slots that do not hold block k as ending before it, and
// reports whether any is left.
func (m *Matches) keep(blocks []Block, k int) bool {
	left := uint64(0)
	for i, alive := range m.alive {
		if alive == 0 {
			continue
		}
		if gone := alive &^ m.held[i]; gone != 0 {
			m.advance(blocks, k-1)
			for ; gone != 0; gone &= gone - 1 {
				m.mark(uint16(i<<6+bits.TrailingZeros64(gone)), k)
			}
			m.alive[i] = alive & m.held[i]
		}
		left |= m.alive[i]
	}
	return left != 0
}

// MatchOne is Match for one slot, in tokens.
func (x *Index) MatchOne(blocks []Block, slot int32) int64 {
	return tokensOf(blocks[:x.matchOne(blocks, slot)])
}

// Reach is MatchOne in O(log blocks), also of a slot whose engine reports. It is right
// as long as such an engine holds what it has of a prompt from the start on, as engines
// see to that evict a prompt's end first; otherwise it may be any place at which a part
// of the prompt that is held ends.
func (x *Index) Reach(blocks []Block, slot int32) int64 {
	e := x.at(slot)
	if e == nil {
		return 0
	}
	return tokensOf(blocks[:x.end(blocks, e.slot)])
}

func tokensOf(blocks []Block) (sum int64) {
	for i := range blocks {
		sum += int64(max(0, blocks[i].Tokens))
	}
	return sum
}

// matchOne is MatchOne in blocks.
func (x *Index) matchOne(blocks []Block, slot int32) int {
	e := x.at(slot)
	if e == nil {
		return 0
	}
	if e.reported.Load() {
		for n := range blocks {
			if n%ahead == 0 {
				x.touch(blocks, n)
			}
			if !x.has(blocks[n].Hash, e.slot) {
				return n
			}
		}
		return len(blocks)
	}
	return x.end(blocks, e.slot)
}

// end finds a number of blocks of which the last is held and the next is not.
func (x *Index) end(blocks []Block, slot uint16) int {
	lo, hi := 0, len(blocks)
	for lo < hi {
		mid := int(uint(lo+hi) / 2)
		if x.has(blocks[mid].Hash, slot) {
			lo = mid + 1
		} else {
			hi = mid
		}
	}
	return lo
}

func (x *Index) has(hash uint64, slot uint16) bool { return x.shard(hash).has(hash, slot) }
