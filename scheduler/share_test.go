package scheduler

import (
	"math"
	"math/rand/v2"
	"testing"
	"time"
)

// plus is what a load reads with w beside v.
func plus(v LoadView, w Work) LoadView {
	v.Requests += w.Requests
	v.Waiting += w.Waiting
	v.Dispatched += w.Dispatched
	v.Backlog += w.Backlog
	v.Prefilling += w.Prefilling
	v.Context += w.Context
	v.Output += w.Output
	return v
}

// TestShares sets random shares beside a flight of the process's own: a load always
// reads as the sum, and as its own part once the shares have ended.
func TestShares(t *testing.T) {
	r := rand.New(rand.NewPCG(7, 1))
	now := time.Unix(1000, 0)
	for range 2000 {
		var loads [2]Load
		var shares [3]Share
		var said [3]Work
		var at [3]int
		var own Flight
		own.Bind(&loads[0], 70, 100)
		own.Dispatch(now, 60)
		own.Expect(9)
		for range 12 {
			i := r.IntN(len(shares))
			if r.IntN(4) == 0 {
				if less := shares[i].End(now); less != (said[i].Requests > 0) {
					t.Fatalf("End says less=%v of %+v", less, said[i])
				}
				said[i] = Work{}
			} else {
				at[i] = r.IntN(2)
				said[i] = Work{
					Requests: int32(1 + r.IntN(9)), Waiting: int32(r.IntN(5)), Dispatched: int32(r.IntN(5)),
					Backlog: int64(r.IntN(900)), Prefilling: int64(r.IntN(900)),
					Context: int64(r.IntN(900)), Output: int64(r.IntN(900)), Prompts: int64(r.IntN(9)),
				}
				shares[i].Set(now, &loads[at[i]], said[i])
			}
			for k := range loads {
				want := plus(LoadView{}, loads[k].Own())
				for j, w := range said {
					if at[j] == k {
						want = plus(want, w)
					}
				}
				if got := loads[k].View(); got != want {
					t.Fatalf("load %d reads %+v, want %+v", k, got, want)
				}
				if loads[k].Prefilling() != want.Prefilling || loads[k].Idle() != (want.Requests == 0) {
					t.Fatalf("load %d: %d prefilling, idle %v, want %+v", k, loads[k].Prefilling(), loads[k].Idle(), want)
				}
			}
		}
		for i := range shares {
			shares[i].End(now)
		}
		if loads[0].View() != plus(LoadView{}, loads[0].Own()) || !loads[1].Idle() {
			t.Fatalf("left behind: %+v, %+v", loads[0].View(), loads[1].View())
		}
	}
}

// TestShareOfNonsense: whatever a replica says, no count becomes negative or
// overflows.
func TestShareOfNonsense(t *testing.T) {
	now := time.Unix(1000, 0)
	var l Load
	var shares [40]Share
	for i := range shares {
		shares[i].Set(now, &l, Work{
			Requests: math.MaxInt32, Waiting: math.MaxInt32, Dispatched: math.MinInt32,
			Backlog: math.MaxInt64, Prefilling: math.MinInt64, Context: math.MaxInt64, Output: math.MaxInt64,
			Sent: math.MinInt64, Prefilled: math.MaxInt64, Busy: math.MinInt64,
		})
		shares[i].Set(now, &l, Work{Requests: 1, Prefilled: math.MinInt64, Busy: math.MaxInt64})
		shares[i].Set(now, &l, Work{Requests: math.MaxInt32, Backlog: math.MaxInt64, Prefilled: math.MaxInt64, Busy: math.MinInt64})
	}
	v := l.View()
	if v.Requests != math.MaxInt32 || v.Dispatched != 0 || v.Backlog <= 0 || v.Prefilling != 0 || v.PrefillRate < 0 {
		t.Errorf("reads %+v", v)
	}
	shares[0].Set(now, &l, Work{Backlog: 5})
	if w := shares[0].Work(); w != (Work{}) {
		t.Errorf("work of no request counts: %+v", w)
	}
	for i := range shares {
		shares[i].End(now)
	}
	if v := l.View(); v.Requests != 0 || v.Backlog != 0 || v.Context != 0 || !l.Idle() {
		t.Errorf("left behind: %+v", v)
	}
}

// TestShareTeachesTheRate: an endpoint that processes 10,000 tokens per second for
// several replicas is known by each to do so, however the work is spread.
func TestShareTeachesTheRate(t *testing.T) {
	for name, c := range map[string]struct{ own, busy func(i int) bool }{
		"half of it is ours":     {func(i int) bool { return i%2 == 0 }, func(int) bool { return true }},
		"all of it is theirs":    {func(int) bool { return false }, func(int) bool { return true }},
		"with pauses":            {func(i int) bool { return i%3 == 0 }, func(i int) bool { return i%5 != 0 }},
		"as it was when we were": {func(int) bool { return true }, func(int) bool { return true }},
	} {
		var here, there Load
		var share Share
		now := time.Unix(1000, 0)
		for i := range 400 {
			if !c.busy(i) {
				now = now.Add(300 * time.Millisecond)
				continue
			}
			l := &there
			if c.own(i) {
				l = &here
			}
			var f Flight
			f.Bind(l, 1000, 1000)
			f.Dispatch(now, 1000)
			if i%2 == 0 { // it may begin and end between two messages
				share.Set(now, &here, there.Own())
			}
			now = now.Add(100 * time.Millisecond)
			f.FirstToken(now)
			f.End(now)
			share.Set(now, &here, there.Own())
		}
		if rate := here.View().PrefillRate; rate < 9_000 || rate > 11_000 {
			t.Errorf("%s: rate %v, want 10000", name, rate)
		}
	}
}
