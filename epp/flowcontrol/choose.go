package flowcontrol

import (
	"cmp"
	"slices"
	"time"

	"github.com/fairway-ai/fairway/scheduler"
)

// lessened is an endpoint of which something is gone, for now only in mind.
type lessened struct {
	at   int32
	gone gone
	part part // that is left
}

// Target is by how much the saturation was above what the request needed for which
// somebody was to be evicted last.
func (e *Evictor) Target() float64 { return e.target }

// Demand is the priority of that request.
func (e *Evictor) Demand() int { return e.demand }

// Choose returns whom to evict now so that the request that waits first, in the highest
// band that is shut, may go: the lowest priority first, of these the latest, and none
// that could be spared. It is called when nobody more may go, after m was updated, with
// the pool's pending requests. Nobody is chosen when all that may be evicted would not
// be enough, nor while the room of those evicted before is. What it returns is valid
// until the next call.
func (e *Evictor) Choose(now time.Time, q *Queue, m *Meter, p Pending) []*Runner {
	e.chosen = e.chosen[:0]
	if !now.Before(e.again) {
		e.again = time.Time{} // or the caller would come back at once, and again
	}
	if len(e.lists) == 0 || q.requests == 0 || e.detector.Lag() > 0 && len(e.debts) > 0 || !e.again.IsZero() {
		return nil
	}
	e.lanes = append(e.lanes[:0], q.lanes...)
	slices.SortFunc(e.lanes, func(a, b *Lane) int {
		x, y := a.first(), b.first()
		if x.class != y.class {
			return cmp.Compare(y.class.Priority, x.class.Priority)
		}
		return int(int64(x.oldest.seq - y.oldest.seq))
	})
	for _, l := range e.lanes {
		c := l.first().class
		if c.Priority <= e.lists[0].priority {
			break // nor do the lanes after it have anybody who could evict
		}
		found, searched := e.choose(q, c, l, m, p)
		if found {
			e.again = time.Time{}
			break
		}
		if searched {
			e.again = now.Add(searchPause)
		}
	}
	clear(e.lanes)
	until := now.Add(EvictTimeout)
	for _, r := range e.chosen {
		e.Remove(r)
		r.debt = &debt{load: r.Load, tokens: r.Tokens, issued: now, until: until, runner: r}
		e.debts = append(e.debts, r.debt)
	}
	return e.chosen
}

// Owed is by how much all evictions that have not shown yet will lower the saturation
// that m reads.
func (e *Evictor) Owed(m *Meter) float64 {
	if len(e.debts) == 0 {
		return 0
	}
	all := new(Lane)
	e.begin(m, all)
	return m.All().With(Pending{}) - e.left(m, all).With(Pending{})
}

// begin has in mind that what was evicted before is gone from a lane's endpoints.
func (e *Evictor) begin(m *Meter, l *Lane) {
	for i := range e.less {
		e.places[e.less[i].at] = 0
	}
	e.less, e.change = e.less[:0], part{}
	if len(e.places) != len(m.parts) {
		e.places = make([]int32, len(m.parts))
	}
	for _, d := range e.debts {
		if d.runner == nil {
			e.without(m, l, d.load, gone{shown: 1})
		} else {
			e.without(m, l, d.load, gone{counted: 1, tokens: d.tokens})
		}
	}
}

// without has in mind that g is gone from an endpoint, and reports whether the lane has
// that.
func (e *Evictor) without(m *Meter, l *Lane, load *scheduler.Load, g gone) bool {
	at, ok := m.index[load]
	if !ok || l.Subset != nil && !m.laneSum(l).has(at) {
		return false
	}
	if e.places[at] == 0 {
		e.less = append(e.less, lessened{at: at, part: m.parts[at]})
		e.places[at] = int32(len(e.less))
	}
	x := &e.less[e.places[at]-1]
	x.gone.counted += g.counted
	x.gone.tokens += g.tokens
	x.gone.shown += g.shown
	left := m.partOf(at, x.gone)
	e.change = e.change.plus(left.minus(x.part))
	x.part = left
	return true
}

// left is what a lane's reading will be.
func (e *Evictor) left(m *Meter, l *Lane) Reading {
	sum, n := m.sum, len(m.parts)
	if l.Subset != nil {
		s := m.laneSum(l)
		sum, n = s.sum, s.n
	}
	return m.detector.reading(sum.plus(e.change), n)
}

// choose finds whom to evict for the first request of a lane, whose class is c, and
// reports whether there is somebody; and if not, whether all had to be looked at for
// that.
func (e *Evictor) choose(q *Queue, c *class, l *Lane, m *Meter, p Pending) (found, searched bool) {
	e.begin(m, l)
	saturation := e.left(m, l).With(p)
	if q.wouldOpen(c, saturation) {
		return false, false // there is room on its way
	}
	enough := false
search:
	for _, list := range e.lists {
		if list.priority >= c.Priority || !Evictable(list.priority) {
			break
		}
		for r := list.last; r != nil; r = r.prev {
			if !e.without(m, l, r.Load, gone{counted: 1, tokens: r.Tokens}) {
				continue
			}
			e.chosen = append(e.chosen, r)
			if enough = q.wouldOpen(c, e.left(m, l).With(p)); enough {
				break search
			}
		}
	}
	if !enough {
		e.chosen = e.chosen[:0]
		return false, true
	}
	e.target, e.demand = saturation-q.ceiling(c, saturation), c.Priority
	e.spare(q, c, l, m, p)
	if e.detector.Lag() > 0 && len(e.chosen) > maxAtOnce {
		e.chosen = e.chosen[:maxAtOnce]
	}
	return true, false
}

// spare takes out of the chosen those without whom there is enough room, too, of these
// those first whose turn came last. The last of all was needed.
func (e *Evictor) spare(q *Queue, c *class, l *Lane, m *Meter, p Pending) {
	for i := len(e.chosen) - 2; i >= 0; i-- {
		r := e.chosen[i]
		g := gone{counted: 1, tokens: r.Tokens}
		e.without(m, l, r.Load, gone{counted: -1, tokens: -r.Tokens})
		if q.wouldOpen(c, e.left(m, l).With(p)) {
			e.chosen = slices.Delete(e.chosen, i, i+1)
			continue
		}
		e.without(m, l, r.Load, g)
	}
}
