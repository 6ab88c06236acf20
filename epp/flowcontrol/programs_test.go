package flowcontrol

import (
	"fmt"
	"math"
	"math/rand/v2"
	"testing"
	"time"
)

// TestProgramAwareBound: of flows that always have something waiting, none gets further
// ahead of another in the tokens that it was served with than by what one request may
// take and a third of that, since the wait counts a quarter of the service.
func TestProgramAwareBound(t *testing.T) {
	const largest = 1000
	for seed := range uint64(40) {
		rng := rand.New(rand.NewPCG(seed, 17))
		c := DefaultConfig()
		c.Default.MaxRequests = 0
		c.Default.Fairness = Fairness{Type: ProgramAware, Programs: DefaultPrograms()}
		c.Default.Fairness.Programs.HalfLife = 0
		c.Default.Fairness.Programs.DecayFactor = 1 // all counts, so that it can be added up
		q, now := NewQueue(c, nil, nil), time.Unix(1e9, 0)
		flows := 2 + rng.IntN(6)
		served := make([]float64, flows)
		push := func(k int) { q.Push(now, &Waiter{Flow: fmt.Sprint(k), Payload: k}, nil) }
		for k := range flows {
			for range 1 + rng.IntN(4) {
				push(k)
			}
		}
		for step := range 2000 {
			now = now.Add(time.Duration(rng.IntN(3000)) * time.Millisecond)
			w := q.Pop(now, open{})
			k := w.Payload.(int)
			cost := float64(1 + rng.IntN(largest))
			served[k] += cost
			q.Served(now, 0, w.Flow, cost)
			push(k)
			least, most := math.Inf(1), 0.
			for _, s := range served {
				least, most = min(least, s), max(most, s)
			}
			if most-least > largest*4/3. {
				t.Fatalf("seed %d, step %d: flows were served with %v", seed, step, served)
			}
		}
	}
}

func TestPrograms(t *testing.T) {
	c := DefaultConfig()
	c.Default.Fairness = Fairness{Type: ProgramAware, Programs: DefaultPrograms()}
	q, now := NewQueue(c, nil, nil), time.Unix(1e9, 0)
	q.Push(now, &Waiter{Flow: "a"}, nil)
	q.Push(now, &Waiter{Flow: "b"}, nil)
	q.Push(now.Add(time.Second), &Waiter{Flow: "a"}, nil)
	now = now.Add(3 * time.Second)
	for q.Pop(now, open{}) != nil {
	}
	q.Served(now, 0, "a", 100)
	now = now.Add(time.Minute) // the half-life
	got := map[string]ProgramView{}
	for p := range q.Programs(now) {
		p.Service = math.Round(p.Service)
		got[p.ID] = p
	}
	want := map[string]ProgramView{"a": {"a", 50, 2, 5 * time.Second}, "b": {"b", 0, 1, 3 * time.Second}}
	if len(got) != 2 || got["a"] != want["a"] || got["b"] != want["b"] {
		t.Errorf("%v, want %v", got, want)
	}
	for range q.Programs(now) {
		break
	}
}
