package bpe

import (
	"container/heap"
	"errors"

	"golang.org/x/text/unicode/norm"
)

// ErrStopped means that the caller ended the work.
var ErrStopped = errors.New("tokenizer: stopped")

// Tokenizer turns text into token ids. It is safe for concurrent use.
type Tokenizer struct {
	vocab  map[string]uint32
	bytes  [256]uint32
	merges map[pair]merged
	whole  bool // a piece that is a token is not put together from smaller ones
	nfc    bool
	split  splitter
	// early are added tokens found in the text as it is, late those found once it
	// is normalized.
	early, late trie
	// before and after are the special tokens around a text.
	before, after []uint32
}

type pair struct{ left, right uint32 }

type merged struct{ rank, id uint32 }

// stopEvery is how many steps are between two calls of stop.
const stopEvery = 4096

// Encode returns the ids of text, with the special tokens around it if special is
// set. It gives up with [ErrStopped] soon after stop returns true; a nil stop never
// does.
func (t *Tokenizer) Encode(text string, special bool, stop func() bool) ([]uint32, error) {
	e := encoder{t: t, stop: stop, out: make([]uint32, 0, len(text)/4+8)}
	if special {
		e.out = append(e.out, t.before...)
	}
	e.each(&t.early, text, func(s string) {
		if t.nfc {
			s = norm.NFC.String(s)
		}
		e.each(&t.late, s, e.plain)
	})
	if special {
		e.out = append(e.out, t.after...)
	}
	if e.stopped {
		return nil, ErrStopped
	}
	return e.out, nil
}

// encoder is one call of Encode.
type encoder struct {
	t       *Tokenizer
	stop    func() bool
	steps   int
	stopped bool
	out     []uint32
	symbols []symbol
	queue   queue
}

// step counts n steps and reports whether to go on.
func (e *encoder) step(n int) bool {
	if e.steps += n; e.steps >= stopEvery && !e.stopped {
		e.steps = 0
		e.stopped = e.stop != nil && e.stop()
	}
	return !e.stopped
}

// each appends the added tokens of k that are in s, and calls between with what is
// between them.
func (e *encoder) each(k *trie, s string, between func(string)) {
	begin := 0
	for i := 0; i < len(s) && e.step(1); {
		id, n := k.longest(s[i:])
		if n == 0 {
			i++
			continue
		}
		if begin < i {
			between(s[begin:i])
		}
		e.out = append(e.out, id)
		i += n
		begin = i
	}
	if begin < len(s) && !e.stopped {
		between(s[begin:])
	}
}

// plain appends the ids of text without added tokens.
func (e *encoder) plain(s string) {
	for s != "" && !e.stopped {
		n := e.t.split(s)
		if e.step(n) {
			e.piece(s[:n])
		}
		s = s[n:]
	}
}

// symbol is a token of a piece that is being put together, in a list.
type symbol struct {
	id         uint32
	prev, next int32 // -1 at the ends
	gone       bool
}

// candidate is a merge that may be done at a symbol and its next.
type candidate struct {
	merged
	at int32
}

// queue has the candidates, the one with the lowest rank first, and of equal ones
// the leftmost.
type queue []candidate

func (q queue) Len() int { return len(q) }
func (q queue) Less(i, j int) bool {
	return q[i].rank < q[j].rank || q[i].rank == q[j].rank && q[i].at < q[j].at
}
func (q queue) Swap(i, j int) { q[i], q[j] = q[j], q[i] }
func (q *queue) Push(x any)   { *q = append(*q, x.(candidate)) }
func (q *queue) Pop() any {
	last := len(*q) - 1
	c := (*q)[last]
	*q = (*q)[:last]
	return c
}

// piece appends the ids of one piece.
func (e *encoder) piece(s string) {
	t := e.t
	if id, ok := t.vocab[s]; ok && (t.whole || len(s) == 1) {
		e.out = append(e.out, id)
		return
	}
	e.symbols, e.queue = e.symbols[:0], e.queue[:0]
	for i := range len(s) {
		e.symbols = append(e.symbols, symbol{id: t.bytes[s[i]], prev: int32(i) - 1, next: int32(i) + 1})
	}
	e.symbols[len(s)-1].next = -1
	for i := range len(s) - 1 {
		if m, ok := t.merges[pair{e.symbols[i].id, e.symbols[i+1].id}]; ok {
			e.queue = append(e.queue, candidate{m, int32(i)})
		}
	}
	heap.Init(&e.queue)
	for len(e.queue) > 0 && e.step(1) {
		e.merge(heap.Pop(&e.queue).(candidate))
	}
	for i := int32(0); i >= 0; i = e.symbols[i].next {
		e.out = append(e.out, e.symbols[i].id)
	}
}

// merge does c, unless one of its symbols has changed since it was found.
func (e *encoder) merge(c candidate) {
	left := &e.symbols[c.at]
	if left.gone || left.next < 0 {
		return
	}
	right := &e.symbols[left.next]
	if m, ok := e.t.merges[pair{left.id, right.id}]; !ok || m.id != c.id {
		return
	}
	left.id, left.next, right.gone = c.id, right.next, true
	if left.next >= 0 {
		e.symbols[left.next].prev = c.at
		e.offer(c.at)
	}
	if left.prev >= 0 {
		e.offer(left.prev)
	}
}

// offer queues the merge of symbol i and its next, if there is one.
func (e *encoder) offer(i int32) {
	s := &e.symbols[i]
	if m, ok := e.t.merges[pair{s.id, e.symbols[s.next].id}]; ok {
		heap.Push(&e.queue, candidate{m, i})
	}
}

// trie finds added tokens.
type trie struct {
	next map[byte]*trie
	id   uint32
	ends bool
}

func (k *trie) add(token string, id uint32) {
	for i := range len(token) {
		if k.next == nil {
			k.next = map[byte]*trie{}
		}
		child := k.next[token[i]]
		if child == nil {
			child = &trie{}
			k.next[token[i]] = child
		}
		k = child
	}
	k.id, k.ends = id, true
}

// longest returns the longest token that s begins with, and its length, which is 0
// if there is none.
func (k *trie) longest(s string) (id uint32, n int) {
	for i := 0; ; i++ {
		if k.ends {
			id, n = k.id, i
		}
		if i == len(s) || k.next == nil {
			return id, n
		}
		if k = k.next[s[i]]; k == nil {
			return id, n
		}
	}
}
