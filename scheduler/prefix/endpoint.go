package prefix

import (
	"math/bits"
	"sync"
	"sync/atomic"
)

// endpoint is what the index knows of one slot: the blocks that its engine reported,
// and the others, in a list from the most to the least recently used. The list's nodes
// live in one array and refer to each other by number, so the collector has nothing to
// follow.
//
// Lock order: an endpoint's mutex first, then a shard's. A lookup takes neither.
type endpoint struct {
	slot uint16

	mu       sync.Mutex
	active   bool
	capacity int64 // tokens
	used     int64 // tokens of the blocks on the list
	nodes    []node
	free     int32 // first free node, chained by next
	head     int32 // most recently used
	tail     int32 // least recently used
	n        int   // nodes in use
	table    []int32
	shift    uint8
	mult     uint64
	said     exactSet // what the engine reported

	// For readers that do not lock.
	tokens atomic.Int64 // used, and the exact blocks' tokens
	exact  atomic.Int64 // blocks in said
	// reported is set once an engine has stored or removed a block: holes are
	// possible from then on, until everything is forgotten.
	reported atomic.Bool
}

type node struct {
	hash       uint64
	prev, next int32
	tokens     int32 // 0: not in use
}

const (
	none = int32(-1)
	// maxExactBlocks bounds what one engine's events can make the index hold.
	maxExactBlocks = 1 << 21
)

func newEndpoint(slot uint16, mult uint64) *endpoint {
	e := &endpoint{slot: slot, mult: mult}
	e.reset()
	return e
}

// reset forgets all blocks and gives their memory back.
func (e *endpoint) reset() {
	e.nodes, e.free, e.head, e.tail, e.n, e.used = nil, none, none, none, 0, 0
	e.allocTable(minTable)
	e.said = exactSet{mult: e.mult}
	e.tokens.Store(0)
	e.exact.Store(0)
}

func (e *endpoint) allocTable(size int) {
	e.table = make([]int32, size) // node number + 1; 0: free
	e.shift = uint8(64 - bits.TrailingZeros64(uint64(size)))
}

// find returns the node of the hash, or none, and its place in the table.
func (e *endpoint) find(hash uint64) (number int32, at int) {
	mask := len(e.table) - 1
	at = int(hash * e.mult >> e.shift)
	for {
		k := e.table[at]
		if k == 0 {
			return none, at
		}
		if e.nodes[k-1].hash == hash {
			return k - 1, at
		}
		at = (at + 1) & mask
	}
}

// guess is find for an endpoint of which, mostly, nothing is guessed.
func (e *endpoint) guess(hash uint64) (number int32, at int) {
	if e.n == 0 {
		return none, 0
	}
	return e.find(hash)
}

// create makes a node that is on no list yet; at is find's free place for it.
func (e *endpoint) create(hash uint64, tokens int32, at int) int32 {
	var k int32
	if e.free != none {
		k = e.free
		e.free = e.nodes[k].next
	} else {
		k = int32(len(e.nodes))
		e.nodes = append(e.nodes, node{})
	}
	e.nodes[k] = node{hash: hash, prev: none, next: none, tokens: tokens}
	e.table[at] = k + 1
	e.n++
	if e.n > len(e.table)/4*3 {
		e.allocTable(2 * len(e.table))
		for i := range e.nodes {
			if e.nodes[i].tokens > 0 {
				_, at := e.find(e.nodes[i].hash)
				e.table[at] = int32(i) + 1
			}
		}
	}
	return k
}

// drop forgets a node that is on no list, by its place in the table.
func (e *endpoint) drop(k int32, at int) {
	mask := len(e.table) - 1
	for j := (at + 1) & mask; e.table[j] != 0; j = (j + 1) & mask {
		home := int(e.nodes[e.table[j]-1].hash * e.mult >> e.shift)
		if (j-home)&mask >= (j-at)&mask {
			e.table[at] = e.table[j]
			at = j
		}
	}
	e.table[at] = 0
	e.nodes[k] = node{next: e.free}
	e.free = k
	e.n--
}

// linkAfter puts node k behind node p, in front of all when p is none.
func (e *endpoint) linkAfter(k, p int32) {
	n := &e.nodes[k]
	n.prev = p
	if p == none {
		n.next = e.head
		e.head = k
	} else {
		n.next = e.nodes[p].next
		e.nodes[p].next = k
	}
	if n.next == none {
		e.tail = k
	} else {
		e.nodes[n.next].prev = k
	}
}

func (e *endpoint) unlink(k int32) {
	n := &e.nodes[k]
	if n.prev == none {
		e.head = n.next
	} else {
		e.nodes[n.prev].next = n.next
	}
	if n.next == none {
		e.tail = n.prev
	} else {
		e.nodes[n.next].prev = n.prev
	}
}
