package tokens

import (
	"container/list"
	"crypto/sha256"
	"sync"
	"time"
)

// entryBytes is what an entry takes besides ids and images: the key, the list's
// element, the map's slot and the entry itself.
const entryBytes = 320

// cache maps prompts to answers; the one unused for longest goes first.
type cache struct {
	limit int64

	mu      sync.Mutex
	entries map[[sha256.Size]byte]*list.Element
	order   list.List // of *entry, the newest first
	bytes   int64
}

type entry struct {
	key     [sha256.Size]byte
	answer  answer
	size    int64
	expires time.Time
}

func newCache(limit int64) *cache {
	return &cache{limit: limit, entries: map[[sha256.Size]byte]*list.Element{}}
}

func (c *cache) get(key [sha256.Size]byte, now time.Time) (answer, bool) {
	c.mu.Lock()
	defer c.mu.Unlock()
	el := c.entries[key]
	if el == nil {
		return answer{}, false
	}
	e := el.Value.(*entry)
	if !now.Before(e.expires) {
		c.remove(el)
		return answer{}, false
	}
	c.order.MoveToFront(el)
	return e.answer, true
}

// put keeps a unless it is larger than the whole cache.
func (c *cache) put(key [sha256.Size]byte, a answer, expires time.Time) {
	size := int64(entryBytes) + 4*int64(cap(a.ids))
	for _, i := range a.images {
		size += int64(len(i.Hash)) + 32
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	if el := c.entries[key]; el != nil {
		c.remove(el)
	}
	if size > c.limit {
		return
	}
	for c.bytes+size > c.limit {
		c.remove(c.order.Back())
	}
	c.entries[key] = c.order.PushFront(&entry{key, a, size, expires})
	c.bytes += size
}

func (c *cache) remove(el *list.Element) {
	e := el.Value.(*entry)
	c.order.Remove(el)
	delete(c.entries, e.key)
	c.bytes -= e.size
}

// used is what the cache holds.
func (c *cache) used() (entries int, bytes int64) {
	c.mu.Lock()
	defer c.mu.Unlock()
	return len(c.entries), c.bytes
}
