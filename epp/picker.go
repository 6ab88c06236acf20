package epp

import (
	"context"
	"errors"
	"log/slog"
	"math/rand/v2"
	"sync"
	"sync/atomic"
	"time"

	"github.com/fairway-ai/fairway/epp/explain"
	"github.com/fairway-ai/fairway/epp/flowcontrol"
	"github.com/fairway-ai/fairway/epp/metrics"
	"github.com/fairway-ai/fairway/epp/report"
	"github.com/fairway-ai/fairway/epp/tracing"
	"github.com/fairway-ai/fairway/extproc"
	"github.com/fairway-ai/fairway/scheduler"
)

// Admission decides whether a request may be scheduled at all, and when: the
// place for priorities, fairness and shedding.
type Admission interface {
	// Admit returns when the request may go on. It may block until ctx ends. A
	// *extproc.Rejection error is answered to the client as it says.
	Admit(ctx context.Context, pool string, r *scheduler.Request) error
}

// Options configure a [Picker].
type Options struct {
	// Pools are the pools to pick from; [Picker.SetPools] replaces them.
	Pools []Pool
	// Hold makes pools with the default policy hold requests that their endpoint
	// cannot start yet. Pools with a configured policy never hold.
	Hold bool
	// MaxHold bounds how long a request is held, as the gateway is told; 0 means
	// DefaultMaxHold. It must not exceed the gateway's maximum message timeout.
	MaxHold time.Duration
	// MaxDestinations is how many endpoints the default policy names for a request, the
	// pick included, best first; 0 means DefaultMaxDestinations.
	MaxDestinations int
	// LearnDestinations names only one until the gateway has said which endpoint served
	// a request: gateways that never do may take no list.
	LearnDestinations bool
	// Admission is asked before scheduling; nil admits everything.
	Admission Admission
	// Flow makes requests wait for a pool that is saturated; nil lets them through.
	Flow *flowcontrol.Config
	// Shed refuses requests by their priority at once; nil refuses none. It is asked
	// before a request would wait.
	Shed *flowcontrol.Shedder
	// Priority is the priority of requests to a pool that name an objective; ok is
	// false when there is no such objective, and the priority then 0. nil knows none.
	Priority func(pool, objective string) (priority int, ok bool)
	// Rewrite is the model that a request to a pool for model is sent for instead, and
	// the name of what says so; ok is false when the model stays. nil leaves all, but
	// for the ones that x-llm-d-model-name-rewrite names.
	Rewrite func(pool, model string) (target, by string, ok bool)
	// Share tells other replicas what this one does; nil for nobody.
	Share Sharer
	// Metrics receives what happens; nil means nobody looks.
	Metrics *metrics.Metrics
	// Explain keeps the latest decisions; nil keeps none.
	Explain *explain.Ring
	// ExplainHeader answers "x-fairway-explain: 1" with x-fairway-explanation.
	ExplainHeader bool
	// EmitScores tells what the picked endpoints were chosen by: as dynamic metadata and
	// as x-gateway-destination-endpoint-scores on the request.
	EmitScores bool
	// MarkResponses sets x-went-into-resp-headers on responses, as llm-d's picker does.
	MarkResponses bool
	// PoolHeader sets x-fairway-pool on requests whose pool was chosen here.
	PoolHeader bool
	// SessionHeaders are the request headers, in lower case, of which the first that says
	// something is the flow of a request that names none. Without any, all such requests
	// share a flow.
	SessionHeaders []string
	// Report computes numbers from what responses use, told as dynamic metadata; nil
	// tells none.
	Report *report.Reporter
	// ServedHeader sets x-conformance-test-served-endpoint on responses: what the
	// gateway says served the request.
	ServedHeader bool
	// IgnoreSubset ignores the endpoint subset the gateway allows.
	IgnoreSubset bool
	// Tracer records spans; nil records none.
	Tracer *tracing.Tracer
	// Log gets what an operator must know; nil discards it.
	Log *slog.Logger
	// Clock is the time; nil is the real one.
	Clock Clock
	// Seed makes random choices repeatable; 0 seeds from the system.
	Seed uint64
}

// DefaultMaxHold bounds how long a request is held.
const DefaultMaxHold = 30 * time.Second

// DefaultMaxDestinations is how many endpoints the default policy names for a request,
// and MaxDestinations how many it can.
const (
	DefaultMaxDestinations = 4
	MaxDestinations        = scheduler.MaxAlternatives
)

// Patience is how long a request may wait in all with these Options, for its pool and
// for its endpoint. The gateway must wait as long.
func Patience(maxHold time.Duration, flow *flowcontrol.Config) time.Duration {
	if maxHold <= 0 {
		maxHold = DefaultMaxHold
	}
	if flow != nil {
		maxHold += flow.Longest()
	}
	return maxHold
}

// maxBinds bounds how often a request is bound anew because its endpoint left
// the pool; after that it is sent without being held.
const maxBinds = 8

// Picker picks endpoints. It is safe for concurrent use.
type Picker struct {
	o      Options
	log    *slog.Logger
	clock  Clock
	routes atomic.Pointer[routes]
	seed   atomic.Uint64
	// patience is how long a request may wait in all, as the gateway is told.
	patience time.Duration
	// elapsed is for durations.
	elapsed func() time.Duration
	// countsFlows: a policy wants to know what flows were served with.
	countsFlows bool
	// served is Options.ServedHeader as it is now.
	served atomic.Bool
	lists  lists

	requests     sync.Pool
	explanations sync.Pool

	mu     sync.Mutex
	states map[Endpoints]*poolState // guarded by mu
	// leaving is true once Dismiss was called; guarded by mu.
	leaving bool
}

var _ extproc.Picker = (*Picker)(nil)

// New returns a picker over o.Pools.
func New(o Options) (*Picker, error) {
	p := &Picker{o: o, log: o.Log, clock: o.Clock, states: map[Endpoints]*poolState{}}
	if p.log == nil {
		p.log = slog.New(slog.DiscardHandler)
	}
	if p.clock == nil {
		p.clock = systemClock{}
	}
	if p.o.MaxHold <= 0 {
		p.o.MaxHold = DefaultMaxHold
	}
	if p.o.MaxDestinations <= 0 {
		p.o.MaxDestinations = DefaultMaxDestinations
	}
	p.elapsed = stopwatch(p.clock)
	p.patience = Patience(p.o.MaxHold, o.Flow)
	p.countsFlows = o.Flow != nil && o.Flow.CountsTokens()
	if p.o.Metrics == nil {
		p.o.Metrics = metrics.New(metrics.Options{})
	}
	if o.Seed == 0 {
		o.Seed = rand.Uint64()
	}
	p.seed.Store(o.Seed)
	p.SetServedHeader(o.ServedHeader)
	p.requests.New = func() any { return newRequest(p) }
	p.explanations.New = func() any { return new(scheduler.Explanation) }
	p.routes.Store(&routes{})
	if err := p.SetPools(o.Pools); err != nil {
		return nil, err
	}
	p.o.Metrics.Watch(p.poolViews)
	return p, nil
}

// SetPools replaces the pools. Requests under way keep theirs; a request held for an
// endpoint of a pool that is gone is sent at once, one that waits for such a pool is
// refused. On error nothing changes.
func (p *Picker) SetPools(pools []Pool) error {
	p.mu.Lock()
	defer p.mu.Unlock()
	all := make([]*route, 0, len(pools))
	states := make(map[Endpoints]*poolState, len(pools))
	last := p.routes.Load()
	before := last.byName
	for i := range pools {
		c := &pools[i]
		if r := before[c.Name]; r != nil && r.serves(c) {
			all = append(all, r)
			continue
		}
		r := &route{name: c.Name, models: c.Models, onlyNamed: c.Named, policy: c.Policy, index: c.Endpoints.Index(), cache: c.Cache, lists: c.Lists}
		policy := c.Policy
		if policy == nil {
			policy = scheduler.Priced{Alternatives: p.o.MaxDestinations}
			r.hold = p.o.Hold
		}
		r.scheduler = p.newScheduler(r, policy)
		if s, ok := policy.(scheduler.Stamper); ok {
			r.stamps = s.Stamps()
		}
		if p.o.PoolHeader {
			r.named = []extproc.Header{{Name: HeaderPool, Value: c.Name}}
		}
		all = append(all, r)
	}
	rs, err := newRoutes(all)
	if err != nil {
		p.forgetPlugins(all, before)
		return err
	}
	for i := range pools {
		e := pools[i].Endpoints
		s := states[e]
		if s == nil {
			if s = p.states[e]; s == nil {
				s = newPoolState(e, &p.o, p.clock, pools[i].Name)
				if p.leaving && s.flow != nil {
					s.flow.dismiss()
				}
			}
			states[e] = s
		}
		if all[i].state == nil { // else requests may be reading it
			all[i].state = s
		}
	}
	old := p.states
	p.states = states
	p.routes.Store(rs)
	p.forgetPlugins(last.all, rs.byName)
	for e, s := range old {
		if states[e] == nil {
			s.close()
		}
	}
	return nil
}

// SetServedHeader changes Options.ServedHeader, for the responses from now on.
func (p *Picker) SetServedHeader(served bool) { p.served.Store(served) }

// Close stops watching the pools. It sends every request that is held for an
// endpoint, and refuses those that wait for their pool.
func (p *Picker) Close() {
	if err := p.SetPools(nil); err != nil {
		p.log.Error("closing the picker", "error", err)
	}
}

// Dismiss refuses the requests that wait for their pool, and from then on those that
// would have to: the process is about to end, and another one may serve them. Those
// that are held for their endpoint are not touched.
func (p *Picker) Dismiss() {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.leaving = true
	for _, r := range p.routes.Load().all {
		if r.state.flow != nil {
			r.state.flow.dismiss()
		}
	}
}

// Pick implements extproc.Picker.
func (p *Picker) Pick(ctx context.Context, req *extproc.Request) (extproc.Pick, error) {
	if lists := p.listing(req); lists != nil {
		return listed(req, lists)
	}
	r := p.requests.Get().(*request)
	r.begin(req)
	done := false
	defer func() {
		if !done {
			r.reject(errPanic)
		}
	}()
	err := r.choose(ctx, req)
	if err != nil {
		err = p.rejection(ctx, err)
		done = true
		r.reject(err)
		return extproc.Pick{}, err
	}
	pick := r.answer(req)
	done = true
	return pick, nil
}

// errPanic is what a request ends with when a plugin panics; the panic goes on to
// the caller.
var errPanic = errors.New("a plugin panicked")

// rejection turns a scheduling error into what the client is told.
func (p *Picker) rejection(ctx context.Context, err error) error {
	switch {
	case ctx.Err() != nil:
		return ctx.Err()
	case errors.Is(err, scheduler.ErrFiltered):
		return &extproc.Rejection{Status: 429, Code: "rejected_saturated", Message: err.Error(), Headers: droppedSaturated}
	case errors.Is(err, scheduler.ErrProfile):
		return &extproc.Rejection{Status: 400, Code: "profile_not_found", Message: err.Error()}
	case errors.Is(err, scheduler.ErrNoEndpoints), errors.Is(err, scheduler.ErrSubset):
		return &extproc.Rejection{Status: 503, Code: "no_endpoints", Message: err.Error(), Headers: droppedNoEndpoints}
	}
	return err
}

// poolViews is what the metrics show of the pools when they are scraped.
func (p *Picker) poolViews(yield func(metrics.PoolView) bool) {
	for _, r := range p.routes.Load().all {
		v := metrics.PoolView{Name: r.name, Snapshot: r.state.endpoints.Snapshot(), Held: r.state.held(), Index: r.index}
		if r.state.flow != nil {
			v.Flow = r.state.flow.view(p.o.Flow)
		}
		if !yield(v) {
			return
		}
	}
}
