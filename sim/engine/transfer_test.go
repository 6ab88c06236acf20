package engine

import (
	"testing"
	"time"
)

func TestRemotePrefillIsFetchedNotComputed(t *testing.T) {
	c := Config{BlockTokens: 16, Blocks: 1024, PrefillRate: 1000, StepBase: 10 * time.Millisecond, TransferPerToken: 10 * time.Microsecond}
	local, remote := newHarness(t, c), newHarness(t, c)
	ask := func(h *harness, remote int) *Request {
		r := &Request{ID: "a", PromptTokens: 1000, OutputTokens: 1, Hashes: h.prompt(1, 1000), Remote: remote}
		if err := h.submit(r); err != nil {
			t.Fatal(err)
		}
		h.drain(1000)
		return r
	}
	ask(local, 0)
	r := ask(remote, 1000)
	if l := local.lanes[local.all[0]]; l.firstAt < time.Second {
		t.Errorf("computed in %v", l.firstAt)
	}
	// 10 ms for 1000 tokens, then a step with one token.
	if l := remote.lanes[r]; l.firstAt != 10*time.Millisecond+11*time.Millisecond {
		t.Errorf("fetched in %v", l.firstAt)
	}
	if r.Transferred != 1000 || r.Cached != 0 || len(remote.cached) != 62 {
		t.Errorf("transferred %d, cached %d, %d blocks", r.Transferred, r.Cached, len(remote.cached))
	}
	if s := remote.e.Stats(); s.ExternalHits != 1000 || s.ExternalQueries != 1000 || s.PrefixHits != 0 {
		t.Errorf("%+v", s)
	}
	again := ask(remote, 1000)
	if again.Cached != 992 || again.Transferred != 8 {
		t.Errorf("the second time cached %d, transferred %d", again.Cached, again.Transferred)
	}
}

func TestTransfersDoNotHoldUpOthers(t *testing.T) {
	h := newHarness(t, Config{BlockTokens: 16, Blocks: 1024, TransferPerToken: time.Millisecond})
	slow := &Request{ID: "slow", PromptTokens: 1000, OutputTokens: 1, Remote: 1000}
	quick := &Request{ID: "quick", PromptTokens: 10, OutputTokens: 3}
	for _, r := range []*Request{slow, quick} {
		if err := h.submit(r); err != nil {
			t.Fatal(err)
		}
	}
	h.step()
	if s := h.e.Stats(); s.Waiting != 1 || s.Running != 1 {
		t.Errorf("%+v", s)
	}
	h.drain(1000)
	if q, s := h.lanes[quick].endAt, h.lanes[slow].firstAt; q > 100*time.Millisecond || s < time.Second {
		t.Errorf("the quick one ended at %v, the slow one began at %v", q, s)
	}
}

func TestHeldBlocksStayUntilReleased(t *testing.T) {
	h := newHarness(t, Config{BlockTokens: 16, Blocks: 10})
	first := &Request{ID: "first", PromptTokens: 100, OutputTokens: 1, Hold: true, Hashes: h.prompt(1, 100)}
	if err := h.submit(first); err != nil {
		t.Fatal(err)
	}
	h.drain(100)
	if s := h.e.Stats(); s.Running != 0 || s.KVUsage != 0.7 {
		t.Errorf("%+v", s)
	}
	if h.e.ResetPrefixCache() {
		t.Error("the cache was emptied with blocks held")
	}
	second := &Request{ID: "second", PromptTokens: 100, OutputTokens: 1}
	if err := h.submit(second); err != nil {
		t.Fatal(err)
	}
	if h.step() {
		t.Fatal("there was room for the second")
	}
	h.release(first, first)
	h.drain(100)
	if !h.lanes[second].finished || h.e.Stats().KVUsage != 0 {
		t.Errorf("%+v", h.e.Stats())
	}
}

func TestCPUCacheOutlivesTheGPUs(t *testing.T) {
	h := newHarness(t, Config{BlockTokens: 16, Blocks: 10, CPUBlocks: 100})
	ask := func(family uint64) *Request {
		r := &Request{PromptTokens: 150, OutputTokens: 1, Hashes: h.prompt(family, 150)}
		if err := h.submit(r); err != nil {
			t.Fatal(err)
		}
		h.drain(100)
		return r
	}
	ask(1)
	ask(2) // evicts the first
	r := ask(1)
	if r.Cached != 0 || r.Transferred != 144 || len(h.copied) != 18 {
		t.Errorf("cached %d, transferred %d, %d copies", r.Cached, r.Transferred, len(h.copied))
	}
	if s := h.e.Stats(); s.ExternalQueries != 0 {
		t.Errorf("%+v", s)
	}
}

func TestEncodingTakesTime(t *testing.T) {
	c := Config{StepBase: 10 * time.Millisecond, PrefillRate: 1e9, EncodePerItem: 50 * time.Millisecond}
	for images, want := range map[int]time.Duration{0: 10 * time.Millisecond, 2: 110 * time.Millisecond} {
		h := newHarness(t, c)
		r := &Request{PromptTokens: 1, OutputTokens: 1, Encode: images}
		if err := h.submit(r); err != nil {
			t.Fatal(err)
		}
		h.drain(10)
		if got := h.lanes[r].firstAt.Round(time.Millisecond); got != want {
			t.Errorf("%d images: first token at %v, want %v", images, got, want)
		}
	}
}
