package engine

import (
	"errors"
	"fmt"
	"math/rand/v2"
	"reflect"
	"testing"
	"time"
)

// script turns bytes into calls: it is the property test's random workload and
// the fuzz target's input.
func script(t testing.TB, c Config, next func() (byte, bool)) *harness {
	h := newHarness(t, c)
	c = h.e.cfg
	var fromEvent func(r *Request)
	h.onToken = func(r *Request) {
		if fromEvent != nil {
			f := fromEvent
			fromEvent = nil
			f(r)
		}
	}
	h.onPreempted = h.onToken
	submit := func(a, b byte) {
		family := uint64(a%5) + 1
		tokens := 1 + int(a)*c.BlockTokens/7 + int(b)%c.BlockTokens
		r := &Request{
			ID: fmt.Sprint(len(h.all)), PromptTokens: tokens, OutputTokens: int(b) % 40,
			Hashes: h.prompt(family, tokens), Adapter: [...]string{"", "", "x", "y", "z"}[b%5],
		}
		if b%3 == 0 && tokens%c.BlockTokens != 0 {
			// A last hash over a partial block, as traces have.
			partial := uint64(1)<<63 | family<<32 | uint64(tokens)
			if n := len(r.Hashes); n > 0 {
				h.parent[partial] = r.Hashes[n-1]
			}
			r.Hashes = append(r.Hashes, partial)
		}
		if a%4 == 1 {
			r.Remote = int(b) * 3
		}
		r.Hold = a%7 == 2
		r.Encode = int(b) % 2
		switch err := h.submit(r); {
		case errors.Is(err, ErrTooLong):
			if (tokens+r.output()-1+c.BlockTokens-1)/c.BlockTokens <= c.Blocks {
				t.Fatalf("%d+%d tokens do not fit into %d blocks of %d", tokens, r.output(), c.Blocks, c.BlockTokens)
			}
		case errors.Is(err, ErrFull):
			if h.e.waiting.len() < c.MaxWaiting {
				t.Fatal("full too early")
			}
		case err != nil:
			t.Fatal(err)
		}
	}
	for {
		op, ok := next()
		if !ok {
			break
		}
		a, _ := next()
		b, _ := next()
		switch op % 8 {
		case 0, 1, 2:
			submit(a, b)
		case 3:
			if len(h.all) > 0 {
				h.cancel(h.all[int(a)%len(h.all)])
			}
		case 5:
			if len(h.all) > 0 && a%2 == 0 {
				h.release(h.all[int(b)%len(h.all)])
				continue
			}
			for range a % 16 {
				h.step()
			}
		case 4: // cancel or submit from within an event
			fromEvent = func(r *Request) {
				switch victim := h.all[int(a)%len(h.all)]; {
				case b%3 == 0:
					h.cancel(r)
				case b%3 == 1:
					h.cancel(victim)
				default:
					h.all = append(h.all, &Request{ID: "nested", PromptTokens: int(a) + 1, OutputTokens: 3})
					n := h.all[len(h.all)-1]
					h.lanes[n] = &lane{}
					if h.e.Submit(n, h.now) != nil {
						h.lanes[n].cancelled = true
					}
				}
			}
		default:
			for range a % 16 {
				h.step()
			}
		}
	}
	// What is held may leave no room for the others.
	for range len(h.all) + 1 {
		h.drain(2_000_000)
		h.release(h.all...)
	}
	h.checkEnded()
	return h
}

func configs() []Config {
	return []Config{
		{Blocks: 400, BlockTokens: 4},
		{Blocks: 90, BlockTokens: 4, ChunkTokens: 16, MaxSeqs: 8},
		{Blocks: 40, BlockTokens: 16, ChunkTokens: 32, MaxSeqs: 4, MaxWaiting: 3, MaxLoRA: 1, LoRALoad: time.Second},
		{Blocks: 64, BlockTokens: 8, ChunkTokens: 1, MaxSeqs: 64, MaxLoRA: 2},
		{Blocks: 5, BlockTokens: 512, MaxSeqs: 3},
		{Blocks: 300, BlockTokens: 1, ChunkTokens: 64, MaxSeqs: 16},
		{Blocks: 60, BlockTokens: 4, ChunkTokens: 16, MaxSeqs: 4, CPUBlocks: 90, TransferPerToken: time.Millisecond},
	}
}

func TestBooksBalanceAndEverythingEnds(t *testing.T) {
	for k, c := range configs() {
		var preemptions, hits, external int64
		for seed := range uint64(12) {
			rng := rand.New(rand.NewPCG(seed, uint64(k)))
			left := 900
			h := script(t, c, func() (byte, bool) { left--; return byte(rng.Uint32()), left > 0 })
			s := h.e.Stats()
			preemptions += s.Preemptions
			hits += s.PrefixHits
			external += s.ExternalHits
		}
		if external == 0 {
			t.Error("no transfer was exercised")
		}
		if k == 1 && preemptions == 0 {
			t.Error("no preemption was exercised")
		}
		if k < 2 && hits == 0 {
			t.Error("no prefix hit was exercised")
		}
	}
}

func TestSameCallsSameEvents(t *testing.T) {
	run := func() []string {
		rng := rand.New(rand.NewPCG(9, 9))
		left := 3000
		return script(t, configs()[1], func() (byte, bool) { left--; return byte(rng.Uint32()), left > 0 }).log
	}
	if a, b := run(), run(); len(a) < 100 || !reflect.DeepEqual(a, b) {
		t.Fatalf("%d and %d events", len(a), len(b))
	}
}

func FuzzEngine(f *testing.F) {
	f.Add(byte(1), []byte{0, 200, 9, 0, 200, 9, 5, 9, 0, 3, 0, 0, 4, 1, 1, 0, 80, 81, 5, 3, 3})
	f.Add(byte(2), []byte{0, 9, 2, 0, 9, 3, 0, 9, 4, 0, 9, 7, 4, 0, 0, 5, 15, 1})
	f.Add(byte(5), []byte{0, 255, 39, 1, 255, 39, 2, 255, 39, 5, 15, 0, 5, 15, 0})
	f.Fuzz(func(t *testing.T, which byte, ops []byte) {
		if len(ops) > 1500 {
			return
		}
		all := configs()
		script(t, all[int(which)%len(all)], func() (byte, bool) {
			if len(ops) == 0 {
				return 0, false
			}
			b := ops[0]
			ops = ops[1:]
			return b, true
		})
	})
}
