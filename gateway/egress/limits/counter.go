package limits

import (
	"sync"
	"time"
)

const (
	// parts is into how many slots a period is cut, slots how many there are: those of a
	// period, and the one that has begun.
	parts = 10
	slots = parts + 1
)

// window is how a counter's slots lie in time.
type window struct {
	origin time.Time
	width  time.Duration // of a slot
}

// slot is the number of the slot of a time.
func (w window) slot(t time.Time) int64 { return int64(max(t.Sub(w.origin), 0) / w.width) }

// until is how long it takes from now until a slot counts no more.
func (w window) until(now time.Time, slot int64) time.Duration {
	return time.Duration(slot+slots)*w.width - now.Sub(w.origin)
}

// counter counts what was used in a period. It is safe for concurrent use.
type counter struct {
	mu       sync.Mutex
	used     [slots]int64
	head     int64 // the newest slot's number
	total    int64 // of used
	reserved int64 // by requests under way
}

// state is what a counter says to a client.
type state struct {
	// left is what may still be used; wait how long until there is enough for the request
	// that was refused, and reset until nothing is used.
	left        int64
	wait, reset time.Duration
}

// advance forgets slots that do not count any more.
func (c *counter) advance(slot int64) {
	if slot-c.head >= slots {
		c.used, c.total, c.head = [slots]int64{}, 0, slot
		return
	}
	for c.head < slot {
		c.head++
		at := &c.used[c.head%slots]
		c.total -= *at
		*at = 0
	}
}

// take uses n, or reserves it with reserve, if there is room for it under the limit. at
// is the slot that n was put into.
func (c *counter) take(w window, now time.Time, limit, n int64, reserve bool) (at int64, s state, ok bool) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.advance(w.slot(now))
	if ok = c.total+c.reserved+n <= limit; ok {
		if reserve {
			c.reserved += n
		} else {
			c.used[c.head%slots] += n
			c.total += n
		}
	}
	s.left = max(limit-c.total-c.reserved, 0)
	missing := c.total + c.reserved + n - limit
	for slot := max(c.head-parts, 0); slot <= c.head; slot++ {
		used := c.used[slot%slots]
		if used == 0 {
			continue
		}
		s.reset = w.until(now, slot)
		if missing > 0 {
			s.wait = s.reset
		}
		missing -= used
	}
	return c.head, s, ok
}

// settle gives back a reservation.
func (c *counter) settle(reserved int64) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.reserved -= reserved
}

// charge puts what was used into the slot of now, and takes what was charged for the
// same request before out of the slot it was put into. It returns the new slot.
func (c *counter) charge(w window, now time.Time, n, before, at int64) int64 {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.advance(w.slot(now))
	if before > 0 && c.head-at < slots {
		c.used[at%slots] -= before
		c.total -= before
	}
	c.used[c.head%slots] += n
	c.total += n
	return c.head
}
