package prefix

import "sync/atomic"

// exactSet is the blocks that one engine has reported: a table of their hashes (linear
// probing, deletion by shifting back). They are on no list, so 8 bytes each is all it
// takes.
type exactSet struct {
	mult   uint64
	hashes []uint64 // 0: free
	n      int      // hashes in use, without zero
	zero   bool     // the hash 0 is in the set
	// tokens is the number of tokens of a block that is not in odd: an engine's blocks
	// are all of one size.
	tokens int32
	odd    map[uint64]int32
}

func (s *exactSet) len() int {
	if s.zero {
		return s.n + 1
	}
	return s.n
}

// find returns the place of a hash other than 0, or of the free one to put it at.
func (s *exactSet) find(hash uint64) (at int, ok bool) {
	for at = home(hash, s.mult, len(s.hashes)); ; {
		if h := s.hashes[at]; h == 0 || h == hash {
			return at, h != 0
		}
		if at++; at == len(s.hashes) {
			at = 0
		}
	}
}

func (s *exactSet) has(hash uint64) bool {
	if hash == 0 || s.n == 0 {
		return hash == 0 && s.zero
	}
	_, ok := s.find(hash)
	return ok
}

// add puts a block into the set, and reports false if it is there already.
func (s *exactSet) add(hash uint64, tokens int32) bool {
	if hash == 0 {
		if s.zero {
			return false
		}
		s.zero = true
	} else {
		if s.n >= len(s.hashes)/4*3 {
			s.grow()
		}
		at, ok := s.find(hash)
		if ok {
			return false
		}
		s.hashes[at] = hash
		s.n++
	}
	if s.len() == 1 {
		s.tokens = tokens
	}
	if tokens != s.tokens {
		if s.odd == nil {
			s.odd = make(map[uint64]int32)
		}
		s.odd[hash] = tokens
	}
	return true
}

// remove takes a block out and returns its tokens; ok is false if it is not there.
func (s *exactSet) remove(hash uint64) (tokens int32, ok bool) {
	if !s.has(hash) {
		return 0, false
	}
	tokens = s.tokens
	if n, ok := s.odd[hash]; ok {
		tokens = n
		delete(s.odd, hash)
	}
	if hash == 0 {
		s.zero = false
		return tokens, true
	}
	at, _ := s.find(hash)
	size := len(s.hashes)
	for j := at; ; {
		if j++; j == size {
			j = 0
		}
		h := s.hashes[j]
		if h == 0 {
			break
		}
		if from := home(h, s.mult, size); behind(j, from, size) >= behind(j, at, size) {
			s.hashes[at] = h
			at = j
		}
	}
	s.hashes[at] = 0
	s.n--
	return tokens, true
}

func (s *exactSet) grow() {
	old := s.hashes
	s.hashes = make([]uint64, max(minTable, len(old)/2*3))
	for _, h := range old {
		if h != 0 {
			at, _ := s.find(h)
			s.hashes[at] = h
		}
	}
}

// touch is as a shard's.
func (s *exactSet) touch(hash uint64) {
	if len(s.hashes) > 0 {
		_ = atomic.LoadUint64(&s.hashes[home(hash, s.mult, len(s.hashes))])
	}
}
