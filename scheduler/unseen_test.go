package scheduler

import (
	"fmt"
	"testing"
	"time"
)

func TestUnseen(t *testing.T) {
	var u Unseen
	now := time.Unix(1000, 0)
	loads := []*Load{new(Load), new(Load)}
	const lag = 50 * time.Millisecond
	reads := func() (tokens int64, requests float64) {
		u.Reserve(loads, 0, 2, lag)
		if v := loads[0].View(); v != (LoadView{}) {
			t.Errorf("%+v at the replica's own", v)
		}
		v := loads[1].View()
		return v.UnseenTokens, v.UnseenRequests
	}
	if n, r := reads(); n != 0 || r != 0 {
		t.Errorf("%d tokens and %v requests from nothing", n, r)
	}
	for i := range int64(200) { // 10,000 tokens per second for 10 s, of 20 requests
		u.Observe(now, 500*i, i)
		now = now.Add(lag)
	}
	if n, r := reads(); n < 475 || n > 500 || r < 0.95 || r > 1 {
		t.Errorf("%d tokens and %v requests in 50 ms, want 500 and 1", n, r)
	}
	u.Observe(now.Add(-time.Hour), 1<<40, 1<<30) // a clock that went back
	u.Observe(now.Add(time.Second), 5, 5)        // a replica has left
	if n, r := reads(); n < 450 || n > 500 || r < 0.9 || r > 1 {
		t.Errorf("%d tokens and %v requests afterwards", n, r)
	}
	u.Observe(now.Add(61*time.Second), 5, 5)
	if n, _ := reads(); n != 0 {
		t.Errorf("%d tokens long after the last one", n)
	}
	loads[1].SetUnseen(-5, -5)
	if v := loads[1].View(); v != (LoadView{}) {
		t.Errorf("%+v of less than nothing", v)
	}
}

// TestReserve: each endpoint is somebody's, and every replica has one that is idle where
// there are enough.
func TestReserve(t *testing.T) {
	busy := func(at ...int) []*Load {
		loads := make([]*Load, 6)
		for i := range loads {
			loads[i] = new(Load)
		}
		for _, i := range at {
			new(Flight).Bind(loads[i], 9000, 9000)
		}
		return loads
	}
	for _, c := range []struct {
		loads    []*Load
		replicas int
		want     string // the owners, by endpoint
	}{
		{busy(), 3, "[0 1 2 0 1 2]"},
		{busy(), 1, "[0 0 0 0 0 0]"},
		{busy(0), 3, "[0 1 2 0 1 2]"},
		{busy(0, 3), 3, "[0 1 2 0 0 2]"}, // both of the first's are busy: it gets one of the next's
		{busy(0, 3, 1), 3, "[0 1 2 0 1 0]"},
		{busy(1, 2, 3, 4, 5), 3, "[0 1 2 0 1 2]"},
		{busy(), 8, "[0 1 2 3 4 5]"},
	} {
		owner := make([]int, len(c.loads))
		for r := range c.replicas {
			var u Unseen
			u.Observe(time.Unix(1000, 0), 0, 0)
			u.Observe(time.Unix(1002, 0), 20_000, 4)
			u.Reserve(c.loads, r, c.replicas, 50*time.Millisecond)
			for i, l := range c.loads {
				if l.View().UnseenTokens == 0 {
					owner[i] = r
				}
			}
		}
		if got := fmt.Sprint(owner); got != c.want {
			t.Errorf("%d replicas: owners %s, want %s", c.replicas, got, c.want)
		}
	}
}

// TestUnseenCounts: what is not seen weighs in a choice, more for a prompt that is
// longer, and nowhere else.
func TestUnseenCounts(t *testing.T) {
	s := New(Priced{Alternatives: 1}, nil)
	a, b := new(Load), new(Load)
	snap := &Snapshot{Endpoints: []Endpoint{{ID: "a", Load: a}, {ID: "b", Load: b, Slot: 1}}, Metrics: make([]Metrics, 2), Slots: 2}
	new(Flight).Bind(a, 1000, 0)
	b.SetUnseen(500, 0.1)
	if v := b.View(); v.Backlog != 0 || b.Prefilling() != 0 || !b.Idle() {
		t.Errorf("%+v counts as in flight", v)
	}
	for prompt, want := range map[int64]int32{4000: 1, 6000: 0} {
		var d Decision
		if err := s.Schedule(&Request{PromptTokens: prompt}, snap, &d, nil); err != nil {
			t.Fatal(err)
		}
		if d.Ranked[0] != want {
			t.Errorf("a prompt of %d tokens goes to %d, want %d", prompt, d.Ranked[0], want)
		}
	}
}
