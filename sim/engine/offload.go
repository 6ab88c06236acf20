package engine

// TierEvents are Events that also want to know of the cache in the CPU's memory.
type TierEvents interface {
	// Offloaded says that the block was copied there.
	Offloaded(hash uint64)
	// Dropped says that the copy is gone.
	Dropped(hash uint64)
}

// offload is the cache in the CPU's memory: copies of blocks of the prefix cache,
// which outlive them. The least recently stored or fetched one goes first.
type offload struct {
	max    int
	byHash map[uint64]*copied
	lru    copied     // ring, next to be dropped first
	events TierEvents // nil when not wanted
}

type copied struct {
	hash       uint64
	prev, next *copied
}

func (o *offload) init(max int, ev TierEvents) {
	o.max, o.events = max, ev
	o.reset()
}

func (o *offload) reset() {
	o.byHash = make(map[uint64]*copied)
	o.lru.next, o.lru.prev = &o.lru, &o.lru
}

// match is the number of leading hashes of which the first n are in memory already
// and the others here, and marks those as used.
func (o *offload) match(hashes []uint64, n int) int {
	if o.max == 0 {
		return 0
	}
	for n < len(hashes) {
		b := o.byHash[hashes[n]]
		if b == nil {
			break
		}
		o.unlink(b)
		o.push(b)
		n++
	}
	return n
}

// put copies a block.
func (o *offload) put(hash uint64) {
	if o.max == 0 {
		return
	}
	if b := o.byHash[hash]; b != nil {
		o.unlink(b)
		o.push(b)
		return
	}
	for len(o.byHash) >= o.max {
		b := o.lru.next
		o.unlink(b)
		delete(o.byHash, b.hash)
		if o.events != nil {
			o.events.Dropped(b.hash)
		}
	}
	b := &copied{hash: hash}
	o.byHash[hash] = b
	o.push(b)
	if o.events != nil {
		o.events.Offloaded(hash)
	}
}

func (o *offload) unlink(b *copied) { b.prev.next, b.next.prev = b.next, b.prev }

func (o *offload) push(b *copied) {
	b.prev, b.next = o.lru.prev, &o.lru
	b.prev.next, o.lru.prev = b, b
}
