package profile_test

import (
	"errors"
	"testing"

	"github.com/fairway-ai/fairway/scheduler"
	"github.com/fairway-ai/fairway/scheduler/picker"
	"github.com/fairway-ai/fairway/scheduler/profile"
)

// cycle is a request of that many tokens, of which endpoint 0 has some cached.
func cycle(tokens int64, cached int32, images int) *scheduler.Cycle {
	return &scheduler.Cycle{
		Request: &scheduler.Request{PromptTokens: tokens, Images: images}, Cached: []int32{cached}, Peer: -1,
	}
}

func TestDeciders(t *testing.T) {
	based := func(uncached, prompt int64) profile.Decider {
		return profile.NewPrefixBased("", profile.PrefixBasedParameters{NonCachedTokens: uncached, PromptTokens: prompt})
	}
	for _, tc := range []struct {
		name string
		d    profile.Decider
		c    *scheduler.Cycle
		pick int32
		want bool
	}{
		{"off", based(0, 0), cycle(9000, 0, 0), 0, false},
		{"enough", based(500, 0), cycle(500, 0, 0), 0, true},
		{"too little", based(500, 0), cycle(499, 0, 0), 0, false},
		{"too little of it uncached", based(500, 0), cycle(1000, 501, 0), 0, false},
		{"just enough of it uncached", based(500, 0), cycle(1000, 500, 0), 0, true},
		{"all cached and more", based(1, 0), cycle(100, 128, 0), 0, false},
		{"prompt too short", based(1, 1000), cycle(999, 0, 0), 0, false},
		{"prompt long enough", based(1, 1000), cycle(1000, 0, 0), 0, true},
		{"no pick yet", based(1, 0), cycle(1000, 0, 0), -1, false},
		{"always", profile.NewAlways(""), cycle(1, 1, 0), 0, true},
		{"text", profile.NewAlwaysMultimodal(""), cycle(1000, 0, 0), 0, false},
		{"images", profile.NewAlwaysMultimodal(""), cycle(1000, 0, 1), -1, true},
	} {
		if got := tc.d.Disaggregate(tc.c, tc.pick); got != tc.want {
			t.Errorf("%s: %v", tc.name, got)
		}
	}
	for want, d := range map[string]profile.Decider{
		"prefix-based-pd-decider": based(0, 0), "always-disagg-pd-decider": profile.NewAlways(""),
		"always-disagg-multimodal-decider": profile.NewAlwaysMultimodal(""), "mine": profile.NewAlways("mine"),
	} {
		if d.Name() != want {
			t.Errorf("name %q, want %q", d.Name(), want)
		}
	}
}

func TestStageOrder(t *testing.T) {
	p := profile.DefaultDisaggParameters()
	for text, first := range map[string]bool{
		"": false, "decode-first": false, "DECODE_FIRST": false, "prefill-first": true, "prefillFirst": true, "prefill": true,
	} {
		p.StageOrder = text
		if err := p.Validate(); err != nil || p.PrefillFirst() != first {
			t.Errorf("%q: %v, %v", text, p.PrefillFirst(), err)
		}
	}
}

// whole is a snapshot of n endpoints.
func whole(n int) *scheduler.Snapshot {
	s := &scheduler.Snapshot{Metrics: make([]scheduler.Metrics, n), Slots: n}
	for i := range n {
		s.Endpoints = append(s.Endpoints, scheduler.Endpoint{Slot: int32(i), Load: new(scheduler.Load)})
	}
	return s
}

func TestOutput(t *testing.T) {
	p := profile.NewOutput(scheduler.NewProfile("p", nil, nil, picker.NewMaxScore("", picker.DefaultParameters())), 1.5, 1000)
	for _, tc := range []struct{ prompt, bound, want int64 }{{100, 0, 150}, {100, 20, 20}, {5000, 0, 1000}, {0, 0, 0}} {
		var dec scheduler.Decision
		if err := scheduler.New(p, nil).Schedule(&scheduler.Request{PromptTokens: tc.prompt, MaxOutputTokens: tc.bound}, whole(2), &dec, nil); err != nil {
			t.Fatal(err)
		}
		if dec.Output != tc.want {
			t.Errorf("%+v: %d tokens of output", tc, dec.Output)
		}
	}
	if p.Name() != "p" || p.Stamps() != nil {
		t.Errorf("%q %v", p.Name(), p.Stamps())
	}
}

// A cycle is used again: nothing of a decision may reach the next.
func TestNothingIsLeftOfADecision(t *testing.T) {
	one := picker.NewMaxScore("", picker.DefaultParameters())
	all := scheduler.NewProfile("all", nil, nil, one)
	s := scheduler.New(profile.NewDisagg("", profile.Stages{
		Decode: all, Prefill: scheduler.NewProfile("prefill", nil, nil, one), Encode: scheduler.NewProfile("encode", nil, nil, one),
		PrefillIf: profile.NewPrefixBased("", profile.PrefixBasedParameters{NonCachedTokens: 100}), EncodeIf: profile.NewAlwaysMultimodal(""),
	}), nil)
	var dec scheduler.Decision
	snap := whole(3)
	for i := range 20 {
		req := &scheduler.Request{PromptTokens: int64(i%2) * 1000, Images: i % 2, Seed: uint64(i)}
		if err := s.Schedule(req, snap, &dec, nil); err != nil {
			t.Fatal(err)
		}
		if len(dec.Prefill) != i%2 || len(dec.Encode) != i%2 || len(dec.Ranked) != 1 {
			t.Fatalf("decision %d: %+v", i, dec)
		}
	}
	header := scheduler.New(profile.NewByHeader("", profile.DefaultHeaderParameters(), []*scheduler.Profile{all, scheduler.NewProfile("b", nil, nil, one)}), nil)
	for i := range 4 {
		req := &scheduler.Request{Header: func(string) string { return []string{"all", "none"}[i%2] }}
		if err := header.Schedule(req, snap, &dec, nil); errors.Is(err, scheduler.ErrProfile) != (i%2 == 1) {
			t.Fatalf("decision %d: %v", i, err)
		}
	}
}

// Stages allocate nothing once the memory is there.
func TestStagesAllocateNothing(t *testing.T) {
	if raceDetector {
		t.Skip("pools are unpredictable under the race detector")
	}
	one := picker.NewMaxScore("", picker.DefaultParameters())
	s := scheduler.New(profile.NewDisagg("", profile.Stages{
		Decode: scheduler.NewProfile("decode", nil, nil, one), Prefill: scheduler.NewProfile("prefill", nil, nil, one),
		PrefillIf: profile.NewAlways(""),
	}), nil)
	var dec scheduler.Decision
	for _, n := range []int{4, 400} {
		snap, req := whole(n), &scheduler.Request{PromptTokens: 1000}
		run := func() {
			if err := s.Schedule(req, snap, &dec, nil); err != nil {
				t.Fatal(err)
			}
		}
		run()
		if got := testing.AllocsPerRun(100, run); got > 1 { // the pool loses a cycle now and then
			t.Errorf("%d endpoints: %.1f allocations", n, got)
		}
	}
}
