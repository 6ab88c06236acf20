package kvcache_test

import (
	"errors"
	"fmt"
	"net"
	"strings"
	"testing"

	"github.com/fairway-ai/fairway/epp/kvcache"
	"github.com/fairway-ai/fairway/pool/kvevents"
	"github.com/fairway-ai/fairway/pool/kvevents/index"
	"github.com/fairway-ai/fairway/sim/server"
)

// TestDecisionsFollowEngines: what decides is what the engines hold, whoever filled
// their caches, whether they are dialled or dial.
func TestDecisionsFollowEngines(t *testing.T) {
	for _, format := range []string{server.KVArray, server.KVMap} {
		t.Run("dialled "+format, func(t *testing.T) {
			a, b, port, replays := adjacent(t, true, format)
			b.post("/v1/chat/completions", long("before")) // nobody listens yet
			w := newWorld(t, kvcache.Options{
				Events: kvevents.Options{SocketPort: port, ReplayPort: replays},
				Index:  index.Options{SpeculativeTTL: -1},
			})
			w.serve(a, b)
			w.live(2)
			heard(w, b)
			followed(w, a, b)
		})
		t.Run("dials "+format, func(t *testing.T) {
			w := newWorld(t, kvcache.Options{
				Events: kvevents.Options{Bind: "tcp://127.0.0.1:0"},
				Index:  index.Options{SpeculativeTTL: -1},
			})
			var bound net.Addr
			eventually(t, "a listener", func() error {
				if bound = w.caches.BoundAddr(); bound == nil {
					return errors.New("none")
				}
				return nil
			})
			var both [2]*engineAt
			for i := range both {
				var err error
				if both[i], err = startEngine(t, "127.0.0.1:0", server.KVEvents{Endpoint: "tcp://" + bound.String(), Format: format}); err != nil {
					t.Fatal(err)
				}
			}
			w.serve(both[0], both[1])
			spoken(w, 2, both[:]...)
			followed(w, both[0], both[1])
		})
	}
}

// heard has a server that is dialled say something until it is heard: a publisher does
// not send what comes before it has read the subscription.
func heard(w *world, e *engineAt) {
	w.t.Helper()
	n := 0
	eventually(w.t, "the server is heard", func() error {
		n++
		// A block or two, so that nothing is evicted.
		e.post("/v1/chat/completions", fmt.Sprintf(`{"model":"m","max_tokens":1,"messages":[{"role":"user","content":"%s"}]}`, strings.Repeat(fmt.Sprintf("hello %6d ", n), 6)))
		if s := w.caches.Stats().Events; s.Messages == 0 {
			return fmt.Errorf("%+v", s)
		}
		return nil
	})
}

// spoken has servers that dial say something until they are followed: what they say
// before they have connected is lost.
func spoken(w *world, live int, engines ...*engineAt) {
	w.t.Helper()
	eventually(w.t, "the servers are followed", func() error {
		for _, e := range engines {
			e.post("/reset_prefix_cache", "")
			e.post("/v1/chat/completions", long("hello"))
		}
		if p := w.caches.Stats().Pools; p[0].Live != live {
			return fmt.Errorf("%+v", p)
		}
		return nil
	})
	for _, e := range engines {
		e.post("/reset_prefix_cache", "")
	}
	w.blocks(0)
}

// followed is the story of two servers of which both are followed.
func followed(w *world, a, b *engineAt) {
	t := w.t
	t.Helper()
	const idA, idB = "ns/pod-rank-0", "ns/pod-rank-1"
	b.post("/v1/chat/completions", long("direct"))
	eventually(t, "all of its blocks are known, and its tokens", func() error {
		if d := w.pick(long("direct")); !d.TokensExact || d.PromptTokens-d.CachedTokens > 31 {
			return fmt.Errorf("%+v", d)
		}
		return nil
	})
	for range 3 { // chance would fail one in eight
		d := w.pick(long("direct"))
		if !d.TokensExact || d.CachedTokens < 256 || d.PromptTokens-d.CachedTokens > 31 || d.Rows[0].ID != idB || exact(d) != idB+" "+idA+" " {
			t.Fatalf("%+v: exact at %q, want it at the server that holds it", d, exact(d))
		}
	}
	if w.caches.Stats().Events.Replays > 0 {
		eventually(t, "what was cached before anybody listened is known", func() error {
			if d := w.pick(long("before")); d.Rows[0].ID != idB || d.CachedTokens < 256 {
				return fmt.Errorf("%+v", d)
			}
			return nil
		})
	}
	// Both indexes have it at B by now; only the engine's word counts.
	b.post("/reset_prefix_cache", "")
	w.blocks(0)
	if d := w.pick(long("direct")); d.CachedTokens != 0 || !d.TokensExact {
		t.Errorf("%+v: counts as cached after the cache was emptied", d)
	}

	w.logged("is known", 2)

	// The index by bytes is warm when the events stop.
	b.stop()
	w.live(1)
	d := w.pick(long("direct"))
	if d.Rows[0].ID != idB || d.CachedTokens < 200 || exact(d) != idA+" " {
		t.Errorf("%+v: exact at %q; want the guess of what B held, and the word of A alone", d, exact(d))
	}
	w.logged("is guessed", 1)

	b = b.again()
	if w.caches.BoundAddr() != nil {
		spoken(w, 2, b)
	}
	w.live(2)
	if d := w.pick(long("direct")); d.CachedTokens != 0 || strings.Count(exact(d), "rank") != 2 {
		t.Errorf("%+v: exact at %q; a server that began anew holds nothing", d, exact(d))
	}
	a.post("/v1/chat/completions", long("more"))
	eventually(t, "live again", func() error {
		if d := w.pick(long("more")); d.Rows[0].ID != idA || d.CachedTokens < 256 {
			return fmt.Errorf("%+v, want A", d)
		}
		return nil
	})
}
