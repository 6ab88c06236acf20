package prefix

import (
	"math/bits"
	"sync"
	"sync/atomic"
)

// shard is one part of the inverted index: an open-addressing table (linear
// probing, deletion by shifting back) from block hash to holders. Its own table
// rather than a Go map because a holder is added or removed in place with one
// probe, because 16 bytes per entry is all it takes, and because it can be read
// without a lock.
//
// Writers hold mu. Readers take nothing: they read words atomically, and begin anew
// when seq has changed meanwhile or is odd. A writer changes seq, twice, around
// whatever could make a reader see one block's hash with another's holders: an entry
// that moves, memory of a wide set that is given away or replaced. What is left, a new
// entry or one more holder, is one atomic store, the last of its kind.
type shard struct {
	mu   sync.Mutex
	seq  atomic.Uint64
	mem  atomic.Pointer[memory]
	n    int    // entries in use
	mult uint64 // random and odd: keys come from prompts, their placement must not
	free [setClasses]uint32
	top  uint32   // words in use or free
	wide int      // sets in use
	_    [24]byte // keeps neighbours off this shard's cache lines
}

// memory is what readers read. A larger one replaces it when it is full.
type memory struct {
	entries []entry
	words   []uint64 // of wide sets
}

// entry's words are read and written atomically once they are in a shard.
type entry struct {
	hash uint64
	set  uint64 // holders; 0: the entry is free
}

const minTable = 16

func (s *shard) init(mult uint64) {
	s.mult, s.top = mult, 1 // the number 0 is none
	s.mem.Store(&memory{entries: make([]entry, minTable)})
}

// home is where in a table of size entries a hash should be. It grows with the
// product, so entries keep their order when a table is written anew.
func home(hash, mult uint64, size int) int {
	hi, _ := bits.Mul64(hash*mult, uint64(size))
	return int(hi)
}

// behind is how far position i is behind position from, around the end of a table.
func behind(i, from, size int) int {
	if i < from {
		i += size
	}
	return i - from
}

// find returns the position of the hash, or of the free entry to put it in.
func (s *shard) find(m *memory, hash uint64) (int, holders) {
	for i := home(hash, s.mult, len(m.entries)); ; {
		e := &m.entries[i]
		set := holders(atomic.LoadUint64(&e.set))
		if set == 0 || atomic.LoadUint64(&e.hash) == hash {
			return i, set
		}
		if i++; i == len(m.entries) {
			i = 0
		}
	}
}

// patience is how often a reader begins anew before it waits for the writer, who may
// have been interrupted.
const patience = 100

// enter begins a reading, which counts if leave says so.
func (s *shard) enter(try int) uint64 {
	if try >= patience {
		s.mu.Lock()
		return locked
	}
	return s.seq.Load()
}

const locked = ^uint64(0)

func (s *shard) leave(seq uint64) bool {
	if seq == locked {
		s.mu.Unlock()
		return true
	}
	return seq&1 == 0 && s.seq.Load() == seq
}

// count is the number of holders of a block.
func (s *shard) count(hash uint64) int {
	for try := 0; ; try++ {
		seq := s.enter(try)
		m := s.mem.Load()
		_, set := s.find(m, hash)
		n := set.inlineLen()
		if set.wide() {
			n = m.wideLen(set)
		}
		if s.leave(seq) {
			return n
		}
	}
}

// has reports whether a slot holds a block.
func (s *shard) has(hash uint64, slot uint16) bool {
	for try := 0; ; try++ {
		seq := s.enter(try)
		m := s.mem.Load()
		_, set := s.find(m, hash)
		ok := set.inlineIndex(slot) >= 0
		if set.wide() {
			ok = m.wideHas(set, slot)
		}
		if s.leave(seq) {
			return ok
		}
	}
}

// holders returns a block's set and, if it is wide, makes held its slots, as far as
// there is room.
func (s *shard) holders(hash uint64, held []uint64) holders {
	for try := 0; ; try++ {
		seq := s.enter(try)
		m := s.mem.Load()
		_, set := s.find(m, hash)
		if set.wide() {
			m.wideSlots(set, held)
		}
		if s.leave(seq) {
			return set
		}
	}
}

// touch has the processor fetch what find will read. The fetches of several blocks
// overlap then, where find would wait for each.
func (s *shard) touch(hash uint64) {
	m := s.mem.Load()
	_ = atomic.LoadUint64(&m.entries[home(hash, s.mult, len(m.entries))].set)
}

// add makes the slot a holder of the block.
func (s *shard) add(hash uint64, slot uint16) {
	s.mu.Lock()
	defer s.mu.Unlock()
	m := s.mem.Load()
	i, set := s.find(m, hash)
	e := &m.entries[i]
	switch {
	case set == 0:
		atomic.StoreUint64(&e.hash, hash)
		atomic.StoreUint64(&e.set, uint64(oneHolder(slot)))
		s.n++
		if s.n > len(m.entries)/4*3 {
			s.rehash(len(m.entries) / 2 * 3)
		}
	case set.wide():
		s.addWide(e, set, slot)
	case set.inlineIndex(slot) >= 0:
	case set.inlineLen() < inlineSlots:
		atomic.StoreUint64(&e.set, uint64(set+1|holders(slot)<<(16*(set.inlineLen()+1))))
	default:
		s.widen(e, set, slot)
	}
}

// remove makes the slot no holder of the block any more.
func (s *shard) remove(hash uint64, slot uint16) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.without(hash, slot); s.n < len(s.mem.Load().entries)/8 {
		s.shrink()
	}
}

// removeOne is remove for one of many blocks, after which the caller calls fit. A table
// that got smaller in between would have what is left crowded in a part of it, for many
// blocks are best removed in the order in which they lie.
func (s *shard) removeOne(hash uint64, slot uint16) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.without(hash, slot)
}

// fit gives back what removeOne has left over.
func (s *shard) fit() {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.n < len(s.mem.Load().entries)/8 {
		s.shrink()
	}
}

// shrink writes a table of which a quarter is in use.
func (s *shard) shrink() {
	if size := max(minTable, 4*s.n); size < len(s.mem.Load().entries) {
		s.rehash(size)
	}
}

// without is remove. The caller holds the lock.
func (s *shard) without(hash uint64, slot uint16) {
	m := s.mem.Load()
	i, set := s.find(m, hash)
	if set.wide() {
		s.removeWide(&m.entries[i], set, slot)
		return
	}
	k := set.inlineIndex(slot)
	if k < 0 {
		return
	}
	n := set.inlineLen()
	if n == 1 {
		s.delete(m.entries, i)
		return
	}
	last := holders(set.inlineAt(n - 1))
	set &^= holders(0xffff) << (16 * (k + 1))
	set |= last << (16 * (k + 1))
	set &^= holders(0xffff) << (16 * n)
	atomic.StoreUint64(&m.entries[i].set, uint64(set-1))
}

// delete frees entry i and moves later ones of its run back, so that no probe
// ever has to step over a hole.
func (s *shard) delete(entries []entry, i int) {
	size := len(entries)
	s.seq.Add(1)
	for j := i; ; {
		if j++; j == size {
			j = 0
		}
		e := entries[j]
		if e.set == 0 {
			break
		}
		if from := home(e.hash, s.mult, size); behind(j, from, size) >= behind(j, i, size) {
			atomic.StoreUint64(&entries[i].hash, e.hash)
			atomic.StoreUint64(&entries[i].set, e.set)
			i = j
		}
	}
	atomic.StoreUint64(&entries[i].set, 0)
	s.seq.Add(1)
	s.n--
}

// rehash writes a table of another size, while readers keep to the old one.
func (s *shard) rehash(size int) {
	old := s.mem.Load()
	m := &memory{entries: make([]entry, size), words: old.words}
	for _, e := range old.entries {
		if e.set == 0 {
			continue
		}
		i := home(e.hash, s.mult, size)
		for m.entries[i].set != 0 {
			if i++; i == size {
				i = 0
			}
		}
		m.entries[i] = e
	}
	s.mem.Store(m)
}
