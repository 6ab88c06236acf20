package bench

import (
	"context"
	"fmt"
	"time"
)

// KVCacheOptions configure [KVCache].
type KVCacheOptions struct {
	// Endpoints is the number of engines, Blocks that of the blocks they hold in all.
	Endpoints, Blocks int
	// Duration is the time for each size of prompt and case.
	Duration time.Duration
	// Rate is how many blocks per second engines report as stored, and as many as
	// removed, while lookups are timed.
	Rate int
	// Progress is told what is being measured; nil for nobody.
	Progress func(string)
}

// KVCacheResult is what the exact index of KV caches costs.
type KVCacheResult struct {
	Endpoints   int `json:"endpoints"`
	BlockTokens int `json:"block_tokens"`
	// Blocks are those that engines hold, each counted once for each engine; Distinct
	// counts equal ones once.
	Blocks   int64 `json:"blocks"`
	Distinct int64 `json:"distinct_blocks"`
	// Fill is the storing of all blocks into an empty index, Remove the removal of a
	// tenth of them, both by one goroutine and with the messages' decoding.
	Fill   KVRate `json:"fill"`
	Remove KVRate `json:"remove"`
	// BytesPerBlock is the memory in use that the index has added, by blocks.
	BytesPerBlock float64 `json:"bytes_per_block"`
	// Forget is the end of one engine's connection.
	Forget KVForget `json:"forget"`
	// Steps are the parts of a request's way, by the size of its body.
	Steps []KVStep `json:"steps"`
	// Latencies are of lookups with the decision, by size and case.
	Latencies []KVLatency `json:"latencies"`
	// Parts are what others measure by themselves.
	Parts []KVPart `json:"parts"`
}

// KVRate is work that was done in a time.
type KVRate struct {
	Messages int     `json:"messages"`
	Events   int     `json:"events"`
	Blocks   int     `json:"blocks"`
	Seconds  float64 `json:"seconds"`
}

func (r *KVRate) per(n int) float64 {
	if r.Seconds <= 0 {
		return 0
	}
	return float64(n) / r.Seconds
}

// KVForget is the time to forget one engine with so many blocks.
type KVForget struct {
	Blocks       int    `json:"blocks"`
	Milliseconds Spread `json:"milliseconds"`
}

// KVStep is a part of a request's way.
type KVStep struct {
	Name        string `json:"name"`
	PromptBytes int    `json:"prompt_bytes"`
	// Blocks is how many blocks the prompt has in the exact mode.
	Blocks      int     `json:"blocks"`
	Nanoseconds Spread  `json:"nanoseconds"`
	Allocations float64 `json:"allocations"`
}

// KVLatency is the time of a lookup and decision, in microseconds.
type KVLatency struct {
	PromptBytes int `json:"prompt_bytes"`
	// Lookers is the number of goroutines that look up.
	Lookers int `json:"lookers"`
	Lookups int `json:"lookups"`
	// Ingest is what engines reported meanwhile.
	Ingest KVRate  `json:"ingest"`
	P50    float64 `json:"p50_us"`
	P99    float64 `json:"p99_us"`
	Max    float64 `json:"max_us"`
}

// bytesPerBlock is what a block may take while the index grows, for the check that
// there is enough memory.
const bytesPerBlock = 500

// KVCache fills an index with what engines report of their caches and measures what
// that and lookups cost, in this process.
func KVCache(ctx context.Context, o KVCacheOptions) (r KVCacheResult, err error) {
	say := o.Progress
	if say == nil {
		say = func(string) {}
	}
	if free, ok := freeMemory(); ok && int64(o.Blocks)*bytesPerBlock > free {
		return r, fmt.Errorf("%d blocks need up to %d MB of memory, and %d MB are free", o.Blocks, int64(o.Blocks)*bytesPerBlock>>20, free>>20)
	}
	r.Endpoints, r.BlockTokens = o.Endpoints, kvBlockTokens
	load := newKVLoad(o.Endpoints, o.Blocks)
	in, err := newKVIngest(load)
	if err != nil {
		return r, err
	}
	in.buf = make([]byte, 0, 2*flushBytes)
	before := heap()
	say("filling the index")
	if r.Fill, err = in.fill(ctx, o.Blocks); err != nil {
		return r, err
	}
	r.Blocks, r.Distinct = in.prefix.Stats().Entries, in.prefix.Stats().Blocks
	r.BytesPerBlock = (heap() - before) / float64(r.Blocks)
	for _, size := range bodySizes {
		say("lookups of " + sizeName(size) + " prompts")
		if err := r.lookups(ctx, in, size, &o); err != nil {
			return r, err
		}
	}
	say("removing blocks")
	if r.Remove, err = in.remove(ctx); err != nil {
		return r, err
	}
	r.Forget = in.forget()
	say("decoding and hashing alone")
	r.Parts, err = kvParts(ctx, in, o.Duration)
	return r, err
}

// lookups measures prompts of one size.
func (r *KVCacheResult) lookups(ctx context.Context, in *kvIngest, size int, o *KVCacheOptions) error {
	l, err := newKVLookups(ctx, in, size)
	if err != nil {
		return err
	}
	defer l.close()
	steps, err := l.measure(ctx, o.Duration)
	if err != nil {
		return err
	}
	for _, s := range steps {
		r.Steps = append(r.Steps, KVStep{
			Name: s.name, PromptBytes: size, Blocks: len(l.prompts[0].blocks), Nanoseconds: spread(s.ns), Allocations: float64(s.took) / float64(s.runs),
		})
	}
	rows, err := l.underway(ctx, size, o.Rate, o.Duration)
	r.Latencies = append(r.Latencies, rows...)
	return err
}
