package prefix

import (
	"fmt"
	"math/rand/v2"
	"sync"
	"testing"
)

// oracle is the index written the obvious way: per slot a list of blocks, most
// recently used first.
type oracle struct {
	slots map[int32]*oracleSlot
}

type oracleSlot struct {
	capacity int64
	lru      []Block
	exact    map[uint64]int32
}

func (o *oracleSlot) find(hash uint64) int {
	for i, b := range o.lru {
		if b.Hash == hash {
			return i
		}
	}
	return -1
}

func (o *oracleSlot) holds(hash uint64) bool {
	_, ok := o.exact[hash]
	return ok || o.find(hash) >= 0
}

func (o *oracleSlot) evict() {
	var used int64
	for i, b := range o.lru {
		if used += int64(b.Tokens); used > o.capacity {
			o.lru = o.lru[:i]
			return
		}
	}
}

func (o *oracleSlot) insert(blocks []Block) {
	var sum int64
	var front []Block
	for _, b := range blocks {
		if sum += int64(b.Tokens); sum > o.capacity {
			break
		}
		if _, ok := o.exact[b.Hash]; ok {
			continue
		}
		if i := o.find(b.Hash); i >= 0 {
			o.lru = append(o.lru[:i:i], o.lru[i+1:]...)
		}
		front = append(front, b)
	}
	o.lru = append(front, o.lru...)
	o.evict()
}

func (o *oracle) match(blocks []Block, slot int32) (n int, tokens int64) {
	s := o.slots[slot]
	if s == nil {
		return 0, 0
	}
	for _, b := range blocks {
		if !s.holds(b.Hash) {
			return n, tokens
		}
		n++
		tokens += int64(b.Tokens)
	}
	return n, tokens
}

// prompts is a tree of chains: some share a start, as conversations do.
func prompts(r *rand.Rand, n, maxLen int) [][]Block {
	out := make([][]Block, 0, n)
	for range n {
		var chain []Block
		if len(out) > 0 && r.IntN(3) > 0 {
			p := out[r.IntN(len(out))]
			chain = append(chain, p[:1+r.IntN(len(p))]...)
		}
		for want := 1 + r.IntN(maxLen); len(chain) < want; {
			chain = append(chain, Block{Hash: r.Uint64(), Tokens: int32(1 + r.IntN(40))})
		}
		out = append(out, chain)
	}
	return out
}

func check(t *testing.T, x *Index, o *oracle, blocks []Block, slots int, m *Matches) {
	t.Helper()
	x.Match(blocks, slots, m)
	for s := range int32(slots) {
		n, tokens := o.match(blocks, s)
		if int(m.Blocks(s)) != n || int64(m.Tokens(s)) != tokens {
			t.Fatalf("slot %d: Match = %d blocks, %d tokens, want %d, %d", s, m.Blocks(s), m.Tokens(s), n, tokens)
		}
		if got := x.MatchOne(blocks, s); got != tokens {
			t.Fatalf("slot %d: MatchOne = %d, want %d", s, got, tokens)
		}
	}
}

// TestAgainstOracle runs random histories and compares every answer with the
// naive index's; with exact, engines report as well.
func TestAgainstOracle(t *testing.T) {
	for _, exact := range []bool{false, true} {
		for seed := range uint64(12) {
			t.Run(fmt.Sprintf("exact=%v/seed=%d", exact, seed), func(t *testing.T) {
				r := rand.New(rand.NewPCG(seed, 7))
				slots := []int{3, 8, 70, 150}[seed%4]
				x := New(Options{Shards: 1 << (seed % 5)})
				o := &oracle{slots: map[int32]*oracleSlot{}}
				all := prompts(r, 40, 40)
				var m Matches
				for range 1000 {
					slot, chain := int32(r.IntN(slots)), all[r.IntN(len(all))]
					s := o.slots[slot]
					switch op := r.IntN(100); {
					case op < 8:
						capacity := int64(1 + r.IntN(3000))
						x.AddEndpoint(slot, capacity)
						if s == nil {
							s = &oracleSlot{exact: map[uint64]int32{}}
							o.slots[slot] = s
						}
						s.capacity = capacity
						s.evict()
					case op < 10:
						capacity := int64(1 + r.IntN(3000))
						x.Resize(slot, capacity)
						if s != nil {
							s.capacity = capacity
							s.evict()
						}
					case op < 12:
						x.RemoveEndpoint(slot)
						delete(o.slots, slot)
					case op < 13:
						x.Clear(slot)
						if s != nil {
							s.lru, s.exact = nil, map[uint64]int32{}
						}
					case op < 30 && exact:
						b := chain[r.IntN(len(chain))]
						x.Store(slot, b)
						if s != nil {
							if i := s.find(b.Hash); i >= 0 {
								s.lru = append(s.lru[:i:i], s.lru[i+1:]...)
							}
							s.exact[b.Hash] = b.Tokens
						}
					case op < 40 && exact:
						b := chain[r.IntN(len(chain))]
						x.Remove(slot, b.Hash)
						if s != nil {
							if i := s.find(b.Hash); i >= 0 {
								s.lru = append(s.lru[:i:i], s.lru[i+1:]...)
							}
							delete(s.exact, b.Hash)
						}
					default:
						x.Insert(slot, chain)
						if s != nil {
							s.insert(chain)
						}
					}
					check(t, x, o, all[r.IntN(len(all))], slots, &m)
				}
				checkStats(t, x, o)
				for s := range int32(slots) {
					x.RemoveEndpoint(s)
				}
				empty(t, x)
			})
		}
	}
}

func checkStats(t *testing.T, x *Index, o *oracle) {
	t.Helper()
	distinct := map[uint64]bool{}
	var entries int64
	st := x.Stats()
	for slot, s := range o.slots {
		var tokens int64
		for _, b := range s.lru {
			distinct[b.Hash] = true
			tokens += int64(b.Tokens)
		}
		for h, n := range s.exact {
			distinct[h] = true
			tokens += int64(n)
		}
		entries += int64(len(s.lru) + len(s.exact))
		if st.Tokens[slot] != tokens {
			t.Errorf("slot %d holds %d tokens, want %d", slot, st.Tokens[slot], tokens)
		}
	}
	if st.Blocks != int64(len(distinct)) || st.Entries != entries || st.Endpoints != len(o.slots) {
		t.Errorf("stats %+v, want %d blocks, %d entries, %d endpoints", st, len(distinct), entries, len(o.slots))
	}
}

// empty checks that nothing whatsoever is left.
func empty(t *testing.T, x *Index) {
	t.Helper()
	st := x.Stats()
	if st.Blocks != 0 || st.Entries != 0 || st.Exact != 0 || st.Endpoints != 0 || x.reporting.Load() != 0 {
		t.Errorf("not empty: %+v", st)
	}
	for slot, n := range st.Tokens {
		if n != 0 {
			t.Errorf("slot %d still holds %d tokens", slot, n)
		}
	}
	for i := range x.shards {
		s := &x.shards[i]
		if s.wide != 0 {
			t.Errorf("shard %d: %d wide sets are in use", i, s.wide)
		}
		if n := len(s.mem.Load().entries); n > 8*minTable {
			t.Errorf("shard %d: an empty table of %d entries", i, n)
		}
	}
}

func TestEdges(t *testing.T) {
	x := New(Options{})
	chain := []Block{{1, 16}, {2, 16}, {3, 16}}
	var m Matches
	// A slot nobody added, or nobody can add.
	for _, slot := range []int32{-1, 0, 7, 1 << 16, 1 << 30} {
		x.Insert(slot, chain)
		x.Store(slot, chain[0])
		x.Remove(slot, 1)
		x.Clear(slot)
		x.Resize(slot, 5)
		x.RemoveEndpoint(slot)
		if n := x.MatchOne(chain, slot); n != 0 {
			t.Errorf("slot %d holds %d tokens", slot, n)
		}
	}
	x.AddEndpoint(-1, 10)
	x.AddEndpoint(1<<16, 10)
	x.Match(chain, 4, &m)
	x.Match(nil, 4, &m)
	x.Match(chain, 0, &m)
	empty(t, x)

	// The default capacity holds 31,250 blocks of 16, and the last slot works.
	x.AddEndpoint(1<<16-1, 0)
	long := make([]Block, 40_000)
	for i := range long {
		long[i] = Block{Hash: uint64(i) + 1, Tokens: 16}
	}
	x.Insert(1<<16-1, long)
	if n := x.MatchOne(long, 1<<16-1); n != DefaultCapacityTokens {
		t.Errorf("holds %d tokens, want %d", n, DefaultCapacityTokens)
	}
	// AddEndpoint again without a capacity changes nothing, a lookup for a smaller
	// pool does not see the slot.
	x.AddEndpoint(1<<16-1, 0)
	x.Match(long, 10, &m)
	if m.Tokens(9) != 0 {
		t.Error("a slot beyond the pool was matched")
	}
	x.Resize(1<<16-1, 1600)
	if n := x.MatchOne(long, 1<<16-1); n != 1600 {
		t.Errorf("after Resize: %d tokens, want 1600", n)
	}
	x.RemoveEndpoint(1<<16 - 1)
	empty(t, x)
}

// A client can send a prompt whose block hashes repeat, or blocks without
// tokens; neither may corrupt the list or escape the capacity.
func TestHostileChains(t *testing.T) {
	x := New(Options{Shards: 1})
	x.AddEndpoint(0, 100)
	r := rand.New(rand.NewPCG(1, 1))
	for range 20_000 {
		chain := make([]Block, r.IntN(12))
		for i := range chain {
			chain[i] = Block{Hash: uint64(r.IntN(200)), Tokens: int32(r.IntN(30) - 5)}
		}
		x.Insert(0, chain)
	}
	if st := x.Stats(); st.Tokens[0] > 100 || st.Entries > 100 {
		t.Errorf("beyond the capacity of 100 tokens: %+v", st)
	}
	e := x.at(0)
	seen := 0
	for k, prev := e.head, none; k != none; prev, k = k, e.nodes[k].next {
		if e.nodes[k].prev != prev {
			t.Fatal("the list is broken")
		}
		seen++
	}
	if seen != e.n {
		t.Fatalf("list of %d, %d nodes", seen, e.n)
	}
	x.RemoveEndpoint(0)
	empty(t, x)
}

func TestConcurrent(t *testing.T) {
	const slots = 48
	x := New(Options{Shards: 4})
	r := rand.New(rand.NewPCG(3, 3))
	all := prompts(r, 40, 60)
	var wg sync.WaitGroup
	for g := range 6 {
		wg.Add(1)
		go func() {
			defer wg.Done()
			r := rand.New(rand.NewPCG(uint64(g), 9))
			var m Matches
			for range 1500 {
				slot, chain := int32(r.IntN(slots)), all[r.IntN(len(all))]
				switch r.IntN(12) {
				case 0:
					x.AddEndpoint(slot, int64(100+r.IntN(2000)))
				case 1:
					x.RemoveEndpoint(slot)
				case 2:
					x.Store(slot, chain[0])
				case 3:
					x.Remove(slot, chain[0].Hash)
				case 4:
					x.MatchOne(chain, slot)
				case 5:
					x.Resize(slot, int64(100+r.IntN(2000)))
				case 6, 7, 8:
					x.Match(chain, slots, &m)
				default:
					x.Insert(slot, chain)
				}
			}
		}()
	}
	wg.Wait()
	x.Stats()
	for s := range int32(slots) {
		x.RemoveEndpoint(s)
	}
	empty(t, x)
}

// TestNoAllocation holds Match to what its doc says.
func TestNoAllocation(t *testing.T) {
	for _, exact := range []bool{false, true} {
		x, chains := filled(100, 150)
		if exact {
			x.Store(0, chains[0][0])
		}
		var m Matches
		x.Match(chains[0], 100, &m)
		i := 0
		if n := testing.AllocsPerRun(100, func() {
			x.Match(chains[i%len(chains)], 100, &m)
			x.MatchOne(chains[i%len(chains)], 3)
			i++
		}); n != 0 {
			t.Errorf("exact=%v: %v allocations per lookup", exact, n)
		}
	}
}

// filled is a pool whose endpoints all hold a common system prompt of 20 blocks
// and then different conversations, some of them on a few endpoints.
func filled(slots, blocks int) (*Index, [][]Block) {
	r := rand.New(rand.NewPCG(5, 5))
	x := New(Options{})
	for s := range int32(slots) {
		x.AddEndpoint(s, 0)
	}
	system := make([]Block, 20)
	for i := range system {
		system[i] = Block{Hash: r.Uint64(), Tokens: 64}
	}
	var chains [][]Block
	for i := range 4 * slots {
		chain := append([]Block(nil), system...)
		for len(chain) < blocks {
			chain = append(chain, Block{Hash: r.Uint64(), Tokens: 64})
		}
		chains = append(chains, chain)
		x.Insert(int32(i%slots), chain)
		x.Insert(int32(r.IntN(slots)), chain[:blocks/2])
		x.Insert(int32(r.IntN(slots)), chain[:blocks*3/4])
	}
	return x, chains
}

func TestForgetAndStoreSayWhatWasThere(t *testing.T) {
	x := New(Options{})
	x.AddEndpoint(3, 1000)
	chain := []Block{{Hash: 1, Tokens: 16}, {Hash: 2, Tokens: 16}, {Hash: 3, Tokens: 16}}
	x.Insert(3, chain)
	if !x.Store(3, chain[0]) || x.Store(3, chain[0]) {
		t.Error("Store does not tell a first report from a second")
	}
	for _, b := range chain {
		x.Forget(3, b.Hash)
	}
	x.Forget(3, 99)
	x.Forget(4, 1)
	if !x.Holds(3, 1) || x.Holds(3, 2) || x.Holds(3, 3) || x.Holds(4, 1) {
		t.Error("Forget dropped a reported block or kept another")
	}
	if st := x.Stats(); st.Entries != 1 || st.Tokens[3] != 16 {
		t.Errorf("%+v", st)
	}
	// A hole in the middle ends a match.
	x.Insert(3, chain)
	x.Forget(3, 2)
	if n := x.MatchOne(chain, 3); n != 16 {
		t.Errorf("%d tokens match, want 16", n)
	}
}

// TestReach: it agrees with MatchOne where what is held is contiguous, and otherwise
// ends where something held ends.
func TestReach(t *testing.T) {
	x := New(Options{})
	x.AddEndpoint(0, 0)
	chain := make([]Block, 1000)
	for i := range chain {
		chain[i] = Block{Hash: uint64(i) * 0x9e3779b97f4a7c15, Tokens: 16}
	}
	for n := range chain {
		if got := x.Reach(chain, 0); got != int64(16*n) {
			t.Fatalf("%d blocks: %d tokens", n, got)
		}
		x.Store(0, chain[n])
	}
	x.Remove(0, chain[300].Hash)
	if got := x.Reach(chain, 0); got != 16*300 && got != 16*1000 {
		t.Errorf("%d tokens with a hole at 300 of 1000 blocks", got)
	}
	if x.Reach(chain, 1) != 0 || x.Reach(nil, 0) != 0 {
		t.Error("tokens of nothing")
	}
}
