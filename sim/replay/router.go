package replay

import (
	"fmt"
	"time"

	"github.com/fairway-ai/fairway/scheduler"
	"github.com/fairway-ai/fairway/scheduler/prefix"
)

// router is one of the replicas that decide: the parts that one process has, and
// what it knows of the others.
type router struct {
	run      *run
	number   int
	sched    *scheduler.Scheduler
	index    *prefix.Index
	snap     scheduler.Snapshot
	seats    []*seat // by endpoint
	decision scheduler.Decision
	unseen   scheduler.Unseen
}

// seat is a router's view of an endpoint.
type seat struct {
	router *router
	at     *endpoint
	load   *scheduler.Load
	queue  scheduler.HoldQueue
	// shares is what each router has there, as far as this one knows.
	shares []scheduler.Share
	told   scheduler.Work // what the others know, or will
}

func newRouter(r *run, number int) *router {
	d := &router{run: r, number: number, index: prefix.New(prefix.Options{})}
	for i, e := range r.endpoints {
		s := &seat{router: d, at: e, load: new(scheduler.Load), shares: make([]scheduler.Share, max(1, r.cfg.Replicas))}
		d.seats = append(d.seats, s)
		d.index.AddEndpoint(int32(i), int64(e.blocks)*int64(r.work.BlockTokens))
		d.snap.Endpoints = append(d.snap.Endpoints, scheduler.Endpoint{
			ID: fmt.Sprintf("sim/%d", i), Address: fmt.Sprintf("10.0.%d.%d:8000", i/250, i%250+1),
			Slot: int32(i), Load: s.load,
		})
	}
	d.snap.Metrics = make([]scheduler.Metrics, len(r.endpoints))
	d.snap.Slots = len(r.endpoints)
	d.sched = scheduler.New(r.policy.New(d.snap.Endpoints), d.index)
	return d
}

// estimate counts what the other routers may be sending.
func (d *router) estimate() {
	n := len(d.run.routers)
	if n == 1 || d.run.cfg.Alone {
		return
	}
	var sent, prompts int64
	loads := make([]*scheduler.Load, len(d.seats))
	for i, s := range d.seats {
		loads[i] = s.load
		for k := range s.shares {
			w := s.shares[k].Work()
			sent, prompts = sent+w.Sent, prompts+w.Prompts
		}
	}
	d.unseen.Observe(d.run.clock(), sent, prompts)
	d.unseen.Reserve(loads, d.number, n, d.run.cfg.Delay)
}

// spread is the router that request i goes to, of n.
func spread(i, n int) int {
	z := (uint64(i) + 1) * 0x9e3779b97f4a7c15
	z = (z ^ z>>30) * 0xbf58476d1ce4e5b9
	return int((z ^ z>>31) % uint64(n))
}

// decide chooses where a request goes, and sends or holds it.
func (d *router) decide(q *request) {
	r := d.run
	if err := d.sched.Schedule(&q.sched, &d.snap, &d.decision, nil); err != nil {
		r.lose(q)
		return
	}
	s := d.seats[d.decision.Ranked[0]]
	q.seat = s
	q.flight.Bind(s.load, d.decision.Uncached, q.sched.PromptTokens)
	q.flight.Await(d.decision.AwaitsAdapter)
	if r.policy.Holds && (s.queue.Len() > 0 || !s.load.Admits()) {
		q.held = scheduler.Held{Request: &q.sched, Since: r.clock(), Uncached: d.decision.Uncached, Payload: q}
		s.queue.Push(&q.held)
		s.release()
	} else {
		s.dispatch(q, d.decision.Uncached)
	}
	s.changed()
}

// dispatch sends a request to the endpoint.
func (s *seat) dispatch(q *request, uncached int64) {
	r := s.router.run
	q.flight.Dispatch(r.clock(), uncached)
	if r.cfg.Index == Approximate {
		s.router.index.Insert(int32(s.at.number), q.sched.Blocks)
		s.tell(func(o *seat) { o.router.index.Insert(int32(s.at.number), q.sched.Blocks) })
	}
	r.samples[q.index].Held = r.now - q.at
	if err := s.at.eng.Submit(&q.eng, r.now); err != nil {
		r.lose(q)
		return
	}
	s.at.start()
}

// release sends held requests while the endpoint takes them.
func (s *seat) release() {
	r := s.router.run
	for s.queue.Len() > 0 {
		rate := s.load.View().PrefillRate
		s.load.SetNext(scheduler.NextOf(s.queue.Next(rate), 0))
		if !s.load.Admits() {
			return
		}
		h := s.queue.Pop(r.clock(), rate, func(h *scheduler.Held) int64 {
			return s.router.sched.Uncached(h.Request, int32(s.at.number))
		})
		s.load.SetNext(scheduler.NextOf(s.queue.Next(rate), 0))
		s.dispatch(h.Payload.(*request), h.Uncached)
		s.changed()
	}
}

// changed tells the other routers what this one has in flight on the endpoint.
func (s *seat) changed() {
	r := s.router.run
	w := s.load.Own()
	if w == s.told {
		return
	}
	s.told = w
	s.tell(func(o *seat) {
		if o.shares[s.router.number].Set(r.clock(), o.load, w) {
			o.release()
		}
	})
}

// tell has f called for every other router's view of the endpoint, when that router
// hears of it.
func (s *seat) tell(f func(other *seat)) {
	r := s.router.run
	if r.cfg.Alone {
		return
	}
	for _, d := range r.routers {
		if d != s.router {
			o := d.seats[s.at.number]
			r.news = append(r.news, item{r.now + r.cfg.Delay, func() { f(o) }})
		}
	}
}

// item is something that a router hears of at a time.
type item struct {
	at   time.Duration
	hear func()
}

// news is in order of time, since all of it takes equally long.
type news []item

// next is when there is something to hear.
func (n news) next() time.Duration {
	if len(n) == 0 {
		return never
	}
	return n[0].at
}

// deliver has heard what there is to hear by now.
func (n *news) deliver(now time.Duration) {
	for len(*n) > 0 && (*n)[0].at <= now {
		i := (*n)[0]
		(*n)[0] = item{}
		*n = (*n)[1:]
		i.hear()
	}
}
