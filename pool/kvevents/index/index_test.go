package index

import (
	"fmt"
	"math/rand/v2"
	"runtime"
	"slices"
	"testing"
	"time"

	"github.com/fairway-ai/fairway/pool/kvevents"
	"github.com/fairway-ai/fairway/scheduler/prefix"
)

func newIndex(t testing.TB, o Options) (*Index, *prefix.Index) {
	t.Helper()
	o.Prefix = prefix.New(prefix.Options{Shards: 4})
	x, err := New(o)
	if err != nil {
		t.Fatal(err)
	}
	return x, o.Prefix
}

// attach gives live endpoints the slots 0, 1, ….
func attach(x *Index, p *prefix.Index, names ...string) {
	for i, name := range names {
		p.AddEndpoint(int32(i), 1<<30)
		x.Attach(name, int32(i))
		x.Live(name)
	}
}

func tokens(from, n int) []uint32 {
	out := make([]uint32, n)
	for i := range out {
		out[i] = uint32(from + i)
	}
	return out
}

// matched is how many of a prompt's tokens each slot holds.
func matched(x *Index, name string, prompt []uint32, slots int) []int {
	var m Matches
	x.Match(x.Keys(nil, name, prompt, nil), slots, &m)
	out := make([]int, slots)
	for i := range out {
		out[i] = int(m.Tokens(int32(i)))
	}
	return out
}

func expect(t *testing.T, what string, got []int, want ...int) {
	t.Helper()
	if !slices.Equal(got, want) {
		t.Errorf("%s: %v tokens match, want %v", what, got, want)
	}
}

// store reports a whole prompt as stored, with hashes from first on.
func store(x *Index, ep string, model string, first uint64, blockSize int, prompt []uint32) []uint64 {
	var hashes []uint64
	for i := range len(prompt) / blockSize {
		hashes = append(hashes, first+uint64(i))
	}
	x.Stored(ep, &kvevents.Stored{Hashes: hashes, Tokens: prompt, BlockSize: blockSize, Model: model, Medium: "gpu"})
	return hashes
}

func TestEveryRatioOfBlockSizes(t *testing.T) {
	for _, size := range []int{1, 3, 8, 16, 24, 32, 48, 64, 100} {
		t.Run(fmt.Sprint(size), func(t *testing.T) {
			x, p := newIndex(t, Options{})
			attach(x, p, "a", "b")
			prompt := tokens(1, 480)
			whole := len(prompt) / size * size
			// One engine tells of all blocks at once, the other of one after another.
			hashes := store(x, "a", "m", 1000, size, prompt)
			for i, h := range hashes {
				e := &kvevents.Stored{Hashes: []uint64{h}, Tokens: prompt[i*size : (i+1)*size], BlockSize: size, Model: "m", Medium: "gpu"}
				if i > 0 {
					e.Parent, e.HasParent = hashes[i-1], true
				}
				x.Stored("b", e)
			}
			want := whole / 16 * 16
			expect(t, "stored", matched(x, "m", prompt, 2), want, want)
			expect(t, "another model's", matched(x, "other", prompt, 2), 0, 0)
			expect(t, "another prompt", matched(x, "m", tokens(2, 480), 2), 0, 0)
			// The tail goes: what is left matches.
			x.Removed("a", &kvevents.Removed{Hashes: hashes[len(hashes)/2:], Medium: "gpu"})
			half := len(hashes) / 2 * size / 16 * 16
			expect(t, "tail removed", matched(x, "m", prompt, 2), half, want)
			x.Cleared("b")
			expect(t, "cleared", matched(x, "m", prompt, 2), half, 0)
			x.Lost("a")
			expect(t, "lost", matched(x, "m", prompt, 2), 0, 0)
			if st := x.Stats(); st.Blocks != 0 || p.Stats().Entries != 0 {
				t.Errorf("%+v %+v", st, p.Stats())
			}
		})
	}
}

func TestCopiesOfABlock(t *testing.T) {
	x, p := newIndex(t, Options{TierWeights: map[string]float32{"cpu": 0.8, "disk": 0.5}})
	attach(x, p, "a")
	prompt := tokens(1, 64)
	h := store(x, "a", "m", 1, 16, prompt)
	keys := x.Keys(nil, "m", prompt, nil)
	var m Matches
	weighted := func() float32 { x.Match(keys, 1, &m); return m.Weighted(0) }
	gone := func(medium string) { x.Removed("a", &kvevents.Removed{Hashes: h, Medium: medium}) }
	check := func(what string, want float32) {
		t.Helper()
		if got := weighted(); got < want-0.01 || got > want+0.01 {
			t.Errorf("%s: worth %v tokens, want %v", what, got, want)
		}
	}
	check("on the GPU", 64)
	store(x, "a", "m", 1, 16, prompt)
	gone("gpu")
	check("one of two copies on the GPU", 64)
	// Offloaded: the engine tells of hashes only.
	x.Stored("a", &kvevents.Stored{Hashes: h[:2], Medium: "cpu_pinned"})
	x.Stored("a", &kvevents.Stored{Hashes: h[2:3], Medium: "disk"})
	check("on the GPU and elsewhere", 64)
	gone("gpu")
	check("offloaded, the last block gone", 2*16*0.8+16*0.5)
	gone("disk") // of which only one is there
	check("without the disk", 2*16*0.8)
	x.Stored("a", &kvevents.Stored{Hashes: h[:1], Tokens: prompt[:16], BlockSize: 16, Model: "m", Medium: "gpu"})
	check("half brought back", 16+16*0.8)
	gone("gpu")
	gone("cpu")
	check("all gone", 0)
	if st := x.Stats(); st.Blocks != 0 || p.Stats().Entries != 0 || x.at(0).weak.Load() != 0 {
		t.Errorf("%+v %+v weak %d", st, p.Stats(), x.at(0).weak.Load())
	}
}

func TestGroupsOfDifferentBlockSizeShareKeys(t *testing.T) {
	x, p := newIndex(t, Options{})
	attach(x, p, "a")
	prompt := tokens(1, 64)
	small := store(x, "a", "m", 1, 16, prompt)
	large := store(x, "a", "m", 100, 32, prompt)
	x.Removed("a", &kvevents.Removed{Hashes: small, Medium: "gpu"})
	expect(t, "one group left", matched(x, "m", prompt, 1), 64)
	x.Removed("a", &kvevents.Removed{Hashes: large, Medium: "gpu"})
	expect(t, "none left", matched(x, "m", prompt, 1), 0)
	if n := len(x.at(0).twice); n != 0 {
		t.Errorf("%d keys are still counted", n)
	}
}

func TestIdentityBesidesTokens(t *testing.T) {
	x, p := newIndex(t, Options{})
	attach(x, p, "a")
	prompt := tokens(1, 32)
	stored := func(h uint64, lora string, id int64, extra [][]kvevents.Extra) {
		x.Stored("a", &kvevents.Stored{Hashes: []uint64{h, h + 1}, Tokens: prompt, BlockSize: 16, Model: "m", LoRA: lora, LoRAID: id, Medium: "gpu", Extra: extra})
	}
	key := func(s string) kvevents.Extra { return kvevents.Extra{Key: []byte(s)} }
	match := func(name string, extra ...Extra) int {
		var m Matches
		x.Match(x.Keys(nil, name, prompt, extra), 1, &m)
		return int(m.Tokens(0))
	}
	// The engine repeats the adapter's name among the extra keys.
	stored(1, "sql", 7, [][]kvevents.Extra{{key("sql")}, {key("sql")}})
	if match("sql") != 32 || match("m") != 0 || match("") != 0 {
		t.Error("an adapter's blocks are not its own")
	}
	stored(11, "", 9, nil) // an adapter of which only the number is known
	if match("m") != 0 {
		t.Error("an unnamed adapter's blocks are the model's")
	}
	stored(21, "", 0, [][]kvevents.Extra{{key("salt")}, nil})
	if match("m") != 0 || match("m", Extra{0, "salt"}) != 32 || match("m", Extra{0, "pepper"}) != 0 {
		t.Error("the cache salt does not separate")
	}
	stored(31, "", 0, [][]kvevents.Extra{nil, {key("image")}})
	if match("m") != 16 || match("m", Extra{16, "image"}) != 32 || match("m", Extra{20, "image"}) != 32 || match("m", Extra{0, "image"}) != 0 {
		t.Error("an image counts from another block on")
	}
	long := string(make([]byte, 1000))
	stored(41, "", 0, [][]kvevents.Extra{{key(long)}, nil})
	if match("m", Extra{0, long}) != 32 || match("m", Extra{0, long[1:]}) != 0 {
		t.Error("long extra keys are not told apart")
	}
}

func TestWhatIsNotToldIsNotAssumed(t *testing.T) {
	x, p := newIndex(t, Options{MaxBlocks: 4})
	attach(x, p, "a", "b")
	prompt := tokens(1, 160)
	x.Stored("a", &kvevents.Stored{Hashes: []uint64{5}, Parent: 4, HasParent: true, Tokens: prompt[:16], BlockSize: 16, Model: "m"})
	expect(t, "an orphan", matched(x, "m", prompt, 2), 0, 0)
	x.Stored("a", &kvevents.Stored{Hashes: []uint64{1, 2, 3}, Tokens: prompt[:40], BlockSize: 16, Model: "m", Medium: "gpu"})
	expect(t, "fewer tokens than blocks", matched(x, "m", prompt, 2), 32, 0)
	store(x, "b", "m", 1, 16, prompt)
	expect(t, "more than may be", matched(x, "m", prompt, 2), 32, 64)
	x.Removed("a", &kvevents.Removed{Hashes: []uint64{77}, Medium: "gpu"})
	x.Removed("a", &kvevents.Removed{Hashes: []uint64{1}, Medium: "cpu"})
	x.Stored("a", &kvevents.Stored{Hashes: []uint64{78}, Medium: "cpu"})
	x.Stored("nobody", &kvevents.Stored{Hashes: []uint64{1}, Tokens: prompt[:16], BlockSize: 16})
	expect(t, "removals of what is not there", matched(x, "m", prompt, 2), 32, 64)
	if st := x.Stats(); st.Orphans != 1 || st.Torn != 1 || st.Dropped != 6 || st.Unknown != 3 {
		t.Errorf("%+v", st)
	}
	// A parent that is gone and comes back has its children back.
	x.Removed("a", &kvevents.Removed{Hashes: []uint64{1}, Medium: "gpu"})
	expect(t, "parent gone", matched(x, "m", prompt, 2), 0, 64)
	store(x, "a", "m", 1, 16, prompt[:16])
	expect(t, "parent back", matched(x, "m", prompt, 2), 32, 64)
	x.Detach("a")
	p.RemoveEndpoint(0)
	p.AddEndpoint(0, 0)
	x.Attach("c", 0)
	store(x, "c", "m", 1, 16, prompt)
	expect(t, "before it is live", matched(x, "m", prompt, 2), 0, 64)
	x.Lost("a") // late news of an endpoint that is gone
	x.Live("c")
	store(x, "c", "m", 1, 16, prompt)
	expect(t, "the slot's next owner", matched(x, "m", prompt, 2), 64, 64)
}

func TestSpeculation(t *testing.T) {
	now := time.Unix(1000, 0)
	x, p := newIndex(t, Options{Now: func() time.Time { return now }})
	attach(x, p, "a", "b")
	p.AddEndpoint(2, 1<<20)
	prompt := tokens(1, 64)
	keys := x.Keys(nil, "m", prompt, nil)
	x.Dispatched(0, keys)
	x.Dispatched(2, keys) // followed by nobody: nothing is guessed
	expect(t, "at once", matched(x, "m", prompt, 3), 64, 0, 0)
	now = now.Add(1500 * time.Millisecond)
	x.Dispatched(0, keys[:2]) // again: these last longer
	store(x, "a", "m", 1, 16, prompt[:16])
	now = now.Add(time.Second)
	x.Expire()
	expect(t, "after the first's time", matched(x, "m", prompt, 3), 32, 0, 0)
	now = now.Add(2 * time.Second)
	x.Expire()
	expect(t, "only what the engine reported", matched(x, "m", prompt, 3), 16, 0, 0)
	if n := x.MatchOne(keys, 0); n != 16 {
		t.Errorf("%v tokens match the first one alone, want 16", n)
	}
	if st := x.Stats(); st.Speculated != 6 || st.Expired != 6 {
		t.Errorf("%+v", st)
	}
	x.Dispatched(0, keys)
	x.Lost("a")
	if x.Exact(0) || !x.Exact(1) {
		t.Error("Exact")
	}
	expect(t, "lost", matched(x, "m", prompt, 3), 0, 0, 0)
	x.Dispatched(0, keys)
	x.Live("a")
	expect(t, "guesses do not survive until it is live again", matched(x, "m", prompt, 3), 0, 0, 0)
}

// TestAgainstTheCache follows random caches with evictions and compares with what
// they hold.
func TestAgainstTheCache(t *testing.T) {
	r := rand.New(rand.NewPCG(1, 2))
	for _, size := range []int{16, 32, 64} {
		x, p := newIndex(t, Options{})
		attach(x, p, "a")
		held := map[uint64]bool{}
		var order []uint64
		prompts := make([][]uint32, 20)
		for i := range prompts {
			prompts[i] = append(tokens(1, 64*(i%4)), tokens(10_000*(i+1), 64*(1+i%5))...)
		}
		hash := func(pr []uint32) uint64 { return mix(99, fmt.Sprint(pr)) }
		for range 120 {
			pr := prompts[r.IntN(len(prompts))]
			for k := size; k <= len(pr); k += size {
				h := hash(pr[:k])
				if held[h] {
					continue
				}
				e := &kvevents.Stored{Hashes: []uint64{h}, Tokens: pr[k-size : k], BlockSize: size, Model: "m", Medium: "gpu"}
				if k > size {
					e.Parent, e.HasParent = hash(pr[:k-size]), true
				}
				held[h] = true
				order = append(order, h)
				x.Stored("a", e)
			}
			for len(held) > 30 {
				i := len(order) - 1 - r.IntN(min(len(order), 10))
				h := order[i]
				order = slices.Delete(order, i, i+1)
				delete(held, h)
				x.Removed("a", &kvevents.Removed{Hashes: []uint64{h}, Medium: "gpu"})
			}
			for _, pr := range prompts {
				want := 0
				for k := size; k <= len(pr) && held[hash(pr[:k])]; k += size {
					want = k
				}
				// A child stored while its parent was missing is not known: less is right.
				if got := matched(x, "m", pr, 1)[0]; got > want {
					t.Fatalf("%d tokens match, the cache holds %d", got, want)
				} else if got < want && x.Stats().Orphans == 0 {
					t.Fatalf("%d tokens match of %d", got, want)
				}
			}
		}
	}
}

func TestKeysAllocateNothing(t *testing.T) {
	x, p := newIndex(t, Options{})
	attach(x, p, "a")
	prompt := tokens(1, 10_000)
	store(x, "a", "m", 1, 16, prompt)
	buf := make([]prefix.Block, 0, 1000)
	extra := []Extra{{0, "salt"}}
	var m Matches
	x.Match(x.Keys(buf, "m", prompt, extra), 1, &m)
	if n := testing.AllocsPerRun(10, func() { x.Match(x.Keys(buf, "m", prompt, extra), 1, &m) }); n > 0 {
		t.Errorf("%v allocations", n)
	}
}

func BenchmarkKeys10k(b *testing.B) {
	x, _ := newIndex(b, Options{})
	prompt := tokens(1, 10_000)
	buf := make([]prefix.Block, 0, 1000)
	b.ReportAllocs()
	for b.Loop() {
		x.Keys(buf, "m", prompt, nil)
	}
}

func BenchmarkStored(b *testing.B) {
	x, p := newIndex(b, Options{})
	attach(x, p, "a")
	prompt := tokens(1, 16)
	b.ReportAllocs()
	i := uint64(0)
	for b.Loop() {
		e := &kvevents.Stored{Hashes: []uint64{i}, Tokens: prompt, BlockSize: 16, Model: "m", Medium: "gpu"}
		if i%256 > 0 {
			e.Parent, e.HasParent = i-1, true
		}
		prompt[0] = uint32(i)
		x.Stored("a", e)
		if i >= 100_000 {
			x.Removed("a", &kvevents.Removed{Hashes: []uint64{i - 100_000}, Medium: "gpu"})
		}
		i++
	}
}

// BenchmarkMemory reports the bytes for each block that an engine reported, the
// prefix index included.
func BenchmarkMemory(b *testing.B) {
	const n = 200_000
	for b.Loop() {
		var before, after runtime.MemStats
		runtime.GC()
		runtime.ReadMemStats(&before)
		x, p := newIndex(b, Options{})
		attach(x, p, "a")
		prompt := tokens(1, 16)
		for i := range uint64(n) {
			prompt[0] = uint32(i)
			x.Stored("a", &kvevents.Stored{Hashes: []uint64{i * 0x9e3779b97f4a7c15}, Tokens: prompt, BlockSize: 16, Model: "m", Medium: "gpu"})
		}
		runtime.GC()
		runtime.ReadMemStats(&after)
		b.ReportMetric(float64(after.HeapAlloc-before.HeapAlloc)/n, "B/block")
		runtime.KeepAlive(x)
	}
}

// BenchmarkDispatched is a prompt of 56,000 tokens of which the endpoint holds three
// quarters.
func BenchmarkDispatched(b *testing.B) {
	x, p := newIndex(b, Options{})
	names := []string{"a", "b", "c", "d"}
	attach(x, p, names...)
	var prompts [][]prefix.Block
	for i := range 64 {
		prompt := tokens(i<<20, 56_000)
		store(x, names[i%4], "m", uint64(i)<<20+1, 16, prompt[:42_000])
		prompts = append(prompts, x.Keys(nil, "m", prompt, nil))
	}
	b.ReportAllocs()
	i := 0
	for b.Loop() {
		x.Dispatched(int32(i%4), prompts[i%len(prompts)])
		i++
	}
}
