package flowcontrol

import (
	"math/rand/v2"
	"slices"
	"testing"
)

// TestHeap pushes and removes at random and looks for the first each time.
func TestHeap(t *testing.T) {
	for seed := range uint64(50) {
		rng := rand.New(rand.NewPCG(seed, 1))
		h := heap{before: lineBefore, index: lineIndex}
		var all []*Waiter
		for step := range 300 {
			if rng.IntN(3) > 0 || len(all) == 0 {
				w := &Waiter{key: rng.Int64N(40), seq: uint64(step)}
				all = append(all, w)
				h.push(w)
			} else {
				i := rng.IntN(len(all))
				if w := h.remove(all[i].at); w != all[i] {
					t.Fatal("removed another one")
				}
				all = slices.Delete(all, i, i+1)
			}
			for _, w := range all {
				if h.items[w.at] != w || lineBefore(w, h.items[max(0, w.at-1)/2]) {
					t.Fatalf("seed %d, step %d: the heap is out of order", seed, step)
				}
			}
		}
	}
}
