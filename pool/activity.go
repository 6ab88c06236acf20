package pool

import "time"

// The pool's activity. Requests move it up, scrapers move it down, so that a
// request pays one atomic load and an idle pool is woken by the first one.
const (
	asleep uint32 = iota // idle: the next request wakes the scrapers
	quiet                // no request since a scraper last looked
	busy                 // a request has passed since then
)

// Active says that a request passed. It keeps the scrape rate up and costs one
// atomic load, except for the first request after idleness.
func (p *Pool) Active() {
	if p.activity.Load() == busy {
		return
	}
	if p.activity.Swap(busy) == asleep {
		go p.wakeAll()
	}
}

// activeAt reports whether requests passed within the last Options.IdleAfter.
func (p *Pool) activeAt(now time.Time) bool {
	for {
		if p.activity.CompareAndSwap(busy, quiet) {
			p.lastActive.Store(now.UnixNano())
			return true
		}
		if now.UnixNano()-p.lastActive.Load() < int64(p.o.IdleAfter) {
			return true
		}
		// Once asleep is set, the next request wakes the caller out of its long
		// wait. When a request has just passed instead, nobody would: look again.
		if p.activity.Load() == asleep || p.activity.CompareAndSwap(quiet, asleep) {
			return false
		}
	}
}

// wakeSpread is how long after one another endpoints are woken, so that a large
// pool's first request does not start a scrape of all of it in one instant.
const wakeSpread = 200 * time.Microsecond

func (p *Pool) wakeAll() {
	p.mu.Lock()
	members := p.members
	p.mu.Unlock()
	step := min(wakeSpread, p.o.Interval/time.Duration(max(1, len(members))))
	for i, m := range members {
		if i < 32 {
			m.wake()
			continue
		}
		time.AfterFunc(time.Duration(i)*step, m.wake)
	}
}

// Suspect says that a request could not reach the endpoint with this ID: it is
// scraped now, and found out to be unreachable or not.
func (p *Pool) Suspect(id string) {
	p.mu.Lock()
	defer p.mu.Unlock()
	for _, m := range p.members {
		if m.spec.ID == id {
			m.wake()
			return
		}
	}
}
