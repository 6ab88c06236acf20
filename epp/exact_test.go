package epp

import (
	"context"
	"fmt"
	"testing"
	"time"

	"github.com/fairway-ai/fairway/epp/kvcache"
	"github.com/fairway-ai/fairway/extproc"
	"github.com/fairway-ai/fairway/extproc/scan"
	"github.com/fairway-ai/fairway/pool/file"
	"github.com/fairway-ai/fairway/scheduler"
	"github.com/fairway-ai/fairway/scheduler/prefix"
)

// fakeCache reports what each slot holds, in tokens.
type fakeCache struct {
	held    map[int32]int64
	wanted  bool
	found   kvcache.Found
	unknown bool

	asked []kvcache.Prompt
	sent  []string
}

func (c *fakeCache) Match(_ []prefix.Block, snap *scheduler.Snapshot, tokens, blocks []int32) (known int) {
	for i := range snap.Endpoints {
		n, ok := c.held[snap.Endpoints[i].Slot]
		if !ok {
			blocks[i] = -1
			continue
		}
		known++
		tokens[i], blocks[i] = int32(n), int32(n/16)
	}
	return known
}

func (c *fakeCache) MatchOne(_ []prefix.Block, slot int32) (int64, bool) {
	n, ok := c.held[slot]
	return n, ok
}

func (c *fakeCache) Wanted(api scan.API) bool { return c.wanted && api == scan.ChatCompletions }

func (c *fakeCache) Find(_ context.Context, p kvcache.Prompt, dst []prefix.Block) (kvcache.Found, bool) {
	p.Body = append([]byte(nil), p.Body...)
	c.asked = append(c.asked, p)
	if c.unknown {
		return kvcache.Found{}, false
	}
	return kvcache.Found{Keys: append(dst, c.found.Keys...), Tokens: c.found.Tokens}, true
}

func (c *fakeCache) Dispatched(slot int32, keys []prefix.Block) {
	c.sent = append(c.sent, fmt.Sprintf("%d:%d", slot, len(keys)))
}

// TestPickByHoldings: where engines report, that decides, and the request counts with
// its tokens as they were counted; where it is not known in time, what was sent decides.
func TestPickByHoldings(t *testing.T) {
	keys := make([]prefix.Block, 10)
	for i := range keys {
		keys[i] = prefix.Block{Hash: uint64(i) + 7, Tokens: 16}
	}
	for _, test := range []struct {
		name             string
		cache            *fakeCache
		body             string
		model            string // by the header
		want             string // where to
		context, backlog int64
		asked, sent      string
	}{
		{"reported", &fakeCache{wanted: true, held: map[int32]int64{0: 0, 1: 160}, found: kvcache.Found{Keys: keys, Tokens: 170}},
			"{}", "", "10.0.0.2:8000", 170, 10, "m {}", "1:10"},
		{"further prompts", &fakeCache{wanted: true, held: map[int32]int64{0: 0, 1: 160}, found: kvcache.Found{Keys: keys}},
			"{}", "", "10.0.0.2:8000", 200, 40, "m {}", "1:10"},
		{"not known in time", &fakeCache{wanted: true, unknown: true, held: map[int32]int64{0: 0, 1: 160}},
			"{}", "", "10.0.0.1:8000", 200, 0, "m {}", ""},
		{"not wanted", &fakeCache{held: map[int32]int64{0: 0, 1: 160}},
			"{}", "", "10.0.0.1:8000", 200, 0, "", ""},
		{"no body at hand", &fakeCache{wanted: true, held: map[int32]int64{0: 0, 1: 160}},
			"", "", "10.0.0.1:8000", 200, 0, "", ""},
		{"another model", &fakeCache{wanted: true, held: map[int32]int64{0: 0, 1: 160}, found: kvcache.Found{Keys: keys, Tokens: 170}},
			"{}", "other", "10.0.0.2:8000", 170, 10, "other {}", "1:10"},
		{"the other one does not report", &fakeCache{wanted: true, held: map[int32]int64{1: 0}, found: kvcache.Found{Keys: keys, Tokens: 400}},
			"{}", "", "10.0.0.1:8000", 400, 0, "m {}", "0:10"}, // what was sent there is all of it, however long that is
	} {
		t.Run(test.name, func(t *testing.T) {
			e := newFakePool(2)
			e.index = prefix.New(prefix.Options{})
			blocks := []prefix.Block{{Hash: 1, Tokens: 67}, {Hash: 2, Tokens: 67}, {Hash: 3, Tokens: 66}}
			for i := range int32(2) {
				e.index.AddEndpoint(i, 1<<20)
			}
			e.index.Insert(0, blocks)
			p := newPicker(t, Options{Pools: []Pool{{Name: "ns/pool", Endpoints: e, Cache: test.cache}}})
			req := extproc.NewRequest([]extproc.Header{{Name: extproc.ModelRewriteHeader, Value: test.model}, {Name: "authorization", Value: "Bearer k"}}, nil)
			req.Path, req.Body = "/v1/chat/completions", scan.Result{API: scan.ChatCompletions, Model: "m", Stream: true, PromptBytes: 800, Blocks: blocks}
			if test.body != "" {
				req.SetBody([]byte(test.body))
			}
			pick := mustPick(t, p, req)
			if got := pick.Destinations[:len(test.want)]; got != test.want {
				t.Errorf("sent to %s, want %s", pick.Destinations, test.want)
			}
			asked, sent := "", ""
			for _, a := range test.cache.asked {
				asked += a.Model + " " + string(a.Body)
				if a.Path != req.Path || a.Authorization != "Bearer k" {
					t.Errorf("path %q, authorization %q", a.Path, a.Authorization)
				}
			}
			for _, s := range test.cache.sent {
				sent += s
			}
			if asked != test.asked || sent != test.sent {
				t.Errorf("asked %q, sent %q; want %q and %q", asked, sent, test.asked, test.sent)
			}
			for _, at := range e.Snapshot().Endpoints {
				if at.Address == test.want {
					if v := at.Load.View(); v.Context != test.context || v.Backlog != test.backlog {
						t.Errorf("%d prompt tokens, %d of them to prefill; want %d and %d", v.Context, v.Backlog, test.context, test.backlog)
					}
				}
			}
			pick.Observer.End(time.Now(), extproc.Outcome{})
			drained(t, e.Snapshot().Endpoints)
			// A request that is reused remembers nothing.
			test.cache.wanted, test.cache.sent = false, nil
			mustPick(t, p, prompt("r", "m", 10)).Observer.End(time.Now(), extproc.Outcome{})
			if len(test.cache.sent) > 0 {
				t.Errorf("sent %v of a request without keys", test.cache.sent)
			}
		})
	}
}

func TestRescale(t *testing.T) {
	blocks := make([]prefix.Block, 1000)
	for i := range blocks {
		blocks[i].Tokens = 16
	}
	rescale(blocks, 9001, 17000)
	sum := int64(0)
	for _, b := range blocks {
		if b.Tokens < 8 || b.Tokens > 9 {
			t.Fatalf("a block of %d tokens", b.Tokens)
		}
		sum += int64(b.Tokens)
	}
	if sum != 8471 { // 16,000 of 17,000
		t.Errorf("%d tokens in all", sum)
	}
	rescale(blocks, 5, 0)
	if blocks[0].Tokens != 8 {
		t.Error("scaled by nothing")
	}
}

// TestPoolSetFollowsKVCaches: a pool's caches come and go with it.
func TestPoolSetFollowsKVCaches(t *testing.T) {
	caches, err := kvcache.New(kvcache.Options{})
	if err != nil {
		t.Fatal(err)
	}
	p := newPicker(t, Options{})
	s := NewPoolSet(PoolSetOptions{Picker: p, KVCache: caches})
	expect := func(what, want string) {
		t.Helper()
		got := ""
		for _, c := range caches.Stats().Pools {
			got += fmt.Sprintf("%s:%d ", c.Name, c.Followed)
		}
		if got != want {
			t.Errorf("%s: %q, want %q", what, got, want)
		}
	}
	s.Update([]PoolConfig{poolConfig("a", 2, nil, "127.0.0.1:1"), poolConfig("b", 1, []string{"m"}, "127.0.0.1:2", "127.0.0.1:3")}, nil)
	expect("two pools", "ns/a:1 ns/b:2 ")
	if p.routes.Load().byName["ns/a"].cache == p.routes.Load().byName["ns/b"].cache {
		t.Error("pools share a cache")
	}
	before := p.routes.Load().byName["ns/b"]
	s.Update([]PoolConfig{poolConfig("b", 1, []string{"m"}, "127.0.0.1:2")}, []string{"ns/a"})
	expect("one", "ns/b:1 ")
	if p.routes.Load().byName["ns/b"] != before {
		t.Error("the pool that stayed has another route")
	}
	if err := s.Apply(&file.Config{Pools: []file.PoolConfig{
		filePool("x", []string{"m"}, "127.0.0.1:5"), filePool("y", []string{"m"}, "127.0.0.1:6"),
	}}); err == nil {
		t.Error("two pools have the same model")
	}
	expect("after a refusal", "ns/b:1 ")
	if err := s.Apply(&file.Config{Pools: []file.PoolConfig{filePool("c", nil, "127.0.0.1:5")}}); err != nil {
		t.Fatal(err)
	}
	expect("another file", "ns/c:1 ")
}
