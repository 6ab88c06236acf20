package flowcontrol

import (
	"cmp"
	"slices"
	"time"
)

// bandIdle is how long a band that the configuration does not list counts as
// active, for usage limits, after its last request.
const bandIdle = 10 * time.Minute

// class is what all bands of one priority have in common.
type class struct {
	Band
	rank     int
	listed   bool // in the configuration
	gone     bool // was idle for too long
	requests int
	bytes    int64
	last     time.Time
}

// class finds the class of a priority, or makes it.
func (q *Queue) class(now time.Time, priority int) *class {
	q.dropIdle(now)
	i, found := slices.BinarySearchFunc(q.classes, priority, func(c *class, p int) int { return cmp.Compare(p, c.Priority) })
	if found {
		q.classes[i].last = now
		return q.classes[i]
	}
	c := &class{Band: q.c.band(priority), last: now}
	q.classes = slices.Insert(q.classes, i, c)
	if q.idle.IsZero() {
		q.idle = now.Add(bandIdle)
	}
	q.rank()
	return c
}

// rank numbers the classes.
func (q *Queue) rank() {
	q.ranks = q.ranks[:0]
	for rank, c := range q.classes {
		c.rank = rank
		q.ranks = append(q.ranks, c.Priority)
	}
	q.ceilings = make([]float64, len(q.classes))
}

// dropIdle takes out the classes of which nothing came for long, and their bands.
func (q *Queue) dropIdle(now time.Time) {
	if q.idle.IsZero() || !now.After(q.idle) {
		return
	}
	q.idle = time.Time{}
	some := false
	q.classes = slices.DeleteFunc(q.classes, func(c *class) bool {
		switch {
		case c.listed:
			return false
		case c.requests > 0:
			c.last = now
		case now.Sub(c.last) > bandIdle:
			c.gone, some = true, true
			return true
		}
		if at := c.last.Add(bandIdle); q.idle.IsZero() || at.Before(q.idle) {
			q.idle = at
		}
		return false
	})
	if !some {
		return
	}
	q.rank()
	for _, lanes := range [][]*Lane{q.lanes, q.spare} {
		for _, l := range lanes {
			l.bands = slices.DeleteFunc(l.bands, func(b *band) bool { return b.class.gone })
		}
	}
}
