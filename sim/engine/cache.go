package engine

// block is a KV block of the prefix cache.
type block struct {
	hash       uint64
	refs       int    // running sequences that use it
	prev, next *block // in the list of unused blocks, while refs is 0
}

// cache accounts for every KV block. A block is blank, private to a sequence, in
// the prefix cache and used, or in the prefix cache and unused (evictable). Only
// blocks of the prefix cache have an identity; the others are counted.
type cache struct {
	blank   int
	private int
	unused  int
	byHash  map[uint64]*block
	lru     block  // ring of unused blocks, next to be evicted first
	spare   *block // recycled structs, linked by next
	// released counts what may let a blocked request in.
	released uint64
	evicted  func(hash uint64)
}

func (c *cache) init(blocks int, evicted func(uint64)) {
	c.blank, c.byHash, c.evicted = blocks, make(map[uint64]*block), evicted
	c.lru.next, c.lru.prev = &c.lru, &c.lru
}

// available is the blocks that can be allocated.
func (c *cache) available() int { return c.blank + c.unused }

// match returns the number of leading hashes in the cache, at most limit, and how
// many of those blocks are unused.
func (c *cache) match(hashes []uint64, limit int) (n, unused int) {
	for n < len(hashes) && n < limit {
		b := c.byHash[hashes[n]]
		if b == nil {
			break
		}
		if b.refs == 0 {
			unused++
		}
		n++
	}
	return n, unused
}

// use references a block of the cache.
func (c *cache) use(b *block) {
	if b.refs == 0 {
		b.prev.next, b.next.prev = b.next, b.prev
		b.prev, b.next = nil, nil
		c.unused--
	}
	b.refs++
}

// drop gives a reference back; the block becomes the last to be evicted.
func (c *cache) drop(b *block) {
	b.refs--
	if b.refs > 0 {
		return
	}
	b.prev, b.next = c.lru.prev, &c.lru
	b.prev.next, c.lru.prev = b, b
	c.unused++
	c.released++
}

// allocate makes n blocks private. The caller has checked available.
func (c *cache) allocate(n int) {
	for c.blank < n {
		b := c.lru.next
		b.prev.next, b.next.prev = b.next, b.prev
		delete(c.byHash, b.hash)
		c.unused--
		c.blank++
		c.evicted(b.hash)
		b.prev, b.next, c.spare = nil, c.spare, b
	}
	c.blank -= n
	c.private += n
}

// freePrivate makes n private blocks blank.
func (c *cache) freePrivate(n int) {
	c.private -= n
	c.blank += n
	if n > 0 {
		c.released++
	}
}

// store turns a private block into a used block of the cache. If the cache has
// the same content already, that block is used and the private one is blank
// again; stored is false.
func (c *cache) store(hash uint64) (b *block, stored bool) {
	c.private--
	c.released++ // a waiting request may now find a longer prefix
	if b = c.byHash[hash]; b != nil {
		c.blank++
		c.use(b)
		return b, false
	}
	if b = c.spare; b != nil {
		c.spare = b.next
	} else {
		b = new(block)
	}
	*b = block{hash: hash, refs: 1}
	c.byHash[hash] = b
	return b, true
}

// free gives back all blocks of a sequence, its tail first, so that the tail of a
// chain is evicted before its head.
func (c *cache) free(r *Request) {
	c.freePrivate(r.private)
	for i := len(r.blocks) - 1; i >= 0; i-- {
		c.drop(r.blocks[i])
	}
	r.blocks, r.private = r.blocks[:0], 0
}
