package prefix

// Store records that an engine reported a block as cached. It stays until Remove
// or Clear, whatever the capacity. It reports false when the block was reported
// before, or the slot may not have more.
func (x *Index) Store(slot int32, b Block) bool {
	e := x.at(slot)
	if e == nil {
		return false
	}
	e.mu.Lock()
	defer e.mu.Unlock()
	return e.active && x.store(e, b)
}

// StoreAll is Store for each of the blocks. It calls done with the place of each in
// blocks and what Store reports, while the slot is locked: done must not use it.
func (x *Index) StoreAll(slot int32, blocks []Block, done func(i int, stored bool)) {
	e := x.at(slot)
	if e == nil {
		for i := range blocks {
			done(i, false)
		}
		return
	}
	e.mu.Lock()
	defer e.mu.Unlock()
	for i := range blocks {
		if i%ahead == 0 {
			x.touch(blocks, i)
			for _, b := range blocks[i:min(i+ahead, len(blocks))] {
				e.said.touch(b.Hash)
			}
		}
		done(i, e.active && x.store(e, blocks[i]))
	}
}

func (x *Index) store(e *endpoint, b Block) bool {
	x.report(e)
	tokens := max(1, b.Tokens)
	if e.exact.Load() >= maxExactBlocks {
		if !e.said.has(b.Hash) {
			x.dropped.Add(1)
		}
		return false
	}
	if !e.said.add(b.Hash, tokens) {
		return false
	}
	if k, at := e.guess(b.Hash); k != none { // it was right: from now on the engine decides
		e.tokens.Add(int64(tokens - e.nodes[k].tokens))
		e.used -= int64(e.nodes[k].tokens)
		e.unlink(k)
		e.drop(k, at)
	} else {
		e.tokens.Add(int64(tokens))
		x.shard(b.Hash).add(b.Hash, e.slot)
	}
	e.exact.Add(1)
	x.exact.Add(1)
	return true
}

// Reported is how many of the blocks, from the first on, the slot's engine has reported
// and not withdrawn.
func (x *Index) Reported(slot int32, blocks []Block) int {
	e := x.at(slot)
	if e == nil {
		return 0
	}
	e.mu.Lock()
	defer e.mu.Unlock()
	for n := range blocks {
		if n%ahead == 0 {
			for _, b := range blocks[n:min(n+ahead, len(blocks))] {
				e.said.touch(b.Hash)
			}
		}
		if !e.said.has(blocks[n].Hash) {
			return n
		}
	}
	return len(blocks)
}

// Remove records that an engine reported a block as evicted.
func (x *Index) Remove(slot int32, hash uint64) {
	if e := x.at(slot); e != nil {
		e.mu.Lock()
		defer e.mu.Unlock()
		x.remove(e, hash)
	}
}

// RemoveAll is Remove for each of the hashes.
func (x *Index) RemoveAll(slot int32, hashes []uint64) {
	e := x.at(slot)
	if e == nil || len(hashes) == 0 {
		return
	}
	e.mu.Lock()
	defer e.mu.Unlock()
	for i, hash := range hashes {
		if i%ahead == 0 {
			for _, h := range hashes[i:min(i+ahead, len(hashes))] {
				e.said.touch(h)
				x.shard(h).touch(h)
			}
		}
		x.remove(e, hash)
	}
}

func (x *Index) remove(e *endpoint, hash uint64) {
	tokens, said := e.said.remove(hash)
	switch k, at := e.guess(hash); {
	case said:
		e.exact.Add(-1)
		x.exact.Add(-1)
	case k != none:
		tokens = e.nodes[k].tokens
		e.used -= int64(tokens)
		e.unlink(k)
		e.drop(k, at)
	default:
		return
	}
	x.report(e)
	e.tokens.Add(-int64(tokens))
	x.shard(hash).remove(hash, e.slot)
}

// forgetSaid makes the endpoint no holder of what its engine reported.
func (x *Index) forgetSaid(e *endpoint) {
	if e.said.zero {
		x.shard(0).removeOne(0, e.slot)
	}
	hashes := e.said.hashes
	const stride = 2 * ahead // about half of the table is in use
	for from := 0; from < len(hashes); from += stride {
		part := hashes[from:min(from+stride, len(hashes))]
		for _, h := range part {
			if h != 0 {
				x.shard(h).touch(h)
			}
		}
		for _, h := range part {
			if h != 0 {
				x.shard(h).removeOne(h, e.slot)
			}
		}
	}
}

// report notes that an engine decides what the endpoint holds, so that it need
// not be contiguous any more.
func (x *Index) report(e *endpoint) {
	if !e.reported.Swap(true) {
		x.reporting.Add(1)
	}
}
