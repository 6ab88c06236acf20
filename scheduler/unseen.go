package scheduler

import (
	"cmp"
	"math"
	"slices"
	"time"
)

// Unseen estimates, for one replica of several, the work that the others send to an
// endpoint while it cannot know: they decide on the same grounds at the same time, and
// so choose the same endpoint.
//
// Work of theirs that is on its way delays this replica's request by as much as they
// send in the time it takes to hear of each other. This replica's request, of which
// they do not know for as long, delays as many requests of theirs by its own length.
// The endpoints are therefore divided among the replicas: each counts both at those
// that are not its own, and so prefers, of endpoints that are nearly as good as each
// other, different ones than the others do.
//
// The zero Unseen has seen nothing. It is not safe for concurrent use.
type Unseen struct {
	at              time.Time
	sent, prompts   int64
	tokens, arrives float64 // per second

	// Memory of Reserve.
	costs []float64
	owner []int
	order []int
	best  []float64
}

// unseenWindow is the time over which the others' rates are averaged.
const unseenWindow = 2 * time.Second

// Observe takes in what the others have sent to the pool so far, in tokens and in
// prompts, see [Work.Sent]. A smaller number than before starts anew.
func (u *Unseen) Observe(now time.Time, sent, prompts int64) {
	d := now.Sub(u.at)
	switch {
	case u.at.IsZero() || sent < u.sent || prompts < u.prompts:
	case d <= 0:
		return
	default:
		keep := math.Exp(-d.Seconds() / unseenWindow.Seconds())
		u.tokens = u.tokens*keep + float64(sent-u.sent)/d.Seconds()*(1-keep)
		u.arrives = u.arrives*keep + float64(prompts-u.prompts)/d.Seconds()*(1-keep)
	}
	u.at, u.sent, u.prompts = now, sent, prompts
}

// Reserve sets what the pool's loads count as unseen, when news from the others is as
// old as lag. All replicas must give the loads in the same order. This is number own
// of that many replicas.
//
// An endpoint belongs to the replica that its place in the order says, and besides,
// every replica has one that is best for it and for no other: so none is left with
// busy endpoints alone while others have idle ones to spare. What the replicas know
// of the endpoints differs by what is unseen, so they need not agree.
func (u *Unseen) Reserve(loads []*Load, own, replicas int, lag time.Duration) {
	if replicas < 2 {
		for _, l := range loads {
			l.SetUnseen(0, 0)
		}
		return
	}
	tokens, requests := u.tokens*lag.Seconds(), u.arrives*lag.Seconds()
	u.divide(loads, replicas, tokens)
	for i, l := range loads {
		if u.owner[i] == own {
			l.SetUnseen(0, 0)
		} else {
			l.SetUnseen(int64(min(tokens, maxWork)), requests)
		}
	}
}

// divide finds each endpoint's owner. A replica takes one that is not its by order
// only when that is cheaper by home tokens.
func (u *Unseen) divide(loads []*Load, replicas int, home float64) {
	u.costs, u.owner = u.costs[:0], u.owner[:0]
	u.best, u.order = u.best[:0], u.order[:0]
	for r := range replicas {
		u.best, u.order = append(u.best, math.Inf(1)), append(u.order, r)
	}
	for i, l := range loads {
		v := l.View()
		c := float64(v.Backlog) + contextWeight*float64(v.Context)
		u.costs, u.owner = append(u.costs, c), append(u.owner, -1)
		u.best[i%replicas] = min(u.best[i%replicas], c)
	}
	// Who has a good one by order takes it before others look for one to spare.
	slices.SortStableFunc(u.order, func(a, b int) int { return cmp.Compare(u.best[a], u.best[b]) })
	for _, r := range u.order {
		best, cost := -1, math.Inf(1)
		for i, c := range u.costs {
			if i%replicas != r {
				c += home + float64((i-r+replicas)%replicas)
			}
			if u.owner[i] < 0 && c < cost {
				best, cost = i, c
			}
		}
		if best >= 0 {
			u.owner[best] = r
		}
	}
	for i, o := range u.owner {
		if o < 0 {
			u.owner[i] = i % replicas
		}
	}
}
