package flowcontrol

import (
	"cmp"
	"slices"
	"time"

	"github.com/fairway-ai/fairway/scheduler"
)

// Runner is a request that runs on an endpoint and may be ended for a waiting one. The
// caller owns it and may use it again when the [Evictor] does not have it any more.
type Runner struct {
	// Priority is the request's own.
	Priority int
	// Load is the endpoint's that counts the request, and Tokens what the request adds
	// to its Context.
	Load   *scheduler.Load
	Tokens int64
	// Payload is the caller's own.
	Payload any

	list       *runners
	prev, next *Runner
	debt       *debt // once evicted, until it has ended
}

// runners are those of one priority, in the order in which they were sent.
type runners struct {
	priority    int
	first, last *Runner
}

// debt is room that an eviction has promised and the readings do not show yet.
type debt struct {
	load   *scheduler.Load
	tokens int64
	issued time.Time
	runner *Runner   // nil once it has ended
	until  time.Time // when the room should show, or the request should have ended
}

// EvictTimeout is how long an evicted request may take to end before it is no longer
// counted on.
const EvictTimeout = 10 * time.Second

// searchPause is how long nobody is looked for after a search through all that may be
// evicted has shown that they are not enough.
const searchPause = 10 * time.Millisecond

// maxAtOnce bounds how many requests are evicted by an estimate before it is seen what
// came of it.
const maxAtOnce = 2

// Evictor chooses running requests to end so that a waiting one may go. It only ever
// chooses requests of a priority below 0 and below that of the one that waits, and only
// when the room that they leave is enough. Like [Queue] it knows no locks.
type Evictor struct {
	detector Detector
	lists    []*runners // by priority, lowest first
	debts    []*debt
	again    time.Time // not before this is looked for somebody again
	target   float64
	demand   int

	lanes  []*Lane    // scratch of Choose
	chosen []*Runner  // and what it returned last
	less   []lessened // and what would be gone,
	change part       // by which the sum would change
	places []int32    // by an endpoint's index, one more than its place in less, or 0
}

// NewEvictor returns one that goes by a detector's readings.
func NewEvictor(d Detector) *Evictor { return &Evictor{detector: d} }

// Evictable reports whether a request of that priority may ever be evicted.
func Evictable(priority int) bool { return priority < 0 }

// Add takes up a request that was just sent.
func (e *Evictor) Add(r *Runner) {
	i, found := slices.BinarySearchFunc(e.lists, r.Priority, func(l *runners, p int) int { return cmp.Compare(l.priority, p) })
	if !found {
		e.lists = slices.Insert(e.lists, i, &runners{priority: r.Priority})
	}
	l := e.lists[i]
	r.list, r.prev, r.next, r.debt = l, l.last, nil, nil
	if l.last == nil {
		l.first = r
	} else {
		l.last.next = r
	}
	l.last = r
}

// Remove forgets a request that can no longer be evicted. It does nothing for one that
// was evicted, or is not known.
func (e *Evictor) Remove(r *Runner) {
	l := r.list
	if l == nil {
		return
	}
	if r.prev == nil {
		l.first = r.next
	} else {
		r.prev.next = r.next
	}
	if r.next == nil {
		l.last = r.prev
	} else {
		r.next.prev = r.prev
	}
	r.list, r.prev, r.next = nil, nil, nil
	if l.first == nil {
		e.lists = slices.DeleteFunc(e.lists, func(o *runners) bool { return o == l })
	}
}

// Len is the number of requests that may be evicted.
func (e *Evictor) Len() int {
	n := 0
	for _, l := range e.lists {
		for r := l.first; r != nil; r = r.next {
			n++
		}
	}
	return n
}

// Failed says that an evicted request could not be ended, and goes on.
func (e *Evictor) Failed(r *Runner) { e.settle(r) }

// Ended says that a request has ended, evicted or not, and its endpoint no longer
// counts it. For an evicted one it returns how long that took.
func (e *Evictor) Ended(now time.Time, r *Runner) (took time.Duration, evicted bool) {
	e.Remove(r)
	d := e.settle(r)
	if d == nil {
		return 0, false
	}
	if lag := e.detector.Lag(); lag > 0 {
		d.runner, d.until = nil, now.Add(lag)
		e.debts = append(e.debts, d)
	}
	return now.Sub(d.issued), true
}

// settle takes a runner's debt off the books; nil when it has none.
func (e *Evictor) settle(r *Runner) *debt {
	d := r.debt
	if d != nil {
		r.debt = nil
		e.debts = slices.DeleteFunc(e.debts, func(o *debt) bool { return o == d })
	}
	return d
}

// Expire forgets the debts that are overdue. It returns how many evicted requests have
// not ended in time.
func (e *Evictor) Expire(now time.Time) (late int) {
	if len(e.debts) == 0 {
		return 0
	}
	e.debts = slices.DeleteFunc(e.debts, func(d *debt) bool {
		if d.until.After(now) {
			return false
		}
		if d.runner != nil {
			d.runner.debt = nil
			late++
		}
		return true
	})
	return late
}

// Deadline is when Expire or Choose may have something to do although nothing has
// happened; ok is false when they never have.
func (e *Evictor) Deadline() (at time.Time, ok bool) {
	at, ok = e.again, !e.again.IsZero()
	for _, d := range e.debts {
		if !ok || d.until.Before(at) {
			at, ok = d.until, true
		}
	}
	return at, ok
}
