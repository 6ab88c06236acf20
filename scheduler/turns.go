package scheduler

import (
	"slices"
	"sync"
	"time"
)

// Next is the request that leaves a replica's [HoldQueue] for an endpoint next, as
// other replicas need to know it. Times are this process's.
type Next struct {
	// Held is false when none is held, and the rest zero.
	Held bool
	// Priority goes before the order of the queue, higher ones first.
	Priority int32
	// Uncached and Since are as in [Held], Since in nanoseconds of Unix time.
	Uncached, Since int64
}

// NextOf is the Next of a held request; h may be nil.
func NextOf(h *Held, priority int) Next {
	if h == nil {
		return Next{}
	}
	return Next{Held: true, Priority: clampPriority(priority), Uncached: max(0, h.Uncached), Since: h.Since.UnixNano()}
}

func clampPriority(p int) int32 { return int32(min(max(p, -1<<31), 1<<31-1)) }

// before reports whether n goes before o at an endpoint with that prefill rate.
func (n Next) before(o Next, rate float64) bool {
	if n.Priority != o.Priority {
		return n.Priority > o.Priority
	}
	return n.rank(rate) < o.rank(rate)
}

// rank is what [HoldQueue] orders by, but for what is the same for all at one moment.
func (n Next) rank(rate float64) float64 {
	return float64(n.Uncached)/rate + holdAging*time.Duration(n.Since).Seconds()
}

// turns is the order in which replicas send what they hold for one endpoint.
type turns struct {
	mu     sync.Mutex
	own    Next
	others []turn // of replicas that hold any
}

type turn struct {
	of   *Share
	next Next
}

func (t *turns) ours() Next {
	t.mu.Lock()
	defer t.mu.Unlock()
	return t.own
}

func (t *turns) setOurs(n Next) {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.own = n
}

// set replaces what another replica holds.
func (t *turns) set(s *Share, n Next) {
	t.mu.Lock()
	defer t.mu.Unlock()
	i := slices.IndexFunc(t.others, func(o turn) bool { return o.of == s })
	switch {
	case !n.Held && i >= 0:
		t.others = slices.Delete(t.others, i, i+1)
	case n.Held && i >= 0:
		t.others[i].next = n
	case n.Held:
		t.others = append(t.others, turn{s, n})
	}
}

// look reports whether other replicas hold requests, and whether any of those goes
// before this process's, which may hold none yet. rate is 0 when unknown.
func (t *turns) look(rate float64) (others, behind bool) {
	t.mu.Lock()
	defer t.mu.Unlock()
	if rate <= 0 {
		rate = DefaultPrefillRate
	}
	return len(t.others) > 0,
		slices.ContainsFunc(t.others, func(o turn) bool { return !t.own.Held || o.next.before(t.own, rate) })
}
