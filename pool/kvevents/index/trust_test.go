package index

import (
	"testing"

	"github.com/fairway-ai/fairway/pool/kvevents"
)

// TestBlocksThatWereLeftOut: an engine that keeps only some of the blocks whose tokens it
// tells does not tell which.
func TestBlocksThatWereLeftOut(t *testing.T) {
	x, p := newIndex(t, Options{})
	attach(x, p, "a")
	prompt := tokens(1, 64)
	some := &kvevents.Stored{Hashes: []uint64{3, 4}, Tokens: prompt, BlockSize: 16, Model: "m", Medium: "gpu"}
	x.Stored("a", some)
	expect(t, "the last two of four blocks", matched(x, "m", prompt, 1), 0)
	if st := x.Stats(); st.Torn != 2 || st.Blocks != 0 {
		t.Errorf("%+v", st)
	}
	// Another group of layers has told of all: then the names say it.
	store(x, "a", "m", 1, 16, prompt)
	x.Stored("a", some)
	x.Removed("a", &kvevents.Removed{Hashes: []uint64{3, 4}, Medium: "gpu"})
	expect(t, "one copy of them is left", matched(x, "m", prompt, 1), 64)
	// Of which one is unknown by now.
	x.Removed("a", &kvevents.Removed{Hashes: []uint64{3}, Medium: "gpu"})
	x.Stored("a", some)
	x.Removed("a", &kvevents.Removed{Hashes: []uint64{4}, Medium: "gpu"})
	x.Stored("a", &kvevents.Stored{Hashes: []uint64{3}, Parent: 2, HasParent: true, Tokens: prompt[32:48], BlockSize: 16, Model: "m", Medium: "gpu"})
	expect(t, "the other has a copy left", matched(x, "m", prompt, 1), 64)
	x.Removed("a", &kvevents.Removed{Hashes: []uint64{1, 2, 3, 4}, Medium: "gpu"})
	expect(t, "none is left", matched(x, "m", prompt, 1), 0)
	// The part of a block behind the last one is nobody's.
	x.Stored("a", &kvevents.Stored{Hashes: []uint64{5}, Tokens: prompt[:20], BlockSize: 16, Model: "m", Medium: "gpu"})
	expect(t, "more tokens than blocks, by less than one", matched(x, "m", prompt, 1), 16)
}

// TestOneNameForTwoBlocks: an engine that names blocks after their own tokens alone, or
// without what tells adapters and salts apart, cannot say which of them is gone.
func TestOneNameForTwoBlocks(t *testing.T) {
	x, p := newIndex(t, Options{})
	attach(x, p, "a")
	prompt, other := tokens(1, 48), append(tokens(500, 16), tokens(17, 32)...)
	stored := func(pr []uint32, lora string, hashes ...uint64) {
		x.Stored("a", &kvevents.Stored{Hashes: hashes, Tokens: pr, BlockSize: 16, Model: "m", LoRA: lora, Medium: "gpu"})
	}
	stored(prompt, "", 1, 2, 3)
	stored(other, "", 9, 2, 3)
	expect(t, "a prompt", matched(x, "m", prompt, 1), 48)
	expect(t, "another with the same end", matched(x, "m", other, 1), 16)
	stored(prompt, "sql", 1, 2, 3)
	expect(t, "the same for an adapter", matched(x, "sql", prompt, 1), 0)
	if st := x.Stats(); st.Torn != 5 || st.Blocks != 4 {
		t.Errorf("%+v", st)
	}
	stored(prompt, "", 1, 2, 3) // a copy
	if st := x.Stats(); st.Torn != 5 {
		t.Errorf("a copy: %+v", st)
	}
	// Where sizes do not fit, what is left over counts, too.
	stored(prompt[:24], "", 21)
	x.Stored("a", &kvevents.Stored{Hashes: []uint64{31}, Tokens: prompt[:24], BlockSize: 24, Model: "m", Medium: "gpu"})
	x.Stored("a", &kvevents.Stored{Hashes: []uint64{31}, Tokens: append(prompt[:20:20], 1, 2, 3, 4), BlockSize: 24, Model: "m", Medium: "gpu"})
	if st := x.Stats(); st.Torn != 6 {
		t.Errorf("with a rest: %+v", st)
	}
}

// TestPatchy: an engine that mostly tells of blocks behind others that are not known is
// not known exactly: what it holds from before would count as gone.
func TestPatchy(t *testing.T) {
	x, p := newIndex(t, Options{})
	attach(x, p, "a", "b")
	name := uint64(100)
	from := 0
	orphan := func(n int) {
		for range n {
			name++
			x.Stored("a", &kvevents.Stored{Hashes: []uint64{name}, Parent: 4, HasParent: true, Tokens: tokens(1, 16), BlockSize: 16, Model: "m", Medium: "gpu"})
		}
	}
	whole := func(n int) {
		for range n {
			name++
			from += 20
			x.Stored("a", &kvevents.Stored{Hashes: []uint64{name}, Tokens: tokens(from, 16), BlockSize: 16, Model: "m", Medium: "gpu"})
		}
	}
	want := func(what string, exact bool) {
		t.Helper()
		if x.Exact(0) != exact || !x.Exact(1) {
			t.Errorf("%s: exact %v %v, want %v true", what, x.Exact(0), x.Exact(1), exact)
		}
	}
	want("nothing was told", true)
	orphan(1)
	want("the first block's parent is unknown", false)
	whole(7)
	want("most are known", false)
	whole(1)
	want("8 of 9 are known", true)
	orphan(1)
	want("8 of 10", true)
	orphan(1)
	want("8 of 11", false)
	x.Cleared("a")
	want("the cache is empty, and that is all there is to know", true)
	orphan(1)
	want("again", false)
	x.Lost("a")
	want("lost", false)
	x.Live("a")
	want("live", true)
	x.Unread("a", 1)
	want("an event is not understood", false)
	whole(8)
	want("8 of 9 are understood", true)
	// What was long ago counts less and less.
	whole(1 << 14)
	orphan(1 << 13)
	want("of late nothing is known", false)
	whole(1 << 14)
	want("and all again", true)
	// So do blocks beyond the bound.
	x.o.MaxBlocks = 1
	whole(1 << 13)
	want("no room for more", false)
}
