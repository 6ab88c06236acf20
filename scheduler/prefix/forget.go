package prefix

// Forget drops a block that Insert recorded and that did not come about. A block
// that the engine reported stays.
func (x *Index) Forget(slot int32, hash uint64) {
	if e := x.at(slot); e != nil {
		e.mu.Lock()
		defer e.mu.Unlock()
		x.forgetGuess(e, hash)
	}
}

// ForgetAll is Forget for each of the hashes.
func (x *Index) ForgetAll(slot int32, hashes []uint64) {
	e := x.at(slot)
	if e == nil || len(hashes) == 0 {
		return
	}
	e.mu.Lock()
	defer e.mu.Unlock()
	for i, hash := range hashes {
		if i%ahead == 0 {
			for _, h := range hashes[i:min(i+ahead, len(hashes))] {
				x.shard(h).touch(h)
			}
		}
		x.forgetGuess(e, hash)
	}
}

func (x *Index) forgetGuess(e *endpoint, hash uint64) {
	k, at := e.guess(hash)
	if k == none {
		return
	}
	// Whatever follows it in a prompt need not go with it, so there may be a hole
	// from now on, as after an engine's report.
	x.report(e)
	tokens := int64(e.nodes[k].tokens)
	e.used -= tokens
	e.tokens.Add(-tokens)
	e.unlink(k)
	e.drop(k, at)
	x.shard(hash).remove(hash, e.slot)
}

// Holds reports whether the slot holds the block.
func (x *Index) Holds(slot int32, hash uint64) bool {
	e := x.at(slot)
	return e != nil && x.has(hash, e.slot)
}

// Fetch has the processor fetch from memory what finding the blocks will read. It is
// worth while for a few blocks that are looked for at once.
func (x *Index) Fetch(blocks []Block) {
	for _, b := range blocks {
		x.shard(b.Hash).touch(b.Hash)
	}
}
