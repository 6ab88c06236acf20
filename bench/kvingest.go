package bench

import (
	"context"
	"fmt"
	"runtime"
	"time"

	"github.com/fairway-ai/fairway/pool/kvevents"
	"github.com/fairway-ai/fairway/pool/kvevents/index"
	"github.com/fairway-ai/fairway/scheduler/prefix"
)

// kvIngest is an index and the messages that go into it, one after the other.
type kvIngest struct {
	load   *kvLoad
	prefix *prefix.Index
	index  *index.Index

	buf   []byte
	parts []kvPart
}

// kvPart is one message in the buffer.
type kvPart struct {
	engine   *kvEngine
	from, to int
	events   int
}

// flushBytes is how much is encoded before it is decoded, with the clock running.
const flushBytes = 4 << 20

func newKVIngest(l *kvLoad) (*kvIngest, error) {
	in := &kvIngest{load: l, prefix: prefix.New(prefix.Options{})}
	var err error
	if in.index, err = index.New(index.Options{Prefix: in.prefix, BlockTokens: kvBlockTokens}); err != nil {
		return nil, err
	}
	for i, e := range l.engines {
		in.prefix.AddEndpoint(int32(i), 0)
		in.index.Attach(e.Name, int32(i))
		in.index.Live(e.Name)
	}
	return in, nil
}

// add encodes a message with f, which gets the buffer to append to.
func (in *kvIngest) add(e *kvEngine, f func(b []byte, e *kvEngine) []byte) {
	from := len(in.buf)
	if in.buf = f(in.buf, e); len(in.buf) > from {
		in.parts = append(in.parts, kvPart{e, from, len(in.buf), in.load.m.n})
	}
}

// tell decodes one message into the index.
func (in *kvIngest) tell(p *kvPart) (kvevents.Counts, error) {
	c, err := p.engine.decoder.Decode(in.buf[p.from:p.to], p.engine.Endpoint, in.index)
	if err == nil && c.Invalid+c.Skipped > 0 {
		err = fmt.Errorf("%d events were not understood", c.Invalid+c.Skipped)
	}
	return c, err
}

// flush decodes what was encoded and adds what that took to r.
func (in *kvIngest) flush(ctx context.Context, r *KVRate) error {
	runtime.LockOSThread()
	defer runtime.UnlockOSThread()
	begun := threadTime()
	for i := range in.parts {
		c, err := in.tell(&in.parts[i])
		if err != nil {
			return err
		}
		r.Messages++
		r.Events += in.parts[i].events
		r.Blocks += c.Stored + c.Removed
	}
	r.Seconds += (threadTime() - begun).Seconds()
	in.buf, in.parts = in.buf[:0], in.parts[:0]
	return ctx.Err()
}

// round gives f each engine until none has more to do, and flushes now and then.
func (in *kvIngest) round(ctx context.Context, r *KVRate, f func(e *kvEngine) (more bool)) error {
	for more := true; more; {
		more = false
		for _, e := range in.load.engines {
			if !f(e) {
				continue
			}
			more = true
			if len(in.buf) > flushBytes {
				if err := in.flush(ctx, r); err != nil {
					return err
				}
			}
		}
	}
	return in.flush(ctx, r)
}

// fill stores documents, then conversations, up to each engine's share of blocks.
func (in *kvIngest) fill(ctx context.Context, blocks int) (r KVRate, err error) {
	stored := make([]int, len(in.load.engines))
	share := blocks / len(in.load.engines)
	err = in.round(ctx, &r, func(e *kvEngine) bool {
		switch i := stored[e.number]; {
		case i < len(e.docs):
			in.add(e, func(b []byte, e *kvEngine) []byte { return in.load.document(b, e, i) })
			stored[e.number]++
		case e.held < share:
			in.add(e, in.load.converse)
		default:
			return false
		}
		return true
	})
	return r, err
}

// remove takes a tenth of each engine's blocks out again.
func (in *kvIngest) remove(ctx context.Context) (r KVRate, err error) {
	keep := make([]int, len(in.load.engines))
	for i, e := range in.load.engines {
		keep[i] = e.held - e.held/10
	}
	err = in.round(ctx, &r, func(e *kvEngine) bool {
		if e.held <= keep[e.number] || e.first == len(e.chains) {
			return false
		}
		in.add(e, in.load.evict)
		return true
	})
	return r, err
}

// forget says of some engines that they are lost, and returns the median time.
func (in *kvIngest) forget() KVForget {
	runtime.LockOSThread()
	defer runtime.UnlockOSThread()
	var times []float64
	n := min(5, len(in.load.engines))
	blocks := 0
	for _, e := range in.load.engines[:n] {
		begun := threadTime()
		in.index.Lost(e.Name)
		times = append(times, milliseconds(threadTime()-begun))
		blocks += e.held
	}
	return KVForget{Blocks: blocks / n, Milliseconds: spread(times)}
}

// started is where the clock begins where a thread's CPU time is not known.
var started = time.Now()

// heap is the memory in use after a collection, in bytes.
func heap() float64 {
	var m runtime.MemStats
	runtime.GC()
	runtime.GC() // what sync.Pools held
	runtime.ReadMemStats(&m)
	return float64(m.HeapAlloc)
}
