package epp

import (
	"context"
	"errors"
	"strings"
	"sync"
	"time"

	"github.com/fairway-ai/fairway/epp/explain"
	"github.com/fairway-ai/fairway/epp/flowcontrol"
	"github.com/fairway-ai/fairway/epp/metrics"
	"github.com/fairway-ai/fairway/epp/tracing"
	"github.com/fairway-ai/fairway/extproc"
	"github.com/fairway-ai/fairway/extproc/scan"
	"github.com/fairway-ai/fairway/scheduler"
	"github.com/fairway-ai/fairway/scheduler/prefix"
)

// request is one request on its way, and the Observer of its response. It is
// reused after its end.
type request struct {
	picker *Picker
	// told carries what became of the request at a gate.
	told chan passage
	// header is Request.Header of the request in hand, made once.
	header func(string) string

	ext      *extproc.Request // nil once picked
	route    *route
	refused  error // why there is no route
	sched    scheduler.Request
	snap     *scheduler.Snapshot
	decision scheduler.Decision
	blocks   []prefix.Block // sched.Blocks' memory
	media    []uint64       // sched.Media's
	keys     []prefix.Block // sched.Keys' memory
	received time.Time
	bound    time.Time // first bound to an endpoint
	waitsAt  time.Time // when it first had to wait
	counts   *metrics.Request
	record   explain.Ref
	span     tracing.Span
	waiter   flowcontrol.Waiter
	refusal  *refusal // why a gate refused it
	size     int64    // the body's, in bytes
	// asked is the model that the client named, "" when it is the one the server gets.
	asked  string
	api    scan.API
	stream bool
	status int
	first  time.Time
	waited time.Duration // how long it was held
	scores string
	scored []extproc.EndpointScore
	last   time.Time // when the latest tokens passed
	// firstTokenBy is when the client wants the first token.
	firstTokenBy time.Time
	// flow is the fairness id, kept for a policy that counts what flows are served.
	flow string
	// pending is true between the pool's gate and an endpoint; its lock guards it.
	pending bool
	// victim is set for a request that may be ended before its response.
	victim *victim
	// announced is true once the gateway was told to be patient.
	announced bool
	reporting reporting

	mu         sync.Mutex // guards what follows
	flight     scheduler.Flight
	stages     stages
	endpoint   scheduler.Endpoint // whose Load the flight is on
	gate       *gate              // the endpoint's; nil when that has left the pool
	dispatched time.Time
	generation uint64
	stop       func() bool // the prefill estimate's timer
}

func newRequest(p *Picker) *request {
	r := &request{picker: p, told: make(chan passage, 1)}
	r.header = func(name string) string {
		if r.ext == nil {
			return ""
		}
		return r.ext.Header(name)
	}
	return r
}

// begin takes over what the decision needs of req.
func (r *request) begin(req *extproc.Request) {
	p := r.picker
	r.ext, r.received = req, req.Received
	if r.received.IsZero() {
		r.received = p.clock.Now()
	}
	r.blocks = append(r.blocks[:0], req.Body.Blocks...)
	r.media = append(r.media[:0], req.Body.Media...)
	r.api, r.stream = req.Body.API, req.Body.Stream
	r.sched = scheduler.Request{
		ID:              req.ID,
		Model:           req.Body.Model,
		PromptTokens:    req.Body.PromptTokens(),
		MaxOutputTokens: req.Body.MaxTokens,
		Images:          req.Body.Images,
		Media:           r.media,
		Now:             r.received,
		Blocks:          r.blocks,
		Session:         session(req.Header(HeaderSession)),
		Header:          r.header,
		FairnessID:      fairnessID(req, p.o.SessionHeaders),
		Seed:            p.seed.Add(0x9e3779b97f4a7c15),
	}
	if req.HasSubset && !p.o.IgnoreSubset {
		r.sched.Subset, r.sched.HasSubset = req.Subset, true
	}
	model := r.sched.Model
	if r.route, r.refused = p.routes.Load().find(req.Pool, model); r.refused != nil {
		model = metrics.Other // what nobody serves must not crowd out what somebody does
	} else {
		if name := objective(req); name != "" && p.o.Priority != nil {
			if priority, ok := p.o.Priority(r.route.name, name); ok {
				r.sched.Priority = priority
			}
		}
		r.rewrite(req)
	}
	target := model
	if r.asked != "" {
		target = r.sched.Model
	}
	if p.o.Flow != nil {
		r.size, r.firstTokenBy = req.BodyBytes, firstTokenBy(req, r.received)
		if p.countsFlows {
			r.flow = strings.Clone(r.sched.FairnessID)
		}
	}
	r.counts = p.o.Metrics.Request(model, target, r.sched.FairnessID, r.sched.Priority)
	r.counts.Started(req.BodyBytes)
	r.span = p.o.Tracer.Start(r.header, r.received)
}

// choose finds the endpoint and gets the request past its gate.
func (r *request) choose(ctx context.Context, req *extproc.Request) error {
	p := r.picker
	if r.refused != nil {
		return r.refused
	}
	r.route.state.endpoints.Active()
	if p.o.Admission != nil {
		if err := p.o.Admission.Admit(ctx, r.route.name, &r.sched); err != nil {
			return err
		}
	}
	r.findKeys(ctx, req)
	if err := r.admit(ctx, req); err != nil {
		return err
	}
	for n := 1; ; n++ {
		if err := r.schedule(); err != nil {
			return err
		}
		if r.decision.Cached == 0 && onlyIfAvailable(req.Header(headerPrefer)) {
			return errNotCached
		}
		at, err := r.enter(ctx, req, n >= maxBinds)
		if err != nil || at == passed {
			return err
		}
		r.unbind()
	}
}

// schedule runs one scheduling cycle on the current snapshot.
func (r *request) schedule() error {
	p := r.picker
	r.snap = r.route.state.endpoints.Snapshot()
	var ex *scheduler.Explanation
	if p.o.Explain != nil || p.o.EmitScores {
		ex = p.explanations.Get().(*scheduler.Explanation)
	}
	start := p.elapsed()
	err := r.route.scheduler.Schedule(&r.sched, r.snap, &r.decision, ex)
	if err == nil {
		if r.route.policy == nil && p.o.LearnDestinations && !p.lists.taken(r.received) {
			r.decision.Ranked = r.decision.Ranked[:1]
		}
		e := &r.snap.Endpoints[r.decision.Ranked[0]]
		p.o.Metrics.Scheduled(p.elapsed()-start, r.sched.Model, e.ID, e.Address)
		p.o.Metrics.Prefix(r.decision.Cached, r.sched.PromptTokens, scan.BytesPerToken)
		if r.decision.Staged {
			p.o.Metrics.Disaggregated(r.counts, r.route.scheduler.Policy().Name(), len(r.decision.Prefill) > 0, len(r.decision.Encode) > 0)
		}
	} else {
		p.o.Metrics.Unscheduled(p.elapsed()-start, r.sched.Model)
	}
	if ex == nil {
		return err
	}
	if err == nil && p.o.EmitScores {
		r.scored = r.score(ex)
		r.scores = scores(r.scored)
	}
	if p.o.Explain != nil {
		p.o.Explain.Record(&r.record, explain.Input{
			ID: r.sched.ID, Time: r.received, Pool: r.route.name, Model: r.sched.Model,
			PromptTokens: r.sched.PromptTokens, KeysKnown: r.sched.KeysKnown, Explanation: ex, Snapshot: r.snap, Err: err,
		})
	}
	ex.Reset()
	p.explanations.Put(ex)
	return err
}

// enter binds the request to the decision's endpoint and waits at its gate, or
// passes without a look at it when force is set.
func (r *request) enter(ctx context.Context, req *extproc.Request, force bool) (passage, error) {
	e := &r.snap.Endpoints[r.decision.Ranked[0]]
	now := r.picker.clock.Now()
	// Whoever a policy does not hold makes room for those whom the one before it did.
	g := r.route.state.gateOf(e.Load)
	hold := r.route.hold && !force
	if g == nil && hold {
		return gone, nil
	}
	r.mu.Lock()
	r.endpoint, r.gate = *e, g
	r.bindStages(now)
	uncached := r.uncached(r.decision.Uncached)
	r.flight.Bind(e.Load, uncached, r.sched.PromptTokens)
	r.flight.Expect(r.decision.Output)
	r.flight.Await(r.decision.AwaitsAdapter)
	r.mu.Unlock()
	if r.bound.IsZero() {
		r.bound = now
	}
	if r.pending {
		r.route.state.flow.settle(r, now)
	}
	if !hold {
		r.dispatch(now, uncached)
		return passed, nil
	}
	switch at := g.enter(r, now); at {
	case waits:
		return r.wait(ctx, req, g)
	case unwilling:
		return gone, req.Unheld()
	default:
		return at, nil
	}
}

// wait blocks until the gate says what became of the request.
func (r *request) wait(ctx context.Context, req *extproc.Request, g *gate) (passage, error) {
	p := r.picker
	if r.waitsAt.IsZero() {
		r.waitsAt = p.clock.Now()
	}
	if err := r.tell(req); err != nil {
		return r.giveUp(g, err)
	}
	select {
	case at := <-r.told:
		r.waited = p.clock.Now().Sub(r.waitsAt)
		return at, nil
	case <-ctx.Done():
		return r.giveUp(g, ctx.Err())
	}
}

// waitless reports whether the request goes elsewhere rather than wait.
func (r *request) waitless() bool { return r.ext != nil && r.ext.Unheld() != nil }

// holdUntil is when a request that an endpoint refuses now is sent all the same.
func (r *request) holdUntil(now time.Time) time.Time {
	from := r.bound
	if from.IsZero() {
		from = now
	}
	return from.Add(holdTime(r.picker.o.MaxHold))
}

// holdTime is how long a request is held when the gateway has been told d: a
// little less, for the answer to arrive in time.
func holdTime(d time.Duration) time.Duration { return d - min(d/10, time.Second) }

// tell announces to the gateway, once, that the answer may take a while.
func (r *request) tell(req *extproc.Request) error {
	if r.announced {
		return nil
	}
	r.announced = true
	return req.Hold(r.picker.patience)
}

// giveUp takes the request out of its gate because of err.
func (r *request) giveUp(g *gate, err error) (passage, error) {
	if !g.leave(r) {
		<-r.told // it was told something in the meantime; that no longer matters
	}
	return gone, err
}

// dispatch counts the request as sent. The gate calls it under its lock.
func (r *request) dispatch(now time.Time, uncached int64) {
	r.mu.Lock()
	r.flight.Dispatch(now, uncached)
	r.dispatched = now
	slot, load := r.endpoint.Slot, r.endpoint.Load
	r.mu.Unlock()
	r.cached(slot, load)
}

// unbind takes the request off its endpoint, to be bound anew.
func (r *request) unbind() {
	if g := r.route.state.flow; g != nil && !r.pending {
		g.unsettle(r)
	}
	r.mu.Lock()
	now := r.picker.clock.Now()
	r.flight.End(now)
	r.flight = scheduler.Flight{}
	r.stages.end(now, false)
	r.stages = stages{}
	r.gate = nil
	r.mu.Unlock()
}

// answer is the pick.
func (r *request) answer(req *extproc.Request) extproc.Pick {
	p := r.picker
	now := p.clock.Now()
	if r.announced {
		p.o.Metrics.Held(r.route.name, r.counts, metrics.HeldDispatched, r.waited)
		p.o.Explain.Held(r.record, r.waited)
	}
	p.o.Metrics.Processed(now.Sub(r.received))
	r.estimatePrefill()
	pick := extproc.Pick{Destinations: r.destination(), Observer: r.observer()}
	if req.Pool == "" {
		pick.SetHeaders = r.route.named
	}
	pick.SetHeaders = r.stageHeaders(pick.SetHeaders)
	if r.scores != "" {
		pick.SetHeaders, pick.Scores = with(pick.SetHeaders, HeaderScores, r.scores), r.scored
	}
	if tp := r.span.TraceParent(); tp != "" {
		pick.SetHeaders = with(pick.SetHeaders, tracing.HeaderTraceParent, tp)
	}
	if p.o.ExplainHeader && p.o.Explain != nil && req.Header(HeaderExplain) == "1" {
		if line := p.o.Explain.Line(r.record); line != "" {
			pick.ResponseHeaders = with(nil, HeaderExplanation, line)
		}
	}
	r.renamed(&pick)
	r.victimize(&pick)
	r.span.Picked(r.route.name, r.endpoint.ID, r.sched.Model, r.sched.PromptTokens, r.decision.Cached, r.waited)
	// Strings of the request's headers would keep all of them in memory.
	r.ext, r.snap = nil, nil
	r.sched.FairnessID, r.sched.Subset = "", nil
	return pick
}

// with returns hs and one more header, in memory of its own.
func with(hs []extproc.Header, name, value string) []extproc.Header {
	return append(hs[:len(hs):len(hs)], extproc.Header{Name: name, Value: value})
}

// prefillMargin is how much longer than estimated a prefill is assumed to take
// when its end cannot be seen.
const prefillMargin = 1.5

// estimatePrefill arranges for a request whose answer comes in one piece to leave
// the prefill accounting when its prompt should have been processed: the answer
// itself comes only after the whole decode, and would keep the endpoint looking
// busy until then.
func (r *request) estimatePrefill() {
	if r.stream || r.api == scan.Embeddings || r.sched.PromptTokens == 0 {
		return
	}
	p := r.picker
	load := r.endpoint.Load
	if !r.prefillsItself() {
		load = r.stages.prefill.Load()
	}
	v := load.View()
	rate := v.PrefillRate
	if rate <= 0 {
		rate = scheduler.DefaultPrefillRate
	}
	d := time.Duration(prefillMargin * float64(v.Prefilling) / rate * float64(time.Second))
	r.mu.Lock()
	defer r.mu.Unlock()
	generation := r.generation
	r.stop = p.clock.AfterFunc(d, func() {
		r.mu.Lock()
		if r.generation != generation {
			r.mu.Unlock()
			return
		}
		now := p.clock.Now()
		r.flight.Prefilled(now)
		r.stages.prefill.Prefilled(now)
		g, stage := r.gate, r.stageGate()
		r.mu.Unlock()
		g.release(now)
		stage.release(now)
	})
}

// reject ends a request that was not picked.
func (r *request) reject(err error) {
	now := r.picker.clock.Now()
	code, status := errorCode(err), 0
	var rej *extproc.Rejection
	if errors.As(err, &rej) {
		status = rej.Status
	}
	if r.announced {
		r.picker.o.Metrics.Held(r.route.name, r.counts, r.heldOutcome(err), now.Sub(r.waitsAt))
	}
	r.counts.Failed(code)
	r.counts.Ended(metrics.Outcome{Duration: now.Sub(r.received)})
	r.picker.o.Metrics.Processed(now.Sub(r.received))
	r.picker.o.Explain.Finish(r.record, explain.Outcome{Status: status, Seconds: now.Sub(r.received).Seconds()})
	r.span.End(now, status, err.Error())
	r.recycle(now)
}

// recycle takes the request out of all counters and gives it back.
func (r *request) recycle(now time.Time) {
	r.mu.Lock()
	r.flight.End(now)
	r.flight = scheduler.Flight{}
	g, stage, stop := r.gate, r.stageGate(), r.stop
	r.stages.end(now, false)
	r.stages = stages{}
	r.gate, r.stop = nil, nil
	r.endpoint = scheduler.Endpoint{}
	r.dispatched = time.Time{}
	r.generation++
	r.mu.Unlock()
	if stop != nil {
		stop()
	}
	g.release(now)
	stage.release(now)
	if r.route != nil && r.route.state.flow != nil {
		if flow := r.route.state.flow; r.pending {
			flow.settle(r, now)
		} else {
			flow.ended(r, now)
		}
	}
	r.ext, r.route, r.refused, r.snap, r.counts = nil, nil, nil, nil, nil
	r.waiter, r.refusal, r.flow = flowcontrol.Waiter{}, nil, ""
	r.sched = scheduler.Request{}
	r.decision = scheduler.Decision{
		Ranked: r.decision.Ranked[:0], Prefill: r.decision.Prefill[:0], Encode: r.decision.Encode[:0],
	}
	if cap(r.blocks) > maxKeptBlocks {
		r.blocks = nil
	}
	if cap(r.keys) > maxKeptBlocks {
		r.keys = nil
	}
	r.received, r.bound, r.first, r.last, r.waitsAt = time.Time{}, time.Time{}, time.Time{}, time.Time{}, time.Time{}
	r.record, r.span = explain.Ref{}, tracing.Span{}
	r.status, r.waited, r.scores, r.scored, r.asked, r.announced = 0, 0, "", nil, "", false
	r.victim, r.reporting = nil, reporting{}
	r.picker.requests.Put(r)
}

// maxKeptBlocks bounds the memory an idle request keeps.
const maxKeptBlocks = 16 << 10
