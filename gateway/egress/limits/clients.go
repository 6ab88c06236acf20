package limits

import (
	"container/list"
	"crypto/sha256"
	"sync"
	"sync/atomic"
)

// shards is into how many parts counters are divided, each with a lock of its own.
const shards = 16

// key is what is kept of a client's model and value: neither is as long as it likes,
// nor can it be read.
type key [16]byte

func keyOf(model, value string) key {
	h := sha256.New()
	_, _ = h.Write([]byte(model))
	_, _ = h.Write([]byte{0})
	_, _ = h.Write([]byte(value))
	var sum [sha256.Size]byte
	return key(h.Sum(sum[:0])[:16])
}

// clients has counters of clients, those that were asked for last. It is safe for
// concurrent use.
type clients struct {
	// most is how many each shard keeps, forgot is told of each that makes room.
	most   atomic.Int64
	forgot func()
	shards [shards]shard
}

type shard struct {
	mu    sync.Mutex
	by    map[key]*list.Element
	order *list.List // of *client, the latest first
}

type client struct {
	key key
	counter
}

func newClients(forgot func()) *clients {
	c := &clients{forgot: forgot}
	for i := range c.shards {
		c.shards[i].by, c.shards[i].order = map[key]*list.Element{}, list.New()
	}
	return c
}

// keep sets how many are kept, at least one in each shard.
func (c *clients) keep(most int) { c.most.Store(int64(max(most/shards, 1))) }

// of is a client's counter. One that was forgotten still counts for the requests that
// have it, and for no other.
func (c *clients) of(k key) *counter {
	s := &c.shards[k[0]%shards]
	s.mu.Lock()
	defer s.mu.Unlock()
	if e := s.by[k]; e != nil {
		s.order.MoveToFront(e)
		return &e.Value.(*client).counter
	}
	for int64(s.order.Len()) >= c.most.Load() {
		last := s.order.Back()
		delete(s.by, s.order.Remove(last).(*client).key)
		c.forgot()
	}
	x := &client{key: k}
	s.by[k] = s.order.PushFront(x)
	return &x.counter
}
