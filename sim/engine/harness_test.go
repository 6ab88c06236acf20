package engine

import (
	"fmt"
	"testing"
	"time"
)

// harness drives an engine in simulated time and checks, after every call, that
// its books balance.
type harness struct {
	t        testing.TB
	e        *Engine
	now, end time.Duration
	busy     bool
	all      []*Request
	lanes    map[*Request]*lane
	cached   map[uint64]int    // what Stored and Evicted told
	copied   map[uint64]bool   // what Offloaded and Dropped told
	parent   map[uint64]uint64 // of each block hash
	log      []string
	steps    int
	// onToken and onPreempted act from within events.
	onToken     func(r *Request)
	onPreempted func(r *Request)
}

type lane struct {
	tokens    int
	firstAt   time.Duration
	endAt     time.Duration
	finished  bool
	cancelled bool
}

func newHarness(t testing.TB, c Config) *harness {
	h := &harness{t: t, lanes: map[*Request]*lane{}, cached: map[uint64]int{}, copied: map[uint64]bool{}, parent: map[uint64]uint64{}}
	h.e = New(c, h)
	return h
}

func (h *harness) note(format string, args ...any) {
	h.log = append(h.log, fmt.Sprintf("%v ", h.now)+fmt.Sprintf(format, args...))
}

func (h *harness) FirstToken(r *Request, now time.Duration) { h.token(r, 1, now) }
func (h *harness) Token(r *Request, n int, now time.Duration) {
	if n < 2 {
		h.t.Fatalf("%s: Token %d", r.ID, n)
	}
	h.token(r, n, now)
}

func (h *harness) token(r *Request, n int, now time.Duration) {
	l := h.lanes[r]
	if l.cancelled || l.finished || n != l.tokens+1 || now != h.now {
		h.t.Fatalf("%s: token %d at %v after %+v", r.ID, n, now, *l)
	}
	l.tokens = n
	if n == 1 {
		l.firstAt = now
		h.note("first %s cached %d", r.ID, r.Cached)
	}
	if h.onToken != nil {
		h.onToken(r)
	}
}

func (h *harness) Finished(r *Request, now time.Duration) {
	l := h.lanes[r]
	if l.cancelled || l.finished || l.tokens != r.output() {
		h.t.Fatalf("%s: finished after %+v", r.ID, *l)
	}
	l.finished, l.endAt = true, now
	h.note("finished %s", r.ID)
}

func (h *harness) Preempted(r *Request, _ time.Duration) {
	h.note("preempted %s", r.ID)
	if h.onPreempted != nil {
		h.onPreempted(r)
	}
}

func (h *harness) Stored(hash uint64, tokens int) {
	if _, ok := h.cached[hash]; ok || tokens < 1 || tokens > h.e.cfg.BlockTokens {
		h.t.Fatalf("stored %d with %d tokens twice or wrongly", hash, tokens)
	}
	h.cached[hash] = tokens
}

func (h *harness) Evicted(hash uint64) {
	if _, ok := h.cached[hash]; !ok {
		h.t.Fatalf("evicted %d which was not stored", hash)
	}
	delete(h.cached, hash)
	h.note("evicted %d", hash)
}

func (h *harness) Offloaded(hash uint64) {
	if h.copied[hash] {
		h.t.Fatalf("%d was copied twice", hash)
	}
	h.copied[hash] = true
}

func (h *harness) Dropped(hash uint64) {
	if !h.copied[hash] {
		h.t.Fatalf("%d was dropped and never copied", hash)
	}
	delete(h.copied, hash)
}

// release gives the blocks of ended requests back.
func (h *harness) release(all ...*Request) {
	for _, r := range all {
		h.e.Release(r)
	}
	h.check()
}

// prompt makes chained hashes for a family of prompts: prompts of a family share
// their leading blocks.
func (h *harness) prompt(family uint64, tokens int) []uint64 {
	out := make([]uint64, tokens/h.e.cfg.BlockTokens)
	for i := range out {
		out[i] = family<<32 | uint64(i+1)
		if i > 0 {
			h.parent[out[i]] = out[i-1]
		}
	}
	return out
}

func (h *harness) submit(r *Request) error {
	h.all = append(h.all, r)
	h.lanes[r] = &lane{}
	err := h.e.Submit(r, h.now)
	if err != nil {
		h.lanes[r].cancelled = true
	}
	h.check()
	return err
}

func (h *harness) cancel(r *Request) {
	h.e.Cancel(r, h.now)
	if l := h.lanes[r]; !l.finished {
		l.cancelled = true
	}
	if !h.e.locked {
		h.check()
	}
}

// step finishes the running step, if any, and starts the next.
func (h *harness) step() bool {
	if h.busy {
		h.now = h.end
		h.e.Finish(h.now)
		h.check()
		h.busy = false
	}
	end, ok := h.e.Start(h.now)
	h.check()
	if ok {
		if end <= h.now {
			h.t.Fatalf("step at %v ends at %v", h.now, end)
		}
		h.busy, h.end = true, end
		h.steps++
	}
	return ok
}

// drain runs until idle.
func (h *harness) drain(maxSteps int) {
	for range maxSteps {
		if !h.step() {
			return
		}
	}
	h.t.Fatalf("not idle after %d steps: %+v", maxSteps, h.e.Stats())
}

func (h *harness) check() {
	h.t.Helper()
	e, c := h.e, &h.e.cache
	if c.blank+c.private+len(c.byHash) != e.cfg.Blocks || c.blank < 0 || c.private < 0 {
		h.t.Fatalf("blocks leak: blank %d + private %d + cached %d != %d", c.blank, c.private, len(c.byHash), e.cfg.Blocks)
	}
	private, refs := 0, map[*block]int{}
	held := 0
	count := func(r *Request) {
		private += r.private
		for _, b := range r.blocks {
			refs[b]++
		}
	}
	for _, r := range h.all {
		if r.holding {
			held++
			count(r)
		}
	}
	for _, r := range e.arriving {
		count(r)
		if r.phase != phaseTransfer || r.computed+r.chunk > r.prompt() {
			h.t.Fatalf("%s arrives in phase %d with %d+%d tokens", r.ID, r.phase, r.computed, r.chunk)
		}
	}
	if held != e.held {
		h.t.Fatalf("%d requests hold blocks, counted %d", held, e.held)
	}
	for _, r := range e.running {
		count(r)
		if r.phase != phasePrefill && r.phase != phaseDecode {
			h.t.Fatalf("%s runs in phase %d", r.ID, r.phase)
		}
		if r.held()*e.cfg.BlockTokens < r.computed {
			h.t.Fatalf("%s computed %d tokens into %d blocks", r.ID, r.computed, r.held())
		}
	}
	if private != c.private {
		h.t.Fatalf("private blocks: sequences hold %d, counted %d", private, c.private)
	}
	unused := 0
	for hash, b := range c.byHash {
		if b.hash != hash || b.refs != refs[b] {
			h.t.Fatalf("block %d has %d references, counted %d", hash, refs[b], b.refs)
		}
		if b.refs == 0 {
			unused++
		}
		if _, ok := h.cached[hash]; !ok {
			h.t.Fatalf("block %d was not announced", hash)
		}
		if p, ok := h.parent[hash]; ok && c.byHash[p] == nil {
			h.t.Fatalf("block %d outlives its parent", hash)
		}
	}
	ring := 0
	for b := c.lru.next; b != &c.lru; b = b.next {
		ring++
		if b.next.prev != b || b.refs != 0 {
			h.t.Fatal("the list of unused blocks is broken")
		}
	}
	if n := len(e.offload.byHash); n > e.cfg.CPUBlocks || n != len(h.copied) {
		h.t.Fatalf("%d copies, announced %d, room for %d", n, len(h.copied), e.cfg.CPUBlocks)
	}
	if ring != unused || unused != c.unused || len(h.cached) != len(c.byHash) {
		h.t.Fatalf("unused blocks: listed %d, found %d, counted %d; cached %d, announced %d",
			ring, unused, c.unused, len(c.byHash), len(h.cached))
	}
	s := e.Stats()
	if s.KVUsage < 0 || s.KVUsage > 1 || s.PrefixHits > s.PrefixQueries || s.Running > e.cfg.MaxSeqs ||
		e.cfg.MaxWaiting > 0 && e.waiting.len() > e.cfg.MaxWaiting+int(s.Preemptions) {
		h.t.Fatalf("stats: %+v", s)
	}
	if e.cfg.MaxLoRA > 0 && (len(e.loras.active) > e.cfg.MaxLoRA || len(e.loras.resident) > e.cfg.MaxLoRA) {
		h.t.Fatalf("adapters: %+v", e.loras)
	}
}

// checkEnded asserts that everything ended and nothing is held.
func (h *harness) checkEnded() {
	h.t.Helper()
	for _, r := range h.all {
		if l := h.lanes[r]; l.finished == l.cancelled {
			h.t.Fatalf("%s: %+v, %d of %d tokens", r.ID, *l, r.Generated, r.output())
		}
	}
	s := h.e.Stats()
	if s.Running != 0 || s.Waiting != 0 || s.KVUsage != 0 || h.e.cache.private != 0 {
		h.t.Fatalf("after everything ended: %+v", s)
	}
}
