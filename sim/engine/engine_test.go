package engine

import (
	"errors"
	"slices"
	"strings"
	"testing"
	"time"
)

// timed makes durations easy to add: a step is 10ms, a prefill token 1ms, a
// decoding sequence 100ms, a context token 1s.
func timed() Config {
	return Config{
		PrefillRate: 1000, ChunkTokens: 64, StepBase: 10 * time.Millisecond, StepPerSeq: 100 * time.Millisecond,
		StepPerContextToken: time.Second, MaxSeqs: 4, BlockTokens: 16, Blocks: 100,
	}
}

func TestStepDuration(t *testing.T) {
	h := newHarness(t, timed())
	h.onToken = nil
	a := &Request{ID: "a", PromptTokens: 100, OutputTokens: 3}
	if err := h.submit(a); err != nil {
		t.Fatal(err)
	}
	var ends []time.Duration
	for h.step() {
		ends = append(ends, h.end)
		if len(ends) == 2 {
			// Arrives while the second half of a's prompt is computed.
			if err := h.submit(&Request{ID: "b", PromptTokens: 63, OutputTokens: 1}); err != nil {
				t.Fatal(err)
			}
		}
	}
	ms := time.Millisecond
	want := []time.Duration{
		10*ms + 64*ms,                            // first chunk
		10*ms + 36*ms,                            // the rest; first token at its end
		10*ms + 63*ms + 100*ms + 101*time.Second, // a decodes over prompt and first token, b prefills
		10*ms + 0*ms + 100*ms + 102*time.Second,  // a's last token
	}
	for i, at := 0, time.Duration(0); i < len(want); i++ {
		at += want[i]
		if i >= len(ends) || ends[i] != at {
			t.Fatalf("steps end at %v; step %d should end at %v", ends, i, at)
		}
	}
	if l := h.lanes[a]; len(ends) != 4 || l.firstAt != ends[1] || l.endAt != ends[3] {
		t.Fatalf("%v, %+v", ends, *l)
	}
	h.checkEnded()
}

func TestPrefixCache(t *testing.T) {
	for name, tc := range map[string]struct {
		first, second int // prompt tokens of one family
		want          int
	}{
		"longer":                  {64, 100, 64},
		"partial block unshared":  {70, 100, 64},
		"shorter":                 {160, 40, 32},
		"the same, partial end":   {70, 70, 64},
		"the same, full end":      {64, 64, 48},
		"one block":               {16, 16, 0},
		"one block and one token": {16, 17, 16},
		"shorter than a block":    {15, 15, 0},
	} {
		t.Run(name, func(t *testing.T) {
			h := newHarness(t, timed())
			for i, tokens := range []int{tc.first, tc.second} {
				r := &Request{ID: name, PromptTokens: tokens, OutputTokens: 20, Hashes: h.prompt(1, tokens)}
				if err := h.submit(r); err != nil {
					t.Fatal(err)
				}
				h.drain(1000)
				if want := i * tc.want; r.Cached != want {
					t.Fatalf("request %d: %d cached tokens, want %d", i, r.Cached, want)
				}
			}
			s := h.e.Stats()
			if s.PrefixQueries != int64(tc.first+tc.second) || s.PrefixHits != int64(tc.want) ||
				s.PromptTokens != int64(tc.first+tc.second) || s.GenerationTokens != 40 {
				t.Fatalf("%+v", s)
			}
			h.checkEnded()
		})
	}
}

func TestPartialLastHash(t *testing.T) {
	h := newHarness(t, timed())
	r := &Request{ID: "r", PromptTokens: 40, OutputTokens: 1, Hashes: append(h.prompt(1, 40), 77)}
	_ = h.submit(r)
	h.drain(100)
	if h.cached[77] != 8 || len(h.cached) != 3 {
		t.Fatalf("stored %v", h.cached)
	}
}

func TestEvictsOldestTailFirst(t *testing.T) {
	c := timed()
	c.Blocks = 8
	h := newHarness(t, c)
	run := func(family uint64, tokens int) *Request {
		r := &Request{ID: "r", PromptTokens: tokens, OutputTokens: 1, Hashes: h.prompt(family, tokens)}
		if err := h.submit(r); err != nil {
			t.Fatal(err)
		}
		h.drain(100)
		return r
	}
	run(1, 64)
	run(2, 48)
	run(1, 65) // uses family 1 again: 4 cached, 1 new and blank
	run(3, 32) // needs one more than the blank one
	first := func(family uint64) (n int) {
		for i := uint64(1); h.cached[family<<32|i] > 0; i++ {
			n++
		}
		return n
	}
	if first(1) != 4 || first(2) != 2 || first(3) != 2 {
		t.Fatalf("kept %d, %d, %d blocks of families 1, 2, 3; want 4, 2, 2", first(1), first(2), first(3))
	}
	if r := run(2, 40); r.Cached != 32 {
		t.Fatalf("%d tokens cached, want the two leading blocks", r.Cached)
	}
}

func TestSharedBlocksAreCountedOnce(t *testing.T) {
	c := timed()
	c.ChunkTokens = 1000
	h := newHarness(t, c)
	_ = h.submit(&Request{ID: "warm", PromptTokens: 160, OutputTokens: 1, Hashes: h.prompt(1, 160)})
	h.drain(100)
	for range 3 {
		_ = h.submit(&Request{ID: "r", PromptTokens: 161, OutputTokens: 5, Hashes: h.prompt(1, 161)})
	}
	h.step()
	if s := h.e.Stats(); s.Running != 3 || s.KVUsage < 0.1299 || s.KVUsage > 0.1301 {
		t.Fatalf("10 shared and 3 private of 100 blocks: %+v", s)
	}
	h.drain(100)
	h.checkEnded()
}

func TestPreemptsTheLastAdmitted(t *testing.T) {
	c := timed()
	c.Blocks, c.BlockTokens = 8, 4
	h := newHarness(t, c)
	a := &Request{ID: "a", PromptTokens: 12, OutputTokens: 20, Hashes: h.prompt(1, 12)}
	b := &Request{ID: "b", PromptTokens: 12, OutputTokens: 20, Hashes: h.prompt(2, 12)}
	_, _ = h.submit(a), h.submit(b)
	h.drain(1000)
	h.checkEnded()
	if a.Preemptions != 0 || b.Preemptions == 0 || h.e.Stats().Preemptions != int64(b.Preemptions) {
		t.Fatalf("preempted a %d times, b %d times", a.Preemptions, b.Preemptions)
	}
	if h.lanes[a].endAt >= h.lanes[b].endAt {
		t.Fatal("the preempted request ended first")
	}
	if s := h.e.Stats(); s.PromptTokens != 24 || s.PrefixQueries != 24 || s.GenerationTokens != 40 {
		t.Fatalf("recomputation was counted: %+v", s)
	}
}

func TestFirstComeFirstServed(t *testing.T) {
	c := timed()
	c.Blocks, c.MaxSeqs = 16, 100
	h := newHarness(t, c)
	for i, tokens := range []int{160, 200, 10, 10} { // the second does not fit beside the first
		_ = h.submit(&Request{ID: string(rune('a' + i)), PromptTokens: tokens, OutputTokens: 2})
	}
	h.drain(1000)
	var order []string
	for _, line := range h.log {
		if _, id, ok := strings.Cut(line, "first "); ok {
			order = append(order, id[:1])
		}
	}
	if !slices.Equal(order, []string{"a", "b", "c", "d"}) {
		t.Fatalf("answered in order %v", order)
	}
}

func TestSubmitErrors(t *testing.T) {
	c := timed()
	c.Blocks, c.MaxWaiting = 4, 2
	h := newHarness(t, c)
	for name, tc := range map[string]struct {
		prompt, output int
		want           error
	}{
		"prompt alone":             {65, 1, ErrTooLong},
		"with output":              {64, 2, ErrTooLong},
		"last token needs nothing": {64, 1, nil},
		"one too few counts as 1":  {-5, 0, nil},
		"queue is full":            {1, 1, ErrFull},
	} {
		if tc.want == ErrFull {
			continue // below: it depends on order
		}
		h := newHarness(t, c)
		r := &Request{PromptTokens: tc.prompt, OutputTokens: tc.output}
		if err := h.submit(r); !errors.Is(err, tc.want) {
			t.Errorf("%s: %v", name, err)
		}
		h.drain(100)
		if tc.want == nil && !errors.Is(h.e.Submit(r, h.now), ErrSubmitted) {
			t.Errorf("%s: accepted twice", name)
		}
	}
	for i := range 3 {
		err := h.submit(&Request{PromptTokens: 1, OutputTokens: 1})
		if (i == 2) != errors.Is(err, ErrFull) {
			t.Fatalf("request %d: %v", i, err)
		}
	}
	h.drain(100)
	h.checkEnded()
}

func TestLoRASlots(t *testing.T) {
	c := timed()
	c.MaxLoRA, c.LoRALoad = 1, time.Hour
	h := newHarness(t, c)
	var all []*Request
	for _, adapter := range []string{"x", "y", "", "x"} {
		r := &Request{ID: adapter, PromptTokens: 5, OutputTokens: 3, Adapter: adapter}
		all = append(all, r)
		_ = h.submit(r)
	}
	h.step()
	running, waiting := h.e.Adapters()
	if h.e.Stats().Running != 3 || !slices.Equal(running, []string{"x"}) || !slices.Equal(waiting, []string{"y"}) {
		t.Fatalf("running %v, waiting %v: %+v", running, waiting, h.e.Stats())
	}
	h.drain(100)
	h.checkEnded()
	if at := h.lanes[all[2]].firstAt; at < time.Hour || at > 2*time.Hour {
		t.Fatalf("the step that loaded x ended at %v", at)
	}
	if at := h.lanes[all[1]].firstAt; at < 2*time.Hour {
		t.Fatalf("y answered at %v, before it was loaded", at)
	}
	_ = h.submit(&Request{ID: "y again", PromptTokens: 5, OutputTokens: 1, Adapter: "y"})
	before := h.now
	h.drain(100)
	if h.now-before > time.Minute {
		t.Fatal("a resident adapter was loaded again")
	}
}

func TestCancelInEveryPhase(t *testing.T) {
	for steps := range 8 {
		h := newHarness(t, timed())
		keep := &Request{ID: "keep", PromptTokens: 100, OutputTokens: 4, Hashes: h.prompt(1, 100)}
		gone := &Request{ID: "gone", PromptTokens: 150, OutputTokens: 2, Hashes: h.prompt(2, 150)}
		h.e.Cancel(gone, 0) // never submitted
		_, _ = h.submit(keep), h.submit(gone)
		for range steps {
			h.step()
		}
		h.cancel(gone)
		h.cancel(gone)
		h.drain(1000)
		h.checkEnded()
		if !h.lanes[keep].finished {
			t.Fatal("the other request did not finish")
		}
		if s := h.e.Stats(); s.Finished+s.Cancelled != 2 {
			t.Fatalf("%d steps: %+v", steps, s)
		}
	}
}

func TestValidate(t *testing.T) {
	for name, c := range map[string]Config{
		"rate": {PrefillRate: -1}, "tokens": {ChunkTokens: -1}, "blocks": {Blocks: 1 << 40}, "step": {StepBase: -1},
		"waiting": {MaxWaiting: -1}, "lora": {LoRALoad: -time.Second},
	} {
		if c.Validate() == nil {
			t.Errorf("%s: %+v is accepted", name, c)
		}
	}
	if err := (Config{}).WithDefaults().Validate(); err != nil {
		t.Error(err)
	}
}

// nothing implements the basic Events.
type nothing struct{}

func (nothing) FirstToken(*Request, time.Duration) {}
func (nothing) Finished(*Request, time.Duration)   {}
func (nothing) Stored(uint64, int)                 {}
func (nothing) Evicted(uint64)                     {}
func (nothing) Preempted(*Request, time.Duration)  {}

func BenchmarkStep(b *testing.B) {
	e := New(Config{Blocks: 1 << 20, BlockTokens: 1 << 20}, nothing{})
	for range 128 {
		if err := e.Submit(&Request{PromptTokens: 64, OutputTokens: 1 << 35}, 0); err != nil {
			b.Fatal(err)
		}
	}
	var now time.Duration
	b.ReportAllocs()
	for b.Loop() {
		end, _ := e.Start(now)
		e.Finish(end)
		now = end
	}
}
