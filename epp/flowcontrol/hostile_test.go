package flowcontrol

import (
	"cmp"
	"fmt"
	"math"
	"math/rand/v2"
	"slices"
	"testing"
	"time"
)

// TestPriorityExtremes: an objective may have any integer as its priority. The order
// holds at the ends of what an int is, and a priority has one band.
func TestPriorityExtremes(t *testing.T) {
	for seed := range uint64(50) {
		priorities := []int{math.MaxInt, 0, math.MinInt, -1, 1, math.MinInt32, math.MaxInt32, math.MinInt + 1, math.MaxInt - 1}
		rng := rand.New(rand.NewPCG(seed, 1))
		rng.Shuffle(len(priorities), func(i, j int) { priorities[i], priorities[j] = priorities[j], priorities[i] })
		priorityExtremes(t, priorities)
	}
}

func priorityExtremes(t *testing.T, priorities []int) {
	q, now := NewQueue(DefaultConfig(), nil, nil), time.Unix(1e9, 0)
	for range 3 {
		for _, p := range priorities {
			q.Push(now, &Waiter{Priority: p}, nil)
		}
	}
	var bands []int
	for b := range q.Bands {
		bands = append(bands, b.Priority)
	}
	want := slices.Sorted(slices.Values(priorities))
	slices.Reverse(want)
	if !slices.Equal(bands, want) {
		t.Fatalf("bands of priorities %v, want %v", bands, want)
	}
	var got []int
	for w := q.Pop(now, open{}); w != nil; w = q.Pop(now, open{}) {
		got = append(got, w.Priority)
	}
	if len(got) != 3*len(want) || !slices.IsSortedFunc(got, func(a, b int) int { return cmp.Compare(b, a) }) {
		t.Fatalf("served in the order %v", got)
	}

	e := NewEvictor(DefaultConcurrency())
	for _, p := range priorities {
		if Evictable(p) {
			e.Add(&Runner{Priority: p})
		}
	}
	if len(e.lists) != 4 || e.lists[0].priority != math.MinInt || e.lists[3].priority != -1 {
		t.Fatalf("%d lists of those who may be evicted", len(e.lists))
	}
}

// TestIdleBandsGo: a band that the configuration does not list holds capacity back for
// ten minutes after its last request, whether or not another band appears, and leaves
// nothing behind.
func TestIdleBandsGo(t *testing.T) {
	c := DefaultConfig()
	c.Limit = UsageLimit{Type: HoldbackLimit, Holdback: Holdback{Domain: DomainRank, MinCeiling: 0.5, MaxCeiling: 1}}
	q, now := NewQueue(c, nil, nil), time.Unix(1e9, 0)
	free := func() bool { return q.Free(now, 0, nil, fixed(0.7)) }
	if !free() {
		t.Fatal("the only band is not served")
	}
	q.Push(now, &Waiter{Priority: 5}, nil)
	q.Pop(now, open{})
	if free() {
		t.Fatal("nothing is held back for the higher priority")
	}
	now = now.Add(bandIdle - time.Second)
	if free() {
		t.Error("nothing is held back any more within ten minutes")
	}
	now = now.Add(2 * time.Second)
	if !free() {
		t.Error("capacity is held back for a priority of which nothing came for ten minutes")
	}
	for p := range 2000 {
		q.Push(now, &Waiter{Priority: p}, nil)
		q.Push(now, &Waiter{Priority: p}, []string{"10.0.0.1"})
		for q.Pop(now, open{}) != nil {
		}
		now = now.Add(time.Minute)
	}
	if n := len(q.classes); n > 20 {
		t.Errorf("%d bands are left", n)
	}
	for _, l := range slices.Concat(q.lanes, q.spare) {
		if n := len(l.bands); n > 20 {
			t.Errorf("%d bands are left in a lane", n)
		}
	}
}

// fixed is a saturation of all endpoints.
type fixed float64

func (f fixed) Saturation(*Lane) float64 { return float64(f) }

// TestLanesAreFound: when there are as many lanes as may be, a request whose endpoints
// have one still waits there.
func TestLanesAreFound(t *testing.T) {
	q, now := NewQueue(DefaultConfig(), nil, nil), time.Unix(1e9, 0)
	subset := func(i int) []string { return []string{fmt.Sprintf("10.0.0.%d", i)} }
	for range 2 {
		for i := range maxLanes {
			w := &Waiter{}
			if q.Push(now, w, subset(i)); !slices.Equal(w.lane.Subset, subset(i)) {
				t.Fatalf("%v waits in the lane of %v", subset(i), w.lane.Subset)
			}
		}
	}
	for i := range 3 {
		w := &Waiter{}
		if q.Push(now, w, subset(maxLanes+i)); w.lane.Subset != nil {
			t.Errorf("more than %d lanes", maxLanes)
		}
	}
	if len(q.lanes) != maxLanes+1 {
		t.Errorf("%d lanes", len(q.lanes))
	}
}

// TestProgramsNearNothing: what is left of a program's service after very long makes no
// choice impossible.
func TestProgramsNearNothing(t *testing.T) {
	c := DefaultConfig()
	p := DefaultPrograms()
	p.HalfLife = time.Second
	c.Default.Fairness = Fairness{Type: ProgramAware, Programs: p}
	q, now := NewQueue(c, nil, nil), time.Unix(1e9, 0)
	q.Served(now, 0, "served", 1)
	now = now.Add(1065 * time.Second)
	q.Served(now, 0, "another", 1) // moves the epoch
	q.Push(now, &Waiter{Flow: "served"}, nil)
	q.Push(now.Add(time.Second), &Waiter{Flow: "new"}, nil)
	for i := range q.lanes[0].bands[0].fairness.(*leastServed).flows {
		f := &q.lanes[0].bands[0].fairness.(*leastServed).flows[i]
		if s := f.service(); s != 0 && s < 1e-200 {
			t.Errorf("%s counts as served with %g tokens", f.flow.id, s)
		}
	}
	if w := q.Pop(now.Add(time.Second), open{}); w.Flow != "served" {
		t.Errorf("%s goes before the one that waits longer, and was served as little", w.Flow)
	}
}

// TestProgramsWithoutRoom: names that a client makes up do not keep others from being
// counted.
func TestProgramsWithoutRoom(t *testing.T) {
	c := DefaultConfig()
	c.Default.Fairness = Fairness{Type: ProgramAware, Programs: DefaultPrograms()}
	q, now := NewQueue(c, nil, nil), time.Unix(1e9, 0)
	for i := range maxPrograms + 100 {
		now = now.Add(time.Millisecond)
		q.Served(now, 0, fmt.Sprint("made up ", i), 1)
	}
	q.Served(now, 0, "greedy", 1e6)
	now = now.Add(time.Second)
	q.Push(now, &Waiter{Flow: "greedy"}, nil)
	q.Push(now, &Waiter{Flow: "modest"}, nil)
	if w := q.Pop(now, open{}); w.Flow != "modest" {
		t.Errorf("%s goes first", w.Flow)
	}
	n := 0
	for range q.Programs(now) {
		n++
	}
	if n > maxPrograms {
		t.Errorf("%d programs are remembered", n)
	}
}

// TestSubsetsAreKept: a subset is a request's own memory, which is used again when the
// request is over, while others still wait for the same endpoints.
func TestSubsetsAreKept(t *testing.T) {
	q, now := NewQueue(DefaultConfig(), nil, nil), time.Unix(1e9, 0)
	memory := []string{"10.0.0.1", "10.0.0.2"}
	var looked []string
	valve := looking{&looked}
	q.Free(now, 0, memory, valve)
	first, second := &Waiter{}, &Waiter{}
	q.Push(now, first, memory)
	q.Push(now, second, memory)
	q.Remove(first)
	memory[0] = "10.0.0.3"
	if got := second.lane.Subset; !slices.Equal(got, []string{"10.0.0.1", "10.0.0.2"}) {
		t.Errorf("waits for %v", got)
	}
	q.Remove(second)
	for _, subset := range [][]string{memory, {}, nil, {"10.0.0.1"}, {}} {
		if q.Free(now, 0, subset, valve); (looked == nil) != (subset == nil) || !slices.Equal(looked, subset) {
			t.Errorf("looked at %v instead of %v", looked, subset)
		}
	}
}

// looking is a valve that notes whom it was asked about.
type looking struct{ at *[]string }

func (l looking) Saturation(lane *Lane) float64 {
	*l.at = lane.Subset
	return 0
}
