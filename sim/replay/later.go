package replay

import (
	"container/heap"
	"time"
)

// later is a request that arrives at a moment only known during the replay.
type later struct {
	at    time.Duration
	index int
}

// laterHeap orders them by time, then by index.
type laterHeap []later

func (h *laterHeap) push(l later) { heap.Push((*laterItems)(h), l) }
func (h *laterHeap) pop() later   { return heap.Pop((*laterItems)(h)).(later) }

type laterItems []later

func (h laterItems) Len() int      { return len(h) }
func (h laterItems) Swap(i, j int) { h[i], h[j] = h[j], h[i] }
func (h laterItems) Less(i, j int) bool {
	return h[i].at < h[j].at || h[i].at == h[j].at && h[i].index < h[j].index
}
func (h *laterItems) Push(x any) { *h = append(*h, x.(later)) }
func (h *laterItems) Pop() any {
	old := *h
	x := old[len(old)-1]
	*h = old[:len(old)-1]
	return x
}
