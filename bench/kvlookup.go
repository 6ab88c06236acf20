package bench

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"math/rand/v2"
	"net/http"
	"runtime"
	"time"

	"github.com/fairway-ai/fairway/epp/tokens"
	"github.com/fairway-ai/fairway/extproc/scan"
	"github.com/fairway-ai/fairway/pool/kvevents/index"
	"github.com/fairway-ai/fairway/scheduler"
	"github.com/fairway-ai/fairway/scheduler/prefix"
)

const (
	chatPath = "/v1/chat/completions"
	// kvPrompts is the number of prompts of each size that are asked for in turn.
	kvPrompts = 128
	// systemHolders is how many engines hold a system prompt.
	systemHolders = 8
	// idBit marks the tokens of these prompts, which no document or conversation has.
	idBit = 1 << 30
)

// kvPrompt is a request.
type kvPrompt struct {
	body   []byte
	ids    []uint32
	blocks []prefix.Block // exact
	approx []prefix.Block
	slot   int32 // of the engine that holds most of it
}

// kvLookups is what answers requests, in both modes.
type kvLookups struct {
	prompts []kvPrompt
	in      *kvIngest
	source  *tokens.Engine
	snap    *scheduler.Snapshot
	exact   *scheduler.Scheduler
	approx  *scheduler.Scheduler
	guesses *prefix.Index // approx's
	scanner *scan.Scanner
}

// newKVLookups makes prompts of about size bytes. A quarter of each is a system
// prompt that several engines hold, the next half is held by one, the rest is new.
func newKVLookups(ctx context.Context, in *kvIngest, size int) (_ *kvLookups, err error) {
	l := &kvLookups{in: in, scanner: scan.New(scan.Options{}), snap: kvSnapshot(len(in.load.engines))}
	policy := scheduler.Priced{Alternatives: 4}
	l.guesses = prefix.New(prefix.Options{})
	l.exact, l.approx = scheduler.New(policy, in.prefix), scheduler.New(policy, l.guesses)
	teller := &kvRenderer{}
	l.source, err = tokens.NewEngine(tokens.Options{
		Endpoints: func() []string { return []string{"pool"} }, Transport: teller, CacheBytes: 256 << 20,
	})
	if err != nil {
		return nil, err
	}
	rng := rand.New(rand.NewPCG(3, uint64(size)))
	fillGuesses(rng, l.guesses, len(in.load.engines))
	var stored KVRate
	for j, b := range conversations(rng, kvPrompts, size, false) {
		p := kvPrompt{body: b.bytes, ids: make([]uint32, len(b.bytes)/scan.BytesPerToken)}
		system := uint32(idBit | size<<8 | j/conversationsPerSystem)
		own := uint32(idBit | size<<8 | 1<<7 | j)
		for i := range p.ids {
			if i < len(p.ids)/4 {
				p.ids[i] = kvToken(system, i)
			} else {
				p.ids[i] = kvToken(own, i)
			}
		}
		p.blocks = in.index.Keys(nil, kvModel, p.ids, nil)
		if p.approx, err = l.scan(nil, p.body); err != nil {
			return nil, err
		}
		engines := in.load.engines
		for k := range min(len(engines), systemHolders) {
			e := engines[(j/conversationsPerSystem*systemHolders+k)%len(engines)]
			n := len(p.ids) / 4
			if k == j%systemHolders {
				n, p.slot = len(p.ids)*3/4, int32(e.number)
			}
			in.add(e, func(b []byte, e *kvEngine) []byte { return in.load.prompt(b, e, p.ids[:n]) })
			l.guesses.Insert(int32(e.number), p.approx[:len(p.approx)*n/len(p.ids)])
		}
		if err := in.flush(ctx, &stored); err != nil {
			return nil, err
		}
		teller.ids = p.ids
		if t, err := l.source.Tokens(ctx, tokens.Request{Path: chatPath, Body: p.body, Budget: time.Minute}); err != nil || len(t.IDs) != len(p.ids) {
			return nil, fmt.Errorf("token ids of a prompt: %w", err)
		}
		l.prompts = append(l.prompts, p)
	}
	return l, nil
}

func (l *kvLookups) close() { l.source.Close() }

// prompt is a message that stores a whole prompt, by chunks of a prefill.
func (l *kvLoad) prompt(b []byte, e *kvEngine, ids []uint32) []byte {
	from := len(b)
	l.m.begin(b)
	parent := uint64(0)
	for ids = ids[:len(ids)/kvBlockTokens*kvBlockTokens]; len(ids) > 0; {
		n := min(len(ids), docBlocks*kvBlockTokens)
		l.hashes = l.hashes[:0]
		for i := 0; i < n; i += kvBlockTokens {
			for _, id := range ids[i : i+kvBlockTokens] { // equal prompts have equal names on an engine
				parent = mixed(parent ^ uint64(id) ^ uint64(e.number+1)<<32)
			}
			parent |= 1
			l.hashes = append(l.hashes, parent)
		}
		before := uint64(0)
		if len(l.m.b) > from+batchHeader {
			before = l.last
		}
		l.last = parent
		l.m.stored(l.hashes, before, kvBlockTokens)
		for _, id := range ids[:n] {
			l.m.token(id)
		}
		l.m.storedEnd(kvBlockTokens)
		e.held += len(l.hashes)
		ids = ids[n:]
	}
	return l.m.end(from)
}

// scan reads a body as the picker does and appends the blocks of its text.
func (l *kvLookups) scan(dst []prefix.Block, body []byte) ([]prefix.Block, error) {
	l.scanner.Reset(scan.ChatCompletions)
	if err := l.scanner.Write(body); err != nil {
		return nil, err
	}
	r, err := l.scanner.Finish()
	if err != nil {
		return nil, err
	}
	return append(dst, r.Blocks...), nil
}

// kvSnapshot is a pool whose endpoints have nothing to do.
func kvSnapshot(n int) *scheduler.Snapshot {
	snap := &scheduler.Snapshot{Slots: n, Metrics: make([]scheduler.Metrics, n)}
	for i := range n {
		snap.Endpoints = append(snap.Endpoints, scheduler.Endpoint{
			ID: fmt.Sprintf("ns/pod-%d", i), Address: fmt.Sprintf("10.0.%d.%d:8000", i/250, i%250+1), Slot: int32(i), Load: new(scheduler.Load),
		})
		snap.Metrics[i] = scheduler.Metrics{Known: true, BlockTokens: kvBlockTokens, Blocks: 31_250}
	}
	return snap
}

// fillGuesses fills the approximate index with other requests, up to each endpoint's
// capacity.
func fillGuesses(rng *rand.Rand, x *prefix.Index, endpoints int) {
	chain := make([]prefix.Block, 64)
	for slot := range int32(endpoints) {
		x.AddEndpoint(slot, 0)
		for range 31 { // of 16,384 tokens each
			for i := range chain {
				chain[i] = prefix.Block{Hash: rng.Uint64(), Tokens: 256}
			}
			x.Insert(slot, chain)
		}
	}
}

// kvRenderer is an engine that knows the next prompt's token ids.
type kvRenderer struct{ ids []uint32 }

func (t *kvRenderer) RoundTrip(r *http.Request) (*http.Response, error) {
	if _, err := io.Copy(io.Discard, r.Body); err != nil {
		return nil, err
	}
	b, err := json.Marshal(map[string]any{"token_ids": t.ids})
	if err != nil {
		return nil, err
	}
	return &http.Response{StatusCode: http.StatusOK, Header: http.Header{}, Body: io.NopCloser(bytes.NewReader(b)), Request: r}, nil
}

// kvStep is one part of a request's way.
type kvStep struct {
	name string
	run  func(p *kvPrompt) error
	ns   []float64
	runs uint64
	took uint64 // allocations
}

// steps are the parts of a request's way in both modes.
func (l *kvLookups) steps(ctx context.Context) []*kvStep {
	var (
		keys    []prefix.Block
		matches index.Matches
		dec     scheduler.Decision
		req     scheduler.Request
	)
	decide := func(s *scheduler.Scheduler, p *kvPrompt, blocks []prefix.Block) error {
		req = scheduler.Request{Model: kvModel, PromptTokens: int64(len(p.ids)), Blocks: blocks, Seed: req.Seed + 1}
		return s.Schedule(&req, l.snap, &dec, nil)
	}
	return []*kvStep{
		{name: stepScan, run: func(p *kvPrompt) (err error) {
			keys, err = l.scan(keys[:0], p.body)
			return err
		}},
		{name: stepTokens, run: func(p *kvPrompt) error {
			_, err := l.source.Tokens(ctx, tokens.Request{Path: chatPath, Body: p.body})
			return err
		}},
		{name: stepKeys, run: func(p *kvPrompt) error {
			keys = l.in.index.Keys(keys[:0], kvModel, p.ids, nil)
			return nil
		}},
		{name: stepMatch, run: func(p *kvPrompt) error {
			l.in.index.Match(p.blocks, l.snap.Slots, &matches)
			return nil
		}},
		{name: stepExact, run: func(p *kvPrompt) error { return decide(l.exact, p, p.blocks) }},
		{name: stepApprox, run: func(p *kvPrompt) error { return decide(l.approx, p, p.approx) }},
		{name: stepDispatch, run: func(p *kvPrompt) error {
			l.in.index.Dispatched(p.slot, p.blocks)
			return nil
		}},
		{name: stepInsert, run: func(p *kvPrompt) error {
			l.guesses.Insert(p.slot, p.approx)
			return nil
		}},
	}
}

// The steps of a request.
const (
	stepScan   = "read the body"
	stepTokens = "token ids from the cache"
	stepKeys   = "block keys"
	stepMatch  = "lookup alone"
	stepExact  = "lookup and decision, exact"
	stepApprox = "lookup and decision, approximate"
	// The endpoint holds three quarters of the prompt, which stay.
	stepDispatch = "note the dispatch, exact"
	stepInsert   = "note the dispatch, approximate"
)

// kvRounds is how often each step is measured.
const kvRounds = 7

// measure runs each step in turn, for d in all.
func (l *kvLookups) measure(ctx context.Context, d time.Duration) ([]*kvStep, error) {
	steps := l.steps(ctx)
	slice := d / time.Duration(kvRounds*len(steps))
	runtime.LockOSThread()
	defer runtime.UnlockOSThread()
	var before, after runtime.MemStats
	for round := range kvRounds + 1 { // the first one is to warm up
		for _, s := range steps {
			runtime.ReadMemStats(&before)
			begun, used, n := time.Now(), threadTime(), 0
			for n < 2 || time.Since(begun) < slice {
				if err := s.run(&l.prompts[n%len(l.prompts)]); err != nil {
					return nil, fmt.Errorf("%s: %w", s.name, err)
				}
				n++
			}
			elapsed := threadTime() - used
			runtime.ReadMemStats(&after)
			if round > 0 {
				s.ns = append(s.ns, float64(elapsed.Nanoseconds())/float64(n))
				s.runs += uint64(n)
				s.took += after.Mallocs - before.Mallocs
			}
			if err := ctx.Err(); err != nil {
				return nil, err
			}
		}
	}
	return steps, nil
}
