package kvcache

import (
	"bytes"
	"context"
	"fmt"
	"log/slog"
	"strings"
	"testing"
	"time"

	"github.com/fairway-ai/fairway/pool/kvevents"
)

// TestModelsThatNoEngineNames: what engines hold says nothing of a model that none of
// them names, though it may be one of theirs by another name: the index by bytes has to
// go on.
func TestModelsThatNoEngineNames(t *testing.T) {
	const at = "10.0.0.1:8000"
	s := newSet(t, Options{})
	c := s.Open("ns/a", newFakePool(endpoint("ns/x", at, 0)))
	found := func(model string) bool {
		t.Helper()
		_, ok := c.Find(context.Background(), Prompt{Path: "/generate", Model: model, Body: []byte(`{"input_ids":[` + strings.Repeat("1,", 15) + `2]}`)}, nil)
		return ok
	}
	want := func(what string, names string) {
		t.Helper()
		var got []string
		for _, model := range []string{"", "m", "alias", "sql"} {
			if found(model) {
				got = append(got, fmt.Sprintf("%q", model))
			}
		}
		expect(t, what, strings.Join(got, " "), names)
	}
	tell := func(model, lora string, id int64) {
		s.hub.Stored(at, &kvevents.Stored{Hashes: []uint64{1}, Tokens: ids(16), BlockSize: 16, Model: model, LoRA: lora, LoRAID: id})
	}
	s.hub.Live(at)
	want("nothing was told", "")
	tell("", "", 0)
	want("a topic without a model", `""`)
	tell("m", "", 3)
	want("an adapter without a name", `""`)
	tell("m", "", 0)
	want("the model", `"" "m"`)
	tell("m", "sql", 3)
	want("an adapter", `"" "m" "sql"`)
	for i := range 2 * maxNames {
		tell("m", fmt.Sprint("adapter ", i), 1)
	}
	want("more than can be kept", `"" "m" "alias" "sql"`)
	expect(t, "names that are kept", len(c.models.named.Load().all) <= maxNames, true)
}

// TestUnnamedModelIsReported: once, if it lasts.
func TestUnnamedModelIsReported(t *testing.T) {
	const at = "10.0.0.1:8000"
	var b bytes.Buffer
	log := slog.New(slog.NewTextHandler(&b, nil))
	clock := newClock()
	s := newSet(t, Options{Clock: clock})
	c := s.Open("ns/a", newFakePool(endpoint("ns/x", at, 0)))
	s.hub.Live(at)
	s.hub.Stored(at, &kvevents.Stored{Hashes: []uint64{1}, Tokens: ids(16), BlockSize: 16, Model: "m"})
	ask := func(model string) {
		c.Find(context.Background(), Prompt{Path: "/generate", Model: model, Body: []byte(`{"input_ids":[1]}`)}, nil)
	}
	look := func(what string, lines int) {
		t.Helper()
		s.report(log, clock.Now())
		expect(t, what, strings.Count(b.String(), "no engine names"), lines)
	}
	ask("adapter")
	look("at once", 0)
	s.hub.Stored(at, &kvevents.Stored{Hashes: []uint64{2}, Tokens: ids(16), BlockSize: 16, Model: "m", LoRA: "adapter"})
	clock.advance(unnamedAfter)
	look("it was named in time", 0)
	ask("alias\n")
	clock.advance(unnamedAfter - time.Second)
	look("not yet", 0)
	clock.advance(time.Second)
	look("it lasts", 0) // perhaps nobody asks again
	ask("alias\n")
	look("and is asked for", 1)
	ask("alias\n")
	clock.advance(unnamedAfter)
	ask("alias\n")
	look("soon after", 1)
	clock.advance(unnamedEvery)
	ask("alias\n")
	look("a while after", 2)
	if !strings.Contains(b.String(), `pool=ns/a model="alias\n" engines=m`) {
		t.Errorf("the line does not say what is wrong: %s", b.String())
	}
	if strings.Count(b.String(), "\n") != strings.Count(b.String(), "level=") {
		t.Errorf("a name makes lines of its own: %s", b.String())
	}
}

// TestPatchyEndpointIsGuessed: an endpoint that tells of blocks behind unknown ones is
// followed, and not known.
func TestPatchyEndpointIsGuessed(t *testing.T) {
	const at = "10.0.0.1:8000"
	var b bytes.Buffer
	log := slog.New(slog.NewTextHandler(&b, nil))
	s := newSet(t, Options{})
	pool := newFakePool(endpoint("ns/x", at, 0))
	c := s.Open("ns/a", pool)
	now := time.Unix(1000, 0)
	look := func(what, held_ string, live, known, guessed int) {
		t.Helper()
		s.report(log, now)
		now = now.Add(time.Second)
		expect(t, what+": tokens", held(c), held_)
		expect(t, what+": live", s.Stats().Pools[0].Live, live)
		expect(t, what+": lines", fmt.Sprint(strings.Count(b.String(), "cache is known"), " ", strings.Count(b.String(), "cache is guessed")), fmt.Sprint(known, " ", guessed))
	}
	s.hub.tell(at, ids(16))
	look("live", "16", 1, 1, 0)
	s.hub.Stored(at, &kvevents.Stored{Hashes: []uint64{7}, Parent: 6, HasParent: true, Tokens: ids(16), BlockSize: 16, Model: "m", Medium: "gpu"})
	look("a block behind an unknown one", "-1", 0, 1, 1)
	expect(t, "what to do about it", strings.Count(b.String(), "replay"), 1)
	expect(t, "suspects", len(pool.suspects), 0)
	s.hub.Cleared(at)
	look("all is gone", "0", 1, 2, 1)
	s.hub.Lost(at)
	look("and its events stop", "-1", 0, 2, 2)
	expect(t, "suspects", len(pool.suspects), 1)
}
