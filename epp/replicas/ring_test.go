package replicas

import (
	"sync"
	"testing"

	"github.com/fairway-ai/fairway/scheduler"
	"github.com/fairway-ai/fairway/scheduler/prefix"
)

func TestRingKeepsWhatFits(t *testing.T) {
	r := newRing()
	var l [2]scheduler.Load
	want := map[uint64]*scheduler.Load{}
	for i := range uint64(500) {
		c := chain(1+int(i%40), i)
		r.put(&l[i%2], c, false)
		want[c[0].Hash] = &l[i%2]
		clear(c) // the caller's memory is used again
	}
	r.put(&l[0], nil, false)
	check := func(load *scheduler.Load, blocks []prefix.Block, _ bool) {
		first := blocks[0].Hash
		if want[first] != load {
			t.Fatalf("the prompt that begins with %d came from elsewhere", first)
		}
		for i, b := range blocks {
			if b.Hash != first+uint64(i) || b.Tokens != 64 {
				t.Fatalf("block %d is %+v", i, b)
			}
		}
		delete(want, first)
	}
	r.take(check)
	if len(want) != 0 || r.lost.Load() != 0 {
		t.Fatalf("%d prompts are missing, %d were lost", len(want), r.lost.Load())
	}
	r.take(func(*scheduler.Load, []prefix.Block, bool) { t.Fatal("a prompt comes twice") })

	// What does not fit is counted.
	taken := 0
	for i := range uint64(20_000) {
		r.put(&l[0], chain(8, i), false)
	}
	r.take(func(*scheduler.Load, []prefix.Block, bool) { taken++ })
	if lost := r.lost.Load(); lost == 0 || taken+int(lost) != 20_000 {
		t.Errorf("%d taken and %d lost of 20000", taken, lost)
	}
	r.put(&l[0], chain(maxBlocks+1, 1), false)
	r.take(func(_ *scheduler.Load, blocks []prefix.Block, _ bool) {
		if len(blocks) != maxBlocks {
			t.Errorf("a long prompt has %d blocks", len(blocks))
		}
	})
}

func TestRingIsConcurrent(t *testing.T) {
	r := newRing()
	var l scheduler.Load
	var writers, reader sync.WaitGroup
	stop := make(chan struct{})
	taken := 0
	reader.Go(func() {
		for done := false; !done; {
			select {
			case <-stop:
				done = true
			default:
			}
			r.take(func(_ *scheduler.Load, blocks []prefix.Block, _ bool) {
				taken++
				for i := range blocks {
					if blocks[i].Hash != blocks[0].Hash+uint64(i) {
						t.Error("prompts are mixed up")
						return
					}
				}
			})
		}
	})
	for g := range uint64(4) {
		writers.Go(func() {
			for i := range uint64(2000) {
				r.put(&l, chain(1+int(i%60), g<<32+i), false)
			}
		})
	}
	writers.Wait()
	close(stop)
	reader.Wait()
	if taken+int(r.lost.Load()) != 8000 {
		t.Errorf("%d taken and %d lost of 8000", taken, r.lost.Load())
	}
}

// TestSentDoesNotAllocate holds the request's way to what the package's doc says.
func TestSentDoesNotAllocate(t *testing.T) {
	r, err := New(Options{ID: "a", Peers: Fixed{}, Listen: "127.0.0.1:0"})
	if err != nil {
		t.Fatal(err)
	}
	defer r.Close()
	r.running.Store(true)
	var l scheduler.Load
	c := chain(100, 1)
	if n := testing.AllocsPerRun(200, func() { r.asleep.Store(true); r.Sent(&l, c) }); n != 0 {
		t.Errorf("%v allocations", n)
	}
}

func BenchmarkSent(b *testing.B) {
	r := newRing()
	var l scheduler.Load
	c := chain(100, 1)
	b.ReportAllocs()
	i := 0
	for b.Loop() {
		c[99].Hash = uint64(i)
		r.put(&l, c, false)
		if i++; i%1000 == 0 {
			r.take(func(*scheduler.Load, []prefix.Block, bool) {})
		}
	}
}
