package replay

import (
	"context"
	"fmt"
	"math/rand/v2"
	"time"

	"github.com/fairway-ai/fairway/scheduler"
	"github.com/fairway-ai/fairway/scheduler/prefix"
	"github.com/fairway-ai/fairway/sim/engine"
	"github.com/fairway-ai/fairway/sim/workload"
)

// IndexMode says what the router knows of the engines' caches.
type IndexMode string

const (
	// Exact follows the engines' own cache events.
	Exact IndexMode = "exact"
	// Approximate follows the router's dispatches, with the engines' capacity.
	Approximate IndexMode = "approximate"
)

// IndexModes are all of them.
func IndexModes() []IndexMode { return []IndexMode{Exact, Approximate} }

// Config describes one replay.
type Config struct {
	// Engine is the model server; Blocks is its cache in blocks of the workload.
	Engine engine.Config
	// EngineOf overrides Engine for an endpoint, to make a mixed fleet.
	EngineOf func(endpoint int, c engine.Config) engine.Config
	// Endpoints is the number of model servers.
	Endpoints int
	// Index is what the router knows of the caches.
	Index IndexMode
	// Staleness is how old scraped metrics are at worst; the period of the scrapes.
	Staleness time.Duration
	// Replicas is the number of routers, among which requests are spread by a hash;
	// 0 means one. Delay is how long after a decision the other routers know of it;
	// with Alone set they never do.
	Replicas int
	Delay    time.Duration
	Alone    bool
	// Seed makes ties, sampling and everything else reproducible.
	Seed uint64
	// Progress, when not nil, is called now and then with the requests finished.
	Progress func(done, total int)
}

// HalfSpeed is an EngineOf that makes every other endpoint half as fast.
func HalfSpeed(endpoint int, c engine.Config) engine.Config {
	if endpoint%2 == 1 {
		c.PrefillRate /= 2
		c.StepBase *= 2
		c.StepPerSeq *= 2
		c.StepPerContextToken *= 2
	}
	return c
}

// Sample is what happened to one request.
type Sample struct {
	// TTFT and E2E are measured from arrival; zero for a request that failed.
	TTFT, E2E time.Duration
	// Prompt and Cached are tokens, Cached as the engine found it.
	Prompt, Cached int
	// Held is the time in the hold queue.
	Held time.Duration
	// OK is true when the request was answered to its last token.
	OK bool
}

// Run replays a workload under a policy and returns a sample per request.
func Run(ctx context.Context, w *workload.Workload, p Policy, c Config) ([]Sample, error) {
	if c.Endpoints <= 0 {
		return nil, fmt.Errorf("endpoints: must be at least 1, not %d", c.Endpoints)
	}
	if c.Replicas < 0 || c.Delay < 0 {
		return nil, fmt.Errorf("replicas: %d with a delay of %v; neither may be negative", c.Replicas, c.Delay)
	}
	r := newRun(w, p, c)
	if err := r.loop(ctx); err != nil {
		return nil, err
	}
	return r.samples, nil
}

// request is a workload request on its way.
type request struct {
	index  int
	sched  scheduler.Request
	held   scheduler.Held
	flight scheduler.Flight
	eng    engine.Request
	at     time.Duration // arrival
	seat   *seat         // where it is bound
}

// endpoint is one simulated model server.
type endpoint struct {
	run    *run
	number int
	eng    *engine.Engine
	blocks int
	busy   bool
	end    time.Duration // of the running step, while busy
}

type run struct {
	cfg       Config
	work      *workload.Workload
	policy    Policy
	routers   []*router
	endpoints []*endpoint
	rng       *rand.Rand
	samples   []Sample
	children  map[int][]int // by think time: a request's followers
	later     laterHeap     // followers whose parent has ended
	news      news          // on its way from router to router
	adapters  bool          // some request is for one
	now       time.Duration
	finished  int
}

func newRun(w *workload.Workload, p Policy, c Config) *run {
	r := &run{
		cfg: c, work: w, policy: p,
		rng:     rand.New(rand.NewPCG(c.Seed, 0x5eed)),
		samples: make([]Sample, len(w.Requests)),
	}
	for i := range w.Requests {
		r.adapters = r.adapters || w.Requests[i].Adapter != ""
	}
	for i := range c.Endpoints {
		e := &endpoint{run: r, number: i}
		ec := c.Engine
		ec.BlockTokens = w.BlockTokens
		ec = ec.WithDefaults()
		if c.EngineOf != nil {
			ec = c.EngineOf(i, ec)
		}
		e.eng, e.blocks = engine.New(ec, e), ec.Blocks
		r.endpoints = append(r.endpoints, e)
	}
	for i := range max(1, c.Replicas) {
		r.routers = append(r.routers, newRouter(r, i))
	}
	r.scrape()
	if w.ByThinkTime {
		r.children = make(map[int][]int)
		for i := range w.Requests {
			if parent := w.Requests[i].Parent; parent >= 0 {
				r.children[parent] = append(r.children[parent], i)
			}
		}
	}
	return r
}

// scrape reads the engines' metrics, as the pools do.
func (r *run) scrape() {
	for i, e := range r.endpoints {
		s := e.eng.Stats()
		var active, queued []string
		if r.adapters {
			active, queued = e.eng.Adapters()
		}
		for _, d := range r.routers {
			m := scheduler.Metrics{
				Known: true, UnixNano: int64(r.now), Waiting: int32(s.Waiting), Running: int32(s.Running),
				KVUsage: float32(s.KVUsage), BlockTokens: int32(r.work.BlockTokens), Blocks: int32(e.blocks),
			}
			if r.adapters {
				m.MaxLoRA, m.ActiveLoRA, m.WaitingLoRA = int32(e.eng.Config().MaxLoRA), active, queued
				d.snap.Adapters = d.snap.Adapters.With(active).With(queued)
				m.Adapters = d.snap.Adapters.Use(active, queued)
			}
			// What the router does not know of, another one sent.
			others := max(0, m.Waiting+m.Running-d.seats[i].load.View().Dispatched)
			m.OtherRunning = min(others, m.Running)
			m.OtherWaiting = others - m.OtherRunning
			d.snap.Metrics[i] = m
		}
	}
	for _, d := range r.routers {
		d.snap.Version++
		d.estimate()
	}
}

const never = time.Duration(1<<63 - 1)

// loop runs events in order of time until every request has ended.
func (r *run) loop(ctx context.Context) error {
	next, total := 0, len(r.work.Requests)
	scrapeAt := r.cfg.Staleness
	for steps := 0; r.finished < total; steps++ {
		if steps%4096 == 0 {
			if err := ctx.Err(); err != nil {
				return err
			}
			if r.cfg.Progress != nil {
				r.cfg.Progress(r.finished, total)
			}
		}
		arrival := never
		for next < total && r.followsParent(next) {
			next++
		}
		if next < total {
			arrival = r.work.Requests[next].At
		}
		follow := never
		if len(r.later) > 0 {
			follow = r.later[0].at
		}
		step, which := never, -1
		for i, e := range r.endpoints {
			if e.busy && e.end < step {
				step, which = e.end, i
			}
		}
		told := r.news.next()
		first := min(arrival, follow, step, told)
		if min(arrival, follow, step) == never && len(r.news) == 0 {
			return fmt.Errorf("replay stalled at %v with %d of %d requests finished", r.now, r.finished, total)
		}
		if r.cfg.Staleness > 0 && scrapeAt <= first {
			// Nothing changes between two events, so scrapes in between read the same.
			r.now = first - (first-scrapeAt)%r.cfg.Staleness
			r.scrape()
			scrapeAt = r.now + r.cfg.Staleness
			continue
		}
		r.now = first
		switch first {
		case told:
			r.news.deliver(r.now)
		case step:
			e := r.endpoints[which]
			// Requests sent from the step's events wait for the next step.
			e.eng.Finish(r.now)
			e.busy = false
			e.start()
		case follow:
			r.arrive(r.later.pop().index)
		default:
			r.arrive(next)
			next++
		}
	}
	if r.cfg.Progress != nil {
		r.cfg.Progress(r.finished, total)
	}
	return nil
}

func (r *run) followsParent(i int) bool {
	return r.work.ByThinkTime && r.work.Requests[i].Parent >= 0
}

func (r *run) clock() time.Time { return time.Unix(0, int64(r.now)) }

// arrive has a request decided upon by the router that gets it.
func (r *run) arrive(i int) {
	src := &r.work.Requests[i]
	q := &request{index: i, at: r.now}
	blocks := make([]prefix.Block, len(src.Hashes))
	for k, h := range src.Hashes {
		blocks[k] = prefix.Block{Hash: h, Tokens: int32(min(r.work.BlockTokens, src.Input-k*r.work.BlockTokens))}
	}
	q.sched = scheduler.Request{Model: src.Adapter, PromptTokens: int64(src.Input), Blocks: blocks, Seed: r.rng.Uint64()}
	q.eng = engine.Request{Adapter: src.Adapter, Hashes: src.Hashes, PromptTokens: src.Input, OutputTokens: src.Output, Payload: q}
	r.samples[i].Prompt = src.Input
	if r.cfg.Staleness == 0 {
		r.scrape()
	}
	r.routers[spread(i, len(r.routers))].decide(q)
}

// lose counts a request that was not served.
func (r *run) lose(q *request) {
	q.flight.End(r.clock())
	r.ended(q)
}

func (r *run) ended(q *request) {
	r.finished++
	for _, child := range r.children[q.index] {
		r.later.push(later{r.now + r.work.Requests[child].Think, child})
	}
}

func (e *endpoint) start() {
	if e.busy {
		return
	}
	if end, ok := e.eng.Start(e.run.now); ok {
		e.busy, e.end = true, end
	}
}

// FirstToken implements engine.Events.
func (e *endpoint) FirstToken(er *engine.Request, now time.Duration) {
	q := er.Payload.(*request)
	s := &e.run.samples[q.index]
	if s.TTFT == 0 {
		s.TTFT, s.Cached = now-q.at, er.Cached
	}
	q.flight.FirstToken(time.Unix(0, int64(now)))
	q.seat.changed()
	q.seat.release()
}

// Finished implements engine.Events.
func (e *endpoint) Finished(er *engine.Request, now time.Duration) {
	q := er.Payload.(*request)
	s := &e.run.samples[q.index]
	s.E2E, s.OK = now-q.at, true
	q.flight.End(time.Unix(0, int64(now)))
	e.run.ended(q)
	q.seat.changed()
	q.seat.release()
}

// Preempted implements engine.Events.
func (e *endpoint) Preempted(*engine.Request, time.Duration) {}

// Stored implements engine.Events.
func (e *endpoint) Stored(hash uint64, tokens int) {
	if e.run.cfg.Index == Exact {
		for _, d := range e.run.routers {
			d.index.Store(int32(e.number), prefix.Block{Hash: hash, Tokens: int32(tokens)})
		}
	}
}

// Evicted implements engine.Events.
func (e *endpoint) Evicted(hash uint64) {
	if e.run.cfg.Index == Exact {
		for _, d := range e.run.routers {
			d.index.Remove(int32(e.number), hash)
		}
	}
}
