package egress

import (
	"container/list"
	"hash/maphash"
	"strconv"
	"sync"
	"time"
)

const (
	// maxTries bounds the requests of which failed tries are kept, and maxOfRequest
	// the tries of one.
	maxTries, maxOfRequest = 4096, 16
	// triesLife is for how long they are: as long as a slow provider may take.
	triesLife = 10 * time.Minute
	// takenSlots and takenLife bound the memory of requests that were answered.
	takenSlots = 1024
	takenLife  = 5 * time.Second
)

// Tries remembers how tries failed, until their request is answered. It is what this
// process has seen, bounded, and safe for concurrent use.
//
// A try that ends without an answer may have failed, or its client may have left, which
// look the same. When the client is answered all the same, it was the backend: [Tries.Take]
// is where that becomes known.
type Tries struct {
	now func() time.Time
	// lost is told of a backend that did not answer.
	lost func(label string)
	seed maphash.Seed

	mu    sync.Mutex
	order *list.List // of *failed, the oldest first
	byID  map[string]*list.Element
	// taken are requests that were answered just now: the end of a try and the answer
	// to its client are told by two streams, which may come in any order.
	taken [takenSlots]taken
}

// failed are the failed tries of a request.
type failed struct {
	id    string
	since time.Time
	said  []string
	lost  []string // labels, of which nobody was told yet
}

type taken struct {
	hash uint64
	at   time.Time
}

// NewTries returns an empty memory. lost is told of a backend whose try was not
// answered, once it is certain that this was not the client's doing; it may be nil. now
// is the clock; nil means time.Now.
func NewTries(lost func(label string), now func() time.Time) *Tries {
	if now == nil {
		now = time.Now
	}
	if lost == nil {
		lost = func(string) {}
	}
	return &Tries{now: now, lost: lost, seed: maphash.MakeSeed(), order: list.New(), byID: map[string]*list.Element{}}
}

// Answered notes the status that a backend answered with.
func (t *Tries) Answered(id, label string, status int) {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.add(id, label+": "+strconv.Itoa(status))
}

// Unanswered notes a try that ended without an answer: no connection, no answer in
// time, or a connection that was lost.
func (t *Tries) Unanswered(id, label string) {
	t.mu.Lock()
	if x := &t.taken[t.slot(id)]; x.hash == t.hash(id) && !x.at.IsZero() && t.now().Sub(x.at) < takenLife {
		t.mu.Unlock()
		t.lost(label)
		return
	}
	defer t.mu.Unlock()
	if f := t.add(id, label+": reset"); f != nil {
		f.lost = append(f.lost, label)
	}
}

// add notes what a try came to; nil when there is no more room for the request's.
func (t *Tries) add(id, what string) *failed {
	now := t.now()
	for e := t.order.Front(); e != nil && (t.order.Len() >= maxTries || now.Sub(e.Value.(*failed).since) > triesLife); e = t.order.Front() {
		t.remove(e)
	}
	e := t.byID[id]
	if e == nil {
		e = t.order.PushBack(&failed{id: id, since: now})
		t.byID[id] = e
	}
	f := e.Value.(*failed)
	if len(f.said) >= maxOfRequest {
		return nil
	}
	f.said = append(f.said, what)
	return f
}

func (t *Tries) remove(e *list.Element) *failed {
	f := t.order.Remove(e).(*failed)
	delete(t.byID, f.id)
	return f
}

// Take returns how the tries of a request failed, in order, as "label: 429" or
// "label: reset", and forgets them. It is to be called once, when the client is being
// answered: the last one may be the very answer that the client gets.
func (t *Tries) Take(id string) []string {
	t.mu.Lock()
	t.taken[t.slot(id)] = taken{t.hash(id), t.now()}
	e := t.byID[id]
	if e == nil {
		t.mu.Unlock()
		return nil
	}
	f := t.remove(e)
	t.mu.Unlock()
	for _, label := range f.lost {
		t.lost(label)
	}
	return f.said
}

func (t *Tries) hash(id string) uint64 { return maphash.String(t.seed, id) }

func (t *Tries) slot(id string) uint64 { return t.hash(id) % takenSlots }
