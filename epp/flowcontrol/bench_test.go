package flowcontrol

import (
	"fmt"
	"testing"
	"time"
)

// benchWaiters is how many requests wait while dispatches are measured.
const benchWaiters = 5000

// filled is a queue with waiters of so many flows and three priorities.
func filled(fairness, ordering string, flows int) (*Queue, time.Time) {
	now := time.Unix(1e9, 0)
	c := DefaultConfig()
	c.Default.MaxRequests, c.Default.Ordering = 0, ordering
	c.Default.Fairness = Fairness{Type: fairness, Programs: DefaultPrograms()}
	q := NewQueue(c, nil, nil)
	for i := range benchWaiters {
		w := &Waiter{Priority: i%3 - 1, Flow: fmt.Sprint(i / 3 % flows), Bytes: 100}
		if i%2 == 0 {
			w.FirstTokenBy = now.Add(time.Duration(i*7919%5000) * time.Millisecond)
		}
		q.Push(now, w, nil)
		q.Served(now, w.Priority, w.Flow, float64(i*7919%5000))
	}
	return q, now
}

// BenchmarkDispatch takes a request out of 5,000 and puts it back.
func BenchmarkDispatch(b *testing.B) {
	for _, fairness := range []string{GlobalStrict, RoundRobin, ProgramAware} {
		for _, ordering := range []string{FCFS, SLODeadline} {
			for _, flows := range []int{1, 100, benchWaiters} {
				b.Run(fmt.Sprintf("%s/%s/flows=%d", fairness, ordering, flows), func(b *testing.B) {
					q, now := filled(fairness, ordering, flows)
					b.ReportAllocs()
					for b.Loop() {
						w := q.Pop(now, open{})
						q.Push(now, w, nil)
					}
				})
			}
		}
	}
}

// TestDispatchAllocations: taking a request out and putting it back allocates
// nothing.
func TestDispatchAllocations(t *testing.T) {
	for _, fairness := range []string{GlobalStrict, RoundRobin, ProgramAware} {
		q, now := filled(fairness, EDF, 10)
		if n := testing.AllocsPerRun(1000, func() {
			if w := q.Pop(now, open{}); q.Push(now, w, nil) != Dispatched {
				t.Error("no room")
			}
		}); n > 0 {
			t.Errorf("%s: %v allocations per dispatch, want none", fairness, n)
		}
	}
}
