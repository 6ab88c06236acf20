package prefix

import (
	"fmt"
	"math/rand/v2"
	"runtime"
	"testing"
)

func BenchmarkMatch(b *testing.B) {
	for _, slots := range []int{8, 100, 1000} {
		for _, blocks := range []int{150, 3000} {
			if slots*blocks > 200_000 {
				continue
			}
			for _, exact := range []bool{false, true} {
				b.Run(fmt.Sprintf("endpoints=%d/blocks=%d/exact=%v", slots, blocks, exact), func(b *testing.B) {
					x, chains := filled(slots, blocks)
					if exact {
						x.Store(0, chains[0][0])
					}
					var m Matches
					b.ReportAllocs()
					i := 0
					for b.Loop() {
						x.Match(chains[i%len(chains)], slots, &m)
						i++
					}
				})
			}
		}
	}
}

func BenchmarkMatchOne(b *testing.B) {
	x, chains := filled(100, 150)
	b.ReportAllocs()
	i := 0
	for b.Loop() {
		x.MatchOne(chains[i%len(chains)], int32(i%100))
		i++
	}
}

// BenchmarkInsert reports the time per block of a 200-block chain: again is one
// that is held already, cold one that evicts as many blocks as it brings.
func BenchmarkInsert(b *testing.B) {
	r := rand.New(rand.NewPCG(1, 2))
	chains := make([][]Block, 1000)
	for i := range chains {
		chains[i] = make([]Block, 200)
		for j := range chains[i] {
			chains[i][j] = Block{Hash: r.Uint64(), Tokens: 16}
		}
	}
	for _, c := range []struct {
		name string
		use  int
	}{{"again", 100}, {"cold", 1000}} {
		b.Run(c.name, func(b *testing.B) {
			x := New(Options{})
			x.AddEndpoint(0, 0)
			for _, chain := range chains {
				x.Insert(0, chain)
			}
			for _, chain := range chains[:100] {
				x.Insert(0, chain)
			}
			b.ReportAllocs()
			i := 0
			for b.Loop() {
				x.Insert(0, chains[i%c.use])
				i++
			}
			b.ReportMetric(float64(b.Elapsed().Nanoseconds())/float64(b.N)/200, "ns/block")
		})
	}
}

// BenchmarkMemory reports the bytes per (endpoint, block) pair when every block
// is held by one endpoint, and when every block is held by eight.
func BenchmarkMemory(b *testing.B) {
	for _, holders := range []int{1, 8} {
		b.Run(fmt.Sprintf("holders=%d", holders), func(b *testing.B) {
			for b.Loop() {
				r := rand.New(rand.NewPCG(1, 2))
				chain := make([]Block, 100)
				var before, after runtime.MemStats
				runtime.GC()
				runtime.ReadMemStats(&before)
				x := New(Options{})
				const entries = 1_000_000
				for s := range 32 {
					x.AddEndpoint(int32(s), 0)
				}
				for i := range entries / len(chain) / holders {
					for j := range chain {
						chain[j] = Block{Hash: r.Uint64(), Tokens: 16}
					}
					for k := range holders {
						x.Insert(int32((i+k)%32), chain)
					}
				}
				runtime.GC()
				runtime.ReadMemStats(&after)
				b.ReportMetric(float64(after.HeapAlloc-before.HeapAlloc)/float64(x.Stats().Entries), "bytes/entry")
				runtime.KeepAlive(x)
			}
		})
	}
}
