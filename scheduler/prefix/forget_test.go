package prefix

import (
	"math/rand/v2"
	"testing"
)

// TestForgettingDoesNotCrowd: an endpoint's blocks are forgotten in the order in which
// they lie in memory. Those that are left on the way must not be crowded in a part of a
// smaller table, where each is as long to find as there are others.
func TestForgettingDoesNotCrowd(t *testing.T) {
	x := New(Options{Shards: 4})
	x.AddEndpoint(0, 0)
	r := rand.New(rand.NewPCG(5, 5))
	for range 40_000 {
		x.Store(0, Block{Hash: r.Uint64(), Tokens: 16})
	}
	farthest := func() (d int) {
		for i := range x.shards {
			s := &x.shards[i]
			entries := s.mem.Load().entries
			for k, e := range entries {
				if e.set != 0 {
					d = max(d, behind(k, home(e.hash, s.mult, len(entries)), len(entries)))
				}
			}
		}
		return d
	}
	before := farthest()
	e := x.at(0)
	all := e.said.hashes
	for part := 1; part <= 20; part++ {
		e.said.hashes = all[len(all)*(part-1)/20 : len(all)*part/20]
		x.forgetSaid(e)
		if d := farthest(); d > before {
			t.Fatalf("after %d of 20 parts a block is %d places from where it should be, it was %d at most", part, d, before)
		}
	}
	e.said.hashes = all
	x.RemoveEndpoint(0)
	empty(t, x)
}
