package server

import (
	"sync"
	"sync/atomic"
	"time"

	"github.com/fairway-ai/fairway/sim/engine"
)

// answer is one sequence on its way through the engine. The engine side writes it
// under the driver's lock; the HTTP side reads done and produced, and cached once
// a token was produced.
type answer struct {
	req     engine.Request
	pooling bool   // an embedding: no output tokens
	reason  string // finish reason: stop or length
	text    text
	// prompt and salt are what its blocks consist of, for KV cache events.
	prompt *prompt
	salt   string
	loraID uint64 // 0 for the base model
	// limit and n are the request's parameters, for the metrics.
	limit, n int

	wake     chan struct{} // shared by the answers of a job; capacity 1
	produced atomic.Int32
	done     atomic.Bool
	cached   int

	firstAt, lastAt time.Duration
}

func (a *answer) notify() {
	select {
	case a.wake <- struct{}{}:
	default:
	}
}

// maxLag is the delay, in real time, that the engine makes up for by running
// steps at once. After a longer one, as when the machine slept, its time jumps.
const maxLag = 250 * time.Millisecond

// driver runs an engine in real time. It owns one timer while a step is running,
// and nothing while the engine is idle.
type driver struct {
	mu     sync.Mutex
	eng    *engine.Engine
	clock  Clock
	epoch  time.Time
	speed  float64
	busy   bool
	end    time.Duration // of the running step
	last   time.Duration // the newest time given to the engine
	stop   func() bool
	closed bool
	// closedCh is closed when no more tokens come.
	closedCh chan struct{}
	totals   totals
	// publisher gets what kv collects; nil when nobody wants to know.
	publisher *publisher
	kv        kvBatch
}

func newDriver(c Config) *driver {
	d := &driver{clock: c.Clock, epoch: c.Clock.Now(), speed: c.Speed, closedCh: make(chan struct{}), totals: newTotals(c.MaxModelLen)}
	d.kv = kvBatch{format: c.KVEvents.Format, groups: c.KVEvents.Groups, rank: c.Rank, blockTokens: c.Engine.BlockTokens}
	d.eng = engine.New(c.Engine, d)
	return d
}

// wall is the engine's time that corresponds to now.
func (d *driver) wall() time.Duration {
	return time.Duration(float64(d.clock.Now().Sub(d.epoch)) * d.speed)
}

// now is a time to give to the engine: while a step is overdue, its end.
func (d *driver) now() time.Duration {
	t := max(d.wall(), d.last)
	if d.busy {
		t = min(t, d.end)
	}
	d.last = t
	return t
}

// seconds converts the engine's time to real seconds.
func (d *driver) seconds(t time.Duration) float64 { return max(0, t.Seconds()/d.speed) }

// submit puts all answers into the engine, or none. It returns the engine's
// errors.
func (d *driver) submit(answers []*answer, maxWaiting int) error {
	d.mu.Lock()
	defer d.mu.Unlock()
	if d.closed {
		return errClosed
	}
	now := d.now()
	for i, a := range answers {
		a.req.Payload = a
		err := engine.ErrFull
		if maxWaiting == 0 || d.eng.Stats().Waiting < maxWaiting {
			err = d.eng.Submit(&a.req, now)
		}
		if err != nil {
			for _, b := range answers[:i] {
				d.eng.Cancel(&b.req, now)
			}
			return err
		}
	}
	d.start(now)
	return nil
}

// cancel takes answers that are not done out of the engine.
func (d *driver) cancel(answers []*answer) {
	d.mu.Lock()
	defer d.mu.Unlock()
	now := d.now()
	for _, a := range answers {
		if !a.done.Load() {
			d.eng.Cancel(&a.req, now)
			d.totals.aborted++
		}
	}
}

// release gives back the blocks of a request that has held them.
func (d *driver) release(r *engine.Request) {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.eng.Release(r)
	d.start(d.now())
}

func (d *driver) close() {
	d.mu.Lock()
	defer d.mu.Unlock()
	if d.closed {
		return
	}
	d.closed = true
	close(d.closedCh)
	if d.stop != nil {
		d.stop()
	}
}

func (d *driver) start(now time.Duration) {
	if d.busy || d.closed {
		return
	}
	end, ok := d.eng.Start(now)
	d.tellKV() // what the last step stored, and this one evicted
	if !ok {
		return
	}
	d.busy, d.end = true, end
	d.stop = d.clock.AfterFunc(time.Duration(float64(end-d.wall())/d.speed), d.fire)
}

// fire ends the running step and starts the next.
func (d *driver) fire() {
	d.mu.Lock()
	defer d.mu.Unlock()
	if !d.busy || d.closed {
		return
	}
	at := d.end
	if wall := d.wall(); d.seconds(wall-at) > maxLag.Seconds() {
		at = wall
	}
	d.busy, d.last = false, at
	d.eng.Finish(at)
	d.start(at)
}

// FirstToken implements engine.Events.
func (d *driver) FirstToken(r *engine.Request, now time.Duration) {
	a := r.Payload.(*answer)
	a.cached, a.firstAt, a.lastAt = r.Cached+r.Transferred, now, now
	d.totals.hists[histTTFT].observe(d.seconds(now - r.Submitted))
	d.token(a, 1)
}

// Token implements engine.TokenEvents.
func (d *driver) Token(r *engine.Request, n int, now time.Duration) {
	a := r.Payload.(*answer)
	gap := d.seconds(now - a.lastAt)
	d.totals.hists[histITL].observe(gap)
	d.totals.hists[histTPOT].observe(gap)
	a.lastAt = now
	d.token(a, n)
}

func (d *driver) token(a *answer, n int) {
	if !a.pooling {
		d.totals.generation++
	}
	a.produced.Store(int32(n))
	a.notify()
}

// Finished implements engine.Events.
func (d *driver) Finished(r *engine.Request, now time.Duration) {
	a := r.Payload.(*answer)
	d.totals.finished(d, a, now)
	a.done.Store(true)
	a.notify()
}

// Step implements engine.StepEvents.
func (d *driver) Step(prefill, decode int, _ time.Duration) {
	d.totals.hists[histIteration].observe(float64(prefill + decode))
}

// Stored implements engine.Events.
func (d *driver) Stored(uint64, int) {}

// Evicted implements engine.Events.
func (d *driver) Evicted(hash uint64) {
	if d.publisher != nil {
		d.kv.evicted(hash)
	}
}

// Preempted implements engine.Events.
func (d *driver) Preempted(*engine.Request, time.Duration) {}
