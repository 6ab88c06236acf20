package kvevents

import (
	"context"
	"sync"
	"time"
)

// source is one endpoint: a queue of what its connection brought, and what has
// been made of it. Exactly one goroutine at a time handles the queue: a worker, or
// a replay while held is set. Whoever does owns the fields below state.
type source struct {
	s    *Subscriber
	name string

	mu        sync.Mutex
	target    Endpoint
	leaving   bool
	cancel    context.CancelFunc // of the dialling
	owner     uint64             // number of the newest connection that spoke
	queue     []item
	head      int
	bytes     int
	overflown bool               // messages are dropped until the gap has been handled
	scheduled bool               // a worker has it or is to have it
	held      bool               // a replay has it
	stop      context.CancelFunc // of the replay

	// state
	live    bool
	conn    uint64
	model   string
	groups  groups
	started bool   // next is known
	next    uint64 // the sequence number to apply
	seen    bool   // cursor is known
	cursor  uint64 // one above the last number that the connection brought
	replays [replayBurst]time.Time
}

// item is one thing to handle, in order.
type item struct {
	kind    itemKind
	again   bool // the message has been looked at before
	conn    uint64
	seq     uint64
	payload []byte
	model   string
}

type itemKind uint8

const (
	message itemKind = iota
	gap              // messages were dropped here
	up               // a connection
	down             // its end
)

func newSource(s *Subscriber, e Endpoint) *source { return &source{s: s, name: e.Name} }

// aim sets what the source is about, and reports whether that is new. What was
// known of another target is lost.
func (src *source) aim(e Endpoint) bool {
	src.mu.Lock()
	defer src.mu.Unlock()
	if src.target == e && !src.leaving {
		return false
	}
	src.target, src.leaving = e, false
	src.abandon()
	return true
}

// leave ends the source.
func (src *source) leave() {
	src.mu.Lock()
	defer src.mu.Unlock()
	if !src.leaving {
		src.leaving = true
		src.abandon()
	}
}

func (src *source) isLeaving() bool {
	src.mu.Lock()
	defer src.mu.Unlock()
	return src.leaving
}

// abandon ends the connection and what came of it. The caller holds src.mu.
func (src *source) abandon() {
	if src.cancel != nil {
		src.cancel()
		src.cancel = nil
	}
	src.owner = 0
	src.replace(item{kind: down})
}

// start returns the context and the target of a new dialling.
func (src *source) start(parent context.Context) (context.Context, Endpoint) {
	src.mu.Lock()
	defer src.mu.Unlock()
	if src.cancel != nil {
		src.cancel()
	}
	ctx, cancel := context.WithCancel(parent)
	src.cancel = cancel
	return ctx, src.target
}

// replace empties the queue: what is in it was about a state that is lost. The
// caller holds src.mu.
func (src *source) replace(it item) {
	clear(src.queue)
	src.queue, src.head, src.overflown = append(src.queue[:0], it), 0, false
	src.weigh(-src.bytes)
	if src.stop != nil {
		src.stop()
	}
	src.schedule()
}

// schedule sees to it that a worker handles the queue. The caller holds src.mu.
func (src *source) schedule() {
	if !src.scheduled && !src.held {
		src.scheduled = true
		src.s.ready.add(src)
	}
}

// connected says that a connection speaks for the endpoint from now on. It reports
// false when a newer one does, or when ctx, which is the connection's, has ended.
func (src *source) connected(ctx context.Context, conn uint64) bool {
	src.mu.Lock()
	defer src.mu.Unlock()
	if conn < src.owner || src.leaving || ctx.Err() != nil {
		return false
	}
	if conn > src.owner {
		src.owner = conn
		src.replace(item{kind: up, conn: conn})
	}
	return true
}

// disconnected says that a connection has ended.
func (src *source) disconnected(conn uint64) {
	src.mu.Lock()
	defer src.mu.Unlock()
	if conn == src.owner {
		src.owner = 0 // an older one may speak again
		src.replace(item{kind: down, conn: conn})
	}
}

// push adds a message; the payload is copied. A queue that is full drops it and
// keeps the place of the gap.
func (src *source) push(conn, seq uint64, model string, payload []byte) {
	src.mu.Lock()
	defer src.mu.Unlock()
	if conn != src.owner {
		return
	}
	if src.target.Model != "" {
		model = src.target.Model
	}
	src.s.stats.messages.Add(1)
	switch {
	case src.overflown:
		src.s.stats.dropped.Add(1)
		return
	case src.full(len(payload)):
		src.s.stats.dropped.Add(1)
		src.overflown = true
		src.queue = append(src.queue, item{kind: gap, conn: conn})
	default:
		src.weigh(len(payload))
		src.queue = append(src.queue, item{kind: message, conn: conn, seq: seq, model: model, payload: append([]byte(nil), payload...)})
	}
	src.schedule()
}

// minQueueShare is how many bytes of one endpoint may wait, however much there is of
// others: those that flood must not make all the rest lose messages.
const minQueueShare = 64 << 10

// full reports whether there is no room for a message of n bytes. The caller holds
// src.mu.
func (src *source) full(n int) bool {
	o, bytes := &src.s.o, src.bytes+n
	return len(src.queue)-src.head >= o.QueueMessages || bytes > o.QueueBytes ||
		bytes > minQueueShare && src.s.queued.Load()+int64(n) > int64(o.QueueTotalBytes)
}

// weigh counts n bytes more in the queue. The caller holds src.mu.
func (src *source) weigh(n int) {
	src.bytes += n
	src.s.queued.Add(int64(n))
}

// maxTurn is the items, and maxTurnBytes the bytes, of which one endpoint gets no more
// handled before others have a turn.
const (
	maxTurn      = 32
	maxTurnBytes = 1 << 20
)

// pop takes the next item. When there is none, or the turn is over, the worker has
// to leave the source alone.
func (src *source) pop(over bool) (item, bool) {
	src.mu.Lock()
	defer src.mu.Unlock()
	switch {
	case src.held:
		src.scheduled = false
	case src.head == len(src.queue):
		src.scheduled = false
		src.queue, src.head = src.queue[:0], 0
		if cap(src.queue) > keptItems {
			src.queue = nil
		}
	case over:
		src.s.ready.add(src)
	default:
		it := src.queue[src.head]
		src.queue[src.head] = item{}
		src.head++
		src.weigh(-len(it.payload))
		if it.kind == gap {
			src.overflown = false
		}
		if src.head > keptItems && src.head > len(src.queue)/2 {
			src.queue, src.head = append(src.queue[:0], src.queue[src.head:]...), 0
		}
		return it, true
	}
	return item{}, false
}

const keptItems = 64

// process handles the queue for one turn.
func (src *source) process(d *decoder) {
	for turn, bytes := 0, 0; ; turn++ {
		it, ok := src.pop(turn == maxTurn || bytes >= maxTurnBytes)
		if !ok {
			return
		}
		bytes += len(it.payload)
		src.handle(it, d)
	}
}

// readyList is the sources that have something to handle, each at most once.
type readyList struct {
	mu     sync.Mutex
	cond   sync.Cond
	list   []*source
	head   int
	closed bool
}

func (l *readyList) init() { l.cond.L = &l.mu }

func (l *readyList) add(src *source) {
	l.mu.Lock()
	l.list = append(l.list, src)
	l.mu.Unlock()
	l.cond.Signal()
}

// next waits for a source; it returns false after close.
func (l *readyList) next() (*source, bool) {
	l.mu.Lock()
	defer l.mu.Unlock()
	for l.head == len(l.list) && !l.closed {
		l.cond.Wait()
	}
	if l.closed {
		return nil, false
	}
	src := l.list[l.head]
	l.list[l.head] = nil
	if l.head++; l.head > len(l.list)/2 {
		l.list, l.head = append(l.list[:0], l.list[l.head:]...), 0
	}
	return src, true
}

func (l *readyList) close() {
	l.mu.Lock()
	l.closed = true
	l.mu.Unlock()
	l.cond.Broadcast()
}
