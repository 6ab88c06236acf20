package kvcache

import (
	"bytes"
	"context"
	"fmt"
	"log/slog"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/fairway-ai/fairway/extproc/scan"
	"github.com/fairway-ai/fairway/pool/kvevents"
	"github.com/fairway-ai/fairway/scheduler"
)

// fakePool is a pool that the test fills.
type fakePool struct {
	snap atomic.Pointer[scheduler.Snapshot]
	mu   sync.Mutex
	told map[int]func(*scheduler.Snapshot)

	suspects []string
}

func (p *fakePool) Suspect(id string) { p.suspects = append(p.suspects, id) }

func newFakePool(es ...scheduler.Endpoint) *fakePool {
	p := &fakePool{told: map[int]func(*scheduler.Snapshot){}}
	p.set(es...)
	return p
}

func (p *fakePool) set(es ...scheduler.Endpoint) {
	s := &scheduler.Snapshot{Endpoints: es, Metrics: make([]scheduler.Metrics, len(es))}
	for i := range es {
		s.Slots = max(s.Slots, int(es[i].Slot)+1)
	}
	p.snap.Store(s)
	p.mu.Lock()
	defer p.mu.Unlock()
	for _, f := range p.told {
		f(s)
	}
}

func (p *fakePool) Snapshot() *scheduler.Snapshot { return p.snap.Load() }

func (p *fakePool) OnChange(f func(*scheduler.Snapshot)) func() {
	p.mu.Lock()
	defer p.mu.Unlock()
	k := len(p.told)
	p.told[k] = f
	return func() {
		p.mu.Lock()
		defer p.mu.Unlock()
		delete(p.told, k)
	}
}

func endpoint(id, address string, slot int32) scheduler.Endpoint {
	return scheduler.Endpoint{ID: id, Address: address, Slot: slot, Load: new(scheduler.Load)}
}

func newSet(t testing.TB, o Options) *Set {
	t.Helper()
	s, err := New(o)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(s.close)
	return s
}

// names are what is followed, by address.
func (h *hub) names() map[string]string {
	h.mu.Lock()
	defer h.mu.Unlock()
	m := map[string]string{}
	for address, s := range h.servers {
		m[address] = fmt.Sprintf("%s %d", s.name, s.rank)
	}
	return m
}

// tell has the hub hear that the server at address stored a prompt.
func (h *hub) tell(address string, tokens []uint32) {
	name, _, _ := strings.Cut(h.names()[address], " ")
	h.Live(name)
	h.Stored(name, &kvevents.Stored{Hashes: []uint64{1}, Tokens: tokens, BlockSize: len(tokens), Model: "m", Medium: "gpu"})
}

// hears has the cache's engines name models.
func (c *Cache) hears(models ...string) {
	for _, m := range models {
		c.models.saw(&kvevents.Stored{Model: m})
	}
}

func ids(n int) []uint32 {
	out := make([]uint32, n)
	for i := range out {
		out[i] = uint32(i)
	}
	return out
}

// held is the tokens of a 32-token prompt that the cache knows of each endpoint, -1
// where it does not know.
func held(c *Cache) string {
	keys := c.index.Keys(nil, "m", ids(32), nil)
	snap := c.pool.Snapshot()
	tokens, blocks := make([]int32, snap.Len()), make([]int32, snap.Len())
	c.Match(keys, snap, tokens, blocks)
	var out []string
	for i := range tokens {
		one, ok := c.MatchOne(keys, snap.Endpoints[i].Slot)
		if blocks[i] < 0 {
			tokens[i] = -1
		}
		if ok != (blocks[i] >= 0) || ok && one != int64(tokens[i]) {
			out = append(out, "!")
		}
		out = append(out, fmt.Sprint(tokens[i]))
	}
	return strings.Join(out, " ")
}

func expect(t *testing.T, what string, got, want any) {
	t.Helper()
	if got != want {
		t.Errorf("%s: %v, want %v", what, got, want)
	}
}

// TestEndpointsOfSeveralPools: an endpoint is followed once, and told to each pool it is
// in; who joins later is told everything from the start.
func TestEndpointsOfSeveralPools(t *testing.T) {
	s := newSet(t, Options{})
	x, y := endpoint("ns/x", "10.0.0.1:8000", 0), endpoint("ns/y", "10.0.0.2:8000", 1)
	first := newFakePool(x, y)
	a := s.Open("ns/a", first)
	s.hub.tell(x.Address, ids(32))
	expect(t, "one pool", held(a), "32 -1")
	expect(t, "wanted", a.Wanted(scan.Embeddings), false)
	expect(t, "wanted", a.Wanted(scan.ChatCompletions), true)

	b := s.Open("ns/b", newFakePool(endpoint("ns/x", x.Address, 5)))
	expect(t, "the servers followed", s.hub.names()[x.Address], "10.0.0.1:8000#2 0")
	expect(t, "until it is told anew", held(a)+", "+held(b), "-1 -1, -1")
	s.hub.Stored("10.0.0.1:8000", &kvevents.Stored{}) // late news of the former life
	s.hub.tell(x.Address, ids(32))
	expect(t, "both pools", held(a)+", "+held(b), "32 -1, 32")
	expect(t, "live", a.live.Load()+b.live.Load(), int64(2))

	s.hub.Lost("10.0.0.1:8000#2")
	expect(t, "lost", held(a)+", "+held(b), "-1 -1, -1")
	expect(t, "wanted without any", a.Wanted(scan.ChatCompletions), false)

	s.hub.tell(x.Address, ids(32))
	b.Close()
	b.Close()
	expect(t, "closed", held(b), "-1")
	s.hub.tell(x.Address, ids(32))
	expect(t, "the other goes on", held(a), "32 -1")

	// A slot's next owner inherits nothing, nor does an endpoint that comes back.
	z := endpoint("ns/z", "10.0.0.3:8000", 0)
	first.set(z, y)
	expect(t, "the slot's next owner", held(a), "-1 -1")
	expect(t, "servers", len(s.hub.names()), 2)
	s.hub.tell(z.Address, ids(16))
	expect(t, "the slot's next owner, live", held(a), "16 -1")
	first.set(endpoint("ns/z", z.Address, 2), y)
	expect(t, "under another slot", held(a), "-1 -1")
	a.Close()
	expect(t, "servers at the end", len(s.hub.names()), 0)
	if st := s.Stats(); len(st.Pools) != 0 || st.Lookups.Count == 0 || st.Index.Blocks != 0 || st.Events.Endpoints != 0 {
		t.Errorf("%+v: what was counted is gone, or not all else is", st)
	}
	expect(t, "live at the end", a.live.Load()+b.live.Load(), int64(0))
}

func TestRanks(t *testing.T) {
	for _, test := range []struct {
		name      string
		endpoints []scheduler.Endpoint
		want      string
	}{
		{"names", []scheduler.Endpoint{{ID: "ns/a", Address: "10.0.0.1:1"}, {ID: "ns/b", Address: "10.0.0.1:2"}}, "[0 0]"},
		{"ranks", []scheduler.Endpoint{{ID: "ns/a-rank-0", Address: "10.0.0.1:1"}, {ID: "ns/a-rank-1", Address: "10.0.0.1:2"}, {ID: "ns/b-rank-1", Address: "10.0.0.2:2"}}, "[0 1 1]"},
		{"names that look like ranks", []scheduler.Endpoint{{ID: "ns/a-rank-0", Address: "10.0.0.1:1"}, {ID: "ns/a-rank-1", Address: "10.0.0.2:1"}}, "[0 0]"},
		{"garbage", []scheduler.Endpoint{{ID: "ns/a-rank-", Address: "10.0.0.1:1"}, {ID: "ns/a-rank-99999", Address: "10.0.0.1:2"}, {ID: "ns/a-rank-1", Address: "nowhere"}}, "[0 0 0]"},
	} {
		c := &Cache{}
		if got := fmt.Sprint(c.ranks(test.endpoints)); got != test.want {
			t.Errorf("%s: %s, want %s", test.name, got, test.want)
		}
	}
	c := &Cache{}
	c.ranks([]scheduler.Endpoint{{ID: "ns/a-rank-0", Address: "10.0.0.1:1"}, {ID: "ns/a-rank-1", Address: "10.0.0.1:2"}})
	expect(t, "the only rank that is left", fmt.Sprint(c.ranks([]scheduler.Endpoint{{ID: "ns/a-rank-1", Address: "10.0.0.1:2"}})), "[1]")
}

// TestReport: the log tells what lasts, and does not follow what flaps.
func TestReport(t *testing.T) {
	var b bytes.Buffer
	log := slog.New(slog.NewTextHandler(&b, nil))
	s := newSet(t, Options{})
	x := endpoint("ns/x", "10.0.0.1:8000", 0)
	pool := newFakePool(x)
	s.Open("ns/a", pool)
	now := time.Unix(1000, 0)
	look := func(what string, guessed, known int) {
		t.Helper()
		s.hub.report(log, now)
		if g, k := strings.Count(b.String(), "is guessed"), strings.Count(b.String(), "is known"); g != guessed || k != known {
			t.Errorf("%s: %d times guessed, %d times known, want %d and %d", what, g, k, guessed, known)
		}
		now = now.Add(time.Second)
	}
	look("at the start", 0, 0)
	now = now.Add(firstAfter)
	look("nothing came", 1, 0)
	s.hub.tell(x.Address, ids(16))
	look("live", 1, 1)
	look("still", 1, 1)
	s.hub.Lost(x.Address)
	s.hub.tell(x.Address, ids(16))
	look("lost and live", 1, 1)
	for range 10 {
		s.hub.Lost(x.Address)
		s.hub.report(log, now)
		s.hub.tell(x.Address, ids(16))
		s.hub.report(log, now)
	}
	look("flapping", 2, 2)
	s.hub.Lost(x.Address)
	expect(t, "suspects before", len(pool.suspects), 10)
	look("lost for good", 2, 2)
	look("still lost", 2, 2)
	expect(t, "suspects", strings.Join(pool.suspects[10:], " "), "ns/x")
	now = now.Add(sayEvery)
	look("is said in the end", 3, 2)
	s.hub.Live(x.Address)
	s.hub.Stored(x.Address, &kvevents.Stored{Hashes: []uint64{9}, Tokens: ids(16), BlockSize: 16, Medium: "gpu"})
	look("live again", 3, 3)
	look("once", 3, 3)
	expect(t, "warnings of a topic without a model", strings.Count(b.String(), "name no model"), 1)
}

func TestOptions(t *testing.T) {
	for text, o := range map[string]Options{
		"budget":     {Tokens: Tokens{Budget: -1}},
		"URL":        {Tokens: Tokens{URL: "localhost:8000"}},
		"Timeout":    {Tokens: Tokens{Timeout: -1}},
		"block size": {Index: withBlock(5000)},
		"KV cache":   {Events: kvevents.Options{Bind: "ipc://x"}},
	} {
		if _, err := New(o); err == nil || !strings.Contains(err.Error(), text) {
			t.Errorf("%v, want an error about %q", err, text)
		}
	}
}

// TestRunEnds: what Run began ends with it, and what is opened later is closed.
func TestRunEnds(t *testing.T) {
	s := newSet(t, Options{Tokens: Tokens{Engines: true}})
	pool := newFakePool(endpoint("ns/x", "127.0.0.1:1", 0))
	c := s.Open("ns/a", pool)
	ctx, cancel := context.WithCancel(context.Background())
	cancel()
	if err := s.Run(ctx); err != nil {
		t.Fatal(err)
	}
	if !c.closed.Load() || len(pool.told) != 0 || len(s.hub.names()) != 0 {
		t.Error("the pool is still followed")
	}
	late := s.Open("ns/b", pool)
	if !late.closed.Load() || len(pool.told) != 0 || len(s.hub.names()) != 0 {
		t.Error("a pool opened later is followed")
	}
	if _, ok := late.Find(t.Context(), Prompt{Path: "/v1/completions", Model: "m", Body: []byte(`{"prompt":"x"}`)}, nil); ok {
		t.Error("a closed pool knows tokens")
	}
	s = newSet(t, Options{Events: kvevents.Options{Bind: "tcp://203.0.113.1:1"}})
	if err := s.Run(t.Context()); err == nil {
		t.Error("listens where it cannot")
	}
}
