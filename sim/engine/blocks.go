package engine

// BlockEvents are Events that also want to know which part of which prompt a block
// is, as a publisher of KV cache events does.
type BlockEvents interface {
	// StoredBlock says that block i of the request's prompt, r.Hashes[i], entered
	// the prefix cache. It follows Stored.
	StoredBlock(r *Request, i int)
}

// ResetPrefixCache empties the prefix cache and the CPU's, without a call of Evicted
// or Dropped for each block. It does nothing and returns false while requests hold
// blocks.
func (e *Engine) ResetPrefixCache() bool {
	if e.occupied() || e.locked {
		return false
	}
	e.cache.reset()
	e.offload.reset()
	return true
}

// reset makes all unused blocks blank; no others are in the cache.
func (c *cache) reset() {
	c.blank += c.unused
	c.unused = 0
	clear(c.byHash)
	c.lru.next, c.lru.prev = &c.lru, &c.lru
	c.released++
}
