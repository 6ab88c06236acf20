package replicas

import (
	"sync"
	"sync/atomic"

	"github.com/fairway-ai/fairway/scheduler"
	"github.com/fairway-ai/fairway/scheduler/prefix"
)

const (
	ringShards = 16
	// shardPrompts and shardBlocks are what a shard holds between two frames: with
	// all shards, some 400 prompts of 4096 blocks or 16,000 short ones in the 20 ms of
	// an interval.
	shardPrompts = 1024
	shardBlocks  = 8192
)

// ring holds the prompts that were sent to endpoints until they are told. What does
// not fit is not told.
type ring struct {
	shards [ringShards]shard
	lost   atomic.Uint64
}

// shard is one part with a lock of its own.
type shard struct {
	mu   sync.Mutex
	full *batch // written to
	next *batch // empty
	_    [40]byte
}

// batch is memory for prompts, used again and again.
type batch struct {
	sent   []sent
	blocks []prefix.Block
}

// sent is one prompt; its blocks end at end.
type sent struct {
	load  *scheduler.Load
	end   int
	exact bool // the blocks are exact keys
}

func newRing() *ring {
	r := new(ring)
	for i := range r.shards {
		s := &r.shards[i]
		for _, b := range []**batch{&s.full, &s.next} {
			*b = &batch{make([]sent, 0, shardPrompts), make([]prefix.Block, 0, shardBlocks)}
		}
	}
	return r
}

// put takes a copy of blocks.
func (r *ring) put(l *scheduler.Load, blocks []prefix.Block, exact bool) {
	if len(blocks) == 0 {
		return
	}
	blocks = blocks[:min(len(blocks), maxBlocks)]
	// Prompts begin alike and end differently.
	s := &r.shards[(blocks[len(blocks)-1].Hash*0x9e3779b97f4a7c15)>>60]
	s.mu.Lock()
	b := s.full
	fits := len(b.sent) < cap(b.sent) && cap(b.blocks)-len(b.blocks) >= len(blocks)
	if fits {
		b.blocks = append(b.blocks, blocks...)
		b.sent = append(b.sent, sent{l, len(b.blocks), exact})
	}
	s.mu.Unlock()
	if !fits {
		r.lost.Add(1)
	}
}

// take calls f with what was put since the last take. One goroutine may take at a
// time. f must not keep blocks.
func (r *ring) take(f func(l *scheduler.Load, blocks []prefix.Block, exact bool)) {
	for i := range r.shards {
		s := &r.shards[i]
		s.mu.Lock()
		b := s.full
		s.full, s.next = s.next, b
		s.mu.Unlock()
		from := 0
		for _, p := range b.sent {
			f(p.load, b.blocks[from:p.end], p.exact)
			from = p.end
		}
		clear(b.sent) // a Load that is gone must not stay in memory
		b.sent, b.blocks = b.sent[:0], b.blocks[:0]
	}
}
