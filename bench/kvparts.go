package bench

import (
	"context"
	"runtime"
	"time"

	"github.com/fairway-ai/fairway/pool/kvevents"
	"github.com/fairway-ai/fairway/scheduler/prefix"
)

// KVPart is one part of the work, as llm-d's own micro-benchmarks measure it too.
type KVPart struct {
	Name        string  `json:"name"`
	Nanoseconds Spread  `json:"nanoseconds"`
	Allocations float64 `json:"allocations"`
	// LLMD is what llm-d's benchmark said of the same part. It was not measured in
	// this run.
	LLMD string `json:"llm_d"`
}

// nobody is a sink that does nothing.
type nobody struct{}

func (nobody) Stored(string, *kvevents.Stored)   {}
func (nobody) Removed(string, *kvevents.Removed) {}
func (nobody) Cleared(string)                    {}
func (nobody) Unread(string, int)                {}
func (nobody) Lost(string)                       {}
func (nobody) Live(string)                       {}

// kvParts measures decoding and hashing alone, for d in all.
func kvParts(ctx context.Context, in *kvIngest, d time.Duration) ([]KVPart, error) {
	prompt := make([]uint32, 10_000)
	for i := range prompt {
		prompt[i] = kvToken(idBit, i)
	}
	var (
		l       = in.load
		from    = &kvEngine{Endpoint: kvevents.Endpoint{Name: "pod", Model: kvModel}}
		decoder kvevents.Decoder
		keys    []prefix.Block
	)
	message := func(events, blocks int) []byte {
		l.m.begin(nil)
		for i := range events {
			l.store(from, uint32(idBit|i), 0, blocks, 0)
		}
		return l.m.end(0)
	}
	decode := func(payload []byte) func() error {
		return func() error {
			_, err := decoder.Decode(payload, from.Endpoint, nobody{})
			return err
		}
	}
	runtime.LockOSThread()
	defer runtime.UnlockOSThread()
	var parts []KVPart
	for _, p := range []struct {
		name, llmd string
		run        func() error
	}{
		{"keys of 10,000 tokens", "380 µs, 3,142 allocations; 50 µs, 12 allocations with xxh64", func() error {
			keys = in.index.Keys(keys[:0], kvModel, prompt, nil)
			return nil
		}},
		{"decode an event of 1 block", "2.9 µs", decode(message(1, 1))},
		{"decode an event of 16 blocks", "7.7 µs", decode(message(1, 16))},
		{"decode a message of 100 events", "530 to 680 µs, 2,510 to 5,810 allocations", decode(message(100, 1))},
	} {
		part := KVPart{Name: p.name, LLMD: p.llmd}
		var ns []float64
		var before, after runtime.MemStats
		runs := 0
		for range kvRounds {
			runtime.ReadMemStats(&before)
			begun, used, n := time.Now(), threadTime(), 0
			for n < 2 || time.Since(begun) < d/(4*kvRounds) {
				if err := p.run(); err != nil {
					return nil, err
				}
				n++
			}
			ns = append(ns, float64((threadTime()-used).Nanoseconds())/float64(n))
			runtime.ReadMemStats(&after)
			part.Allocations += float64(after.Mallocs - before.Mallocs)
			runs += n
			if err := ctx.Err(); err != nil {
				return nil, err
			}
		}
		part.Nanoseconds = spread(ns)
		part.Allocations /= float64(runs)
		parts = append(parts, part)
	}
	return parts, nil
}
