package engine

import (
	"slices"
	"time"
)

// Engine is one model server. It is not safe for concurrent use.
type Engine struct {
	cfg    Config
	events Events
	tokens TokenEvents // nil when not wanted
	steps  StepEvents  // nil when not wanted
	blocks BlockEvents // nil when not wanted

	cache    cache
	offload  offload
	loras    adapters
	waiting  queue
	running  []*Request // in order of admission
	arriving []*Request // in order of admission, in phaseTransfer
	held     int        // requests that have ended and keep their blocks

	stepping bool
	prefill  int // tokens of the running step
	decode   int // sequences of the running step
	encode   int // images of the running step
	// locked is true while the lists are being changed: cancellations from within
	// events wait until they are consistent.
	locked    bool
	cancelled []*Request
	emit      []*Request // requests with a new token, while events are sent

	// A blocked head of the queue is tried again when something was released.
	blocked         *Request
	blockedReleased uint64

	totals totals
}

// New returns an idle engine with an empty cache. Events that implement
// [TokenEvents], [StepEvents], [BlockEvents] or [TierEvents] receive those too. Fields of
// c out of range are the caller's to find, with [Config.Validate].
func New(c Config, ev Events) *Engine {
	e := &Engine{cfg: c.WithDefaults(), events: ev}
	e.tokens, _ = ev.(TokenEvents)
	e.steps, _ = ev.(StepEvents)
	e.blocks, _ = ev.(BlockEvents)
	e.cache.init(e.cfg.Blocks, ev.Evicted)
	tiers, _ := ev.(TierEvents)
	e.offload.init(e.cfg.CPUBlocks, tiers)
	e.loras = adapters{max: e.cfg.MaxLoRA, active: make(map[string]int)}
	return e
}

// Config returns the engine's configuration with defaults filled in.
func (e *Engine) Config() Config { return e.cfg }

// blocksFor is the blocks that hold a number of tokens.
func (e *Engine) blocksFor(tokens int) int {
	return (tokens + e.cfg.BlockTokens - 1) / e.cfg.BlockTokens
}

// Submit puts a request at the end of the queue. It returns [ErrFull],
// [ErrTooLong] or [ErrSubmitted], and then the request is not in the engine.
func (e *Engine) Submit(r *Request, now time.Duration) error {
	if r.phase != phaseNew {
		return ErrSubmitted
	}
	// The last output token is never fed back, so it needs no room.
	if e.blocksFor(r.prompt()+r.output()-1) > e.cfg.Blocks {
		return ErrTooLong
	}
	if e.cfg.MaxWaiting > 0 && e.waiting.len() >= e.cfg.MaxWaiting {
		return ErrFull
	}
	r.phase, r.Submitted = phaseWaiting, now
	e.waiting.pushBack(r)
	return nil
}

// Cancel takes a request out at any time; one that has ended or was never
// submitted is left alone. No events follow for it. The running step keeps its
// duration.
func (e *Engine) Cancel(r *Request, _ time.Duration) {
	if r.cancelled || r.phase == phaseNew || r.phase == phaseDone {
		return
	}
	r.cancelled = true
	if e.locked {
		e.cancelled = append(e.cancelled, r)
		return
	}
	e.remove(r)
}

func (e *Engine) remove(r *Request) {
	switch r.phase {
	case phaseWaiting:
		if i := e.waiting.find(r); i >= 0 {
			e.waiting.remove(i)
		}
	case phaseTransfer:
		if i := slices.Index(e.arriving, r); i >= 0 {
			e.arriving = slices.Delete(e.arriving, i, i+1)
		}
		e.leave(r)
	case phaseEnding:
		e.Release(r)
	case phasePrefill, phaseDecode:
		if i := slices.Index(e.running, r); i >= 0 {
			e.running = slices.Delete(e.running, i, i+1)
		}
		e.leave(r)
	}
	r.phase = phaseDone
	e.totals.cancelled++
}

// unlock applies the cancellations that events asked for.
func (e *Engine) unlock() {
	e.locked = false
	for _, r := range e.cancelled {
		e.remove(r)
	}
	clear(e.cancelled)
	e.cancelled = e.cancelled[:0]
}

// leave gives back what a running sequence holds.
func (e *Engine) leave(r *Request) {
	e.cache.free(r)
	e.loras.release(r.Adapter)
}

// Start forms the next step and returns when it ends. It returns false when a
// step is running or there is nothing to do.
func (e *Engine) Start(now time.Duration) (end time.Duration, ok bool) {
	if e.stepping || len(e.running) == 0 && len(e.arriving) == 0 && e.waiting.len() == 0 {
		return 0, false
	}
	e.locked = true
	e.prefill, e.decode, e.encode = 0, 0, 0
	e.arrive(now)
	context, preempted := e.growDecodes(now)
	budget := e.cfg.ChunkTokens - e.decode
	for _, r := range e.running {
		if r.phase == phasePrefill {
			budget -= e.takeChunk(r, budget)
		}
	}
	var loads int
	if !preempted {
		// After a preemption there is no room, and the victim comes first.
		loads = e.admit(now, budget)
	}
	changed := preempted || len(e.cancelled) > 0
	e.unlock()
	switch {
	case len(e.running) > 0:
	case len(e.arriving) > 0:
		e.stepping = true
		return e.poll(now), true
	case changed:
		return e.Start(now)
	default:
		return 0, false // blocks are held; a Release lets the next one in
	}
	e.stepping = true
	d := e.cfg.StepBase + time.Duration(float64(e.prefill)/e.cfg.PrefillRate*float64(time.Second)) +
		time.Duration(e.decode)*e.cfg.StepPerSeq + time.Duration(context)*e.cfg.StepPerContextToken +
		time.Duration(loads)*e.cfg.LoRALoad + time.Duration(e.encode)*e.cfg.EncodePerItem
	return now + d, true
}

// growDecodes gives every decoding sequence room for one more token, preempting
// the sequences admitted last where there is none. It counts the step's decodes
// and returns the sum of their contexts.
func (e *Engine) growDecodes(now time.Duration) (context int, preempted bool) {
	for i := 0; i < len(e.running); i++ {
		r := e.running[i]
		if r.phase != phaseDecode {
			continue
		}
		size := r.prompt() + r.Generated
		if size > r.held()*e.cfg.BlockTokens {
			for e.cache.available() == 0 && i < len(e.running) {
				e.preemptLast(now)
				preempted = true
			}
			if i == len(e.running) {
				break // it was the last one itself
			}
			e.cache.allocate(1)
			r.private++
		}
		e.decode++
		context += size
	}
	return context, preempted
}

func (e *Engine) preemptLast(now time.Duration) {
	last := len(e.running) - 1
	r := e.running[last]
	e.running[last] = nil
	e.running = e.running[:last]
	e.leave(r)
	r.phase, r.computed, r.chunk = phaseWaiting, 0, 0
	r.Preemptions++
	e.totals.preemptions++
	e.waiting.pushFront(r)
	e.events.Preempted(r, now)
}

// takeChunk gives a prefilling sequence its part of the step.
func (e *Engine) takeChunk(r *Request, budget int) int {
	r.chunk = min(budget, r.target-r.computed)
	e.prefill += r.chunk
	return r.chunk
}

// Finish applies the running step: sequences advance, and events are sent in
// order of admission. It does nothing when no step is running.
func (e *Engine) Finish(now time.Duration) {
	if !e.stepping {
		return
	}
	e.stepping, e.locked = false, true
	if e.steps != nil && e.prefill+e.decode > 0 {
		e.steps.Step(e.prefill, e.decode, now)
	}
	kept := e.running[:0]
	for _, r := range e.running {
		if e.advance(r) {
			e.emit = append(e.emit, r)
		}
		if r.Generated < r.output() {
			kept = append(kept, r)
			continue
		}
		e.end(r)
		r.phase = phaseEnding
	}
	clear(e.running[len(kept):])
	e.running = kept
	for _, r := range e.emit {
		e.tell(r, now)
	}
	clear(e.emit)
	e.emit = e.emit[:0]
	e.unlock()
}

// advance applies the step to one sequence and says whether it has a new token.
func (e *Engine) advance(r *Request) bool {
	if r.phase == phasePrefill {
		r.computed += r.chunk
		r.chunk = 0
		e.storeComputed(r)
		if r.computed < r.target {
			return false
		}
		r.phase = phaseDecode
		if r.Generated == 0 {
			e.totals.prompt += int64(r.prompt())
		}
	}
	r.Generated++
	e.totals.generation++
	return true
}

// storeComputed puts the prompt blocks computed so far into the prefix cache.
func (e *Engine) storeComputed(r *Request) {
	size, prompt := e.cfg.BlockTokens, r.prompt()
	for i := len(r.blocks); i < len(r.Hashes) && r.private > 0; i++ {
		end := min((i+1)*size, prompt)
		if end > r.computed || end <= i*size {
			return
		}
		b, stored := e.cache.store(r.Hashes[i])
		r.blocks = append(r.blocks, b)
		r.private--
		if stored {
			e.events.Stored(r.Hashes[i], end-i*size)
			if e.blocks != nil {
				e.blocks.StoredBlock(r, i)
			}
			e.offload.put(r.Hashes[i])
		}
	}
}

func (e *Engine) tell(r *Request, now time.Duration) {
	if r.cancelled {
		return
	}
	switch {
	case r.Generated == 1:
		e.events.FirstToken(r, now)
	case e.tokens != nil:
		e.tokens.Token(r, r.Generated, now)
	}
	if r.phase == phaseEnding && !r.cancelled {
		r.phase = phaseDone
		e.totals.finished++
		e.events.Finished(r, now)
	}
}
