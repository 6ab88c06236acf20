package scheduler

import (
	"cmp"
	"fmt"
	"math"
	"math/rand/v2"
	"slices"
	"testing"
	"time"
)

func held(name string, uncached int64, since time.Time) *Held {
	return &Held{Payload: name, Uncached: uncached, Since: since}
}

func names(hs []*Held) string {
	s := ""
	for _, h := range hs {
		s += h.Payload.(string)
	}
	return s
}

// popAll empties the queue at one moment.
func popAll(q *HoldQueue, now time.Time, rate float64, uncached func(*Held) int64) string {
	var out []*Held
	for q.Len() > 0 {
		out = append(out, q.Pop(now, rate, uncached))
	}
	return names(out)
}

func TestHoldOrder(t *testing.T) {
	t0 := time.Unix(100, 0)
	// before is so long ago that waiting weighs as much as that many seconds of
	// prefill.
	before := func(seconds float64) time.Time {
		return t0.Add(-time.Duration(seconds / holdAging * float64(time.Second)))
	}
	for _, tc := range []struct {
		name string
		held []*Held
		now  time.Time
		rate float64
		want string
	}{
		{"least work first", []*Held{held("a", 9000, t0), held("b", 100, t0), held("c", 3000, t0)}, t0, 1000, "bca"},
		{"equal work in order of arrival", []*Held{held("a", 5, t0), held("b", 5, t0), held("c", 5, t0)}, t0, 1000, "abc"},
		{"aging: not yet", []*Held{held("a", 2000, before(0.9)), held("b", 1000, t0)}, t0, 1000, "ba"},
		{"aging: now", []*Held{held("b", 1000, t0), held("a", 2000, before(1.1))}, t0, 1000, "ab"},
		{"a fast endpoint ages sooner", []*Held{held("b", 1000, t0), held("a", 2000, before(0.2))}, t0, 10_000, "ab"},
		{"unknown rate: not yet", []*Held{held("a", DefaultPrefillRate, before(0.9)), held("b", 0, t0)}, t0, 0, "ba"},
		{"unknown rate: now", []*Held{held("b", 0, t0), held("a", DefaultPrefillRate, before(1.1))}, t0, -1, "ab"},
	} {
		t.Run(tc.name, func(t *testing.T) {
			var q HoldQueue
			for _, h := range tc.held {
				q.Push(h)
			}
			if got := popAll(&q, tc.now, tc.rate, nil); got != tc.want {
				t.Errorf("order %s, want %s", got, tc.want)
			}
		})
	}
}

func TestHoldRescores(t *testing.T) {
	t0 := time.Unix(0, 0)
	var q HoldQueue
	a, b := held("a", 5000, t0), held("b", 1000, t0)
	q.Push(a)
	q.Push(b)
	// The cache has moved on: a's prompt is held by now.
	now := func(h *Held) int64 {
		if h == a {
			return 10
		}
		return h.Uncached
	}
	if h := q.Pop(t0, 1000, now); h != a || a.Uncached != 10 {
		t.Errorf("popped %v with %d tokens", h.Payload, h.Uncached)
	}
}

func TestHoldRemove(t *testing.T) {
	t0 := time.Unix(0, 0)
	var q, other HoldQueue
	a, b, c := held("a", 1, t0), held("b", 2, t0), held("c", 3, t0)
	for _, h := range []*Held{c, a, b} {
		q.Push(h)
	}
	if other.Remove(a) {
		t.Error("removed from a queue it is not in")
	}
	if !q.Remove(a) || q.Remove(a) || q.Len() != 2 {
		t.Error("Remove: once, and only once")
	}
	if q.Pop(t0, 1, nil) != b || q.Remove(b) {
		t.Error("a popped request cannot be removed")
	}
	q.Push(b)
	if got := names(q.Drain()); got != "cb" || q.Len() != 0 || q.Remove(c) {
		t.Errorf("drained %q, want order of arrival", got)
	}
	if q.Pop(t0, 1, nil) != nil || len(q.Drain()) != 0 {
		t.Error("an empty queue has nothing")
	}
	q.Push(c)
	if q.Pop(t0, 1, nil) != c {
		t.Error("a drained queue can be used again")
	}
}

// Every request leaves exactly once, whatever the length, and a long queue asks
// for few lookups per release.
func TestHoldLong(t *testing.T) {
	r := rand.New(rand.NewPCG(1, 1))
	t0 := time.Unix(0, 0)
	var q HoldQueue
	const n = 1000
	for i := range n {
		q.Push(held(fmt.Sprint(i), int64(r.IntN(50_000)), t0.Add(time.Duration(r.IntN(5000))*time.Millisecond)))
	}
	seen := map[*Held]bool{}
	for q.Len() > 0 {
		lookups := 0
		h := q.Pop(t0.Add(10*time.Second), 20_000, func(h *Held) int64 { lookups++; return h.Uncached })
		if seen[h] {
			t.Fatal("a request left twice")
		}
		seen[h] = true
		if lookups > holdRescore {
			t.Fatalf("%d lookups for one release", lookups)
		}
	}
	if len(seen) != n {
		t.Errorf("%d requests left, want %d", len(seen), n)
	}
}

// With a steady stream of small requests a large one still leaves.
func TestHoldNoStarvation(t *testing.T) {
	now := time.Unix(0, 0)
	var q HoldQueue
	big := held("big", 100_000, now)
	q.Push(big)
	for i := range 1000 {
		now = now.Add(time.Second)
		q.Push(held("small", 100, now))
		if q.Pop(now, 10_000, nil) == big {
			// 10 seconds of work against a fraction of the waiting time.
			if want := int(math.Round(10 / holdAging)); i < want-5 || i > want+5 {
				t.Errorf("left after %d s, want about %d", i, want)
			}
			return
		}
	}
	t.Error("starved")
}

func TestAdmits(t *testing.T) {
	if !Admits(0) || !Admits(HoldTokens-1) || Admits(HoldTokens) {
		t.Error("an endpoint takes requests up to HoldTokens outstanding tokens")
	}
}

// TestHoldAsSorted compares a queue with one that sorts everything at each release:
// the holdRescore most promising are looked up again, and the best of them leaves.
func TestHoldAsSorted(t *testing.T) {
	for seed := range uint64(20) {
		r := rand.New(rand.NewPCG(seed, 5))
		now, rate := time.Unix(1000, 0), 10_000.0
		var q HoldQueue
		var all []*Held
		moved := map[*Held]int64{} // by what the cache has changed
		lookup := func(h *Held) int64 { return max(0, h.Uncached+moved[h]) }
		for step := range 1500 {
			now = now.Add(time.Duration(r.IntN(2000)) * time.Millisecond)
			switch k := r.IntN(20); {
			case k < 12 || len(all) == 0:
				h := held(fmt.Sprint(step), r.Int64N(200_000), now)
				all = append(all, h)
				q.Push(h)
			case k < 13:
				i := r.IntN(len(all))
				if !q.Remove(all[i]) {
					t.Fatal("a held request was not removed")
				}
				all = slices.Delete(all, i, i+1)
			case k < 14:
				rate = 5000 + 10_000*r.Float64()
			case k < 15:
				clear(moved)
				for _, h := range all {
					moved[h] = r.Int64N(60_000) - 40_000
				}
			default:
				less := func(uncached func(*Held) int64) func(a, b *Held) int {
					key := func(h *Held) float64 { return float64(uncached(h))/rate - holdAging*now.Sub(h.Since).Seconds() }
					return func(a, b *Held) int { return cmp.Or(cmp.Compare(key(a), key(b)), cmp.Compare(a.seq, b.seq)) }
				}
				slices.SortFunc(all, less(func(h *Held) int64 { return h.Uncached }))
				front := all[:min(len(all), holdRescore)]
				want := slices.MinFunc(front, less(lookup))
				got := q.Pop(now, rate, lookup)
				if got != want {
					t.Fatalf("seed %d, step %d: %v left of %d, want %v", seed, step, got.Payload, len(all), want.Payload)
				}
				all = slices.DeleteFunc(all, func(h *Held) bool { return h == got })
				if q.Len() != len(all) {
					t.Fatalf("%d are held, want %d", q.Len(), len(all))
				}
			}
		}
		if len(q.rest) == 0 {
			t.Error("the queue was never long: the history proves little")
		}
	}
}
