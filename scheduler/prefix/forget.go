package prefix

// Forget drops a block that Insert recorded and that did not come about. A block
// that the engine reported stays.
func (x *Index) Forget(slot int32, hash uint64) {
	e := x.at(slot)
	if e == nil {
		return
	}
	e.mu.Lock()
	defer e.mu.Unlock()
	k, at := e.find(hash)
	if k == none || e.nodes[k].kind != approxNode {
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
