package scorer_test

import (
	"sync"
	"testing"

	"github.com/fairway-ai/fairway/scheduler"
	"github.com/fairway-ai/fairway/scheduler/scorer"
)

func media(ids ...uint64) scheduler.Request { return scheduler.Request{Images: len(ids), Media: ids} }

// mm-embeddings-cache-scorer: the request's images that an endpoint was sent, over all
// of the request's.
func TestPublishedMedia(t *testing.T) {
	eps := []ep{{id: "a"}, {id: "b"}, {id: "c", out: true}}
	s := scorer.NewMediaCache("", scorer.NewMediaMemory(scorer.DefaultMediaMemoryParameters()))
	if s.Name() != "mm-embeddings-cache-scorer" {
		t.Errorf("name %q", s.Name())
	}
	wantScores(t, s, cycle(media(1, 2), eps), 0, 0, na)
	s.Picked(cycle(media(1, 2, 3, 4), eps), []int32{0, 1})
	s.Picked(cycle(media(4), eps), []int32{1})
	wantScores(t, s, cycle(media(1, 2, 3, 4), eps), 1, 0.25, na)
	wantScores(t, s, cycle(media(4, 5), eps), 0.5, 0.5, na)
	wantScores(t, s, cycle(media(5), eps), 0, 0, na)
	wantScores(t, s, cycle(media(), eps), 0, 0, na)
	s.Picked(cycle(media(5), eps), nil) // nothing was picked
	s.Picked(cycle(media(), eps), []int32{0})
	wantScores(t, s, cycle(media(5), eps), 0, 0, na)
}

// TestMediaMemory: an endpoint's memory holds what fits in its cache, and scorers of two
// profiles can share it.
func TestMediaMemory(t *testing.T) {
	eps := []ep{{id: "a"}, {id: "b"}}
	m := scorer.NewMediaMemory(scorer.MediaMemoryParameters{CacheSizeInMBPerServer: 5}) // two images
	one, other := scorer.NewMediaCache("one", m), scorer.NewMediaCache("other", m)
	for _, id := range []uint64{1, 2, 1, 3} {
		one.Picked(cycle(media(id), eps), []int32{0})
	}
	wantScores(t, other, cycle(media(1, 2, 3), eps), 2./3, 0)
	wantScores(t, other, cycle(media(2), eps), 0, 0) // the least recently sent

	large := make([]uint64, 3000)
	for i := range large {
		large[i] = uint64(i)
	}
	d := scorer.NewMediaCache("", scorer.NewMediaMemory(scorer.MediaMemoryParameters{}))
	d.Picked(cycle(media(large...), eps), []int32{1})
	wantScores(t, d, cycle(media(large...), eps), 0, 2048./3000)

	for _, bad := range []int{-1, 1<<17 + 1} {
		if (scorer.MediaMemoryParameters{CacheSizeInMBPerServer: bad}).Validate() == nil {
			t.Errorf("%d was accepted", bad)
		}
	}
	if err := scorer.DefaultMediaMemoryParameters().Validate(); err != nil {
		t.Error(err)
	}
}

func TestMediaConcurrent(t *testing.T) {
	m := scorer.NewMediaMemory(scorer.MediaMemoryParameters{CacheSizeInMBPerServer: 8})
	var wg sync.WaitGroup
	for g := range 4 {
		wg.Add(1)
		go func() {
			defer wg.Done()
			s := scorer.NewMediaCache("", m)
			for i := range 300 {
				c := cycle(media(uint64(i), uint64(g)), []ep{{id: "a"}, {id: "b"}})
				score(s, c)
				s.Picked(c, []int32{int32((g + i) % 2)})
			}
		}()
	}
	wg.Wait()
}
