package bench

import (
	"bytes"
	"context"
	"strings"
	"testing"
	"time"
)

func TestKVCache(t *testing.T) {
	r, err := KVCache(t.Context(), KVCacheOptions{Endpoints: 3, Blocks: 6000, Duration: 20 * time.Millisecond, Rate: 50_000})
	if err != nil {
		t.Fatal(err)
	}
	if r.Blocks < 6000 || r.Distinct < 1000 || r.Distinct >= r.Blocks || r.BytesPerBlock <= 0 {
		t.Errorf("%d blocks, %d distinct, %.0f bytes each", r.Blocks, r.Distinct, r.BytesPerBlock)
	}
	if r.Fill.Blocks < 6000 || int64(r.Fill.Blocks) != r.Blocks || r.Fill.Events <= r.Fill.Messages || r.Remove.Blocks < 600/3 || r.Forget.Blocks <= 0 {
		t.Errorf("fill %+v, remove %+v, forget %+v", r.Fill, r.Remove, r.Forget)
	}
	if len(r.Steps) != 2*8 || len(r.Latencies) != 2*3 || len(r.Parts) != 4 {
		t.Errorf("%d steps, %d latencies, %d parts", len(r.Steps), len(r.Latencies), len(r.Parts))
	}
	for _, l := range r.Latencies {
		if l.Lookups == 0 || l.P50 <= 0 || l.P99 < l.P50 || l.Max < l.P99 {
			t.Errorf("%+v", l)
		}
	}
	if r.Latencies[1].Ingest.Blocks == 0 {
		t.Error("nothing was reported while lookups were timed")
	}
	var out bytes.Buffer
	if err := WriteKVCache(&out, r); err != nil {
		t.Fatal(err)
	}
	for _, want := range []string{"3 endpoints hold", "| store all blocks |", "| 220 KB prompt, 3,5", "| together | **", "| 1 KB | none | 1 |", "| keys of 10,000 tokens |"} {
		if !strings.Contains(out.String(), want) {
			t.Errorf("no %q in\n%s", want, out.String())
		}
	}
}

// The index finds the load's prompts where the load says they are.
func TestKVLoad(t *testing.T) {
	load := newKVLoad(10, 20_000)
	in, err := newKVIngest(load)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := in.fill(t.Context(), 20_000); err != nil {
		t.Fatal(err)
	}
	holders := map[uint32]int{}
	held := 0
	for _, e := range load.engines {
		held += e.held
		for _, d := range e.docs {
			holders[d]++
		}
	}
	if st := in.index.Stats(); st.Blocks != int64(held) || st.Orphans+st.Unknown+st.Dropped+st.Torn > 0 {
		t.Errorf("%+v, want %d blocks", st, held)
	}
	l, err := newKVLookups(t.Context(), in, 1<<10)
	if err != nil {
		t.Fatal(err)
	}
	defer l.close()
	for doc, n := range holders {
		var ids []uint32
		for i := range docBlocks * kvBlockTokens {
			ids = append(ids, kvToken(doc, i))
		}
		blocks := in.index.Keys(nil, kvModel, ids, nil)
		got := 0
		for slot := range int32(10) {
			if in.prefix.MatchOne(blocks, slot) == int64(len(ids)) {
				got++
			}
		}
		if got != n {
			t.Errorf("document %d is on %d engines, want %d", doc, got, n)
		}
	}
	for i, p := range l.prompts {
		want := int64(len(p.ids) * 3 / 4 / kvBlockTokens * kvBlockTokens)
		if got := in.prefix.MatchOne(p.blocks, p.slot); got != want {
			t.Fatalf("%d tokens of prompt %d are held, want %d", got, i, want)
		}
	}
	before := in.index.Stats().Blocks
	in.churn(5000)
	var r KVRate
	if err := in.flush(t.Context(), &r); err != nil {
		t.Fatal(err)
	}
	if st := in.index.Stats(); r.Blocks < 5000 || st.Unknown+st.Orphans > 0 || st.Blocks > before+20_000 {
		t.Errorf("after %+v: %+v", r, st)
	}
}

func TestKVCacheNeedsMemory(t *testing.T) {
	if _, ok := freeMemory(); !ok {
		t.Skip("not known here")
	}
	if _, err := KVCache(context.Background(), KVCacheOptions{Endpoints: 1, Blocks: 1 << 40}); err == nil || !strings.Contains(err.Error(), "memory") {
		t.Errorf("%v", err)
	}
}
