package bench

import (
	"context"
	"runtime"
	"slices"
	"sync"
	"time"

	"golang.org/x/sync/errgroup"

	"github.com/fairway-ai/fairway/scheduler"
)

// maxLatencies bounds the lookups of which each one's time is kept.
const maxLatencies = 2 << 20

// churn encodes messages with which engines at their capacity store and remove
// about n blocks each way.
func (in *kvIngest) churn(n int) {
	for stored := 0; stored < n; {
		for _, e := range in.load.engines {
			in.add(e, in.load.evict)
			before := e.held
			in.add(e, in.load.converse)
			stored += e.held - before
		}
	}
}

// paced decodes the encoded messages at rate blocks stored per second and says in r
// what that came to. It stops when ctx ends.
func (in *kvIngest) paced(ctx context.Context, rate int, r *KVRate) error {
	begun, blocks := time.Now(), 0
	for ; len(in.parts) > 0; in.parts = in.parts[1:] {
		for time.Duration(float64(blocks)/float64(rate)*float64(time.Second))-time.Since(begun) > time.Millisecond {
			if wait(ctx, time.Millisecond) != nil {
				break
			}
		}
		if ctx.Err() != nil {
			break
		}
		c, err := in.tell(&in.parts[0])
		if err != nil {
			return err
		}
		blocks += c.Stored
		r.Messages++
		r.Events += in.parts[0].events
		r.Blocks += c.Stored + c.Removed
	}
	r.Seconds += time.Since(begun).Seconds()
	return nil
}

// latencies has lookers look up and decide, each one request after the other, for d.
func (l *kvLookups) latencies(ctx context.Context, lookers int, d time.Duration) ([]time.Duration, error) {
	var (
		mu  sync.Mutex
		all []time.Duration
	)
	group, ctx := errgroup.WithContext(ctx)
	for k := range lookers {
		group.Go(func() error {
			own := make([]time.Duration, 0, maxLatencies/lookers)
			var dec scheduler.Decision
			var req scheduler.Request
			for begun, i := time.Now(), k*len(l.prompts)/lookers; len(own) < cap(own); i++ {
				p := &l.prompts[i%len(l.prompts)]
				req = scheduler.Request{Model: kvModel, PromptTokens: int64(len(p.ids)), Blocks: p.blocks, Seed: uint64(i)}
				from := time.Now()
				if err := l.exact.Schedule(&req, l.snap, &dec, nil); err != nil {
					return err
				}
				to := time.Now()
				if own = append(own, to.Sub(from)); to.Sub(begun) > d || ctx.Err() != nil {
					break
				}
			}
			mu.Lock()
			defer mu.Unlock()
			all = append(all, own...)
			return ctx.Err()
		})
	}
	err := group.Wait()
	slices.Sort(all)
	return all, err
}

// underway measures lookups while engines report at rate blocks per second, and
// before that while none does.
func (l *kvLookups) underway(ctx context.Context, size, rate int, d time.Duration) ([]KVLatency, error) {
	var rows []KVLatency
	for _, c := range []struct {
		lookers int
		ingest  bool
	}{{1, false}, {1, true}, {2, true}} {
		row := KVLatency{PromptBytes: size, Lookers: c.lookers}
		if c.ingest {
			l.in.churn(int(1.2*d.Seconds()*float64(rate)) + 1)
		}
		runtime.GC()
		ingesting, stop := context.WithCancel(ctx)
		done := make(chan error, 1)
		if c.ingest {
			go func() { done <- l.in.paced(ingesting, rate, &row.Ingest) }()
		} else {
			done <- nil
		}
		times, err := l.latencies(ctx, c.lookers, d)
		stop()
		if ingestErr := <-done; err == nil {
			err = ingestErr
		}
		if err != nil {
			return nil, err
		}
		if err := l.in.flush(ctx, new(KVRate)); err != nil { // the load counts on it
			return nil, err
		}
		row.Lookups = len(times)
		row.P50, row.P99, row.Max = micro(quantile(times, 0.5)), micro(quantile(times, 0.99)), micro(quantile(times, 1))
		rows = append(rows, row)
	}
	return rows, nil
}

func micro(d time.Duration) float64 { return float64(d) / float64(time.Microsecond) }
