package metrics

import (
	"fmt"
	"maps"
	"math/rand/v2"
	"reflect"
	"sync"
	"testing"
)

type pair struct{ a, b string }

// TestTable: a table is a map, whatever is added and dropped.
func TestTable(t *testing.T) {
	var tb table[pair, int]
	want := map[pair]int{}
	rnd := rand.New(rand.NewPCG(1, 2))
	key := func() pair { return pair{fmt.Sprint(rnd.IntN(30)), fmt.Sprint(rnd.IntN(30))} }
	tb.drop(func(pair) bool { return true }) // of nothing
	for step := range 20_000 {
		k := key()
		if step%500 == 0 {
			gone := func(p pair) bool { return p.a == k.a }
			tb.mu.Lock()
			tb.drop(gone)
			tb.mu.Unlock()
			maps.DeleteFunc(want, func(p pair, _ int) bool { return gone(p) })
		}
		if w, ok := want[k]; ok {
			if got := tb.of(k, func(pair) int { t.Fatal("created twice"); return 0 }); got != w {
				t.Fatalf("%v is %d, want %d", k, got, w)
			}
		} else if _, ok := tb.get(k); ok {
			t.Fatalf("%v is there", k)
		} else if step%3 == 0 {
			want[k] = step
			tb.of(k, func(pair) int { return step })
		}
		if tb.len() != len(want) {
			t.Fatalf("%d entries, want %d", tb.len(), len(want))
		}
	}
	for k, w := range want {
		if got, ok := tb.get(k); !ok || got != w {
			t.Errorf("%v is %d %t, want %d", k, got, ok, w)
		}
	}
}

// TestTableGrows: to add many entries copies few of the others each time.
func TestTableGrows(t *testing.T) {
	const n = 10_000
	var tb table[int, int]
	copied, base := 0, uintptr(0)
	for k := range n {
		tb.of(k, func(k int) int { return k })
		v := tb.view.Load()
		copied += len(v.recent)
		if p := reflect.ValueOf(v.base).Pointer(); p != base {
			base = p
			copied += len(v.base)
		}
	}
	if most := 3 * n * 100; copied > most { // 100 is the root of n
		t.Errorf("%d entries were copied to add %d, want at most %d", copied, n, most)
	}
}

// TestTableBound: beyond the bound there is one more entry, for all others. Who comes
// second gets what the first has created.
func TestTableBound(t *testing.T) {
	var tb table[string, string]
	add := func(k string) string {
		return tb.bounded(k, 3, Other, func(k string) string { return "for " + k })
	}
	for _, tc := range []struct{ key, want string }{
		{"a", "for a"}, {"b", "for b"}, {"c", "for c"}, {"d", "for other"}, {"e", "for other"}, {"b", "for b"},
	} {
		if got := add(tc.key); got != tc.want {
			t.Errorf("%s: %s, want %s", tc.key, got, tc.want)
		}
	}
	if tb.len() != 4 {
		t.Errorf("%d entries, want 4", tb.len())
	}
}

// TestTableReaders: what stays is found at every moment, with its own value, while
// others come and go; each key is created once.
func TestTableReaders(t *testing.T) {
	var tb table[int, int]
	const stay = 100
	for k := range stay {
		tb.of(k, func(k int) int { return -k })
	}
	var readers, writers sync.WaitGroup
	done := make(chan struct{})
	for range 4 {
		readers.Go(func() {
			for k := 0; ; k = (k + 1) % stay {
				if v, ok := tb.get(k); !ok || v != -k {
					t.Errorf("%d is %d %t", k, v, ok)
					return
				}
				select {
				case <-done:
					return
				default:
				}
			}
		})
	}
	created := make([]sync.Map, 4)
	for w := range 4 {
		writers.Go(func() {
			for k := stay; k < 2000; k++ {
				tb.of(k, func(k int) int {
					created[w].Store(k, true)
					return -k
				})
				if k%100 == 0 {
					tb.mu.Lock()
					tb.drop(func(k int) bool { return k >= 1_000_000 })
					tb.mu.Unlock()
				}
			}
		})
		writers.Go(func() {
			for k := range 200 {
				tb.of(1_000_000+k, func(k int) int { return -k })
			}
		})
	}
	writers.Wait()
	close(done)
	readers.Wait()
	times := map[int]int{}
	for i := range created {
		for k := range created[i].Range {
			times[k.(int)]++
		}
	}
	for k := stay; k < 2000; k++ {
		if times[k] != 1 {
			t.Errorf("%d was created %d times", k, times[k])
		}
	}
}

func TestTableAllocatesNothing(t *testing.T) {
	var tb table[pair, int]
	k := pair{"a", "b"}
	n := 1
	tb.of(k, func(pair) int { return n })
	if got := testing.AllocsPerRun(100, func() { tb.get(k); tb.of(k, func(pair) int { return n }) }); got != 0 {
		t.Errorf("%v allocations", got)
	}
}
