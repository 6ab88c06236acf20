package epp

import (
	"slices"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/fairway-ai/fairway/epp/kvcache"
	"github.com/fairway-ai/fairway/extproc"
	"github.com/fairway-ai/fairway/scheduler"
	"github.com/fairway-ai/fairway/scheduler/prefix"
)

// told remembers what other replicas would hear.
type told struct {
	mu   sync.Mutex
	sent map[*scheduler.Load][]prefix.Block
	keys map[*scheduler.Load][]prefix.Block
}

func (s *told) Sent(l *scheduler.Load, blocks []prefix.Block) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.sent[l] = slices.Clone(blocks)
}

func (s *told) SentKeys(l *scheduler.Load, keys []prefix.Block) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.keys == nil {
		s.keys = map[*scheduler.Load][]prefix.Block{}
	}
	s.keys[l] = slices.Clone(keys)
}

// TestRemoteWorkHolds: work of another replica makes requests wait as the process's own
// does, and its end lets them go.
func TestRemoteWorkHolds(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		pool := newFakePool(1)
		l := pool.Snapshot().Endpoints[0].Load
		s := &told{sent: map[*scheduler.Load][]prefix.Block{}}
		p := newPicker(t, Options{Pools: onePool(pool), Hold: true, Share: s})
		defer p.Close()
		var there scheduler.Share
		busy := scheduler.Work{Requests: 1, Waiting: 1, Dispatched: 1, Backlog: scheduler.HoldTokens, Prefilling: scheduler.HoldTokens}
		there.Set(time.Now(), l, busy)

		req := prompt("1", "m", 100)
		req.Body.Blocks = []prefix.Block{{Hash: 1, Tokens: 64}}
		a := ask(p, req)
		synctest.Wait()
		if a.over() || len(s.sent) != 0 {
			t.Fatal("the request did not wait for the other replica's")
		}
		busy.Waiting, busy.Backlog, busy.Prefilling = 0, 0, 0
		if !there.Set(time.Now(), l, busy) {
			t.Fatal("less prefill work is not reported")
		}
		p.Lowered(l)
		synctest.Wait()
		if !a.over() || a.err != nil {
			t.Fatalf("the request still waits; %v", a.err)
		}
		if got := s.sent[l]; !slices.Equal(got, req.Body.Blocks) {
			t.Errorf("others hear of %v", got)
		}
		p.Lowered(new(scheduler.Load)) // of an endpoint that is gone
		a.pick.Observer.End(time.Now(), extproc.Outcome{Status: 200, Complete: true})
		there.End(time.Now())
		drained(t, pool.Snapshot().Endpoints)

		pools := 0
		p.EachPool(func(name string, snap *scheduler.Snapshot, _ *prefix.Index) bool {
			pools++
			return name == "ns/pool" && snap == pool.Snapshot()
		})
		if pools != 1 {
			t.Errorf("%d pools", pools)
		}
	})
}

// TestOthersGoFirst: a request that is held waits for a shorter one of another replica,
// and no longer than that replica holds it or the endpoint has something to do.
func TestOthersGoFirst(t *testing.T) {
	for name, then := range map[string]scheduler.Work{
		"it is sent":           {Requests: 1, Waiting: 1, Dispatched: 1, Backlog: 50, Prefilling: 50},
		"it is gone":           {},
		"a longer one follows": {Requests: 1, Waiting: 1, Backlog: 900, Next: scheduler.Next{Held: true, Uncached: 900, Since: time.Now().UnixNano()}},
		"the endpoint is idle": {Requests: 1, Waiting: 1, Backlog: 50, Next: scheduler.Next{Held: true, Uncached: 50, Since: 1}},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				pool := newFakePool(1)
				l := pool.Snapshot().Endpoints[0].Load
				p := newPicker(t, Options{Pools: onePool(pool), Hold: true, Share: &told{sent: map[*scheduler.Load][]prefix.Block{}}})
				defer p.Close()
				first := ask(p, prompt("1", "m", 100))
				synctest.Wait()
				var there scheduler.Share
				there.Set(time.Now(), l, scheduler.Work{
					Requests: 1, Waiting: 1, Backlog: 50, Next: scheduler.Next{Held: true, Uncached: 50, Since: time.Now().UnixNano()},
				})
				second := ask(p, prompt("2", "m", 100))
				synctest.Wait()
				if !first.over() || second.over() {
					t.Fatalf("sent: the first %v, the second %v, want the first", first.over(), second.over())
				}
				if n := l.Own().Next; !n.Held || n.Uncached != 100 {
					t.Errorf("others hear of %+v", n)
				}
				if then.Next.Since == 1 {
					first.pick.Observer.FirstToken(time.Now())
				} else {
					there.Set(time.Now(), l, then)
					p.Lowered(l)
				}
				synctest.Wait()
				if !second.over() || second.err != nil {
					t.Fatalf("the request still waits; %v", second.err)
				}
				if n := l.Own().Next; n.Held {
					t.Errorf("others hear of %+v, which is sent", n)
				}
				for _, a := range []*asked{first, second} {
					a.pick.Observer.End(time.Now(), extproc.Outcome{Status: 200, Complete: true})
				}
				there.End(time.Now())
				drained(t, pool.Snapshot().Endpoints)
			})
		})
	}
}

// TestKeysAreShared: of a prompt whose tokens are known others hear by its exact keys, too;
// what they have sent counts as what this process has, until the engine says so.
func TestKeysAreShared(t *testing.T) {
	pool := newFakePool(2)
	l := pool.Snapshot().Endpoints[1].Load
	keys := []prefix.Block{{Hash: 3, Tokens: 16}, {Hash: 4, Tokens: 16}}
	cache := &fakeCache{wanted: true, held: map[int32]int64{0: 0, 1: 16}, found: kvcache.Found{Keys: keys, Tokens: 40}}
	s := &told{sent: map[*scheduler.Load][]prefix.Block{}}
	p := newPicker(t, Options{Pools: []Pool{{Name: "ns/pool", Endpoints: pool, Cache: cache}}, Share: s})
	defer p.Close()
	pickOne := func() extproc.Pick {
		req := extproc.NewRequest(nil, nil)
		req.Path, req.Body = "/v1/chat/completions", prompt("r", "m", 40).Body
		req.Body.Blocks = []prefix.Block{{Hash: 1, Tokens: 40}}
		req.SetBody([]byte("{}"))
		return mustPick(t, p, req)
	}
	known := pickOne()
	if got := s.keys[l]; !slices.Equal(got, keys) {
		t.Errorf("others hear of the keys %v, want %v", got, keys)
	}
	if len(s.sent[l]) != 1 {
		t.Errorf("others hear of the blocks %v", s.sent[l])
	}
	cache.unknown, s.keys = true, nil
	unknown := pickOne()
	if s.keys != nil {
		t.Errorf("others hear of the keys %v of a prompt whose tokens are not known", s.keys)
	}
	cache.sent = nil
	p.Assume(l, keys)
	p.Assume(new(scheduler.Load), keys) // of an endpoint that is gone
	if want := []string{"1:2"}; !slices.Equal(cache.sent, want) {
		t.Errorf("assumed at %v, want %v", cache.sent, want)
	}
	for _, pick := range []extproc.Pick{known, unknown} {
		pick.Observer.End(time.Now(), extproc.Outcome{Status: 200, Complete: true})
	}
	drained(t, pool.Snapshot().Endpoints)
}
