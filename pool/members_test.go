package pool

import (
	"fmt"
	"math/rand/v2"
	"slices"
	"sync"
	"testing"
	"time"

	"github.com/fairway-ai/fairway/pool/scrape"
	"github.com/fairway-ai/fairway/scheduler"
	"github.com/fairway-ai/fairway/scheduler/prefix"
)

// TestSetHistories drives random histories of memberships and checks, after each
// step, everything that must hold between endpoints, slots, loads and the index.
func TestSetHistories(t *testing.T) {
	for seed := range uint64(20) {
		r := rand.New(rand.NewPCG(seed, 1))
		now := time.Unix(1000, 0)
		p := newPool(t, newFake(), func(o *Options) { o.Now = func() time.Time { return now } })
		type life struct {
			id, address string
			load        *scheduler.Load
			slot        int32
			hash        uint64
		}
		current := map[string]life{}
		everyLoad := map[*scheduler.Load]bool{}
		busySlots := map[int32]*scheduler.Load{} // of endpoints that left with requests in flight
		var flights []*scheduler.Flight
		hash, version, most := uint64(0), p.Snapshot().Version, 0
		for step := range 150 {
			now = now.Add(time.Duration(r.IntN(3)) * 700 * time.Millisecond)
			var specs []Spec
			for i := range 12 {
				if r.IntN(3) > 0 {
					specs = append(specs, Spec{
						ID: fmt.Sprintf("default/e%d", i), Address: fmt.Sprintf("10.0.%d.%d:8000", i, 1+r.IntN(8)/7),
						Labels: map[string]string{"v": fmt.Sprint(r.IntN(2))},
					})
				}
			}
			r.Shuffle(len(specs), func(i, j int) { specs[i], specs[j] = specs[j], specs[i] })
			p.Set(specs)
			s := p.Snapshot()
			if s.Len() != len(specs) || len(s.Metrics) != len(specs) {
				t.Fatalf("seed %d step %d: %d endpoints, %d metrics, want %d", seed, step, s.Len(), len(s.Metrics), len(specs))
			}
			if s.Version <= version {
				t.Fatalf("seed %d step %d: version %d after %d", seed, step, s.Version, version)
			}
			version = s.Version
			next, slotsSeen, last := map[string]life{}, map[int32]bool{}, int32(-1)
			for i, e := range s.Endpoints {
				if e.ID != specs[i].ID || e.Address != specs[i].Address || e.Labels["v"] != specs[i].Labels["v"] {
					t.Fatalf("seed %d step %d: endpoint %d is %+v, want %+v", seed, step, i, e, specs[i])
				}
				if slotsSeen[e.Slot] || e.Slot < 0 {
					t.Fatalf("seed %d step %d: slot %d twice", seed, step, e.Slot)
				}
				slotsSeen[e.Slot] = true
				last = max(last, e.Slot)
				was, lived := current[e.ID]
				if lived && was.address == e.Address {
					if was.load != e.Load || was.slot != e.Slot {
						t.Fatalf("seed %d step %d: %s lost its load or slot", seed, step, e.ID)
					}
					if p.Index().MatchOne([]prefix.Block{{Hash: was.hash, Tokens: 16}}, e.Slot) != 16 {
						t.Fatalf("seed %d step %d: %s lost its index entries", seed, step, e.ID)
					}
					next[e.ID] = was
					continue
				}
				if everyLoad[e.Load] || !e.Load.Idle() || e.Load.View() != (scheduler.LoadView{}) {
					t.Fatalf("seed %d step %d: new endpoint %s inherits a load", seed, step, e.ID)
				}
				if o := busySlots[e.Slot]; o != nil && !o.Idle() {
					t.Fatalf("seed %d step %d: slot %d is reused while its last owner has requests", seed, step, e.Slot)
				}
				everyLoad[e.Load] = true
				for h := uint64(1); h <= hash; h++ {
					if n := p.Index().MatchOne([]prefix.Block{{Hash: h, Tokens: 16}}, e.Slot); n != 0 {
						t.Fatalf("seed %d step %d: new endpoint %s inherits index entries", seed, step, e.ID)
					}
				}
				hash++
				p.Index().Insert(e.Slot, []prefix.Block{{Hash: hash, Tokens: 16}})
				next[e.ID] = life{e.ID, e.Address, e.Load, e.Slot, hash}
			}
			for id, l := range current {
				if n, ok := next[id]; !ok || n.load != l.load {
					busySlots[l.slot] = l.load
				}
			}
			if s.Slots != int(last)+1 {
				t.Fatalf("seed %d step %d: Slots %d, largest slot %d", seed, step, s.Slots, last)
			}
			if got := p.Index().Stats().Endpoints; got != len(specs) {
				t.Fatalf("seed %d step %d: the index knows %d endpoints, want %d", seed, step, got, len(specs))
			}
			most = max(most, s.Slots)
			current = next
			for _, e := range s.Endpoints {
				if r.IntN(4) == 0 {
					f := new(scheduler.Flight)
					f.Bind(e.Load, 10, 100)
					flights = append(flights, f)
				}
			}
			for len(flights) > 10 {
				i := r.IntN(len(flights))
				flights[i].End(now)
				flights = slices.Delete(flights, i, i+1)
			}
		}
		if most > 80 { // 12 live, 10 busy, and what rests within slotGrace
			t.Errorf("seed %d: slots grew to %d for at most 12 endpoints", seed, most)
		}
	}
}

func TestSetWithoutChangePublishesNothing(t *testing.T) {
	p := newPool(t, newFake())
	calls := 0
	p.OnChange(func(*scheduler.Snapshot) { calls++ })
	p.Set(specsOf(3))
	before := p.Snapshot()
	p.Set(specsOf(3))
	if p.Snapshot() != before || calls != 1 {
		t.Errorf("setting the same endpoints again published (calls %d)", calls)
	}
	labelled := specsOf(3)
	labelled[1].Labels = map[string]string{"a": "b"}
	p.Set(labelled)
	labelled[1].Labels["a"] = "changed by the caller"
	after := p.Snapshot()
	if calls != 2 || after.Endpoints[1].Labels["a"] != "b" || after.Endpoints[1].Load != before.Endpoints[1].Load {
		t.Errorf("a change of labels: calls %d, endpoint %+v", calls, after.Endpoints[1])
	}
	p.Set(nil)
	if p.Snapshot().Len() != 0 || p.Snapshot().Slots != 0 || calls != 3 {
		t.Errorf("emptied: %+v, calls %d", p.Snapshot(), calls)
	}
}

func TestSetIgnoresDuplicates(t *testing.T) {
	p := newPool(t, newFake())
	p.Set([]Spec{{ID: "a", Address: "1.1.1.1:1"}, {ID: "a", Address: "1.1.1.1:2"}, {ID: "b", Address: "1.1.1.1:1"}, {ID: "c", Address: "1.1.1.1:3"}})
	s := p.Snapshot()
	if s.Len() != 2 || s.Endpoints[0].Address != "1.1.1.1:1" || s.Endpoints[1].ID != "c" {
		t.Errorf("got %+v", s.Endpoints)
	}
}

func TestOnChange(t *testing.T) {
	p := newPool(t, newFake())
	var versions []uint64
	var sizes []int
	cancel := p.OnChange(func(s *scheduler.Snapshot) {
		versions, sizes = append(versions, s.Version), append(sizes, s.Len())
		if s.Len() == 2 {
			p.Set(specsOf(5)) // from inside a call: announced after it
			if p.Snapshot().Len() != 5 {
				t.Error("Set from inside a callback did not publish")
			}
		}
	})
	second := 0
	defer p.OnChange(func(*scheduler.Snapshot) { second++ })()
	p.Set(specsOf(1))
	p.Set(specsOf(2))
	p.Set(specsOf(3))
	if !slices.Equal(sizes, []int{1, 2, 5, 3}) || !slices.IsSorted(versions) {
		t.Errorf("sizes %v, versions %v", sizes, versions)
	}
	cancel()
	cancel()
	p.Set(specsOf(4))
	if len(sizes) != 4 || second != 5 {
		t.Errorf("after cancel: %d calls; the other subscriber has %d, want 5", len(sizes), second)
	}
}

// TestConcurrentUse is for the race detector, and for deadlocks.
func TestConcurrentUse(t *testing.T) {
	f := newFake()
	f.answer(scrape.Values{Running: 2, BlockTokens: 16, Blocks: 100}, nil)
	p := newPool(t, f)
	defer run(t, p)()
	var wg sync.WaitGroup
	var mu sync.Mutex
	last := uint64(0)
	defer p.OnChange(func(s *scheduler.Snapshot) {
		mu.Lock()
		defer mu.Unlock()
		if s.Version <= last {
			t.Errorf("announced version %d after %d", s.Version, last)
		}
		last = s.Version
	})()
	for g := range 4 {
		wg.Go(func() {
			r := rand.New(rand.NewPCG(uint64(g), 0))
			for range 300 {
				switch r.IntN(4) {
				case 0:
					p.Set(specsOf(r.IntN(20)))
				case 1:
					p.Suspect(fmt.Sprintf("default/e%d", r.IntN(20)))
				default:
					p.Active()
					for i, e := range p.Snapshot().Endpoints {
						_ = p.Snapshot().Metrics
						var fl scheduler.Flight
						fl.Bind(e.Load, 1, 1)
						p.Index().Insert(e.Slot, []prefix.Block{{Hash: uint64(i), Tokens: 16}})
						fl.End(time.Now())
					}
				}
			}
		})
	}
	wg.Wait()
}
