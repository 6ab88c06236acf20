package engine

import "slices"

// queue is the requests that wait for admission, in order.
type queue struct {
	items []*Request
	head  int // items before it are gone
}

func (q *queue) len() int          { return len(q.items) - q.head }
func (q *queue) at(i int) *Request { return q.items[q.head+i] }

func (q *queue) pushBack(r *Request) {
	if q.head > 64 && q.head*2 > len(q.items) {
		n := copy(q.items, q.items[q.head:])
		clear(q.items[n:])
		q.items, q.head = q.items[:n], 0
	}
	q.items = append(q.items, r)
}

func (q *queue) pushFront(r *Request) {
	if q.head == 0 {
		q.items = slices.Insert(q.items, 0, r)
		return
	}
	q.head--
	q.items[q.head] = r
}

// remove takes the i-th request out.
func (q *queue) remove(i int) {
	if i == 0 {
		q.items[q.head] = nil
		q.head++
		return
	}
	q.items = slices.Delete(q.items, q.head+i, q.head+i+1)
}

// find returns a request's position, or -1.
func (q *queue) find(r *Request) int { return slices.Index(q.items[q.head:], r) }
