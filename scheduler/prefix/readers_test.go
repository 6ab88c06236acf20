package prefix

import (
	"math/rand/v2"
	"sync"
	"sync/atomic"
	"testing"
	"time"
)

// TestReadersSeeWhatStays holds lookups to their promise while writers move every
// entry and every wide set: what no writer touches is found as it is, at any time.
func TestReadersSeeWhatStays(t *testing.T) {
	const slots, length = 100, 60
	for _, exact := range []bool{false, true} {
		x := New(Options{Shards: 2})
		r := rand.New(rand.NewPCG(8, 8))
		for s := range int32(slots) {
			x.AddEndpoint(s, 1<<40)
		}
		// Chain c stays on slots 0 to 1, 5, 12, 40: inline, and wide sets of any form.
		holding := []int{2, 3, 6, 13, 41}
		chains := make([][]Block, len(holding))
		for c, n := range holding {
			for range length {
				chains[c] = append(chains[c], Block{Hash: r.Uint64(), Tokens: 1})
			}
			for s := range int32(n) {
				if !exact {
					x.Insert(s, chains[c])
				}
				for _, b := range chains[c] {
					if exact {
						x.Store(s, b)
					}
				}
			}
		}
		var writers, readers sync.WaitGroup
		var over atomic.Bool
		for w := range 2 {
			writers.Go(func() {
				r := rand.New(rand.NewPCG(uint64(w), 3))
				for range 60 {
					// The table grows, wide sets change their form and size, and all goes.
					others := make([]Block, 20+r.IntN(400))
					for i := range others {
						others[i] = Block{Hash: r.Uint64(), Tokens: 1}
					}
					n := 1 + r.IntN(slots/2)
					for s := range int32(n) {
						for _, b := range others {
							x.Store(50+s%50, b)
						}
					}
					for s := range int32(n) {
						for _, b := range others {
							x.Remove(50+s%50, b.Hash)
						}
					}
				}
			})
		}
		for g := range 2 {
			readers.Go(func() {
				var m Matches
				for i := g; !over.Load(); i++ {
					c := i % len(chains)
					x.Match(chains[c], slots, &m)
					for s := range int32(slots) {
						want := int32(0)
						if int(s) < holding[c] {
							want = length
						}
						if m.Blocks(s) != want {
							t.Errorf("slot %d holds %d blocks of chain %d, want %d", s, m.Blocks(s), c, want)
							return
						}
					}
					if s := int32(i % slots); (x.MatchOne(chains[c], s) == length) != (int(s) < holding[c]) || x.Holds(s, chains[c][5].Hash) != (int(s) < holding[c]) {
						t.Errorf("slot %d of chain %d", s, c)
						return
					}
				}
			})
		}
		writers.Wait()
		over.Store(true)
		readers.Wait()
		for s := range int32(slots) {
			x.RemoveEndpoint(s)
		}
		empty(t, x)
	}
}

// TestReaderWaitsForTheWriter interrupts a writer where a reader would see one block's
// hash with another's holders.
func TestReaderWaitsForTheWriter(t *testing.T) {
	x := New(Options{Shards: 1})
	for s := range int32(8) {
		x.AddEndpoint(s, 0)
	}
	x.Store(1, Block{Hash: 7, Tokens: 16})
	s := &x.shards[0]
	for name, read := range map[string]func() bool{
		"count":   func() bool { return s.count(7) == 1 },
		"has":     func() bool { return s.has(7, 1) && !s.has(7, 2) },
		"holders": func() bool { return s.holders(7, make([]uint64, 1)) == oneHolder(1) },
	} {
		s.mu.Lock()
		s.seq.Add(1)
		m := s.mem.Load()
		i, set := s.find(m, 7)
		atomic.StoreUint64(&m.entries[i].set, uint64(oneHolder(2)+1|holders(3)<<32))
		result := make(chan bool)
		go func() { result <- read() }()
		select {
		case <-result:
			t.Errorf("%s did not wait", name)
		case <-time.After(10 * time.Millisecond): // nobody can say that it waits
		}
		atomic.StoreUint64(&m.entries[i].set, uint64(set))
		s.seq.Add(1)
		s.mu.Unlock()
		select {
		case ok := <-result:
			if !ok {
				t.Errorf("%s sees what was there for a moment", name)
			}
		case <-time.After(10 * time.Second):
			t.Errorf("%s does not end", name)
		}
	}
}

// TestWritersWarnReaders holds writers to what shard says of seq.
func TestWritersWarnReaders(t *testing.T) {
	s := new(shard)
	s.init(1)
	add := func(hash uint64, slots ...uint16) {
		for _, slot := range slots {
			s.add(hash, slot)
		}
	}
	var many [31]uint16
	for i := range many {
		many[i] = uint16(10 * i)
	}
	for _, step := range []struct {
		what  string
		warns bool
		do    func()
	}{
		{"a new entry", false, func() { s.add(1, 5) }},
		{"two holders more", false, func() { add(1, 6, 7) }},
		{"one less, inline", false, func() { s.remove(1, 5) }},
		{"the first wide set, which brings memory", true, func() { add(1, 5, 8) }},
		{"another one", false, func() { add(2, 5, 6, 7, 8) }},
		{"up to the list's room", false, func() { add(1, 9, 10, 11) }},
		{"a longer list", true, func() { s.add(1, 12) }},
		{"one less in a list", true, func() { s.remove(1, 5) }},
		{"back inline", true, func() { s.remove(2, 5) }},
		{"one that is not there", false, func() { s.remove(2, 5) }},
		{"the longest list", true, func() { add(3, many[:]...) }},
		{"a bitset", true, func() { s.add(3, 1) }},
		{"one more in it", false, func() { s.add(3, 2) }},
		{"one less in it", false, func() { s.remove(3, 2) }},
		{"a wider bitset", true, func() { s.add(3, 60_000) }},
		{"a list again", true, func() {
			for _, slot := range many[:18] {
				s.remove(3, slot)
			}
		}},
		{"an entry that goes", true, func() { s.remove(2, 6); s.remove(2, 7); s.remove(2, 8) }},
	} {
		before := s.seq.Load()
		step.do()
		if after := s.seq.Load(); after != before != step.warns || after%2 != 0 {
			t.Errorf("%s: seq was %d and is %d", step.what, before, after)
		}
	}
	held := make([]uint64, 1000)
	if n := s.count(3); n != 15 { // 31, 1 and 60,000, less 18
		t.Errorf("%d holders", n)
	}
	s.holders(3, held)
	for slot := range 64_000 {
		want := slot == 1 || slot == 60_000 || slot%10 == 0 && slot >= 180 && slot <= 300
		if got := held[slot/64]&(1<<(slot%64)) != 0; got != want || s.has(3, uint16(slot)) != want {
			t.Errorf("slot %d: %v", slot, got)
		}
	}
}
